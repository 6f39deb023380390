"""The rounds see every patient once a night and review every week once, whatever happens to the house meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from alerts.alert import Audience, Finding, Verdict
from alerts.book import _notices
from alerts.care_plan import Condition, Interval, planned
from alerts.follow_up_book import FollowUpBook
from alerts.review_book import ReviewBook
from alerts.team import Role
from gateway.past import SPREAD, Past, round_of
from gateway.people import Device, DeviceKind, DeviceLink, MeasuringPlan, Patient, People
from gateway.rounds import Rounds
from gateway.schema import open_database
from ingest.journal import Arrival, Journal
from ingest.reading import Flag, Packet, Reading, Refusal, RefusalReason, TimeBasis
from ingest.vital import Unit, Vital, canonical
from tests.real_house import HandClock, enrol, real_house, until

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)


def local(day: date, hour: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=SHANGHAI).astimezone(UTC)


# After the last visit of the night from Sunday to Monday.
MORNING = local(MONDAY + WEEK, 6)


class Night:
    """A house's register, journal and reviews, and the one who goes round."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        engine = open_database(f"sqlite:///{folder / 'hub.db'}")
        self.clock = clock
        self.journal = Journal(folder / "journal.db")
        self.people = People(engine)
        self.reviews = ReviewBook(engine)
        self.heard: list[Finding] = []
        self.follow_ups = FollowUpBook(engine)
        self.rounds = Rounds(
            self.journal, self.people, self.reviews, clock=clock, hear=self._hear, judge=self.follow_ups.judge
        )

    def enrol(
        self, patient: str, device: str, kind: DeviceKind = DeviceKind.CGM, zone: str = "Asia/Shanghai"
    ) -> None:
        self.people.add_patient(Patient(id=patient, name=patient, zone=zone), now=self.clock.now())
        self.people.add_device(Device(id=device, kind=kind, link=DeviceLink.MQTT), now=self.clock.now())
        self.people.assign(device, patient, since=None, now=self.clock.now())

    def keep(self, readings: Sequence[Reading]) -> None:
        packet = Packet(link="listener", sender="x", channel="json", data=b"{}", received_at=self.clock.now())
        self.journal.append([Arrival(packet=packet, outcomes=tuple(readings))])

    @property
    def asked(self) -> list[str]:
        """What the patients were asked for."""
        return [
            each.rule for each in self.heard if each.verdict is Verdict.RAISE and each.audience is Audience.PATIENT
        ]

    async def _hear(self, findings: Sequence[Finding]) -> None:
        self.heard += findings

    async def go(self) -> None:
        while await self.rounds.go():
            pass


@contextmanager
def night(folder: Path, clock: HandClock) -> Iterator[Night]:
    found = Night(folder, clock)
    yield found
    found.journal.close()


def sensor(
    patient: str, start: datetime, days: float, *sent: float | None, unit: Unit = Unit.MG_DL, every: int = 15
) -> list[Reading]:
    """A sensor's readings of some days, these values in turn; None is a LO."""
    return [
        Reading(
            patient=patient,
            device=f"cgm-{patient}",
            vital=Vital.CGM,
            values=canonical(Vital.CGM, (value,), unit),
            sent=(value,),
            unit=unit,
            taken_at=start + timedelta(minutes=every * number),
            time_basis=TimeBasis.DEVICE,
            received_at=start + timedelta(minutes=every * number),
            device_time=start + timedelta(minutes=every * number),
            flags=frozenset() if value is not None else frozenset({Flag.BELOW_RANGE}),
        )
        for number in range(int(days * 1440 / every))
        for value in (sent[number % len(sent)],)
    ]


