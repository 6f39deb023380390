"""What a rota comes to: who is on duty from when to when, and when nobody is; and what may be written into it. Pure.

What may not is an `IllegalAct`, whose sentence says what is possible instead. The register itself keeps whatever it
is given, so that a rota can be taken over from elsewhere as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from alerts.alert import HOUSE, IllegalAct, Text
from alerts.escalation import PREFERRED, Ladder, ladders_in_force, ways
from alerts.team import EVERY_DAY, ROLE_WORDS, Absence, Practitioner, Role, Rota, Shift

AHEAD: Final = timedelta(hours=24)  # within which somebody of each role of a ladder has to be on duty
_CALLERS: Final = frozenset({Role.NURSE, Role.COORDINATOR})  # who is asked to telephone others
_DAY: Final = timedelta(days=1)
_WEEKS: Final = 9  # days in which two shifts of every week meet, if they do at all
WEEKDAY_WORDS: Final = (
    Text(en="Mon", zh="周一"),
    Text(en="Tue", zh="周二"),
    Text(en="Wed", zh="周三"),
    Text(en="Thu", zh="周四"),
    Text(en="Fri", zh="周五"),
    Text(en="Sat", zh="周六"),
    Text(en="Sun", zh="周日"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Somebody is on duty from start to end (aware UTC, half open). instead_of: whose shift it is, else None."""

    practitioner: Practitioner
    start: datetime
    end: datetime
    instead_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a role is manned. there: who is on duty now; then: who comes next, None where nobody does.

    watches: all of the days looked at; gaps: from when to when nobody is on duty who can be told, from now on.
    """

    role: Role
    there: list[Watch]
    then: Watch | None
    watches: list[Watch]
    gaps: list[tuple[datetime, datetime]]


def reached(rota: Rota, channels: Collection[str]) -> Rota:
    """The same without those who cannot be told by any of these channels, nor by telephone."""
    staff = [replace(one, active=one.active and _is_told(one, rota.staff, channels)) for one in rota.staff]
    return replace(rota, staff=staff)


def untold(one: Practitioner, staff: Iterable[Practitioner], channels: Collection[str]) -> Text | None:
    """That somebody who is to be on duty cannot be told, and what to do; None where they can be. staff: all of it."""
    if _is_told(one, staff, channels):
        return None
    if ways(one.recipient(), PREFERRED, channels):
        return Text(
            en=f"{one.name} cannot be told of anything: there is only a telephone, and no other nurse or coordinator "
            f"can be asked to dial it. Open the page Team, then {one.name}, and add another contact.",
            zh=f"{one.name} 目前无法收到任何通知：只有电话，且没有其他护士或协调员可被通知去拨打。"
            f"请在“团队”页面打开 {one.name}，添加其他联系方式。",
        )
    return Text(
        en=f"{one.name} cannot be told of anything: no contact is entered that can be used. "
        f"Open the page Team, then {one.name}, and add one under Contacts.",
        zh=f"{one.name} 目前无法收到任何通知：没有可用的联系方式。"
        f"请在“团队”页面打开 {one.name}，在“联系方式”下添加。",
    )


def _is_told(one: Practitioner, staff: Iterable[Practitioner], channels: Collection[str]) -> bool:
    """By a channel, or by a telephone that somebody else is asked to dial."""
    if is_told_at_once(one, channels):
        return True
    callers = (other for other in staff if other.active and other.id != one.id and other.roles & _CALLERS)
    return bool(ways(one.recipient(), PREFERRED, channels)) and any(
        is_told_at_once(each, channels) for each in callers
    )


def is_told_at_once(one: Practitioner, channels: Collection[str]) -> bool:
    """By a channel of these: nobody has to dial."""
    return any(contact.channel in channels for contact in one.contacts)


def outlook(
    rota: Rota, role: Role, start: datetime, now: datetime, end: datetime, channels: Collection[str]
) -> Outlook:
    """How a role is manned from start to end (aware), seen now. channels: by which staff can be told."""
    found = watches(rota, role, start, end)
    return Outlook(
        role=role,
        there=[each for each in found if each.start <= now < each.end],
        then=next((each for each in found if each.start > now), None),
        watches=found,
        gaps=gaps(watches(reached(rota, channels), role, start, end), now, end),
    )


def roles_watched(ladders: Collection[Ladder], rota: Rota) -> list[Role]:
    """Roles in which somebody has to be on duty: those that a ladder tells then, and those that have shifts."""
    told = _told(ladders)
    return [role for role in Role if role in told or any(shift.role is role for shift in rota.shifts)]


def watches(rota: Rota, role: Role, start: datetime, end: datetime) -> list[Watch]:
    """Who is on duty in a role from start to end (aware), by the begin; as `Rota.on_duty` has it at each moment."""
    away = [each for each in rota.absences if each.start < end and each.end > start]
    rota = replace(rota, absences=away)
    edges = sorted({edge for each in away for edge in (each.start, each.end)})
    found = [
        watch
        for shift in rota.shifts
        if shift.role is role
        for first, last in _spans(shift, start, end)
        for watch in _watches_of(rota, shift, first, last, edges)
    ]
    return sorted(found, key=lambda watch: (watch.start, watch.practitioner.name, watch.practitioner.id))


def gaps(found: Iterable[Watch], start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when nobody is on duty between start and end, where these are."""
    empty, covered = [], start
    for watch in sorted(found, key=lambda each: each.start):
        if watch.start > covered:
            empty.append((covered, min(watch.start, end)))
        covered = max(covered, watch.end)
    return [*empty, (covered, end)] if covered < end else empty


