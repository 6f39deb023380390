from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import IllegalAct, Priority
from alerts.escalation import Ladder, Step
from alerts.staffing import gaps, outlook, reached, refuse_shift, roles_watched, unmanned, untold, watches
from alerts.team import Absence, Contact, Practitioner, Role, Rota, Shift

MONDAY = datetime(2026, 3, 23, tzinfo=UTC)
NAMES = ("wang", "bao", "li", "gone")
STAFF = [
    Practitioner(id=name, name=name.title(), roles=frozenset({Role.NURSE}), active=name != "gone") for name in NAMES
]
TIMES = st.sampled_from([time(0), time(8), time(14, 30), time(20)])
SHIFTS = st.builds(
    Shift,
    role=st.sampled_from([Role.NURSE, Role.DOCTOR]),
    practitioner=st.sampled_from(NAMES),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
    start=TIMES,
    end=TIMES,
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin"]),  # the clock is put forward on Sunday
    first=st.sampled_from([date(2026, 1, 1), date(2026, 3, 25)]),
    last=st.none() | st.just(date(2026, 3, 28)),
)
HOURS = st.integers(-30, 200)


@st.composite
def rotas(draw: st.DrawFn) -> Rota:
    shifts = draw(st.lists(SHIFTS, max_size=5))
    absences = []
    for number in range(draw(st.integers(0, 4))):
        start = MONDAY + timedelta(hours=draw(HOURS))
        end = start + timedelta(hours=draw(st.integers(1, 60)))
        who, instead = draw(st.sampled_from(NAMES)), draw(st.none() | st.sampled_from(NAMES))
        absences.append(Absence(practitioner=who, start=start, end=end, substitute=instead, id=number))
    return Rota(staff=STAFF, shifts=shifts, absences=absences)


@given(rotas(), st.lists(st.integers(0, 7 * 24 * 60 - 1), min_size=1, max_size=12))
def test_who_is_drawn_is_who_is_on_duty_at_each_moment_and_gaps_are_the_rest(rota: Rota, minutes: list[int]) -> None:
    end = MONDAY + timedelta(days=7)
    found = watches(rota, Role.NURSE, MONDAY, end)
    empty = gaps(found, MONDAY, end)
    edges = [moment for each in found for moment in (each.start, each.end)]
    moments = [MONDAY + timedelta(minutes=each) for each in minutes] + [each for each in edges if each < end]
    for moment in moments:
        drawn = {each.practitioner.id for each in found if each.start <= moment < each.end}
        assert drawn == {one.id for one in rota.on_duty(Role.NURSE, moment)}
        assert bool(drawn) is not any(start <= moment < last for start, last in empty)
    assert all(MONDAY <= each.start < each.end <= end for each in found)


def shift(who: str = "wang", start: int = 8, end: int = 20, **changed: object) -> Shift:
    plain = Shift(
        role=Role.NURSE, practitioner=who, weekdays=frozenset(range(7)), start=time(start), end=time(end),
        zone="Asia/Shanghai", first=date(2026, 1, 1),
    )  # fmt: skip
    return replace(plain, **changed)  # type: ignore[arg-type]


def test_now_and_next_and_whose_shift_it_is() -> None:
    away = Absence(
        practitioner="wang", start=MONDAY + timedelta(hours=2), end=MONDAY + timedelta(hours=4), substitute="bao"
    )
    rota = Rota(staff=STAFF, shifts=[shift()], absences=[away])
    rota = replace(rota, staff=[replace(one, contacts=(Contact(channel="app", address=one.id),)) for one in STAFF])
    seen = outlook(rota, Role.NURSE, MONDAY, MONDAY + timedelta(hours=3), MONDAY + timedelta(days=1), ["app"])
    ((there,), then) = seen.there, seen.then
    assert (there.practitioner.id, there.instead_of, there.end) == ("bao", "wang", away.end)
    assert then is not None
    assert (then.practitioner.id, then.instead_of, then.start) == ("wang", None, away.end)
    assert seen.gaps == [(MONDAY + timedelta(hours=12), MONDAY + timedelta(hours=24))]