async def test_a_week_is_reviewed_when_it_is_over_and_once(tmp_path: Path) -> None:
    clock = HandClock(local(MONDAY + WEEK, 1))  # its night hour has not come
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cgm-anna")
        house.follow_ups.set_plan(
            planned("anna", Condition.DIABETES, role=Role.NURSE, author="Dr Li", now=clock.now())
        )
        house.keep(sensor("anna", local(MONDAY), 7, 220))
        await house.go()
        assert house.reviews.weekly_list(MONDAY) == []
        clock.set(MORNING)
        await house.go()
        (review,) = house.reviews.weekly_list(MONDAY)
        assert [finding.rule for finding in review.raised] == ["week-tir", "week-tar"]
        assert review.week is not None
        assert (review.week.readings, review.week.tir, review.week.tar) == (672, 0.0, 100.0)
        assert review.before is None
        # The patient's plan of care follows: a sensor's week that is not at goal is looked at weekly.
        standing = house.follow_ups.plan("anna", Condition.DIABETES)
        assert standing is not None
        assert (standing.interval, standing.judged_at) == (Interval.UNSTABLE, review.made_at)
        assert standing.told == review.raised[0].because
    # Neither the next day nor the next house reviews it again, though more has come in of it.
    clock.advance(timedelta(days=1))
    with night(tmp_path, clock) as house:
        house.keep(sensor("anna", local(MONDAY) - timedelta(days=1), 1, 50))
        await house.go()
        assert house.reviews.days() == {"anna": MONDAY + timedelta(days=8)}
        assert house.reviews.weekly_list(MONDAY) == [review]
        clock.advance(WEEK)
        await house.go()
        assert house.reviews.weeks() == [MONDAY + WEEK, MONDAY]


def plan(first: date, last: date | None = None) -> MeasuringPlan:
    return MeasuringPlan(
        vital=Vital.GLUCOSE, times=2, days=7, first=first, last=last, author="Dr Li", entered_at=local(first)
    )


@pytest.mark.parametrize(
    ("agreed", "missed"),
    [(plan(MONDAY), True), (None, False), (plan(MONDAY, MONDAY + timedelta(days=2)), False)],
    ids=["agreed", "no plan", "over"],
)
async def test_what_is_not_measured_though_it_was_agreed_is_told(tmp_path: Path, agreed, missed: bool) -> None:
    clock = HandClock(MORNING)
    with night(tmp_path, clock) as house:
        house.enrol("anna", "meter-1", DeviceKind.METER)
        if agreed:
            house.people.set_plan("anna", Vital.GLUCOSE, agreed, now=local(MONDAY))
        await house.go()
        assert house.asked == []  # at six in the morning
        clock.set(local(MONDAY + WEEK, 8))
        await house.go()
        assert house.asked == ["missed-measurement"] * missed


async def test_a_plan_that_holds_again_asks_for_nothing_of_the_days_on_which_another_one_counted(tmp_path) -> None:
    clock = HandClock(local(MONDAY))
    four_days = replace(plan(MONDAY + WEEK, MONDAY + WEEK + timedelta(days=3)), times=1, days=1)
    with night(tmp_path, clock) as house:
        house.enrol("anna", "meter-1", DeviceKind.METER)
        house.people.set_plan("anna", Vital.GLUCOSE, plan(MONDAY), now=clock.now())
        house.people.set_plan("anna", Vital.GLUCOSE, four_days, now=clock.now())
        for day in range(7):
            for hour in (8, 18):
                (reading,) = sensor("anna", local(MONDAY + timedelta(days=day), hour), 1, 100, every=1440)
                house.keep([replace(reading, vital=Vital.GLUCOSE, device="meter-1")])
        for day in range(7, 12):
            clock.set(local(MONDAY + timedelta(days=day), 19))
            await house.go()
        assert house.asked == []  # the lasting plan holds again since Friday, which was not over
        clock.set(local(MONDAY + timedelta(days=12), 20))
        await house.go()
        assert house.asked == ["missed-measurement"]


@pytest.mark.parametrize(("hour", "asked"), [(0, ["missed-measurement"]), (19, [])])
async def test_a_plan_that_is_saved_in_the_evening_does_not_ask_for_that_day(tmp_path: Path, hour, asked) -> None:
    today = MONDAY + WEEK
    clock = HandClock(local(today, hour))
    with night(tmp_path, clock) as house:
        house.enrol("anna", "meter-1", DeviceKind.METER)
        house.people.set_plan("anna", Vital.GLUCOSE, replace(plan(today), entered_at=clock.now()), now=clock.now())
        clock.set(local(today, 20))
        await house.go()
        assert house.asked == asked
        clock.set(local(today + timedelta(days=1), 20))
        await house.go()
        assert house.asked[-1:] == ["missed-measurement"]