def unmanned(ladders: Collection[Ladder], rota: Rota, now: datetime) -> list[Role]:
    """Roles of which a ladder tells who is on duty, and nobody is within `AHEAD`."""
    return [role for role in Role if role in _told(ladders) and not watches(rota, role, now, now + AHEAD)]


def shift_words(shift: Shift) -> Text:
    """When a shift is, in words, on the clock of its zone."""
    days = sorted(shift.weekdays)
    every = shift.weekdays == EVERY_DAY
    clock = f"{shift.start:%H:%M}–{shift.end:%H:%M} ({shift.zone})"
    return Text(
        en=f"{'every day' if every else ', '.join(WEEKDAY_WORDS[day].en for day in days)} {clock}",
        zh=f"{'每天' if every else '、'.join(WEEKDAY_WORDS[day].zh for day in days)} {clock}",
    )


def refuse_shift(rota: Rota, shift: Shift) -> None:
    """Raises IllegalAct where somebody cannot have such a shift."""
    one = _known(rota, shift.practitioner)
    _refuse_the_gone(one)
    if shift.role not in one.roles:
        said = _other_role(one, shift.role)
        raise IllegalAct(
            Text(
                en=f"{said.en} Add the role first, or choose another person.",
                zh=f"{said.zh}请先添加该角色，或另选他人。",
            )
        )
    for other in rota.shifts:
        same = (other.practitioner, other.role) == (shift.practitioner, shift.role) and other.id != shift.id
        if same and _meet(shift, other):
            words = shift_words(other)
            raise IllegalAct(
                Text(
                    en=f"{one.name} has shift {other.id} at the same time: {words.en}. End that one first, or choose "
                    "other days or hours.",
                    zh=f"{one.name} 同一时间已有班次 {other.id}：{words.zh}。请先结束该班次，或另选日期或时间。",
                )
            )


def holder(staff: Collection[Practitioner], called: str, role: Role | None, usual: Role) -> tuple[str, Role]:
    """Who a follow-up is given to, by name or id, and in which role: the chosen one, else the usual, else their own.

    Raises IllegalAct where nobody is called so, or not in the chosen role. Where nobody is entered, any name will do.
    """
    team, wanted = [one for one in staff if one.active], role or usual
    if not team:
        return called, wanted
    meant = sorted((one for one in team if called in (one.name, one.id)), key=lambda one: wanted not in one.roles)
    if meant and wanted in meant[0].roles:
        return meant[0].name, wanted
    if meant and role is None:
        return meant[0].name, next((own for own in Role if own in meant[0].roles), usual)
    unknown = Text(en=f"{called} is not, or no longer, in the team.", zh=f"团队中现无“{called}”。")
    said, possible = _other_role(meant[0], wanted) if meant else unknown, _possible(team, role)
    raise IllegalAct(Text(en=f"{said.en} {possible.en}", zh=f"{said.zh}{possible.zh}"))


def one_of(staff: Collection[Practitioner], called: str) -> str:
    """How one of the staff who acts is called in the facts, by name or id; see `holder`, in no certain role."""
    return holder(staff, called, None, Role.NURSE)[0]


def unfilled(staff: Iterable[Practitioner], role: Role) -> Text | None:
    """That a team is entered and nobody of it has a role, and what to do; else None."""
    team = [one for one in staff if one.active]
    return _unfilled(team, role) if team and not any(role in one.roles for one in team) else None


