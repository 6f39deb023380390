from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alerts.team import EVERY_DAY, Absence, Contact, Practitioner, QuietHours, Role, Rota, Shift
from alerts.team_book import TeamBook, UnknownPractitioner
from gateway.schema import open_database

BERLIN = ZoneInfo("Europe/Berlin")
WANG = Practitioner(id="wang", name="Wang Li", roles=frozenset({Role.NURSE}), zone="Asia/Shanghai")
KURZ = Practitioner(id="kurz", name="Kurz", roles=frozenset({Role.NURSE}), zone="Europe/Berlin")
MAY = Practitioner(id="may", name="May", roles=frozenset({Role.NURSE, Role.COORDINATOR}), zone="Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


MAY_DAY = at("2026-05-01T00:00")


def night(
    who: str,
    *,
    start: str = "22:00",
    end: str = "06:00",
    zone: str = "Europe/Berlin",
    days: frozenset[int] = EVERY_DAY,
) -> Shift:
    return Shift(
        role=Role.NURSE,
        practitioner=who,
        weekdays=days,
        start=time.fromisoformat(start),
        end=time.fromisoformat(end),
        zone=zone,
        first=date(2026, 1, 1),
    )


def names(rota: Rota, moment: datetime, role: Role = Role.NURSE) -> list[str]:
    return [one.id for one in rota.on_duty(role, moment)]


@pytest.mark.parametrize(
    ("first", "last", "hours"),
    [
        ("2026-03-28T21:00", "2026-03-29T04:00", 7),  # the clock is put forward: 02:00 becomes 03:00
        ("2026-10-24T20:00", "2026-10-25T05:00", 9),  # and back: 03:00 becomes 02:00
        ("2026-06-01T20:00", "2026-06-02T04:00", 8),
    ],
)
def test_a_night_shift_follows_the_wall_clock_over_both_switches(first: str, last: str, hours: int) -> None:
    rota = Rota(staff=[KURZ], shifts=[night("kurz")])
    begin, end = at(first), at(last)
    assert end - begin == timedelta(hours=hours)
    assert names(rota, begin - timedelta(minutes=1)) == []
    assert names(rota, begin) == ["kurz"]
    assert names(rota, end - timedelta(minutes=1)) == ["kurz"]
    assert names(rota, end) == []


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
@pytest.mark.parametrize("seam", ["02:00", "02:30", "03:00"])
def test_shifts_that_meet_on_the_wall_clock_leave_no_minute_and_share_none(day: date, seam: str) -> None:
    rota = Rota(staff=[KURZ, MAY], shifts=[night("kurz", end=seam), night("may", start=seam, end="22:00")])
    moment = datetime.combine(day - timedelta(days=1), time(12), BERLIN).astimezone(UTC)
    seen = {tuple(names(rota, moment + timedelta(minutes=n))) for n in range(48 * 60)}
    assert seen == {("kurz",), ("may",)}


def test_shanghai_has_no_switch() -> None:
    rota = Rota(staff=[WANG], shifts=[night("wang", zone="Asia/Shanghai")])
    for day in (date(2026, 3, 28), date(2026, 10, 24)):
        begin = datetime(day.year, day.month, day.day, 14, tzinfo=UTC)
        on = [names(rota, begin + timedelta(hours=n)) == ["wang"] for n in range(-1, 9)]
        assert on == [False, *[True] * 8, False]


def test_the_weekday_is_of_the_day_on_which_the_shift_begins() -> None:
    rota = Rota(staff=[KURZ], shifts=[night("kurz", days=frozenset({4}))])  # Fridays
    assert names(rota, at("2026-06-05T21:00")) == ["kurz"]
    assert names(rota, at("2026-06-06T03:00")) == ["kurz"]  # Saturday morning
    assert names(rota, at("2026-06-05T03:00")) == []  # Friday morning
    assert names(rota, at("2026-06-06T21:00")) == []


def test_a_shift_has_a_first_and_a_last_day() -> None:
    shift = Shift(
        role=Role.NURSE,
        practitioner="kurz",
        weekdays=EVERY_DAY,
        start=time(8),
        end=time(16),
        zone="Europe/Berlin",
        first=date(2026, 6, 2),
        last=date(2026, 6, 3),
    )
    rota = Rota(staff=[KURZ], shifts=[shift])
    assert [names(rota, at(f"2026-06-0{n}T10:00")) for n in (1, 2, 3, 4)] == [[], ["kurz"], ["kurz"], []]
    assert rota.next_shift(Role.NURSE, at("2026-06-01T10:00")) == at("2026-06-02T06:00")
    assert rota.next_shift(Role.NURSE, at("2026-06-02T06:00")) == at("2026-06-03T06:00")
    assert rota.next_shift(Role.NURSE, at("2026-06-03T07:00")) is None
    assert rota.next_shift(Role.DOCTOR, at("2026-06-01T10:00")) is None


def test_who_is_away_is_stood_in_for_or_missing() -> None:
    away = Absence(practitioner="kurz", start=at("2026-06-01T00:00"), end=at("2026-06-02T00:00"), substitute="may")
    shifts = [night("kurz")]
    rota = Rota(staff=[KURZ, MAY], shifts=shifts, absences=[away])
    assert names(rota, at("2026-06-01T21:00")) == ["may"]
    assert names(rota, at("2026-06-02T00:00")) == ["kurz"]
    assert [one.id for one in rota.all_of(Role.NURSE, at("2026-06-01T21:00"))] == ["may"]
    assert [rota.there("kurz", at(moment)) for moment in ("2026-06-01T21:00", "2026-06-02T00:00")] == [MAY, KURZ]

    nobody = Absence(practitioner="kurz", start=away.start, end=away.end)
    assert names(Rota(staff=[KURZ, MAY], shifts=shifts, absences=[nobody]), at("2026-06-01T21:00")) == []


def test_substitutes_that_stand_in_for_each_other_are_nobody_and_the_last_entry_counts() -> None:
    start, end = at("2026-06-01T00:00"), at("2026-06-03T00:00")
    round_and_round = [
        Absence(practitioner="kurz", start=start, end=end, substitute="may", id=1),
        Absence(practitioner="may", start=start, end=end, substitute="kurz", id=2),
    ]
    moment = at("2026-06-01T21:00")
    assert names(Rota(staff=[KURZ, MAY], shifts=[night("kurz")], absences=round_and_round), moment) == []
    corrected = [*round_and_round, Absence(practitioner="may", start=start, end=end, substitute="wang", id=3)]
    assert names(Rota(staff=[KURZ, MAY, WANG], shifts=[night("kurz")], absences=corrected), moment) == ["wang"]


def test_who_has_left_is_not_on_duty() -> None:
    gone = Practitioner(id="kurz", name="Kurz", roles=frozenset({Role.NURSE}), active=False)
    rota = Rota(staff=[gone], shifts=[night("kurz")])
    assert names(rota, at("2026-06-01T21:00")) == []
    assert rota.there("kurz", at("2026-06-01T21:00")) is None


def test_quiet_hours_over_midnight_end_on_the_wall_clock() -> None:
    quiet = QuietHours(start=time(22), end=time(7))
    assert quiet.until(at("2026-03-28T23:00"), BERLIN) == at("2026-03-29T05:00")  # 07:00 of summer
    assert quiet.until(at("2026-10-24T23:00"), BERLIN) == at("2026-10-25T06:00")
    assert quiet.until(at("2026-10-25T06:00"), BERLIN) is None
    assert QuietHours(start=time(13), end=time(14)).until(at("2026-06-01T11:30"), BERLIN) == at("2026-06-01T12:00")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[TeamBook]:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    book = TeamBook(engine)
    yield book
    engine.dispose()


def test_the_register_keeps_people_shifts_and_absences(book: TeamBook) -> None:
    wang = Practitioner(
        id="wang",
        name="王丽",
        roles=frozenset({Role.NURSE, Role.COORDINATOR}),
        language="zh_CN",
        zone="Asia/Shanghai",
        contacts=(Contact(channel="sms", address="+8613800000000"), Contact(channel="mail", address="wang@h.cn")),
        quiet=QuietHours(start=time(22), end=time(7)),
    )
    book.put(wang, now=MAY_DAY)
    book.put(MAY, now=MAY_DAY)
    shift = book.add_shift(night("wang", zone="Asia/Shanghai"), now=MAY_DAY)
    absence = book.add_absence(
        Absence(practitioner="wang", start=at("2026-06-01T00:00"), end=at("2026-06-02T00:00"), substitute="may"),
        now=MAY_DAY,
    )
    assert book.staff() == [MAY, wang]
    assert book.rota() == Rota(staff=[MAY, wang], shifts=[shift], absences=[absence])
    assert book.owners_of("Wang@h.cn ") == ["staff:wang"]
    assert book.owners_of("nobody@h.cn") == []

    book.end_shift(shift.id, date(2026, 5, 31), now=MAY_DAY)
    book.end_absence(absence.id, at("2026-06-01T12:00"), now=MAY_DAY)
    rota = book.rota()
    assert rota.shifts[0].last == date(2026, 5, 31)
    assert rota.absences[0].end == at("2026-06-01T12:00")


def test_a_patients_contacts_are_replaced_as_a_whole(book: TeamBook) -> None:
    book.put_contacts(
        "patient:p-1",
        [Contact(channel="sms", address="1"), Contact(channel="mail", address="a@b")],
        now=MAY_DAY,
    )
    book.put_contacts(
        "patient:p-1",
        [Contact(channel="telephone", address="2")],
        QuietHours(start=time(21), end=time(8)),
        now=MAY_DAY,
    )
    assert book.contacts("patient:p-1") == (
        (Contact(channel="telephone", address="2"),),
        QuietHours(start=time(21), end=time(8)),
    )
    assert book.contacts("patient:p-2") == ((), None)


def test_shifts_and_absences_are_of_people_who_are_known(book: TeamBook) -> None:
    book.put(MAY, now=MAY_DAY)
    with pytest.raises(UnknownPractitioner, match="nobody of the staff has the id kurz"):
        book.add_shift(night("kurz"), now=MAY_DAY)
    with pytest.raises(UnknownPractitioner, match="kurz"):
        book.add_absence(
            Absence(practitioner="may", start=at("2026-06-01T00:00"), end=at("2026-06-02T00:00"), substitute="kurz"),
            now=MAY_DAY,
        )
    with pytest.raises(ValueError, match="the absence of may ends before it begins"):
        book.add_absence(
            Absence(practitioner="may", start=at("2026-06-02T00:00"), end=at("2026-06-01T00:00")),
            now=MAY_DAY,
        )