async def test_a_reminder_comes_in_the_evening_also_after_a_restart(tmp_path: Path) -> None:
    today = MONDAY + WEEK
    clock = HandClock(MORNING)
    with night(tmp_path, clock) as house:
        house.enrol("anna", "meter-1", DeviceKind.METER)
        await house.go()
        clock.set(local(today, 12))
        house.people.set_plan("anna", Vital.GLUCOSE, plan(today), now=clock.now())
        house.rounds.expect(["anna"])
        await house.go()
        clock.set(local(today, 20) - timedelta(seconds=1))
        await house.go()
        assert house.asked == []
    with night(tmp_path, clock) as house:
        await house.go()
        assert house.asked == []
        clock.advance(timedelta(seconds=1))
        await house.go()
        assert house.asked == ["missed-measurement"]
        assert house.reviews.days() == {"anna": today}  # that was no second visit of the day


async def test_what_was_due_while_the_house_was_down_is_done_after_the_start(tmp_path: Path) -> None:
    clock = HandClock(local(MONDAY + timedelta(days=6), 23))
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cgm-anna")
        house.keep(sensor("anna", local(MONDAY), 6.9, 60))
        await house.go()
        assert house.reviews.weekly_list(MONDAY) == []
    clock.set(MORNING + timedelta(days=2))
    with night(tmp_path, clock) as house:
        await house.go()
        (review,) = house.reviews.weekly_list(MONDAY)
        assert "week-tbr" in {finding.rule for finding in review.raised}
        assert "week-nocturnal-lows" in {finding.rule for finding in review.raised}
        standing = house.reviews.standings()["anna"]
        assert (standing.day, standing.sensor, standing.night_lows) == (MONDAY + timedelta(days=9), 1.0, True)
        # Two days of the seven up to Wednesday have passed without a reading.
        assert standing.week is not None
        assert standing.week.wear == pytest.approx(100 * 4.9 / 7, abs=0.1)


async def test_a_patient_who_comes_later_is_visited_too(tmp_path: Path) -> None:
    with night(tmp_path, HandClock(MORNING)) as house:
        await house.go()
        house.enrol("anna", "cgm-anna")
        house.rounds.expect(["anna"])
        await house.go()
        assert house.reviews.days() == {"anna": MONDAY + WEEK}
        assert house.reviews.weeks() == []  # there was nothing to review


async def test_the_night_that_has_an_hour_more_brings_one_visit(tmp_path: Path) -> None:
    """25 October 2026 has 25 hours in Berlin: a day after the last visit the next one is not due."""
    clock = HandClock(datetime(2026, 10, 24, 6, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC))
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cgm-anna", zone="Europe/Berlin")
        await house.go()
        visit = round_of("anna", ZoneInfo("Europe/Berlin"), clock.now())
        clock.set(visit.at + timedelta(days=1))
        assert await house.rounds.go() is False
        assert house.reviews.days() == {"anna": date(2026, 10, 24)}
        clock.set(visit.next_at)
        await house.go()
        assert house.reviews.days() == {"anna": date(2026, 10, 25)}


async def test_a_clock_that_was_wrong_does_not_keep_anybody_from_being_seen(tmp_path: Path) -> None:
    clock = HandClock(MORNING)
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cgm-anna")
        clock.set(MORNING + timedelta(days=400))
        await house.go()
        clock.set(MORNING + timedelta(minutes=5))
        await house.go()
        assert house.reviews.days() == {"anna": MONDAY + WEEK}


async def test_one_patient_who_cannot_be_reviewed_does_not_keep_the_others_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with night(tmp_path, HandClock(MORNING)) as house:
        for patient in ("anna", "bea"):
            house.enrol(patient, f"cgm-{patient}")
            house.keep(sensor(patient, local(MONDAY), 7, 220))
        # No admission lets such a value pass; a journal that was written by hand may hold it.
        house.keep([replace(sensor("bea", MORNING - timedelta(days=3, minutes=1), 1, 0.5)[0], device="cgm-broken")])
        await house.go()
        assert [review.patient for review in house.reviews.weekly_list(MONDAY)] == ["anna"]
        assert house.rounds.trouble is not None
        assert "bea" in house.rounds.trouble