def test_who_cannot_be_told_is_on_duty_and_yet_not_counted() -> None:
    there = [
        replace(one, contacts=(Contact(channel="app" if one.id == "wang" else "gone", address=one.id),))
        for one in STAFF
    ]
    night = shift(who="bao", start=20, end=8)
    rota = Rota(staff=there, shifts=[shift(), night])
    now, tomorrow = MONDAY + timedelta(hours=13), MONDAY + timedelta(days=1)  # 21:00 in Shanghai
    seen = outlook(rota, Role.NURSE, MONDAY, now, tomorrow, ["app"])
    assert [each.practitioner.id for each in seen.there] == ["bao"]
    assert seen.gaps == [(now, tomorrow)]
    alone = replace(rota, shifts=[night])
    assert unmanned((), reached(alone, ["app"]), now) == [Role.DOCTOR, Role.NURSE]
    assert unmanned((), reached(alone, ["app", "gone"]), now) == [Role.DOCTOR]


def test_a_telephone_counts_only_where_somebody_else_can_be_asked_to_dial_it() -> None:
    dialled = [replace(one, contacts=(Contact(channel="telephone", address="010-1234"),)) for one in STAFF]
    rota = Rota(staff=dialled, shifts=[shift(), shift(who="bao")])
    said = untold(dialled[0], dialled, ["app"])
    assert said
    assert "there is only a telephone" in said.en
    assert unmanned((), reached(rota, ["app"]), MONDAY) == [Role.DOCTOR, Role.NURSE]
    assert untold(dialled[0], dialled, ["telephone"]) is None, "a channel dials it"
    caller = replace(
        dialled[0], id="caller", roles=frozenset({Role.NURSE}), contacts=(Contact(channel="app", address="c"),)
    )
    assert untold(dialled[0], [*dialled, caller], ["app"]) is None
    assert untold(dialled[0], [*dialled, replace(caller, active=False)], ["app"])


def test_a_role_is_unmanned_where_a_ladder_tells_who_is_on_duty_and_nobody_is_within_a_day() -> None:
    rota = Rota(staff=STAFF, shifts=[shift(weekdays=frozenset({2}))])  # Wednesdays
    assert unmanned((), rota, MONDAY) == [Role.DOCTOR, Role.NURSE]
    assert unmanned((), rota, MONDAY + timedelta(hours=25)) == [Role.DOCTOR]
    steps = (Step(to=Role.DIETITIAN, after=timedelta()), Step(to=Role.COORDINATOR, after=timedelta(), everyone=True))
    own = [Ladder(priority=priority, steps=steps) for priority in Priority]
    assert unmanned(own, rota, MONDAY) == [Role.DIETITIAN]
    assert roles_watched(own, rota) == [Role.NURSE, Role.DIETITIAN]


@pytest.mark.parametrize(
    ("other", "meets"),
    [
        (shift(start=20, end=8), False),
        (shift(start=20, end=9), True),
        (shift(start=7, end=9, weekdays=frozenset({3})), True),
        (shift(first=date(2026, 6, 2)), False),
        (shift(first=date(2026, 6, 1)), True),
        (shift(who="bao"), False),
        (shift(start=2, end=3, zone="Europe/Berlin"), True),
    ],
)
def test_two_shifts_of_one_person_in_one_role_do_not_meet(other: Shift, meets: bool) -> None:
    rota = Rota(staff=STAFF, shifts=[shift(id=1, last=date(2026, 6, 1))])
    if not meets:
        refuse_shift(rota, other)
        return
    with pytest.raises(IllegalAct) as refused:
        refuse_shift(rota, other)
    assert refused.value.text.zh.startswith("Wang 同一时间已有班次 1：每天 08:00–20:00 (Asia/Shanghai)。")
