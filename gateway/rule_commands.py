"""`homeward rules list`, `show RULE` and `check FILE`."""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final, NamedTuple

from alerts.alert import Text
from alerts.rule import POPULATIONS, Group, Key, Limits, LimitsError, Parameter, Rule
from alerts.rules import DEFAULTS, NOWHERE, PROBLEMS, RULES, Care, Override, RuleBook, limits_for, no_such_rule
from gateway.clock import SystemClock
from gateway.language import Language
from gateway.rule_file import load_rules
from gateway.terminal import printable
from gateway.words import AUDIENCES, GROUPS, N_, PARAMETERS, PRIORITIES, VITALS

_KEPT: Final = N_(
    "Where a population has a number of its own, one of [clinic] or [programme.NAME] that has it watched less "
    "closely does not hold for it; one of {names} does."
)
_ORDINARY: Final = frozenset({Group.INTERNATIONAL, Group.ADULT})


def run(options: argparse.Namespace) -> int:
    """Run the action that was given. Exit status: 0 done, 2 the rule or the file cannot be used."""
    try:
        return {"list": _list, "show": _show, "check": _check}[options.action](options)
    except LimitsError as error:
        print(_say(error.text, options), file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([_object(rule) for rule in RULES.values()], ensure_ascii=False))
        return 0
    width = max(map(len, RULES))
    for rule in RULES.values():
        audience, priority = rule.audience.value, rule.priority.name.lower()
        print(f"{rule.name:<{width}}  {audience:<7}  {priority:<6}  {_say(rule.title, options)}")
    return 0


def _show(options: argparse.Namespace) -> int:
    rule = RULES.get(options.rule)
    if rule is None:
        raise LimitsError(no_such_rule(options.rule))
    if options.json:
        print(json.dumps(_object(rule), ensure_ascii=False))
        return 0
    language = _language(options)
    print(f"{rule.name}: {language.text(rule.title)}")
    vitals = ", ".join(language.gettext(VITALS[vital]) for vital in rule.vitals)
    about = language.text(PROBLEMS[rule.problem])
    audience, priority = language.gettext(AUDIENCES[rule.audience]), language.gettext(PRIORITIES[rule.priority])
    said = language.gettext("about: {problem}; {vitals}; first to {audience}; {priority}")
    print(said.format(problem=about, vitals=vitals, audience=audience, priority=priority))
    for parameter in rule.parameters:
        number, bounds = _number(parameter.default, parameter), _bounds(parameter, language)
        meaning = language.gettext(PARAMETERS[parameter.name])
        print(f"  {parameter.name} ({meaning}): {number} ({bounds}): {language.text(parameter.source)}")
        for group, variant in parameter.variants.items():
            who = language.gettext(GROUPS[group])
            print(f"    {who}: {_number(variant.default, parameter)}: {language.text(variant.source)}")
    names = ", ".join(
        f"[{each}]" for each in POPULATIONS if any(each in parameter.variants for parameter in rule.parameters)
    )
    if names:
        print(language.gettext(_KEPT).format(names=names))
    return 0


def _check(options: argparse.Namespace) -> int:
    book, language = load_rules(options.file), _language(options)
    can, region, population = (
        language.gettext(message) for message in ("can be used", GROUPS[book.region], GROUPS[book.population])
    )
    print(f"{options.file}: {can}: {region}, {population}")
    today = SystemClock().now().astimezone().date()
    sections = list(_sections(book, today, language))
    widths = [max(map(_width, column)) for column in zip(*(row for _, rows in sections for row in rows), strict=True)]
    for title, rows in sections:
        print(f"\n{printable(title)}")
        for row in rows:
            cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
            print(printable(f"  {'  '.join(cells)}".rstrip()))
    for group in POPULATIONS:
        try:
            book.refuse_contradictions("", (), today, Care(group))
        except LimitsError as error:
            said = language.gettext("{group}: {because} Whoever belongs there gets the defaults alone.")
            who = language.gettext(GROUPS[group])
            print(f"\n{printable(said.format(group=who, because=language.text(error.text)))}")
    return 0


class _Row(NamedTuple):
    """A number of a rule file: which, how much, what holds without it, what it means, when it holds, who set it."""

    name: str
    number: str
    usual: str
    meaning: str
    days: str = ""
    author: str = ""