async def test_values_are_judged_as_they_were_shown(tmp_path: Path) -> None:
    """10.0 mmol/L is 180.16 mg/dL and in range, 13.9 is 250.4 and not above 250, 3.9 is not low, LO is."""
    with night(tmp_path, HandClock(MORNING)) as house:
        house.enrol("anna", "cgm-anna")
        house.keep(sensor("anna", local(MONDAY), 7, 0.0100, 0.0139, 0.0039, None, unit=Unit.MOL_L))
        await house.go()
        (review,) = house.reviews.of_patient("anna")
        assert review.week is not None
        assert (review.week.tir, review.week.tar, review.week.tar_2) == (50.0, 25.0, 0.0)
        assert (review.week.tbr, review.week.tbr_2) == (25.0, 25.0)
        assert "3.9-10.0 mmol/L" in review.findings[0].because.en


async def test_what_a_meter_says_over_days_is_said_in_the_unit_that_is_read(tmp_path: Path) -> None:
    with night(tmp_path, HandClock(MORNING)) as house:
        house.enrol("anna", "meter-1", DeviceKind.METER)  # who reads mmol/L
        lows = sensor("anna", local(MONDAY, 8), 6, 62, every=1440)
        house.keep([replace(each, vital=Vital.GLUCOSE, device="meter-1") for each in lows])
        await house.go()
        (review,) = house.reviews.of_patient("anna")
        (said,) = [finding.because.en for finding in review.raised if finding.rule == "meter-repeated-low"]
    assert "below 3.9 mmol/L (70 mg/dL)" in said
    assert "3.4 mmol/L (62 mg/dL)" in said


async def test_a_sensor_counts_from_when_it_was_put_on(tmp_path: Path) -> None:
    clock = HandClock(MORNING)
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cgm-anna")
        await house.go()
        assert house.reviews.standings()["anna"].sensor == 0  # nothing is known of the days before
        clock.advance(timedelta(days=4))
        await house.go()
        assert house.reviews.standings()["anna"].sensor == pytest.approx(
            (local(MONDAY + WEEK + timedelta(days=4)) - MORNING) / WEEK
        )
        clock.advance(timedelta(days=4))
        await house.go()
        assert house.reviews.standings()["anna"].sensor == 1


