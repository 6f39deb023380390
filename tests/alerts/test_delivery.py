"""Of readings that come together a patient is told the worst of each trouble."""

from __future__ import annotations

import pytest

from alerts.alert import Audience, Finding, Priority, Verdict
from alerts.delivery import worst_for_patients
from tests.alerts.test_sensor import worn
from tests.alerts.ward import cgm, finding, minute

PATIENT, STAFF = Audience.PATIENT, Audience.STAFF


def told(groups: list[list[Finding]]) -> list[str]:
    return [each.rule for group in worst_for_patients(groups) for each in group if each.audience is PATIENT]


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ([110, 95, 80, 66, 50, 48, 45, 43, 40], ["low-event-2"]),  # the fall and the low are on the way to it
        ([110, 95, 80, 66, 64, 62], ["low-event-1"]),
        ([110, 95, 80, 66, 50], ["predicted-urgent-low"]),
    ],
)
def test_a_batch_of_a_sensor_tells_the_patient_one_thing(values: list[int], rules: list[str]) -> None:
    together = [cgm(5 * n, value, arrives=minute(5 * len(values) - 5)) for n, value in enumerate(values)]
    groups = [list(group) for group in worn().groups(*together)]
    assert len([each for group in groups for each in group if each.audience is PATIENT]) > 1
    assert told(groups) == rules


def test_that_a_low_may_become_a_very_low_one_is_told_beside_it() -> None:
    low, ahead = finding("low-event-1", audience=PATIENT), finding("predicted-urgent-low", audience=PATIENT)
    assert told([[ahead, low]]) == ["predicted-urgent-low", "low-event-1"]
    assert told([[ahead], [low]]) == ["low-event-1"]  # that was foretold before the low was there
    assert told([[ahead, low], [finding("low-event-2", audience=PATIENT)]]) == ["low-event-2"]


def test_staff_and_other_troubles_and_other_patients_are_told_as_ever() -> None:
    groups = [
        [finding(audience=PATIENT), finding("low-event-1", audience=PATIENT)],
        [finding(audience=STAFF), finding("bp-severe", audience=PATIENT)],
        [finding("low-event-1", audience=PATIENT, patient="p-2"), finding("low-event-1", Verdict.CLEAR)],
    ]
    kept = worst_for_patients(groups)
    assert kept == [groups[0][:1], groups[1], groups[2]]


def test_of_two_of_one_rule_the_later_is_told_and_of_two_as_bad_the_first() -> None:
    early, late = (finding("falling-fast", audience=PATIENT, since=minute(n)) for n in (0, 30))
    assert worst_for_patients([[early], [late]]) == [[], [late]]
    severe = finding("bp-severe", audience=PATIENT, priority=Priority.LOW)
    assert worst_for_patients([[severe, finding("bp-session-high", audience=PATIENT)]]) == [[severe]]
