"""A trouble that comes again after a person has dealt with it, told as it happens: readings, the desk, the book."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from alerts import spot
from alerts.alert import Act, ActKind, Alert, Audience, Finding, Notice, Outcome, Priority, Text, Verdict
from alerts.book import Book
from alerts.devices import Expected, no_data
from alerts.machine import FactKind, hear, hear_findings
from alerts.rule import Group, Limits
from alerts.rules import DEFAULTS, limits_for, parse_limits
from alerts.scene import Scene
from gateway.schema import open_database
from ingest.reading import Flag, Reading, TimeBasis
from ingest.vital import Unit, Vital
from tests.alerts.ward import START, Ward, cgm, cuff, meter, minute, reading, said, trace

HOUR = 60.0
MMOL = Unit.MMOL_L
DAY = 24 * HOUR


class Clinic:
    """One patient's readings, the book of alerts, and the people who read it; the clock is moved by hand."""

    def __init__(self, engine: Engine, expected: tuple[Expected, ...] = (), limits: Limits = DEFAULTS) -> None:
        self._engine = engine
        self._expected = expected
        self._limits = limits
        self.ward = Ward()
        self.book = Book(engine, routes={})
        self.restart()

    def restart(self) -> None:
        self.book = Book(self._engine, routes={})
        stored, self.ward = self.ward.stored, Ward(self._limits, expected=self._expected)
        self.ward.stored = stored
        self.ward.standing = self._standing()
        self.ward.restart(stored.now)

    def comes(self, *readings: Reading) -> list[Notice]:
        """The readings come in one by one and are judged; what staff are told of it."""
        told = []
        for each in readings:
            told += self.come_together(each)
        return told

    def come_together(self, *readings: Reading) -> list[Notice]:
        """The same of readings that come at one moment."""
        return self._hear(self.ward.groups(*readings), self.ward.stored.now)

    def packet(self, *readings: Reading) -> list[Notice]:
        """The same of readings that come in one message."""
        return self._hear([self.ward.packet(*readings)], self.ward.stored.now)

    def look(self, now: float | datetime) -> list[Notice]:
        """Time has passed; what staff are told."""
        return self._hear([self.ward.at(now)], self.ward.stored.now)

    def _hear(self, groups: Iterable[Sequence[Finding]], now: datetime) -> list[Notice]:
        new: list[Notice] = []
        for group in groups:
            heard = hear_findings(self.book.standing(), group, now)
            new += self.book.record(heard.changes, heard.notices)
            self.settle(now)
        return [notice for notice in new if notice.audience is Audience.STAFF]

    def settle(self, now: datetime) -> None:
        self.ward.standing = self._standing()
        low = self.book.standing().get(("p-1", "glucose-low"))
        self.ward.bed.settle(self.ward.standing, now, low if low and low.closed_at else None)

    def _standing(self) -> dict[str, datetime]:
        return {rule: alert.since for alert in self.book.standing().values() for rule in alert.raising}

    def watched(self, start: float, end: float, *, every: float = HOUR) -> list[Notice]:
        """Nothing comes from start to end, and the clock ticks; what staff are told."""
        ticks = int((end - start) // every)
        return [notice for tick in range(ticks + 1) for notice in self.look(start + tick * every)]

    @property
    def alert(self) -> Alert:
        """The only open alert."""
        (alert,) = self.book.open_alerts()
        return alert

    def acknowledge(self, at: float) -> None:
        self._act(ActKind.ACKNOWLEDGE, at)

    def close(self, at: float) -> Alert:
        return self._act(ActKind.CLOSE, at, Outcome.ADVICE)

    def _act(self, kind: ActKind, at: float, outcome: Outcome | None = None) -> Alert:
        alert = self.alert
        act = Act(kind=kind, alert=alert.id, by="Dr Li", at=minute(at), note="ate sugar, feels well", outcome=outcome)
        heard = hear(alert, act, act.at)
        self.book.record(heard.changes)
        self.settle(act.at)
        return heard.changes[-1].alert

    def facts(self, alert: Alert) -> list[FactKind]:
        return [fact.what for fact in self.book.history(alert.id)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    yield engine
    engine.dispose()


@pytest.fixture
def clinic(engine: Engine) -> Clinic:
    return Clinic(engine)


def subjects(notices: list[Notice]) -> list[str]:
    return [notice.subject.en for notice in notices]


# Lows of a meter


def test_a_low_after_yesterdays_was_closed_opens_a_new_alert(clinic: Clinic) -> None:
    assert subjects(clinic.comes(meter(0, 38))) == ["High priority: Very low glucose on the meter"]
    assert clinic.look(31) == []  # not recovered, and of high priority from the beginning
    first = clinic.close(at=40)
    assert clinic.watched(60, 20 * HOUR) == []  # the reading grows old: neither raised again nor over
    assert subjects(clinic.comes(meter(20 * HOUR, 38))) == ["High priority: Very low glucose on the meter"]
    assert clinic.alert.id != first.id
    assert clinic.alert.since == minute(20 * HOUR)
    assert clinic.facts(first)[-1] is FactKind.SUPERSEDED
    assert clinic.book.history(first.id)[-1].note == clinic.alert.id


def test_a_month_and_a_restart_later_a_low_is_told_as_well(clinic: Clinic) -> None:
    clinic.comes(meter(0, 38))
    clinic.close(at=20)
    clinic.restart()
    assert clinic.watched(DAY, 3 * DAY) == []
    assert len(clinic.comes(meter(30 * DAY, 38))) == 1
    assert clinic.alert.opened_at == minute(30 * DAY)


def test_a_low_after_yesterdays_was_acknowledged_is_told_again_and_says_todays_numbers(clinic: Clinic) -> None:
    clinic.comes(meter(0, 38))
    clinic.acknowledge(at=5)
    first = clinic.alert
    assert subjects(clinic.comes(meter(DAY, 36))) == ["High priority, again: Very low glucose on the meter"]
    again = clinic.alert
    assert again.id == first.id
    assert (again.since, again.opened_at) == (minute(DAY), START)
    assert again.evidence == (meter(DAY, 36).key,)
    assert "36 mg/dL" in again.because.en
    assert clinic.facts(again)[-1] is FactKind.RELAPSED
    assert clinic.watched(DAY, 3 * DAY) == []  # that it has not recovered makes it no worse
    assert "38 mg/dL" in str(clinic.book.history(again.id)[0].because)  # what was said stays written


def test_nobody_is_told_that_a_low_is_over_because_nothing_more_came(clinic: Clinic) -> None:
    clinic.comes(meter(0, 48))
    assert len(clinic.watched(0, 10 * DAY)) == 1  # that it has not recovered
    assert clinic.alert.condition_gone_at is None
    assert subjects(clinic.comes(meter(10 * DAY, 95))) == ["Condition over: Very low glucose on the meter"]


def test_the_same_low_measured_again_within_two_hours_is_one_episode(clinic: Clinic) -> None:
    clinic.comes(meter(0, 37))
    assert clinic.comes(meter(5, 38), meter(28, 39)) == []
    assert clinic.facts(clinic.alert).count(FactKind.RELAPSED) == 0


def test_a_low_that_was_measured_before_the_closing_and_read_out_after_it_is_told(clinic: Clinic) -> None:
    clinic.comes(meter(0, 38))
    clinic.close(at=8 * HOUR)
    assert len(clinic.comes(meter(7 * HOUR, 37, arrives=minute(9 * HOUR)))) == 1
    assert clinic.alert.opened_at == minute(9 * HOUR)


def test_a_late_reading_that_shows_an_earlier_onset_of_the_same_low_tells_nothing(clinic: Clinic) -> None:
    clinic.comes(meter(60, 38))
    clinic.close(at=70)
    assert clinic.comes(meter(40, 39, arrives=minute(90))) == []
    assert clinic.book.open_alerts() == []


# A sensor's low after somebody has dealt with it


def lows(start: float, end: float, value: float | None) -> list[Reading]:
    """A sensor every 5 minutes, None where its display shows LO."""
    flags = frozenset({Flag.BELOW_RANGE} if value is None else ())
    return [cgm(at, value, flags=flags) for at in range(int(start), int(end), 5)]


@pytest.fixture
def very_low(clinic: Clinic) -> Clinic:
    """Staff have just been told of a sensor's very low event of half an hour, in an old sensor."""
    clinic.comes(*(cgm(at, 95 + at % 2) for at in range(-1500, 0, 5)))
    assert subjects(clinic.comes(*lows(0, 35, 50))) == ["High priority: Very low glucose"]
    return clinic


@pytest.mark.parametrize("restarts", [False, True])
def test_a_low_that_goes_on_half_an_hour_after_it_was_closed_is_told_again(very_low: Clinic, restarts: bool) -> None:
    closed = very_low.close(at=32)
    if restarts:
        very_low.restart()
        very_low.settle(minute(32))
    assert very_low.comes(*lows(35, 60, 50)) == []
    told = very_low.comes(*lows(60, 120, 51))
    assert subjects(told) == ["High priority: Very low glucose"]
    assert told[0].body.en.startswith(
        "The alert was closed by Dr Li at 2026-03-02 02:32 with “ate sugar, feels well”, but it is still low. Sensor "
        "glucose below 54 mg/dL (3.0 mmol/L) since 2026-03-02 02:00, not recovered by 2026-03-02 03:05 (65 min)"
    )
    assert "Dr Li 已于 2026-03-02 02:32 关闭该警报（“ate sugar, feels well”），但血糖仍低。" in told[0].body.zh
    assert very_low.alert.id != closed.id
    asked = [each for each in said(very_low.ward.found, "low-event-2") if each.audience is Audience.PATIENT]
    assert asked[-1].since == closed.closed_at


def test_a_low_that_is_above_its_limit_again_or_over_after_the_closing_is_not_told_again(very_low: Clinic) -> None:
    very_low.close(at=32)
    assert very_low.comes(*lows(35, 100, 58), *lows(100, 110, 53), *lows(110, 200, 95)) == []


def test_readings_of_an_outage_that_end_well_do_not_say_that_a_closed_low_goes_on(very_low: Clinic) -> None:
    very_low.close(at=32)
    came = [replace(each, received_at=minute(130)) for each in (*lows(35, 100, 50), *lows(100, 130, 95))]
    assert very_low.packet(*came) == []


@pytest.mark.parametrize("dealt_with", [Clinic.acknowledge, Clinic.close])
def test_a_sensor_that_falls_to_lo_after_somebody_dealt_with_its_low_is_told(
    very_low: Clinic, dealt_with: Callable[[Clinic, float], object]
) -> None:
    dealt_with(very_low, 32)
    assert very_low.comes(*lows(35, 45, None)) == []
    (told,) = very_low.comes(*lows(45, 60, None))
    assert told.subject.en in (
        "High priority, again: Critically low glucose",
        "High priority: Critically low glucose",
    )
    assert "lowest LO (below the device's range)" in told.body.en
    assert very_low.alert.acknowledged_at is None
    assert "LO" in very_low.alert.because.en


def test_a_sensor_that_falls_to_lo_before_anybody_dealt_with_its_low_says_so_on_the_card(very_low: Clinic) -> None:
    assert very_low.comes(*lows(35, 60, None)) == []
    assert "Sensor glucose below 40 mg/dL (2.2 mmol/L) since 2026-03-02 02:35" in very_low.alert.because.en
    assert very_low.alert.since == minute(0)


# Emergencies that are measured after the closing


def strip(at: float, mmol_l: float) -> Reading:
    return reading(Vital.KETONE, minute(at), (mmol_l,), Unit.MMOL_L, device="meter-1")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([meter(0, 48), meter(16, 50)], meter(60, 51), "High priority: Very low glucose on the meter"),
        ([meter(0, 600), meter(10, 600)], meter(60, 600), "High priority: Extremely high glucose on the meter"),
        ([strip(0, 3.4)], strip(20 * HOUR, 3.0), "High priority: Raised blood ketone"),
        ([cuff(0, 200, 115), cuff(5, 200, 115)], cuff(60, 181, 90), "Medium priority: Severe blood pressure"),
        ([cuff(0, 70, 40), cuff(5, 72, 42)], cuff(60, 70, 40), "Medium priority: Low blood pressure"),
    ],
)
def test_an_emergency_measured_after_the_closing_is_told_and_one_from_before_it_is_not(
    clinic: Clinic, before: list[Reading], after: Reading, told: str
) -> None:
    clinic.comes(*before)
    clinic.look(31)
    closed = clinic.close(at=35)
    copy = replace(before[-1], device="read-out-twice", received_at=minute(37))
    assert clinic.look(36) + clinic.comes(copy) + clinic.look(38) == []
    assert subjects(clinic.comes(after)) == [told]
    assert clinic.alert.id != closed.id
    assert clinic.watched((after.taken_at - START) / timedelta(minutes=1) + 1, DAY) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([meter(0, 48), meter(16, 50)], meter(60, 51), "High priority now: Very low glucose on the meter"),
        ([meter(0, 38)], meter(60, 36), "High priority, again: Very low glucose on the meter"),
        ([strip(0, 3.4)], strip(20 * HOUR, 3.0), "High priority, again: Raised blood ketone"),
        ([cuff(0, 200, 115), cuff(5, 200, 115)], cuff(60, 181, 90), "Medium priority, again: Severe blood pressure"),
        ([cuff(0, 70, 40), cuff(5, 72, 42)], cuff(60, 70, 40), "Medium priority, again: Low blood pressure"),
    ],
)
def test_an_emergency_after_the_acknowledgement_is_told_once_and_waits_for_another_one(
    clinic: Clinic, before: list[Reading], after: Reading, told: str
) -> None:
    clinic.comes(*before)
    clinic.acknowledge(at=20)
    first = clinic.alert
    assert subjects(clinic.comes(after)) == [told]
    assert (clinic.alert.id, clinic.alert.acknowledged_at) == (first.id, None)
    at = (after.taken_at - START) / timedelta(minutes=1)
    assert clinic.comes(replace(after, device="read-out-twice")) == []
    clinic.acknowledge(at=at + 1)
    assert clinic.look(at + 2) == []
    assert FactKind.ACKNOWLEDGED in clinic.facts(clinic.alert)


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ([meter(0, 48), meter(16, 50)], meter(34, 45, arrives=minute(36))),
        ([strip(0, 3.4)], replace(strip(34, 3.6), received_at=minute(36))),
        ([cuff(0, 200, 115), cuff(5, 200, 115)], cuff(34, 205, 118, arrives=minute(36))),
    ],
)
def test_an_emergency_measured_before_the_closing_of_which_whoever_closed_could_not_know_is_told(
    clinic: Clinic, before: list[Reading], late: Reading
) -> None:
    clinic.comes(*before)
    clinic.look(31)
    closed = clinic.close(at=35)
    assert [notice.audience for notice in clinic.comes(late)] == [Audience.STAFF]
    assert clinic.alert.id != closed.id
    # What is older than what was answered is none, though it came later still.
    clinic.close(at=37)
    older = replace(late, taken_at=minute(30), received_at=minute(38), device="found-later")
    assert clinic.comes(older) == []


