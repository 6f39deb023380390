"""The numbers that hold for one patient: by the rule file, and by what was set for the patient in Homeward."""

from __future__ import annotations

from datetime import date

from alerts.rule import LimitsError
from alerts.rules import Applied, Care, Override, RuleBook, read_overrides
from gateway.people import Patient


def limits_on(rules: RuleBook, person: Patient, day: date) -> Applied:
    """The numbers that hold for a patient on a day of the patient's clock.

    What was written down under other rules (by an older Homeward, under another rule file) and cannot hold any more
    is left out, number by number, with the reason.
    """
    given, mistakes = read_overrides(person.limits, "patient")
    care = care_of(person)
    if care.programme and care.programme not in rules.programmes:
        mistakes.append(f"there is no programme {care.programme!r} in the rule file; its numbers do not hold.")
    try:
        applied = rules.apply(person.id, given, day, care)
    except LimitsError as error:  # the file as it is now has nothing for this population in this programme
        mistakes.append(str(error))
        applied = rules.apply(person.id, given, day)
    return applied._replace(left_out=(*mistakes, *applied.left_out))


def refuse_limits(rules: RuleBook, person: Patient, day: date) -> None:
    """Raise LimitsError where the patient's own numbers cannot hold, on this day or a later one."""
    given, mistakes = read_overrides(person.limits, "patient")
    care = care_of(person)
    if care.programme and care.programme not in rules.programmes:
        known = ", ".join(rules.programmes) or "none"
        mistakes.append(f"there is no programme {care.programme!r}; the rule file has: {known}.")
    if mistakes:
        raise LimitsError(" ".join(mistakes))
    rules.refuse_contradictions(person.id, given, day, care)


def changes_after(rules: RuleBook, person: Patient, day: date) -> date | None:
    """The next day from which other numbers may hold for a patient."""
    given, _ = read_overrides(person.limits, "patient")
    return rules.changes_after(person.id, given, day, care_of(person))


def own_numbers(person: Patient) -> list[Override]:
    """All that was set for a patient, whenever it holds, in the order in which it was written."""
    return read_overrides(person.limits, "patient")[0]


def care_of(person: Patient) -> Care:
    """Where a patient belongs, as far as Homeward was told."""
    return Care(person.population, person.programme)