def refuse_unfilled(staff: Iterable[Practitioner], role: Role) -> None:
    """Raises IllegalAct where a team is entered and nobody of it has a role."""
    if said := unfilled(staff, role):
        raise IllegalAct(said)


def refuse_ended_shift(shift: Shift, today: date) -> None:
    """Raises IllegalAct where a shift cannot be changed any more. today: in its zone."""
    if shift.last is not None and shift.last < today:
        raise IllegalAct(
            Text(
                en=f"Shift {shift.id} has ended, on {shift.last}. Add a new one instead.",
                zh=f"班次 {shift.id} 已于 {shift.last} 结束。请添加新的班次。",
            )
        )


def refuse_absence(rota: Rota, absence: Absence) -> None:
    """Raises IllegalAct where somebody cannot be away so, or not stood in for so."""
    one = _known(rota, absence.practitioner)
    _refuse_the_gone(one)
    if other := _absent(rota, one, absence, but=absence.id):
        span = _span_words(other, one.zone)
        raise IllegalAct(
            Text(
                en=f"{one.name} is away then already: {span} (absence {other.id}). End that absence and "
                "enter it anew.",
                zh=f"{one.name} 该时段已登记缺勤：{span}（缺勤 {other.id}）。请结束该缺勤后重新登记。",
            )
        )
    standing_in = (away for away in rota.absences if away.substitute == one.id and _overlap(away, absence))
    if other := next(standing_in, None):
        name, span = _known(rota, other.practitioner).name, _span_words(other, one.zone)
        raise IllegalAct(
            Text(
                en=f"{one.name} stands in for {name} then: {span} (absence {other.id}). End that absence and enter "
                "it anew with somebody else.",
                zh=f"{one.name} 届时代替 {name}：{span}（缺勤 {other.id}）。请结束该缺勤后重新登记，另选代班人。",
            )
        )
    if absence.substitute is not None:
        _refuse_substitute(rota, one, _known(rota, absence.substitute), absence)


def refuse_ended_absence(absence: Absence, now: datetime) -> None:
    """Raises IllegalAct where an absence is over."""
    if absence.end <= now:
        raise IllegalAct(
            Text(
                en=f"Absence {absence.id} is over. Add a new one instead.",
                zh=f"缺勤 {absence.id} 已结束。请添加新的缺勤。",
            )
        )


def refuse_change(rota: Rota, after: Practitioner, now: datetime) -> None:
    """Raises IllegalAct where a role, or the person, cannot go as long as shifts or absences rest on it."""
    for shift in rota.shifts:
        is_over = shift.last is not None and (shift.last < shift.first or shift.last < _today(shift.zone, now))
        if shift.practitioner == after.id and not is_over and not (after.active and shift.role in after.roles):
            words, role = shift_words(shift), ROLE_WORDS[shift.role]
            raise IllegalAct(
                Text(
                    en=f"{after.name} has shift {shift.id} as {role.en}: {words.en}. End that shift first.",
                    zh=f"{after.name} 有{role.zh}班次 {shift.id}：{words.zh}。请先结束该班次。",
                )
            )
    for away in rota.absences:
        if not after.active and away.substitute == after.id and away.start < away.end and away.end > now:
            name, span = _known(rota, away.practitioner).name, _span_words(away, after.zone)
            raise IllegalAct(
                Text(
                    en=f"{after.name} stands in for {name}: {span} (absence {away.id}). Name somebody else there.",
                    zh=f"{after.name} 将代替 {name}：{span}（缺勤 {away.id}）。请先指定其他代班人。",
                )
            )


def _told(ladders: Collection[Ladder]) -> set[str]:
    """Whom the steps tell that are for those on duty; of what is wrong with the house itself, others hear as well."""
    of_patients = (ladder for ladder in ladders_in_force(ladders) if ladder.programme != HOUSE)
    return {step.to for ladder in of_patients for step in ladder.steps if not step.everyone}