def test_a_very_low_on_the_meter_to_which_nobody_answers_is_told_though_the_sensors_low_was_closed(
    clinic: Clinic,
) -> None:
    worn(clinic)
    clinic.comes(*trace([52] * 8, start=5))
    clinic.close(at=46)
    assert clinic.comes(meter(47, 48)) == []  # the patient is asked for a second one
    assert subjects(clinic.watched(48, 80, every=1)) == ["Medium priority: Very low glucose on the meter"]


def test_a_clock_that_is_ahead_makes_no_reading_an_emergency_of_after_the_closing(clinic: Clinic) -> None:
    clinic.comes(meter(8, 38, arrives=minute(0)))
    clinic.close(at=5)
    assert clinic.comes(cuff(9, 120, 75)) == []  # all is judged once more


@pytest.mark.parametrize("acts", [[], ["acknowledge"], ["close"]])
def test_a_meters_low_after_a_recovery_that_only_the_sensor_saw_is_told_anew(clinic: Clinic, acts: list[str]) -> None:
    clinic.comes(meter(0, 2.1, MMOL))
    for act in acts:
        getattr(clinic, act)(at=2)
    clinic.comes(*trace([6.0] * 12, start=5, unit=MMOL))
    (told,) = clinic.comes(meter(75, 2.6, MMOL))
    assert told.priority is Priority.HIGH  # the sensor may be wrong
    assert clinic.alert.since == minute(75)
    assert "2.6 mmol/L (47 mg/dL) at 2026-03-02 03:15: below 3.0 mmol/L" in told.body.en
    assert (
        "This is low again: the meter showed 2.1 mmol/L (38 mg/dL) at 2026-03-02 02:00, and the sensor 6.0 mmol/L"
        in (told.body.en)
    )
    assert "not recovered" not in told.body.en
    assert "no recovery" not in told.body.en
    # The same low goes on.
    assert clinic.comes(meter(80, 2.7, MMOL)) == []
    assert clinic.alert.since == minute(75)


def test_a_meters_low_goes_on_where_the_sensor_was_up_for_some_minutes_only(clinic: Clinic) -> None:
    clinic.comes(meter(0, 2.5, MMOL), *trace([3.2, 3.4, 3.6, 4.0, 4.0, 3.7, 3.5], start=5, unit=MMOL))
    (told,) = clinic.comes(meter(45, 2.6, MMOL))
    assert clinic.alert.since == minute(0)
    assert "not recovered by then" in told.body.en


# A sensor that shows HI for hours