def _sections(book: RuleBook, today: date, language: Language) -> Iterator[tuple[str, list[_Row]]]:
    """What the file changes, for whom: other defaults first, then what is set, the narrower the later."""
    usual = limits_for(population=book.population, region=book.region)
    if usual.values != DEFAULTS.values:
        groups = [group for group in (book.region, book.population) if group not in _ORDINARY]
        yield _title(groups, language), _others(DEFAULTS, usual, language)
    for group in POPULATIONS:
        names = [name for name, care in book.patients.items() if care.population is group]
        if names and group is not book.population:
            others = limits_for(population=group, region=book.region)
            yield f"{_title([group], language)}: {', '.join(names)}", _others(usual, others, language)
    if book.clinic:
        yield "[clinic]", _set(book.clinic, usual, today, language)
        yield from _kept(book, None, today, language)
    for group, overrides in book.populations.items():
        others = limits_for(population=group, region=book.region)
        before = _without(replace(book, populations={}), "", today, others, Care(group))
        yield f"[{group}]", _set(overrides, before, today, language)
    for programme, overrides in book.programmes.items():
        names = [name for name, care in book.patients.items() if care.programme == programme]
        before = _without(replace(book, programmes={}), "", today, usual)
        yield f"[programme.{programme}]: {', '.join(names) or '–'}", _set(overrides, before, today, language)
        yield from _kept(book, programme, today, language)
    for name, (population, in_programme) in book.patients.items():
        belongs = ", ".join(
            each for each in (population and language.gettext(GROUPS[population]), in_programme) if each
        )
        before = _without(replace(book, own={}), name, today, usual)
        yield f"[patient.{name}]{f': {belongs}' if belongs else ''}", _set(book.own[name], before, today, language)


def _title(groups: Sequence[Group], language: Language) -> str:
    names = ", ".join(language.gettext(GROUPS[group]) for group in groups)
    return language.gettext("{groups}, other defaults").format(groups=names)


def _kept(book: RuleBook, programme: str | None, today: date, language: Language) -> Iterator[tuple[str, list[_Row]]]:
    """The numbers of the clinic or a programme that do not hold for a population, with the one that does."""
    where = f"programme.{programme}" if programme else "clinic"
    for group in POPULATIONS:
        usual = limits_for(population=group, region=book.region)
        rows = []
        for override in book.programmes[programme] if programme else book.clinic:
            day = max(today, override.first or today)
            if not override.holds(day):
                continue
            holding = _without(book, "", day, usual, Care(group, programme))
            rows += [
                _row(key, holding.values[key], holding, language)._replace(
                    usual=language.gettext("not {n}").format(n=f"{override.given[key]:g}"),
                    days=_days(override, today, language),
                    author=override.author,
                )
                for key in book.left_out(override, group, day)
            ]
        if rows:
            title = language.gettext("{group}, kept: [{where}] would have it watched less closely; [{name}] may")
            yield title.format(group=language.gettext(GROUPS[group]), where=where, name=group), rows


def _without(book: RuleBook, patient: str, today: date, usual: Limits, care: Care = NOWHERE) -> Limits:
    """The numbers that hold on a day by what is left of a rule file."""
    try:
        return book.limits(patient, (), today, care)
    except LimitsError:  # what was left out made it whole
        return usual


def _others(before: Limits, after: Limits, language: Language) -> list[_Row]:
    return [_row(key, value, before, language) for key, value in after.values.items() if value != before.values[key]]


def _set(overrides: Sequence[Override], before: Limits, today: date, language: Language) -> list[_Row]:
    return [
        _row(key, value, before, language)._replace(days=_days(override, today, language), author=override.author)
        for override in overrides
        for key, value in override.given.items()
    ]


def _row(key: Key, value: float, before: Limits, language: Language) -> _Row:
    return _Row(
        name=f"{key.rule}.{key.parameter}",
        number=f"{value:g} {key.unit}",
        usual=language.gettext("usually {n}").format(n=f"{before.values[key]:g}"),
        meaning=f"{language.text(RULES[key.rule].title)}, {language.gettext(PARAMETERS[key.parameter])}",
    )


def _days(override: Override, today: date, language: Language) -> str:
    ends = (("from {day}", override.first), ("to {day}", override.last))
    days = " ".join(language.gettext(message).format(day=day) for message, day in ends if day)
    if override.holds(today):
        return days
    over = override.last is not None and override.last < today
    return f"{days} ({language.gettext('has expired') if over else language.gettext('has not begun')})"


def _width(text: str) -> int:
    """On a terminal, where a Chinese character is as wide as two others."""
    return sum(2 if unicodedata.east_asian_width(char) in "FW" else 1 for char in text)


def _language(options: argparse.Namespace) -> Language:
    return Language("zh_CN" if options.lang == "zh" else "en")


def _say(text: Text, options: argparse.Namespace) -> str:
    return text.zh if options.lang == "zh" else text.en


def _number(value: float, parameter: Parameter) -> str:
    return f"{value:g} {parameter.unit}"


def _bounds(parameter: Parameter, language: Language) -> str:
    return language.gettext("{lower} to {upper}").format(lower=f"{parameter.lower:g}", upper=f"{parameter.upper:g}")


def _object(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "title": {"en": rule.title.en, "zh": rule.title.zh},
        "problem": rule.problem,
        "vitals": list(rule.vitals),
        "priority": rule.priority.name.lower(),
        "audience": rule.audience,
        "parameters": [
            {
                "name": parameter.name,
                "unit": parameter.unit,
                "default": parameter.default,
                "lower": parameter.lower,
                "upper": parameter.upper,
                "source": {"en": parameter.source.en, "zh": parameter.source.zh},
                "variants": {
                    group: {"default": variant.default, "source": {"en": variant.source.en, "zh": variant.source.zh}}
                    for group, variant in parameter.variants.items()
                },
            }
            for parameter in rule.parameters
        ],
    }