async def test_what_the_night_finds_is_heard_though_what_to_ask_cannot_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Past, "reminders", fault)
    with night(tmp_path, HandClock(MORNING)) as house:
        house.enrol("carl", "cuff-1", DeviceKind.CUFF)
        for number in range(28):
            values = (150.0, 85.0, None, 70.0)
            at = local(MONDAY - WEEK + timedelta(days=number // 2), 20 if number % 2 else 8)
            (one,) = sensor("carl", at, 1 / 1440, 100, every=1)
            house.keep([replace(one, vital=Vital.BLOOD_PRESSURE, values=values, sent=values, unit=Unit.MMHG)])
        await house.go()
        assert "bp-not-at-goal" in {each.rule for each in house.heard}
        assert house.rounds.trouble is not None


async def test_home_pressure_is_part_of_how_a_patient_stands(tmp_path: Path) -> None:
    with night(tmp_path, HandClock(MORNING)) as house:
        house.enrol("carl", "cuff-1", DeviceKind.CUFF)
        for number in range(28):
            values = (150.0 if number >= 14 else 138.0, 85.0, None, 70.0)
            at = local(MONDAY - WEEK + timedelta(days=number // 2), 20 if number % 2 else 8)
            plain = sensor("carl", at, 2 / 1440, 100, every=1)
            house.keep(
                [
                    replace(each, vital=Vital.BLOOD_PRESSURE, values=values, sent=values, unit=Unit.MMHG)
                    for each in plain
                ]
            )
        await house.go()
        standing = house.reviews.standings(["carl"])["carl"]
        assert (standing.week, standing.sensor) == (None, 0.0)
        assert standing.pressure == (150.0, 85.0, 28)
        assert standing.pressure_before == (138.0, 85.0, 28)
        # What the cuff says over days: the pattern is on the list, and what is for staff was heard.
        (review,) = house.reviews.weekly_list(MONDAY)
        assert "bp-rising" in {finding.rule for finding in review.raised}
        assert {finding.audience for finding in review.findings} == {Audience.WEEKLY}
        heard = {finding.rule for finding in house.heard if finding.verdict is Verdict.RAISE}
        assert "bp-not-at-goal" in heard


async def test_the_house_goes_round_by_itself(tmp_path: Path) -> None:
    clock = HandClock(local(MONDAY + WEEK, 1))
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        second = timedelta(seconds=1)
        await until(lambda: clock.advance(second) or house.reviews.days() == {"anna": MONDAY + timedelta(days=6)})
        clock.set(MORNING)
        await until(lambda: clock.advance(second) or house.reviews.days() == {"anna": MONDAY + WEEK})
        await house.feel()
        assert house.health()["parts"]["rounds"]["status"] == "ok"


async def test_a_plan_agreed_in_the_house_is_minded_the_same_evening(tmp_path: Path) -> None:
    clock, second = HandClock(local(MONDAY, 12)), timedelta(seconds=1)
    query = select(_notices.c.subject_en)
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "meter-1", DeviceKind.METER)
        await until(lambda: clock.advance(second) or house.reviews.days() != {})
        await house.set_plan("anna", Vital.GLUCOSE, plan(MONDAY))
        clock.set(local(MONDAY, 20))
        with house.book._engine.connect() as db:
            await until(lambda: clock.advance(second) or db.scalars(query).all() != [])
            assert db.scalars(query).all() == ["For you: Measurements are missing"]
        assert clock.now() < local(MONDAY, 21)


@given(
    st.text(min_size=1, max_size=12),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_a_visit_is_due_once_a_day_at_night(patient: str, zone: str, now: datetime) -> None:
    due = round_of(patient, ZoneInfo(zone), now)
    assert due.at <= now < due.next_at <= due.at + timedelta(hours=26)
    assert round_of(patient, ZoneInfo(zone), due.next_at).at == due.next_at
    wall = due.at.astimezone(ZoneInfo(zone))
    assert wall.date() == due.day
    assert timedelta(hours=3) <= timedelta(hours=wall.hour, minutes=wall.minute) <= timedelta(hours=3) + SPREAD
    assert due.monday.weekday() == 0
    assert timedelta(days=7) <= due.day - due.monday < timedelta(days=14)
    assert round_of(patient, ZoneInfo(zone), due.at).day == due.day
    assert round_of(patient, ZoneInfo(zone), due.at - timedelta(seconds=1)).day == due.day - timedelta(days=1)


def test_patients_are_spread_over_the_hours() -> None:
    moments = [round_of(f"p-{number}", SHANGHAI, MORNING).at for number in range(1000)]
    assert max(moments) - min(moments) > SPREAD * 0.95
    quarter = [at for at in moments if at - min(moments) < SPREAD / 4]
    assert len(quarter) == pytest.approx(250, abs=60)


async def test_a_cuff_that_fails_again_and_again_is_heard_though_its_values_are_refused(tmp_path: Path) -> None:
    clock = HandClock(local(MONDAY, 12))
    with night(tmp_path, clock) as house:
        house.enrol("anna", "cuff-1", DeviceKind.CUFF)
        for hours in (1, 5, 9):
            no_value = Refusal(reason=RefusalReason.NO_VALUE, because="cuff-loose", device="cuff-1", sequence=hours)
            packet = Packet(
                link="listener",
                sender="cuff-1",
                channel="json",
                data=str(hours).encode(),
                received_at=clock.now() + timedelta(hours=hours),
            )
            house.journal.append([Arrival(packet=packet, outcomes=(no_value,))])
        clock.set(local(MONDAY + timedelta(days=1), 6))
        await house.go()
        assert house.heard == []  # it wakes nobody
        assert house.reviews.waiting() == {"anna": local(MONDAY + timedelta(days=1), 8)}
    with night(tmp_path, clock) as house:  # after a restart between the visit and the morning
        await house.go()
        assert house.heard == []
        clock.set(local(MONDAY + timedelta(days=1), 8))
        await house.go()
        assert [(each.rule, each.verdict) for each in house.heard] == [("bp-cuff-error", Verdict.RAISE)]
        assert "3 of 3 measurements of the last 7 days, 3 of them without a value" in house.heard[0].because.en