def beyond_the_range(start: float, end: float) -> list[Reading]:
    flags = frozenset({Flag.ABOVE_RANGE})
    return [cgm(start + 5 * n, None, flags=flags) for n in range(int(end - start) // 5)]


def hours_of(notices: Iterable[Notice]) -> list[tuple[str, float]]:
    return [(each.subject.en, round((each.written_at - START) / timedelta(hours=1), 1)) for each in notices]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_sensor_that_shows_hi_for_14_hours_is_told_again_and_more_urgently(clinic: Clinic, restarted: bool) -> None:
    told = clinic.comes(*beyond_the_range(0, 3 * HOUR))
    clinic.acknowledge(at=3 * HOUR)
    if restarted:
        clinic.restart()
    told += clinic.comes(*beyond_the_range(3 * HOUR, 7 * HOUR))
    assert [each.alert for each in told] == [clinic.alert.id] * 2
    patient = said(clinic.ward.found, "high-prolonged")[0]
    assert (patient.audience, patient.priority) == (Audience.PATIENT, Priority.MEDIUM)
    assert "ketones too, now, and call your doctor" in patient.because.en
    clinic.acknowledge(at=7 * HOUR)
    if restarted:
        clinic.restart()
    told += clinic.comes(*beyond_the_range(7 * HOUR, 14 * HOUR))
    assert hours_of(told) == [
        ("Medium priority: Far too high glucose that lasts", 1.9),
        ("High priority now: Far too high glucose for hours", 6.0),
        ("High priority, again: Far too high glucose for hours", 12.0),
    ]
    assert "for 6 h" in told[1].body.en
    assert clinic.comes(*trace([240] * 4, start=14 * HOUR)) == []  # the patient's own goes on
    assert clinic.alert.raising.isdisjoint({"glucose-referral", "high-prolonged"})


def test_a_glucose_that_is_far_too_high_for_hours_is_told_though_the_alert_was_closed(clinic: Clinic) -> None:
    clinic.comes(*beyond_the_range(0, 7 * HOUR))
    closed = clinic.close(at=7 * HOUR)
    told = clinic.comes(*beyond_the_range(7 * HOUR, 14 * HOUR))
    assert hours_of(told) == [("High priority: Far too high glucose for hours", 12.0)]
    assert clinic.alert.id != closed.id


# Severe blood pressure


@pytest.mark.parametrize("acts", [[], ["acknowledge"], ["close"]])
def test_a_severe_pressure_is_over_by_its_own_rule_though_the_patients_is_still_high(
    clinic: Clinic, acts: list[str]
) -> None:
    (opened,) = clinic.comes(cuff(0, 186, 112), cuff(3, 184, 111))
    alert = clinic.alert
    for act in acts:
        getattr(clinic, act)(at=4)
    assert clinic.comes(cuff(63, 168, 99)) == []  # one alone ends no pair
    told = clinic.comes(cuff(66, 164, 98))
    known = clinic.book.alert(alert.id)
    assert known is not None
    assert known.condition_gone_at == minute(66)
    if not alert.closed_at and "close" not in acts:
        (over,) = told
        assert over.subject.en == "Condition over: Severe blood pressure"
        assert over.body.en.startswith(
            "Blood pressure 168/99 mmHg at 2026-03-02 03:03 and 164/98 mmHg at 2026-03-02 03:06: below the limit, "
            "severe no more."
        )
        assert "It was still at or above 135/85 mmHg" in over.body.en
    # Days of high pressures at home are the patient's own, and bring nothing back.
    assert clinic.comes(cuff(1000, 150, 90), cuff(1002, 148, 90)) == []
    known = clinic.book.alert(alert.id)
    assert known is not None
    assert known.raising == frozenset()
    # Severe again, that is told anew.
    assert len(clinic.comes(cuff(2000, 186, 112), cuff(2003, 184, 111))) == 1
    assert opened.alert == alert.id


# Emergencies that have passed when they come


def late_by(minutes: float, *readings: Reading) -> list[Reading]:
    """Readings that all arrive so long after the last of them was taken."""
    arrives = max(each.taken_at for each in readings) + timedelta(minutes=minutes)
    return [replace(each, received_at=arrives) for each in readings]


@pytest.mark.parametrize(
    ("readings", "told", "says"),
    [
        ([meter(0, 2.1, MMOL), meter(30, 5.6, MMOL), meter(60, 2.8, MMOL)], "Very low glucose on the meter", "2.1"),
        ([meter(0, 50), meter(20, 48), meter(40, 120)], "Very low glucose on the meter", "50 mg/dL"),
        ([meter(0, 620), meter(30, 200)], "Extremely high glucose on the meter", "620 mg/dL"),
        ([strip(0, 3.4), strip(60, 0.3)], "Raised blood ketone", "3.4 mmol/L"),
        (
            [cuff(0, 200, 125), cuff(5, 202, 126), cuff(20, 130, 80), cuff(25, 130, 80)],
            "Severe blood pressure",
            "202",
        ),
        ([cuff(0, 70, 45), cuff(5, 72, 45), cuff(20, 120, 80)], "Low blood pressure", "72/45"),
    ],
)
def test_an_emergency_is_told_also_where_better_values_come_with_it(
    clinic: Clinic, readings: list[Reading], told: str, says: str
) -> None:
    notices = clinic.packet(*late_by(1, *readings))
    assert told in notices[0].subject.en
    assert says in notices[0].body.en
    at = (clinic.ward.stored.now - START) / timedelta(minutes=1)
    assert [each for each in clinic.watched(at, at + 20, every=1) if says in each.body.en] == []
    clinic.restart()
    assert [each for each in clinic.look(at + 21) if says in each.body.en] == []


def test_an_emergency_that_comes_behind_a_better_value_is_told_as_past_and_is_over(clinic: Clinic) -> None:
    assert clinic.comes(meter(30, 5.6, MMOL)) == []
    told = clinic.comes(meter(0, 2.1, MMOL, arrives=minute(60)))
    assert subjects(told) == [
        "High priority: Very low glucose on the meter",
        "Condition over: Very low glucose on the meter",
    ]
    assert "2.1 mmol/L (38 mg/dL) at 2026-03-02 02:00" in told[0].body.en
    assert clinic.alert.condition_gone_at == minute(60)
    # What adds nothing to what is known tells nothing.
    assert clinic.comes(meter(10, 2.9, MMOL, arrives=minute(61))) == []


def test_one_that_has_passed_and_one_of_now_are_told_in_one_sentence(clinic: Clinic) -> None:
    before, now = meter(0, 2.1, MMOL), meter(60, 2.0, MMOL)
    (told,) = clinic.packet(*late_by(1, before, meter(30, 5.6, MMOL), now))
    assert told.body.en.index("2.1 mmol/L") < told.body.en.index("2.0 mmol/L")
    assert (told.body.en.count("Times are of"), told.body.zh.count("时区")) == (1, 1)
    assert clinic.alert.evidence == (before.key, now.key)
    assert clinic.alert.since == minute(60)


def test_what_was_no_emergency_in_its_time_is_none_afterwards(clinic: Clinic) -> None:
    lone = [meter(0, 50), meter(30, 120), cuff(0, 185, 115), cuff(5, 130, 80), cuff(40, 75, 45), cuff(45, 120, 80)]
    assert clinic.packet(*late_by(1, *lone)) == []


VALUES = st.lists(st.sampled_from([2.0, 2.8, 3.5, 5.6]), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(VALUES, st.data())
def test_staff_miss_no_emergency_in_whatever_order_and_grouping_the_readings_come(
    values: list[float], data: st.DataObject
) -> None:
    """In order they hear of the same lows as one by one, however they are grouped.

    Out of order two lows are one to whoever does not know yet that there was a recovery between them. So one that
    comes while another is told may not be told by itself; but they hear as urgently, and of the newest always.
    """
    taken = late_by(1, *(meter(20 * n, value, MMOL) for n, value in enumerate(values)))
    shuffled = data.draw(st.one_of(st.just(taken), st.permutations(taken)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(taken)), max_size=3)) - {len(taken)})
    grouped = [shuffled[start:end] for start, end in pairwise([0, *cuts, len(taken)])]
    (worst, lows), (found_worst, found_lows) = _urgent([[each] for each in taken]), _urgent(grouped)
    assert found_worst >= worst
    assert not lows or max(lows) in found_lows
    if shuffled == taken:
        assert (found_worst, found_lows) == (worst, lows)


def _urgent(groups: Iterable[Sequence[Reading]]) -> tuple[int, set[int]]:
    """How urgent the worst emergency is of which staff are told, and by their number the lows that were one.

    That a single low is still one at the next reading is told while it lasts, and none once it is over.
    """
    engine = open_database("sqlite://")
    clinic = Clinic(engine)
    told = [notice for group in groups for notice in clinic.packet(*group)]
    engine.dispose()
    stored = clinic.ward.stored.kept.values()
    ends = [each.taken_at for each in stored if each.sent[0] == 5.6]
    low = {each.key: sum(end < each.taken_at for end in ends) for each in stored}
    found = [each for each in clinic.ward.found if each.audience is Audience.STAFF and each.emergency_at]
    raised = [each for each in found if each.verdict is Verdict.RAISE]
    worst = max((each.priority for each in told), default=0) if raised else 0
    return worst, {low[key] for each in raised for key in each.evidence}


# A device gone mad, of whose readings only the newest are judged


def test_one_low_is_told_once_as_its_beginning_falls_from_what_is_judged(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spot, "MOST", 20)
    flood = [meter(2 * n, 48) for n in range(90)]
    assert subjects(clinic.comes(*flood[:30])) == [
        "Medium priority: Very low glucose on the meter",
        "High priority now: Very low glucose on the meter",
    ]
    clinic.restart()
    assert clinic.comes(*flood[30:60]) == []
    clinic.acknowledge(at=119)
    # What was done has not helped: that is told once, until somebody has seen it.
    assert subjects(clinic.comes(*flood[60:])) == ["High priority, again: Very low glucose on the meter"]
    assert clinic.alert.since == START
    # What comes after it is another one.
    assert len(clinic.comes(*[meter(180 + 2 * n, 90) for n in range(20)], meter(220, 38))) == 2


def test_the_patient_is_asked_once_as_well(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot, "MOST", 20)
    clinic.comes(*[strip(2 * n, 0.8) for n in range(60)])
    assert {each.since for each in said(clinic.ward.found, "ketone")} == {START}


# Lows of a sensor


def worn(clinic: Clinic) -> None:
    """The sensor's first day is over."""
    clinic.comes(*trace([*[110] * 92, 100, 90, 80, 70, 60], every=15, start=-DAY))


def test_staff_hear_of_a_sensors_very_low_when_it_has_not_recovered_in_half_an_hour(clinic: Clinic) -> None:
    worn(clinic)
    assert clinic.comes(*trace([53] * 6, start=5)) == []  # 25 minutes
    assert subjects(clinic.comes(cgm(35, 52))) == ["High priority: Very low glucose"]
    assert clinic.alert.since == minute(5)


def test_a_sensor_that_stays_low_after_closing_keeps_quiet_until_a_gap_and_a_new_low(clinic: Clinic) -> None:
    worn(clinic)
    assert len(clinic.comes(*trace([52] * 10, start=5))) == 1
    clinic.close(at=52)
    assert clinic.comes(*trace([52, 52, 53], start=55)) == []
    told = clinic.comes(*trace([51] * 7, start=120))
    assert subjects(told) == ["High priority: Very low glucose"]
    assert clinic.alert.since == minute(120)


def test_an_onset_before_the_closing_that_was_proven_after_it_is_a_new_episode(clinic: Clinic) -> None:
    worn(clinic)
    clinic.comes(*trace([52] * 8, start=5))
    clinic.comes(*trace([52, 52], start=105))
    clinic.close(at=112)
    assert len(clinic.comes(*trace([52] * 5, start=115))) == 1


def test_a_meter_that_confirms_the_sensor_after_the_acknowledgement_tells_nothing_new(clinic: Clinic) -> None:
    worn(clinic)
    clinic.comes(*trace([52] * 8, start=5))
    clinic.acknowledge(at=46)
    assert clinic.comes(meter(47, 50), cgm(50, 51), cgm(55, 52)) == []


@pytest.mark.parametrize(
    ("deal", "told"),
    [
        (Clinic.acknowledge, "High priority, again: Very low glucose on the meter"),
        (Clinic.close, "High priority: Very low glucose on the meter"),
    ],
)
def test_below_40_on_the_meter_is_told_though_a_sensor_showed_the_low_and_somebody_dealt_with_it(
    clinic: Clinic, deal: Callable[[Clinic, float], object], told: str
) -> None:
    worn(clinic)
    assert subjects(clinic.comes(*trace([52] * 8, start=5))) == ["High priority: Very low glucose"]
    deal(clinic, 46)
    assert subjects(clinic.comes(meter(47, 38))) == [told]
    assert "Meter glucose 38 mg/dL" in clinic.alert.because.en
    assert clinic.comes(cgm(50, 51), meter(52, 37)) == []


def test_a_low_that_never_ends_is_told_as_it_gets_worse_and_not_again_after_a_restart(clinic: Clinic) -> None:
    worn(clinic)
    assert subjects(clinic.comes(*trace([53.0] * 400, every=15, start=15))) == ["High priority: Very low glucose"]
    clinic.acknowledge(at=6020)
    clinic.restart()
    assert clinic.comes(*trace([53.0] * 10, every=15, start=6030)) == []
    assert subjects(clinic.comes(cgm(6180, 90))) == ["Condition over: Very low glucose"]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("group", [Group.OLDER, Group.PREGNANCY])
def test_a_very_low_of_which_staff_heard_at_once_is_urgent_when_it_goes_on_after_a_restart(
    engine: Engine, group: Group, restarted: bool
) -> None:
    clinic = Clinic(engine, limits=limits_for(population=group))
    worn(clinic)
    assert subjects(clinic.comes(*trace([53, 52] * 2, start=5))) == ["Medium priority: Very low glucose"]
    if restarted:
        clinic.restart()
    told = clinic.comes(*trace([53, 52] * 6, start=25))
    assert [(each.subject.en, each.written_at) for each in told] == [
        ("High priority now: Very low glucose", minute(35))
    ]


def test_a_low_that_is_over_when_the_house_comes_back_is_told_to_be_over(clinic: Clinic) -> None:
    worn(clinic)
    clinic.comes(*trace([53.0] * 4, every=15, start=15))
    clinic.ward.stored.add(cgm(75, 80))
    clinic.restart()
    assert subjects(clinic.comes(cgm(90, 90))) == ["Condition over: Very low glucose"]


def test_a_sensor_that_was_replaced_holds_nothing_up(clinic: Clinic) -> None:
    worn(clinic)
    clinic.comes(*trace([53.0] * 4, every=15, start=15))
    assert clinic.comes(*[cgm(65 + 5 * n, 100, device="cgm-2") for n in range(2)]) == []
    over = clinic.comes(cgm(80, 100, device="cgm-2"))
    assert subjects(over) == ["Condition over: Very low glucose"]


def test_a_low_for_the_patient_alone_that_came_and_went_in_one_delivery_holds_no_alert_up(clinic: Clinic) -> None:
    worn(clinic)
    clinic.comes(*trace([52] * 8, start=5))
    clinic.comes(*trace([95] * 8, start=45))
    assert clinic.alert.condition_gone_at is not None
    stored = trace([95] * 4 + [65] * 8 + [95] * 8, start=85)
    clinic.come_together(*[replace(each, received_at=minute(180)) for each in stored])
    assert clinic.facts(clinic.alert)[-2:] == [FactKind.RELAPSED, FactKind.CONDITION_GONE]
    assert clinic.alert.condition_gone_at == minute(180)


# Blood pressure


def test_a_severe_pressure_five_days_after_the_last_was_closed_asks_the_patient_and_then_tells_staff(
    clinic: Clinic,
) -> None:
    assert len(clinic.comes(cuff(0, 200, 115), cuff(5, 200, 115))) == 1
    clinic.close(at=30)
    assert clinic.comes(cuff(5 * DAY, 200, 115)) == []
    assert subjects(clinic.comes(cuff(5 * DAY + 5, 200, 115))) == ["Medium priority: Severe blood pressure"]


def test_a_severe_pressure_of_the_next_day_is_a_case_of_its_own(clinic: Clinic) -> None:
    clinic.comes(cuff(0, 200, 115), cuff(5, 200, 115))
    clinic.acknowledge(at=30)
    assert clinic.comes(cuff(8, 198, 115)) == []  # the same case goes on
    asked = said(clinic.ward.comes(cuff(DAY, 200, 115)), "bp-severe")[0]
    assert asked.audience is Audience.PATIENT
    # No second reading comes: the first stands alone.
    assert subjects(clinic.watched(DAY, DAY + 20, every=1)) == ["Medium priority, again: Severe blood pressure"]


# Silence and late data


def paired(
    device: str,
    vital: Vital,
    silence: float,
    staff_after: float,
    *,
    after_low: float | None = None,
    not_before: float = 0,
) -> Expected:
    """A device that was paired at the start; the times in hours."""
    return Expected(
        device=device,
        vital=vital,
        silence=timedelta(hours=silence),
        staff_after=timedelta(hours=staff_after),
        staff_after_low=timedelta(hours=after_low or staff_after),
        since=START,
        not_before=minute(not_before * HOUR),
    )


CGM = paired("cgm-1", Vital.CGM, 6, 24)
METER = paired("meter-1", Vital.GLUCOSE, 48, 48)


def silences(found: Iterable[Finding]) -> list[Audience]:
    return [each.audience for each in said(list(found), "no-data") if each.verdict is Verdict.RAISE]


@pytest.mark.parametrize(
    ("staff_after", "heard"), [(72, [Audience.PATIENT]), (48, [Audience.PATIENT, Audience.STAFF])]
)
def test_the_patient_hears_of_a_silent_meter_however_soon_staff_do(staff_after: float, heard: list[Audience]) -> None:
    silent = paired("meter-1", Vital.GLUCOSE, 48, staff_after)
    found = no_data(Scene("p-1", DEFAULTS, minute(48 * HOUR), UTC), [silent], {})
    assert [each.audience for each in found if each.verdict is Verdict.RAISE] == heard
    for vital in (Vital.GLUCOSE, Vital.BLOOD_PRESSURE):
        times = [DEFAULTS.minutes("no-data", f"{name}-{vital}") for name in ("silence", "staff-after")]
        assert times == [timedelta(hours=48), timedelta(hours=72)]


@pytest.mark.parametrize(("lowest", "looks_again"), [(110.0, 15), (48.0, 15)])
def test_a_sensor_that_comes_back_and_falls_silent_again_is_told_from_then_on(
    lowest: float, looks_again: int
) -> None:
    """Also where what came back leads to nothing else: the moment to look was that of the silence before."""
    ward = Ward(expected=[paired("cgm-1", Vital.CGM, 6, 72, after_low=12)])
    ward.comes(*(cgm(at, 110 + at % 2) for at in range(60)))
    assert silences(ward.at(minute(7 * HOUR))) == [Audience.PATIENT]
    ward.bed.settle({}, minute(7 * HOUR))
    assert ward.bed.due(minute(7 * HOUR)) == minute(59) + timedelta(hours=72)
    back = minute(9 * HOUR)
    backlog = [cgm(at, lowest if 390 <= at <= 420 else 115 + at % 2, arrives=back) for at in range(60, 540, 5)]
    for each in (*backlog, cgm(9 * HOUR, 115)):
        ward.stored.add(each)
        assert ward.bed.take(each, back) == ()
    assert ward.bed.taken_together(back) == []
    assert ward.bed.asks
    ward.stored.now = back
    assert ward.bed.look(ward.stored, back) == []
    assert ward.bed.settle({}, back) == minute(looks_again * HOUR)
    assert not ward.bed.asks


def test_of_a_silent_sensor_the_patient_hears_first_and_staff_when_it_does_not_come_back(engine: Engine) -> None:
    clinic = Clinic(engine, (CGM,))
    clinic.comes(cgm(0, 110))
    clinic.watched(0, 5 * HOUR)
    assert silences(clinic.ward.found) == []
    assert clinic.watched(6 * HOUR, 23 * HOUR) == []
    assert set(silences(clinic.ward.found)) == {Audience.PATIENT}
    asked = clinic.ward.found[0].because
    assert "nothing from device cgm-1 since 2026-03-02 02:00 (6 h; expected within 6 h)" in asked.en
    assert "Please check that the sensor sits firmly and that the phone or receiver is near it" in asked.en
    assert "设备 cgm-1 自 2026-03-02 02:00 起无数据（6 小时，应在 6 小时内）。请检查传感器是否贴牢" in asked.zh
    assert len({each.since for each in clinic.ward.found}) == 1  # one notice, however often it is found
    assert subjects(clinic.watched(24 * HOUR, 10 * DAY)) == ["Low priority: No data"]
    assert "nothing from device cgm-1 since 2026-03-02 02:00 (24 h; staff are told after 24 h)" in str(clinic.alert)
    assert subjects(clinic.comes(cgm(10 * DAY + 60, 110))) == ["Condition over: No data"]


def test_a_sensor_that_comes_back_within_the_day_is_no_item_for_staff(engine: Engine) -> None:
    clinic = Clinic(engine, (CGM,))
    assert clinic.comes(cgm(0, 110)) + clinic.watched(0, 23 * HOUR) + clinic.comes(cgm(23.5 * HOUR, 110)) == []
    assert clinic.watched(24 * HOUR, 47 * HOUR) == []
    assert subjects(clinic.watched(47.5 * HOUR, 48 * HOUR)) == ["Low priority: No data"]


USUAL = paired("cgm-1", Vital.CGM, 6, 72, after_low=12)
WELL = [110] * 12
LOW_ONCE = "when last heard glucose was low, about to be, or had been very low within 3 h"


@pytest.mark.parametrize(
    ("values", "staff_after"),
    [
        (WELL, 72),
        ([*WELL, 69], 12),  # goes on for all that is known
        ([*WELL, 69, *WELL], 72),
        ([*WELL, *WELL, 105, 100, 95, 90, 86, 82, 78, 75, 73], 12),  # foretold
        ([*WELL, 53, *[110] * 36], 12),
        ([*WELL, 53, *[110] * 37], 72),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_staff_hear_sooner_of_the_silence_of_one_who_was_low_when_last_heard(
    engine: Engine, values: list[float], staff_after: int, restarts: bool
) -> None:
    clinic = Clinic(engine, (USUAL,))
    clinic.comes(*trace(values))
    last = 5 * (len(values) - 1)
    if restarts:
        clinic.restart()
    assert clinic.look(last + 6 * HOUR) == []
    assert Audience.PATIENT in silences(clinic.ward.found)
    assert clinic.look(last + staff_after * HOUR - 1) == []
    assert subjects(clinic.look(last + staff_after * HOUR)) == ["Low priority: No data"]
    assert (LOW_ONCE in str(clinic.alert)) is (staff_after == 12)


def test_how_the_patient_was_is_what_the_sensor_worn_now_says() -> None:
    ward = Ward(expected=[USUAL, replace(USUAL, device="cgm-2")])
    ward.comes(*trace([60] * 4), *(cgm(30 + 5 * n, 110, device="cgm-2") for n in range(12)))
    assert silences(ward.at(13 * HOUR)) == [Audience.PATIENT]


def test_the_patient_hears_of_a_silence_no_later_than_staff() -> None:
    ward = Ward(expected=[paired("cgm-1", Vital.CGM, 6, 24, after_low=2)])
    ward.comes(*trace([60] * 4))
    assert silences(ward.at(2 * HOUR + 15)) == [Audience.PATIENT, Audience.STAFF]


@pytest.mark.parametrize("given", [360, 480, 720, 4320])
def test_a_time_that_a_clinic_sets_for_staff_holds_for_everybody_at_the_latest(given: float) -> None:
    limits = parse_limits({"no-data": {"staff-after-cgm_glucose": {"value": given, "unit": "min"}}})
    sooner = limits.minutes("no-data", "staff-after-low-cgm_glucose")
    assert sooner == min(timedelta(minutes=given), timedelta(hours=12))


@pytest.mark.parametrize("restarts", [False, True])
def test_a_sensor_that_sends_no_usable_value_is_silent_for_that_reason(engine: Engine, restarts: bool) -> None:
    clinic = Clinic(engine, (CGM,))
    broken = frozenset({Flag.SENSOR_MALFUNCTION})
    told = clinic.comes(cgm(0, 110), *(cgm(5 * n, 110, flags=broken) for n in range(1, 156)))
    if restarts:
        clinic.restart()
    told += clinic.comes(*(cgm(5 * n, None, flags=broken) for n in range(156, 288)))
    assert Audience.PATIENT in silences(clinic.ward.at(1439))
    assert subjects(told + clinic.look(1440)) == ["Low priority: No data"]
    assert "readings without a usable value from device cgm-1 since 2026-03-02 02:00 (24 h" in str(clinic.alert)
    assert "起只有无效数值（24 小时" in clinic.alert.because.zh
    assert subjects(clinic.comes(cgm(1445, 110))) == ["Condition over: No data"]


def test_a_house_that_is_started_every_day_does_not_forget_how_long_a_sensor_has_been_silent() -> None:
    ward = Ward(expected=[paired("cgm-1", Vital.CGM, 6, 24, not_before=23.9)])
    assert silences(ward.at(23.8 * HOUR)) == []
    patient = said(list(ward.at(23.9 * HOUR)), "no-data")[0]
    assert (patient.audience, patient.since) == (Audience.PATIENT, minute(6 * HOUR))  # the same notice as before
    assert silences(ward.at(24 * HOUR)) == [Audience.STAFF]


def test_a_second_sensor_that_falls_silent_is_told_to_the_patient_while_staff_have_the_first() -> None:
    ward = Ward(expected=[CGM, paired("cgm-2", Vital.CGM, 6, 24)])
    ward.comes(cgm(20 * HOUR, 110, device="cgm-2"))
    assert silences(ward.at(24 * HOUR)) == [Audience.STAFF]
    assert silences(ward.at(26 * HOUR)) == [Audience.PATIENT, Audience.STAFF]


def test_a_second_device_that_falls_silent_is_told_though_the_first_was_closed(engine: Engine) -> None:
    clinic = Clinic(engine, (CGM, METER))
    assert len(clinic.look(24 * HOUR)) == 1
    clinic.close(at=25 * HOUR)
    assert clinic.watched(25 * HOUR, 47 * HOUR) == []
    assert subjects(clinic.look(48 * HOUR)) == ["Low priority: No data"]
    assert "meter-1" in clinic.alert.because.en


def behind(count: int, lag: float, *, start: float = 0, value: float = 42) -> list[Reading]:
    return [cgm(start + 5 * n - lag, value, arrives=minute(start + 5 * n)) for n in range(count)]


@pytest.mark.parametrize("lag", [16, 61, 120, 300, 2 * 365 * DAY])
def test_a_clock_that_is_behind_is_told_within_three_readings_and_once(engine: Engine, lag: float) -> None:
    clinic = Clinic(engine, (CGM,))
    notices = clinic.comes(*behind(2, lag, value=110))
    assert notices == []
    assert subjects(clinic.comes(*behind(280, lag, start=10, value=110))) == ["Low priority: Data comes too late"]
    clinic.restart()
    assert clinic.comes(*behind(5, lag, start=1410, value=110)) == []
    assert subjects(clinic.comes(cgm(1440, 110))) == ["Condition over: Data comes too late"]


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_a_clock_that_is_behind_is_told_also_where_a_packet_holds_several_readings(
    engine: Engine, order: int
) -> None:
    clinic = Clinic(engine, (CGM,))
    came = [
        cgm(15 * packet + 5 * n - 130, 42, arrives=minute(15 * packet))
        for packet in range(4)
        for n in (0, 1, 2)[::order]
    ]
    assert subjects(clinic.comes(*came)) == ["Low priority: Data comes too late"]


def test_who_is_told_that_a_clock_is_behind_learns_which_and_how_much_and_what_to_do() -> None:
    found = said(Ward(expected=[CGM]).comes(*behind(3, 61)), "late-data")[0]
    assert found.because.en == (
        "Sensor glucose: what device cgm-1 sends is 61 min old when it comes (expected within 15 min) and may be too "
        "old to raise an alert; its clock is 61 min behind, or something delays its data: set its clock, then check "
        "its connection."
    )
    assert "设备 cgm-1" in found.because.zh
    assert "慢了 61 分钟" in found.because.zh


def test_a_clock_that_falls_back_by_two_years_is_told_though_its_readings_are_not_kept(engine: Engine) -> None:
    clinic = Clinic(engine, (CGM,))
    assert clinic.comes(*trace([110] * 10)) == []
    assert subjects(clinic.comes(*behind(3, 2 * 365 * DAY, start=50))) == ["Low priority: Data comes too late"]
    assert "730 days behind" in clinic.alert.because.en


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("pace", [0.0, 1 / 60, 1.0], ids=["at once", "one a second", "one a minute"])
def test_what_was_stored_during_an_outage_is_not_late_data(engine: Engine, order: int, pace: float) -> None:
    clinic = Clinic(engine, (CGM,))
    stored = trace([110] * 24, start=5)[::order]
    backfill = [replace(each, received_at=minute(121 + pace * n)) for n, each in enumerate(stored)]
    live = trace([110] * 12, start=125)
    came = sorted([*backfill, *live], key=lambda each: each.received_at)
    assert clinic.comes(cgm(0, 110), *came) == []


def test_one_reading_that_hung_on_its_way_is_not_late_data(engine: Engine) -> None:
    clinic = Clinic(engine, (CGM,))
    hung = [cgm(5, 110, arrives=minute(50)), *(cgm(n, 110, arrives=minute(51)) for n in range(10, 50, 5))]
    assert clinic.comes(*trace([110]), *hung, *trace([110] * 6, start=55)) == []


def test_a_meter_that_is_read_out_in_the_evening_is_not_late() -> None:
    ward = Ward(expected=[METER])
    for day in range(5):
        evening = minute(day * DAY + 12 * HOUR)
        ward.comes(*(meter(day * DAY + hour * HOUR, 110, arrives=evening) for hour in (0, 4, 8, 11)))
        ward.at(day * DAY + 23 * HOUR)
    assert said(ward.found, "late-data") == []


def read_with(off: timedelta, *hours: float) -> list[Reading]:
    """A meter whose clock is off, read out at these hours; what it says of the time is corrected."""
    taken = [meter(hour * HOUR, 110) for hour in hours]
    return [replace(each, time_basis=TimeBasis.CORRECTED, clock_offset=off) for each in taken]


def test_a_clock_that_nobody_sets_is_told_to_the_patient_once_a_week_and_what_to_do() -> None:
    ward = Ward(expected=[METER])
    behind = timedelta(hours=-3, minutes=-5)
    assert said(ward.comes(*read_with(behind, 8, 20, 31)), "clock-wrong") == []
    (found,) = said(ward.comes(*read_with(behind, 32, 33, 44)), "clock-wrong")  # Tuesday 10:00
    assert (found.audience, found.since) == (Audience.PATIENT, minute(-2 * HOUR))
    assert found.because == Text(
        en="The clock of your glucose meter (meter-1) is 3 h 5 min behind: please set its date and time.",
        zh="您的血糖仪（meter-1）时钟慢了 3 小时 5 分钟：请校准其日期和时间。",
    )
    later = said(ward.comes(*read_with(behind, *range(56, 13 * 24, 12))), "clock-wrong")
    assert [each.since for each in later] == [minute(7 * DAY - 2 * HOUR)]  # the patient's next Monday
    # A restart tells nothing twice: it is the same notice.
    again = Ward(expected=[METER])
    (same,) = said(again.comes(*read_with(behind, 56, 80)), "clock-wrong")
    assert hear(None, same, minute(0)).notices[0].id == hear(None, found, minute(0)).notices[0].id


def test_a_restart_does_not_begin_the_count_of_a_wrong_clock_anew() -> None:
    ward = Ward(expected=[METER])
    ward.comes(*read_with(timedelta(hours=-3), 8, 20))
    ward.restart(21 * HOUR)
    assert said(ward.comes(*read_with(timedelta(hours=-3), 31)), "clock-wrong") == []
    ward.restart(31.5 * HOUR)
    assert len(said(ward.comes(*read_with(timedelta(hours=-3), 32)), "clock-wrong")) == 1


def test_a_clock_that_is_set_after_it_was_read_or_is_hardly_off_is_nobodys_task() -> None:
    ward = Ward(expected=[METER])
    summer = timedelta(hours=1)
    ward.comes(*read_with(summer, 8, 9), meter(20 * HOUR, 110), *read_with(summer, 33, 40))
    ward.comes(*read_with(timedelta(minutes=14), *range(104, 200, 6)))
    assert said(ward.found, "clock-wrong") == []


def test_a_sensor_that_does_not_know_the_time_is_told_by_day_in_words_of_its_own() -> None:
    ward, trouble = Ward(expected=[CGM]), frozenset({Flag.TIME_FAULT})
    found = said(ward.comes(*[replace(each, flags=trouble) for each in trace([110] * 400)]), "clock-wrong")
    assert [each.known_at for each in found] == [minute(29 * HOUR)]  # Tuesday 07:00
    assert "Your glucose sensor (cgm-1) does not know what time it is" in found[0].because.en
    assert "of the phone or receiver that reads it" in found[0].because.en
    corrected = [
        replace(each, time_basis=TimeBasis.CORRECTED, clock_offset=timedelta(hours=8)) for each in trace([110] * 400)
    ]
    assert said(Ward(expected=[CGM]).comes(*corrected), "clock-wrong") == []


def test_the_times_of_two_episodes_never_run_backwards(clinic: Clinic) -> None:
    for day in range(5):
        clinic.comes(meter(day * DAY, 38))
        clinic.close(at=day * DAY + 30)
    opened = sorted(clinic.book.alerts(), key=lambda alert: alert.opened_at)
    assert len(opened) == 5
    assert all(first.closed_at < second.since for first, second in pairwise(opened) if first.closed_at)


# Emergencies that came too late to be told in their time

WORN = tuple(
    replace(paired(device, vital, 480, 480), worn_since=START)
    for device, vital in (("meter-1", Vital.GLUCOSE), ("cuff-1", Vital.BLOOD_PRESSURE))
)
LATER = 13 * HOUR  # minutes


def arriving(at: float, *readings: Reading) -> list[Reading]:
    return [replace(each, received_at=minute(at)) for each in readings]


def strip(at: float, mmol_l: float) -> Reading:
    return reading(Vital.KETONE, minute(at), (mmol_l,), Unit.MMOL_L, device="meter-1")


LATE_ONES = [
    ([meter(60, None, flags=frozenset({Flag.BELOW_RANGE}))], "Please measure by finger now", "LO (below"),
    ([meter(60, 620)], "measure again now", "620 mg/dL"),
    ([strip(60, 4.1)], "Please measure ketone and glucose again now", "4.1 mmol/L"),
    ([cuff(60, 225, 135), cuff(65, 228, 136)], "measure again now", "228/136 mmHg"),
]


@pytest.mark.parametrize(("readings", "todo", "value"), LATE_ONES)
def test_an_emergency_that_comes_more_than_12_h_late_is_told_as_such(
    readings: list[Reading], todo: str, value: str
) -> None:
    ward = Ward(expected=WORN)
    found = said(ward.packet(*arriving(60 + LATER, *readings)), "late-emergency")
    staff, patient = (
        next(each for each in found if each.audience is who) for who in (Audience.STAFF, Audience.PATIENT)
    )
    assert (len(found), staff.verdict, staff.priority) == (2, Verdict.RAISE, Priority.LOW)
    assert staff.because.en.startswith("Too old to be told as urgent when it came: ")
    assert staff.because.zh.startswith("到达时已过久，未能及时通知：")
    assert value in staff.because.en
    assert "This came late, at 2026-03-02 16:00" in staff.because.en
    assert todo in patient.because.en
    assert "call now, also if you feel well" not in patient.because.en
    assert said(ward.at(61 + LATER), "late-emergency") == []


@pytest.mark.parametrize(("readings", "todo", "value"), LATE_ONES)
def test_what_came_late_is_not_told_from_before_it_was_worn_or_from_a_week_ago(
    readings: list[Reading], todo: str, value: str
) -> None:
    since = tuple(replace(each, worn_since=minute(70)) for each in WORN)
    assert said(Ward(expected=since).packet(*arriving(60 + LATER, *readings)), "late-emergency") == []
    assert said(Ward().packet(*arriving(60 + LATER, *readings)), "late-emergency")  # of a meter given back: admitted
    long_ago = arriving(60 + 7 * 24 * HOUR + 10, *readings)
    assert said(Ward(expected=WORN).packet(*long_ago), "late-emergency") == []


@pytest.mark.parametrize(("readings", "todo", "value"), LATE_ONES)
def test_what_came_within_12_h_is_told_at_its_own_priority_and_once(
    readings: list[Reading], todo: str, value: str
) -> None:
    ward = Ward(expected=WORN)
    found = ward.packet(*arriving(60 + 11 * HOUR, *readings))
    assert any(each.audience is Audience.STAFF and each.emergency_at for each in found)
    # Read out once more after a crash, when it is too old to be told.
    ward.at(60 + 14 * HOUR)
    ward.restart(60 + 14 * HOUR)
    again = [finding for each in ward.stored.kept.values() for finding in ward.bed.take(each, ward.stored.now)]
    assert said([*again, *ward.at(60 + 14 * HOUR)], "late-emergency") == []


def test_a_late_emergency_that_is_watched_once_more_is_told_once() -> None:
    ward = Ward(expected=WORN)
    assert said(ward.packet(*arriving(60 + LATER, meter(60, 35))), "late-emergency")
    ward.restart(61 + LATER)
    again = [finding for each in ward.stored.kept.values() for finding in ward.bed.take(each, ward.stored.now)]
    assert said([*again, *ward.at(61 + LATER)], "late-emergency") == []


def test_many_late_emergencies_of_one_delivery_are_one_item_and_one_that_recovered_asks_nobody() -> None:
    ward = Ward(expected=WORN)
    lows = [each for n in range(6) for each in (meter(180 * n, 35), meter(180 * n + 30, 110))]
    found = said(ward.packet(*arriving(15 * HOUR + LATER, *lows)), "late-emergency")
    assert [(each.verdict, each.audience) for each in found] == [
        (Verdict.RAISE, Audience.STAFF),
        (Verdict.CLEAR, Audience.STAFF),
    ]
    others = "2026-03-02 02:00, 2026-03-02 05:00, 2026-03-02 08:00"
    assert found[0].because.en.endswith(f" Others, of {others}: 3.")
    assert found[0].because.en.count("of which staff hear at once") == 3
    assert found[0].because.en.count("Times are of") == 1
    assert len(found[0].evidence) == 6


def test_a_late_emergency_is_over_when_the_patient_measured_as_asked_and_a_further_one_is_told(
    engine: Engine,
) -> None:
    clinic = Clinic(engine, WORN)
    told = clinic.packet(*arriving(60 + LATER, meter(60, 35)))
    assert subjects(told) == ["Low priority: A dangerous value came too late"]
    # What the same device sends in further messages is one delivery.
    assert clinic.packet(*arriving(61 + LATER, meter(70, 36))) == []
    clinic.acknowledge(65 + LATER)
    told = clinic.packet(*arriving(66 + LATER, meter(65, 36)), *arriving(66 + LATER, meter(75, 34)))
    assert subjects(told) == ["Low priority, again: A dangerous value came too late"]
    assert subjects(clinic.comes(meter(70 + LATER, 110))) == ["Condition over: A dangerous value came too late"]
    assert clinic.alert.condition_gone_at == minute(70 + LATER)


def test_a_late_emergency_is_a_line_of_the_weekly_list() -> None:
    late = arriving(60 + LATER, meter(60, 35))
    scene = Scene("p-1", DEFAULTS, minute(48 * HOUR), UTC)
    (line,) = said(spot.review(scene, {Vital.GLUCOSE: late}, worn={"meter-1": START}).findings, "late-emergency")
    assert (line.verdict, line.audience) == (Verdict.RAISE, Audience.WEEKLY)
    assert "too late to be told in time, in the last 7 days: 1 (measured 2026-03-01 19:00)" in line.because.en
    since = {"meter-1": minute(61)}
    assert said(spot.review(scene, {Vital.GLUCOSE: late}, worn=since).findings, "late-emergency") == []
    in_time = arriving(60, *late)
    found = spot.review(scene, {Vital.GLUCOSE: in_time}, worn={"meter-1": START}).findings
    assert said(found, "late-emergency") == []


# The bed sees a reading later than it came: a home post without a network, a power cut, what was set aside


def seen(ward: Ward, at: float, *readings: Reading) -> list[Finding]:
    """They came in their time to a home post, and are seen at once, later."""
    ward.stored.now = minute(at)
    return ward.packet(*readings)


@pytest.mark.parametrize(("readings", "todo", "value"), LATE_ONES)
def test_what_waited_13_h_at_a_home_post_is_told_as_too_late(readings: list[Reading], todo: str, value: str) -> None:
    ward = Ward(expected=WORN)
    found = said(seen(ward, 60 + LATER, *readings), "late-emergency")
    assert [each.audience for each in found] == [Audience.STAFF, Audience.PATIENT]
    assert value in found[0].because.en
    assert "This came late, at 2026-03-02 16:00" in found[0].because.en
    assert todo in found[1].because.en
    ward.restart(61 + LATER)
    again = [finding for each in ward.stored.kept.values() for finding in ward.bed.take(each, ward.stored.now)]
    assert said([*again, *ward.at(61 + LATER)], "late-emergency") == []


def test_what_waited_2_h_at_a_home_post_is_urgent_and_is_no_value_of_now() -> None:
    ward = Ward(expected=WORN)
    (staff, patient) = said(seen(ward, 60 + 2 * HOUR, meter(60, 35)), "meter-very-low")
    assert patient.audience is Audience.PATIENT
    assert "This value came late. Please measure by finger now" in patient.because.en
    assert "This came late, at 2026-03-02 05:00" in staff.because.en
    assert staff.emergency_at == minute(60 + 2 * HOUR)


def test_what_was_heard_before_somebody_wrote_down_who_wears_it_is_told() -> None:
    """The meter's memory of before it was first heard is nobody's."""
    written_down = tuple(replace(each, worn_since=minute(12 * HOUR)) for each in WORN)
    ward = Ward(expected=written_down)
    old, own = meter(-DAY, 33, arrives=minute(0)), meter(60, 35)
    (staff, patient) = said(seen(ward, 60 + LATER, old, meter(0, 110), own), "late-emergency")
    assert (staff.evidence, patient.audience) == ((own.key,), Audience.PATIENT)


# A second one


def late_one(clinic: Clinic, at: float, *readings: Reading) -> list[Notice]:
    return clinic.packet(*arriving(at, *readings))


def asked(clinic: Clinic) -> list[str]:
    """What the patient was told of what came late, the newest first."""
    sent = [notice for notice, _ in clinic.book.to_patient("p-1", 20)]
    return [each.body.en for each in sent if "too late" in each.subject.en]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("second", "says"), [(strip(60, 4.1), "4.1 mmol/L"), (meter(60 + 5 * HOUR, 36), "36 mg/dL")])
def test_a_second_late_emergency_is_told_to_the_patient_and_stands_on_the_card_beside_the_first(
    engine: Engine, second: Reading, says: str, restarts: bool
) -> None:
    clinic = Clinic(engine, WORN)
    assert len(late_one(clinic, 18 * HOUR + 60, meter(60, 35))) == 1
    if restarts:
        clinic.restart()
    assert late_one(clinic, 18 * HOUR + 61, second) == []  # on one card
    assert len(asked(clinic)) == 2
    assert says in asked(clinic)[0]
    for value in ("35 mg/dL", says):
        assert value in clinic.alert.because.en
    # What goes on with one of them adds nothing.
    late_one(clinic, 18 * HOUR + 62, replace(second, taken_at=second.taken_at + timedelta(minutes=1)))
    assert len(asked(clinic)) == 2


# Over, as far as every device shows


def worn_long(clinic: Clinic) -> None:
    clinic.comes(*(cgm(at, 95 + at % 2) for at in range(-1500, 0, 5)))


ALL_WORN = (*WORN, replace(CGM, worn_since=START - timedelta(days=2)))


def test_a_late_emergency_is_not_over_while_a_sensor_shows_a_low(engine: Engine) -> None:
    clinic = Clinic(engine, ALL_WORN)
    late_one(clinic, 60 + LATER, meter(60, 35))
    clinic.comes(*lows(61 + LATER, 70 + LATER, None))
    clinic.comes(meter(70 + LATER, 100))
    assert "late-emergency" in clinic.ward.standing
    clinic.comes(*lows(71 + LATER, 90 + LATER, 100.0))
    assert "late-emergency" not in clinic.ward.standing


# Lows of a sensor that had passed when they came


def away(at: float, *readings: Reading) -> list[Reading]:
    """All came at once, when the phone was back."""
    return [replace(each, received_at=minute(at)) for each in readings]


def well(start: float, end: float) -> list[Reading]:
    return [cgm(at, 110 + at % 2) for at in range(int(start), int(end), 5)]


PASSED = [*lows(0, 100, None), *well(100, 400)]


@pytest.fixture
def phone(engine: Engine) -> Clinic:
    """A sensor that has been worn for two days, and the phone that has it away from minute 0 on."""
    clinic = Clinic(engine, ALL_WORN)
    worn_long(clinic)
    return clinic


@pytest.mark.parametrize("later", [0, 30 * HOUR])
def test_a_low_of_a_sensor_that_was_over_when_it_came_is_told_to_staff_once_and_to_no_patient(
    phone: Clinic, later: float
) -> None:
    rest = well(400, 400 + later)
    told = phone.packet(*away(400 + later, *PASSED, *rest))
    assert subjects(told) == [
        "Low priority: A dangerous value came too late",
        "Condition over: A dangerous value came too late",
    ]
    for said_so in (
        "Sensor glucose was below 54 mg/dL (3.0 mmol/L) from 2026-03-02 02:00 to 2026-03-02 03:35, lowest LO",
        "It was over by 2026-03-02 03:50, at 110 mg/dL (6.1 mmol/L): at or above 70 mg/dL (3.9 mmol/L) for 15 min.",
        f"This came late, at {(minute(400 + later) + timedelta(hours=8)):%Y-%m-%d %H:%M}.",
    ):
        assert said_so in told[0].body.en
    assert "最低 LO" in told[0].body.zh
    assert asked(phone) == []
    assert {each.rule for each in phone.ward.found if each.verdict is Verdict.RAISE} == {"late-emergency"}
    phone.restart()
    assert phone.packet(*away(405 + later, *well(400 + later, 405 + later))) == []


def test_a_low_of_which_staff_would_not_have_heard_or_have_heard_is_not_told_late(phone: Clinic) -> None:
    assert phone.packet(*away(300, *lows(0, 25, 50), *well(25, 300))) == []  # the patient's own
    assert subjects(phone.comes(*lows(300, 340, 50))) == ["High priority: Very low glucose"]
    tail = phone.packet(*away(600, *lows(340, 360, 50), *well(360, 600)))
    assert subjects(tail) == ["Condition over: Very low glucose"]


def test_a_low_from_before_the_sensor_was_worn_or_a_week_ago_is_not_told(engine: Engine) -> None:
    for since, at in ((minute(200), 400.0), (START - timedelta(days=2), 8 * DAY)):
        ward = Ward(expected=[replace(CGM, worn_since=since)])
        ward.comes(*(replace(cgm(each, 95 + each % 2), received_at=since) for each in range(-1500, 0, 5)))
        assert said(ward.packet(*away(at, *PASSED, *well(400, at))), "late-emergency") == []


def test_a_low_that_begins_in_time_and_lasts_while_the_phone_is_away_is_told(phone: Clinic) -> None:
    assert phone.comes(*lows(0, 25, 50)) == []
    told = phone.packet(*away(300, *lows(25, 60, 47), *well(60, 300)))
    assert "from 2026-03-02 02:00 to 2026-03-02 02:55, lowest 47 mg/dL" in told[0].body.en


@pytest.mark.parametrize("restarts", [False, True])
def test_a_late_low_that_may_go_on_is_asked_about_when_nothing_more_has_come(phone: Clinic, restarts: bool) -> None:
    assert phone.packet(*away(400, *lows(0, 100, None))) == []
    if restarts:
        phone.restart()
        assert phone.look(400) == []
        phone.settle(minute(400))
    assert phone.ward.bed.due(minute(400)) == minute(405)
    told = phone.look(405)
    assert subjects(told) == ["Low priority: A dangerous value came too late"]
    assert "The newest value is LO (below the device's range), of 2026-03-02 03:35" in told[0].body.en
    (body,) = asked(phone)
    assert "how it went on is not known" in body
    assert "Please measure by finger now" in body
    phone.restart()
    assert phone.look(406) + phone.look(420) == []
    over = phone.packet(*away(430, *lows(100, 120, None), *well(120, 430)))
    assert subjects(over) == ["Condition over: A dangerous value came too late"]
    assert len(asked(phone)) == 1


def test_a_low_that_came_in_time_and_whose_last_reading_was_late_is_watched_after_a_restart(phone: Clinic) -> None:
    """None of the very low ones came late."""
    phone.comes(*lows(0, 25, 50), *away(50, cgm(25, 60)))
    phone.restart()
    assert phone.look(51) == []
    assert subjects(phone.comes(*lows(55, 75, 50))) == ["High priority: Very low glucose"]


def test_a_late_low_in_several_messages_is_told_once_as_a_whole_and_asks_nobody(phone: Clinic) -> None:
    told = [notice for each in away(400, *PASSED) for notice in phone.packet(each)]
    assert subjects(told) == [
        "Low priority: A dangerous value came too late",
        "Condition over: A dangerous value came too late",
    ]
    assert "to 2026-03-02 03:35, lowest LO" in told[0].body.en
    assert asked(phone) == []


def test_a_low_that_another_sensor_showed_in_time_is_not_told_late(engine: Engine) -> None:
    clinic = Clinic(engine, ALL_WORN)
    worn_long(clinic)
    clinic.comes(*(cgm(at, 95 + at % 2, device="cgm-2") for at in range(-1500, 0, 5)))
    clinic.comes(*(cgm(at, 50, device="cgm-2") for at in range(0, 60, 5)))
    told = clinic.packet(*away(400, *PASSED))
    assert [each for each in subjects(told) if "too late" in each] == []


TOO_LATE = "Low priority: A dangerous value came too late"


def of_staff(told: Sequence[Notice]) -> list[str]:
    return [each for each in subjects(told) if not each.startswith("Condition over")]


@pytest.mark.parametrize("first", [300, 301])
def test_a_late_low_is_told_though_live_readings_follow_a_gap(phone: Clinic, first: float) -> None:
    told = phone.packet(*away(300, *lows(0, 100, None)))
    for at in range(int(first), 340, 5):
        told += phone.packet(cgm(at, 110 + at % 3))
    assert of_staff(told) == [TOO_LATE]
    assert asked(phone) == []
    phone.restart()
    assert of_staff(phone.look(350)) == []


def test_a_low_begun_live_and_over_just_before_the_phone_is_back_is_told_to_staff(phone: Clinic) -> None:
    assert phone.comes(*lows(0, 15, 50)) == []
    told = phone.packet(*away(140, *lows(15, 125, 47), *well(125, 140)))
    for at in range(140, 160, 5):
        told += phone.packet(cgm(at, 110 + at % 3))
    assert of_staff(told) == [TOO_LATE]


def test_late_readings_above_the_limit_do_not_count_as_heard_by_staff(phone: Clinic) -> None:
    assert phone.comes(*lows(0, 15, 50)) == []
    came = [cgm(at, 47 if at % 2 else 60) for at in range(15, 160, 5)]
    assert of_staff(phone.packet(*away(400, *came, *well(160, 400)))) == [TOO_LATE]


def test_a_late_low_of_a_sensor_that_was_replaced_is_told(engine: Engine) -> None:
    clinic = Clinic(engine, [replace(CGM, device="cgm-2", worn_since=minute(200))])
    worn_long(clinic)
    clinic.packet(cgm(300, 110, device="cgm-2"))
    assert of_staff(clinic.packet(*away(301, *PASSED[:60]))) == [TOO_LATE]


def test_of_a_late_low_with_no_end_nobody_is_asked_to_measure_who_has_measured_meanwhile(phone: Clinic) -> None:
    phone.packet(meter(300, 115))
    told = [*phone.packet(*away(301, *lows(0, 100, None))), *phone.look(307)]
    assert of_staff(told) == [TOO_LATE]
    assert asked(phone) == []