def _refuse_substitute(rota: Rota, one: Practitioner, other: Practitioner, absence: Absence) -> None:
    _refuse_the_gone(other)
    if one.roles and not one.roles & other.roles:
        has = _roles(other)
        raise IllegalAct(
            Text(
                en=f"{other.name} ({has.en}) has no role of {one.name} ({_roles(one).en}). Choose somebody who has, "
                "or nobody.",
                zh=f"{other.name}（{has.zh}）没有 {one.name} 的角色（{_roles(one).zh}）。请选择同角色的人，或不选。",
            )
        )
    if away := _absent(rota, other, absence):
        span = _span_words(away, other.zone)
        raise IllegalAct(
            Text(
                en=f"{other.name} is away then too: {span}. Choose somebody else, or nobody.",
                zh=f"{other.name} 届时也缺勤：{span}。请另选他人，或不选。",
            )
        )


def _possible(team: Collection[Practitioner], role: Role | None) -> Text:
    """Those who can be chosen, in a role or in any."""
    fitting = [(one.name, _roles(one)) for one in team if role is None or role in one.roles]
    if role is not None and not fitting:
        return _unfilled(team, role)
    return Text(
        en=f"Possible: {', '.join(f'{name} ({has.en})' for name, has in fitting)}.",
        zh=f"可选：{'、'.join(f'{name}（{has.zh}）' for name, has in fitting)}。",
    )


def _other_role(one: Practitioner, role: Role) -> Text:
    has, wanted = _roles(one), ROLE_WORDS[role]
    return Text(
        en=f"{one.name} is not registered as {wanted.en} but as {has.en}.",
        zh=f"{one.name} 登记的角色是{has.zh}，不是{wanted.zh}。",
    )


def _refuse_the_gone(one: Practitioner) -> None:
    if not one.active:
        raise IllegalAct(
            Text(
                en=f"{one.name} has left. Take {one.name} back first, or choose another person.",
                zh=f"{one.name} 已离开。请先将其恢复，或另选他人。",
            )
        )


def _known(rota: Rota, name: str) -> Practitioner:
    return next(one for one in rota.staff if one.id == name)


def _absent(rota: Rota, one: Practitioner, then: Absence, *, but: int | None = None) -> Absence | None:
    """An absence of somebody that meets another one."""
    mine = (away for away in rota.absences if away.practitioner == one.id and away.id != but)
    return next((away for away in mine if _overlap(away, then)), None)


def _overlap(one: Absence, other: Absence) -> bool:
    return max(one.start, other.start) < min(one.end, other.end)


def _watches_of(
    rota: Rota, shift: Shift, start: datetime, end: datetime, edges: Sequence[datetime]
) -> Iterator[Watch]:
    """One span of a shift, cut where somebody else is there."""
    cuts = [start, *(edge for edge in edges if start < edge < end), end]
    last: Watch | None = None
    for begin, until in pairwise(cuts):
        there = rota.there(shift.practitioner, begin)
        if last and (there is None or there.id != last.practitioner.id):
            yield last
            last = None
        if there is None:
            continue
        whose = shift.practitioner if there.id != shift.practitioner else None
        last = (
            replace(last, end=until) if last else Watch(practitioner=there, start=begin, end=until, instead_of=whose)
        )
    if last:
        yield last


def _spans(shift: Shift, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    first = _today(shift.zone, start) - _DAY
    for begin, until in shift.spans(first, (end - start) // _DAY + 3):
        if begin < end and until > start:
            yield max(begin, start), min(until, end)


def _meet(one: Shift, other: Shift) -> bool:
    first = max(one.first, other.first) - _DAY
    mine, others = (list(each.spans(first, _WEEKS)) for each in (one, other))
    return any(begin < until and start < end for begin, end in mine for start, until in others)


def _today(zone: str, now: datetime) -> date:
    return now.astimezone(ZoneInfo(zone)).date()


def _unfilled(team: Iterable[Practitioner], role: Role) -> Text:
    word, filled = ROLE_WORDS[role], _named({each for one in team for each in one.roles})
    return Text(
        en=f"The team has no {word.en}. Choose a role that somebody has: {filled.en}.",
        zh=f"团队中没有{word.zh}。请选择有人担任的角色：{filled.zh}。",
    )


def _roles(one: Practitioner) -> Text:
    return _named(one.roles)


def _named(roles: Collection[Role]) -> Text:
    words = [ROLE_WORDS[role] for role in Role if role in roles]
    return Text(en=", ".join(each.en for each in words) or "nothing", zh="、".join(each.zh for each in words) or "无")


def _span_words(absence: Absence, zone: str) -> str:
    start, end = (moment.astimezone(ZoneInfo(zone)) for moment in (absence.start, absence.end))
    return f"{start:%Y-%m-%d %H:%M}–{end:%Y-%m-%d %H:%M} ({zone})"
