"""A blood pressure that no rule minds is not judged: nothing would have followed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Audience, Finding, Verdict
from alerts.cuff import Unremarkable
from alerts.rules import DEFAULTS
from ingest.reading import Flag, Reading
from tests.alerts.ward import Ward, cuff, minute

NOTHING = Unremarkable(low=(0, 0), high=(0, 0), apart=timedelta())
FLAGS = [frozenset[Flag](), frozenset({Flag.BODY_MOVEMENT}), frozenset({Flag.TIME_FAULT})]
# Many that no rule minds, and of the others each kind.
PRESSURES = st.tuples(
    st.sampled_from([1, 3, 10, 11, 44, 130, 600]),  # minutes since the one before
    st.sampled_from(
        [(90, 62), (94, 62), (112, 70), (134, 84), (134, 78)] * 2
        + [(78, 44), (128, 58), (112, 98)]
        + [
            (136, 84),
            (134, 86),
            (162, 104),
            (182, 104),
            (190, 122),
            (188, 60),
            (184, 82),
            (130, 112),
            (98, 84),
            (148, 70),
        ]
    ),
    st.sampled_from([*FLAGS[:1] * 6, *FLAGS[1:]]),
    st.sampled_from([0, 0, 0, 0, 15, 90]),  # minutes until it arrives
)


class Sparing(Ward):
    """Hears what it finds, and what the clock brings about between two readings."""

    def live(self, reading: Reading) -> None:
        """Until the reading has arrived, and with it."""
        while (due := self.bed.due(self.stored.now)) <= reading.received_at:
            self._hear(self.at(due))
        for group in self.groups(reading):
            self._hear(group)

    def _hear(self, findings: Sequence[Finding]) -> None:
        for each in findings:
            up = dict(self.standing)
            if each.verdict is Verdict.CLEAR:
                up.pop(each.rule, None)
            elif each.verdict is Verdict.RAISE and each.audience is Audience.STAFF:
                up[each.rule] = each.since
            self.standing = up
        self.bed.settle(self.standing, self.stored.now)


def _lived(readings: list[Reading], unremarkable: Unremarkable | None) -> list[Finding]:
    ward = Sparing()
    if unremarkable:
        ward.bed._plan.unremarkable = unremarkable
    for each in sorted(readings, key=lambda each: each.received_at):
        ward.live(each)
    return ward.found


@given(st.lists(PRESSURES, min_size=1, max_size=14))
@settings(max_examples=400, deadline=None)
def test_what_is_not_judged_would_have_led_to_nothing(
    taken: list[tuple[int, tuple[int, int], frozenset[Flag], int]],
) -> None:
    at, readings = 0, []
    for apart, pressures, flags, late in taken:
        at += apart
        readings.append(cuff(at, *pressures, flags=flags, arrives=minute(at + late)))
    assert _lived(readings, None) == _lived(readings, NOTHING)


@pytest.mark.parametrize(
    ("systolic", "diastolic", "is_so"),
    [
        (90, 60, True),
        (134, 84, True),
        (89, 60, False),
        (90, 59, False),
        (135, 84, False),
        (134, 85, False),
        (98, 84, False),
    ],
)
def test_which_pressures_are_unremarkable(systolic: int, diastolic: int, *, is_so: bool) -> None:
    calm = Unremarkable.within(DEFAULTS)
    reading = cuff(20, systolic, diastolic)
    assert calm.includes(reading, minute(9)) is is_so
    assert not calm.includes(reading, minute(10))  # one sitting
    assert not calm.includes(reading, minute(30))  # not the newest
    assert not calm.includes(reading, None)
    assert not calm.includes(replace(reading, flags=FLAGS[1]), minute(9))


def test_a_patient_who_is_well_is_judged_once_however_often_the_pressure_is_taken() -> None:
    ward = Ward()
    looks = 0
    for n in range(40):
        ward.stored.add(reading := cuff(n * 60, 118 + n % 9, 76))
        ward.bed.take(reading, reading.received_at)
        if ward.bed.asks:
            looks += 1
            ward.bed.look(ward.stored, reading.received_at)
            ward.bed.settle({}, reading.received_at)
    assert looks == 1


def test_after_a_restart_a_late_reading_that_lies_beside_a_stored_one_is_judged_with_it() -> None:
    ward = Ward()
    ward.comes(cuff(720, 142, 88))
    ward.restart(740)
    ward.comes(cuff(480, 118, 76, arrives=minute(741)))
    found = ward.comes(cuff(715, 134, 84, arrives=minute(742)))
    assert [each.rule for each in found] == ["bp-session-high"]  # 138/86 is the mean of the two
