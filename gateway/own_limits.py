"""The numbers that hold for one patient: by the rule file, and by what was set for the patient in Homeward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final, NamedTuple

from alerts.alert import Text, together
from alerts.rule import Key, LimitsError
from alerts.rules import Applied, Care, Override, RuleBook, parse_overrides, read_overrides
from gateway.people import Entry, Patient, entries

_MOST_GROUPS: Final = 1000


def limits_on(rules: RuleBook, person: Patient, day: date) -> Applied:
    """The numbers that hold for a patient on a day of the patient's clock.

    What was written down under other rules (by an older Homeward, under another rule file) and cannot hold any more
    is left out, number by number, with the reason.
    """
    given, mistakes = read_overrides(person.limits, "patient")
    care = care_of(person)
    if care.programme and care.programme not in rules.programmes:
        mistakes.append(
            Text(
                en=f"there is no programme {care.programme!r} in the rule file; its numbers do not hold.",
                zh=f"规则文件中没有项目 {care.programme!r}，其数值不适用。",
            )
        )
    try:
        applied = rules.apply(person.id, given, day, care)
    except LimitsError as error:  # the file as it is now has nothing for this population in this programme
        mistakes.append(error.text)
        plain = RuleBook(region=rules.region, population=rules.population)
        own = (*rules.own.get(person.id, ()), *given)
        applied = plain.apply(person.id, own, day, rules.care(person.id, care))
    return applied._replace(left_out=(*mistakes, *applied.left_out))


class Holding(NamedTuple):
    """The numbers that hold for a patient on a day, and the next day from which others may (None: never)."""

    applied: Applied
    until: date | None


class Holdings:
    """The numbers that hold for each patient, found once for all who have the same ones."""

    def __init__(self, rules: RuleBook) -> None:
        self._rules = rules
        self._of_groups: dict[tuple[Care, date], Holding] = {}

    def on(self, person: Patient, day: date) -> Holding:
        """As `limits_on` and `changes_after`."""
        if person.limits or self._rules.own.get(person.id):
            return self._found(person, day)
        key = self._rules.care(person.id, care_of(person)), day
        if key not in self._of_groups:
            if len(self._of_groups) >= _MOST_GROUPS:  # of days that are over, mostly
                self._of_groups.clear()
            self._of_groups[key] = self._found(person, day)
        return self._of_groups[key]

    def _found(self, person: Patient, day: date) -> Holding:
        return Holding(limits_on(self._rules, person, day), changes_after(self._rules, person, day))


def refuse_limits(rules: RuleBook, person: Patient, day: date) -> None:
    """Raise LimitsError where the patient's own numbers cannot hold, on this day or a later one."""
    given, mistakes = read_overrides(person.limits, "patient")
    care = care_of(person)
    if care.programme and care.programme not in rules.programmes:
        known = ", ".join(rules.programmes)
        mistakes.append(
            Text(
                en=f"there is no programme {care.programme!r}; the rule file has: {known or 'none'}.",
                zh=f"没有项目 {care.programme!r}；规则文件中有：{known or '无'}。",
            )
        )
    if mistakes:
        raise LimitsError(together(mistakes))
    rules.refuse_contradictions(person.id, given, day, care)


def refuse_change(rules: RuleBook, before: Patient, after: Patient, day: date) -> None:
    """Raise LimitsError where a change makes numbers of the patient that cannot hold.

    What could not be read before stands in nobody's way. What could not hold before, for the rule file was changed
    since, may be taken away one by one.
    """
    gone = [each[:3] for each in unreadable_numbers(before)]
    before, after = (
        replace(person, limits=_by_rule(each for each in entries(person.limits) if each not in gone))
        for person in (before, after)
    )
    try:
        refuse_limits(rules, after, day)
    except LimitsError:
        known = list(entries(before.limits))
        only_less = care_of(before) == care_of(after) and all(each in known for each in entries(after.limits))
        if not only_less or _can_hold(rules, before, day):
            raise


def _can_hold(rules: RuleBook, person: Patient, day: date) -> bool:
    try:
        refuse_limits(rules, person, day)
    except LimitsError:
        return False
    return True


def changes_after(rules: RuleBook, person: Patient, day: date) -> date | None:
    """The next day from which other numbers may hold for a patient."""
    given, _ = read_overrides(person.limits, "patient")
    return rules.changes_after(person.id, given, day, care_of(person))


class OwnNumber(NamedTuple):
    """A number that was set for a patient. entry: as it was written down; override: when it holds, and who set it."""

    key: Key
    value: float
    entry: Mapping[str, Any]
    override: Override


def own_numbers(person: Patient) -> list[OwnNumber]:
    """All that was set for a patient and can be read, whenever it holds, by rule and in the order of writing."""
    return [
        OwnNumber(key, value, entry, override)
        for rule, parameter, entry in entries(person.limits)
        for override in read_overrides({rule: {parameter: entry}}, "patient")[0]
        for key, value in override.given.items()
    ]


class Unreadable(NamedTuple):
    """A number of a patient's own that nothing can be done with any more (its rule is gone): as written, and why."""

    rule: str
    parameter: str
    entry: Mapping[str, Any]
    because: Text


def unreadable_numbers(person: Patient) -> list[Unreadable]:
    """All that was set for a patient and cannot be read, in the order of writing."""
    return [
        Unreadable(rule, parameter, entry, together(mistakes))
        for rule, parameter, entry in entries(person.limits)
        if (mistakes := read_overrides({rule: {parameter: entry}}, "patient")[1])
    ]


def with_number(person: Patient, rule: str, parameter: str, entry: Mapping[str, Any], today: date) -> Patient:
    """The patient with one more number, without those of the same name to which it leaves no day from today on.

    Raises LimitsError for a number that cannot be.
    """
    (new,) = parse_overrides({rule: {parameter: entry}}, "patient")
    outlived = [
        own.entry
        for own in own_numbers(person)
        if own.key[:2] == (rule, parameter) and _outlives(new, own.override, today)
    ]
    kept = [each for each in entries(person.limits) if each[:2] != (rule, parameter) or each[2] not in outlived]
    return replace(person, limits=_by_rule([*kept, (rule, parameter, entry)]))


def without_number(person: Patient, rule: str, parameter: str, entry: Mapping[str, Any]) -> Patient:
    """The patient without a number, given as it was written down. Raises ValueError where there is none such."""
    kept = list(entries(person.limits))
    kept.remove((rule, parameter, entry))
    return replace(person, limits=_by_rule(kept))


def _outlives(new: Override, old: Override, today: date) -> bool:
    begins = new.first is None or new.first <= max(old.first or today, today)
    return begins and (new.last is None or (old.last is not None and old.last <= new.last))


def _by_rule(numbers: Iterable[Entry]) -> dict[str, dict[str, list[Any]]]:
    limits: dict[str, dict[str, list[Any]]] = {}
    for rule, parameter, entry in numbers:
        limits.setdefault(rule, {}).setdefault(parameter, []).append(entry)
    return limits


def care_of(person: Patient) -> Care:
    """Where a patient belongs, as far as Homeward was told."""
    return Care(person.population, person.programme)
