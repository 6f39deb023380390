"""The catalogue: every rule, and whose numbers hold.

The rules are values at the top of the modules of their families. Each parameter has a default for an adult by
international guidelines, other defaults for populations and regions, bounds and a source. What is set over it, for
the clinic, a population, a programme or one patient, is an `Override` with its author and the days for which it
holds; the narrower one counts. What is set for a clinic or a programme never has a population watched less closely
than that population's own number does, unless it is set for the population by name. A number without unit, out of
its bounds, or one that contradicts another is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from alerts import device_rules, review_rules, sensor_rules, spot_rules
from alerts.alert import Text, together
from alerts.rule import (
    DAYS,
    HOURS,
    MG_DL,
    MIN,
    MMOL_L,
    POPULATIONS,
    REGIONS,
    SWITCH,
    Comparison,
    ContradictionError,
    Group,
    Key,
    Limits,
    LimitsError,
    Parameter,
    Rule,
)
from ingest.vital import MG_DL_PER_MMOL_L

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            *sensor_rules.SENSOR_RULES,
            *spot_rules.SPOT_RULES,
            *review_rules.REVIEW_RULES,
            *device_rules.DEVICE_RULES,
            device_rules.CHANNEL_DEAD,
        )
    }
)
# A trouble is called by its mildest rule.
PROBLEMS: Final[Mapping[str, Text]] = MappingProxyType(
    {rule.problem: rule.title for rule in sorted(RULES.values(), key=lambda rule: rule.priority)[::-1]}
)
PARAMETERS: Final[Mapping[Key, Parameter]] = MappingProxyType(
    {
        Key(rule.name, parameter.name, parameter.unit): parameter
        for rule in RULES.values()
        for parameter in rule.parameters
    }
)

# (this number, that number): this must not be above that. Checked in every unit both have.
_FAMILIES: Final = (sensor_rules, spot_rules, review_rules, device_rules)
_NOT_ABOVE: Final[tuple[tuple[tuple[str, str], tuple[str, str]], ...]] = tuple(
    pair for family in _FAMILIES for pair in family.NOT_ABOVE
)
_PAIRS: Final = tuple((key, Key(*high, key.unit)) for low, high in _NOT_ABOVE for key in PARAMETERS if key[:2] == low)
# (a number, another one, whether that is from below): it moves along where it was not given and would stand on the
# wrong side.
_FOLLOWERS: Final = tuple(
    (key, Key(key.rule, leader, key.unit), ((key.rule, leader), key[:2]) in _NOT_ABOVE)
    for family in _FAMILIES
    for (rule, name), leader in family.FOLLOWS.items()
    for key in PARAMETERS
    if key[:2] == (rule, name)
)


_CALLED: Final = {Group.ADULT.value: "成人", Group.OLDER.value: "老年", Group.PREGNANCY.value: "妊娠"}
_TIMES: Final = frozenset({MIN, HOURS, DAYS})
_FROM_BELOW: Final = frozenset({Comparison.BELOW, Comparison.AT_MOST})
_LINES: Final = Text(en="\n", zh="\n")
# A day as people write it: 2026-03-01, 2026/3/1, 2026.3.1, 2026年3月1日.
_DAY: Final = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Numbers that somebody has set for a time. first and last are days, both included; None: always.

    scope: "clinic", "population NAME", "programme NAME" or "patient ID", as it is told with the number. entered_at:
    when it was written down (ISO 8601), empty where that is not known.
    """

    given: Mapping[Key, float]
    scope: str
    author: str = ""
    entered_at: str = ""
    first: date | None = None
    last: date | None = None

    def holds(self, day: date) -> bool:
        """Whether it holds on this day."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    @property
    def source(self) -> Text:
        """By whom the number was set, for whom and since when."""
        kind, _, name = self.scope.partition(" ")
        en = {
            "clinic": "set by the clinic",
            "population": f"set by the clinic for {name}",
            "programme": f"set for programme {name}",
        }.get(kind, "set for this patient")
        zh = {
            "clinic": "由医疗机构设定",
            "population": f"由医疗机构为{_CALLED.get(name)}人群设定",
            "programme": f"为项目 {name} 设定",
        }.get(kind, "为该患者单独设定")
        if self.author:
            en, zh = f"{en} by {self.author}", f"{zh}（{self.author}）"
        if self.first:
            en, zh = f"{en}, {self.first}", f"{zh}，{self.first}"
        return Text(en=en, zh=zh)


def limits_for(
    overrides: Iterable[Override] = (),
    *,
    population: Group = Group.ADULT,
    region: Group = Group.INTERNATIONAL,
    meant_for: Group | None = None,
) -> Limits:
    """The numbers that hold with these overrides, the narrower ones later.

    meant_for: the population that a clinic's and a programme's numbers are meant for, None: this one. A glucose limit
    given in one unit holds in the other one too, converted and rounded to what a display can show (1 mg/dL,
    0.1 mmol/L), unless that is given as well. Raises ContradictionError where some contradict each other.
    """
    holding = list(overrides)
    usual_values, usual_sources = _defaults((region, population))
    values, sources = dict(usual_values), dict(usual_sources)
    of_population = _numbers_of(population, meant_for or population, region, holding)
    own: set[Key] = set()
    told: list[Key] = []
    patients: dict[Key, float] = {}
    for override in holding:
        left = _left_out(override, of_population)
        said = {key: value for key, value in override.given.items() if key not in left}
        given = {**_other_units(said), **said}
        told += said
        values.update(given)
        sources.update(dict.fromkeys(given, override.source))
        own.update(given)
        if override.scope.startswith("patient"):
            patients.update(said)
    for key, leader, from_below in _FOLLOWERS:
        if key not in own:
            values[key] = (max if from_below else min)(values[key], values[leader])
    limits = Limits(given=MappingProxyType(patients), values=values, sources=sources)
    _refuse_contradictions(limits, told)
    return limits


def _numbers_of(
    population: Group, meant_for: Group, region: Group, overrides: Iterable[Override]
) -> Mapping[Key, float]:
    """A population's own numbers, which what is meant for another one does not loosen: where either has a default."""
    if population is meant_for:
        return {}
    usual, _ = _defaults((region, population))
    own = {
        key: usual[key]
        for key, parameter in PARAMETERS.items()
        if not parameter.variants.keys().isdisjoint({population, meant_for})
    }
    for override in overrides:
        if override.scope.startswith("population"):
            own.update({**_other_units(override.given), **override.given})
    return own


def _left_out(override: Override, of_population: Mapping[Key, float]) -> Mapping[Key, float]:
    """The numbers of a clinic or a programme by which a population would be watched less closely: its own instead."""
    if not override.scope.startswith(("clinic", "programme")):
        return {}
    return {
        key: of_population[key]
        for key, value in override.given.items()
        if key in of_population and _is_laxer(key, value, of_population[key])
    }


def _is_laxer(key: Key, value: float, other: float) -> bool:
    """Whether somebody hears later or less often of a number than of another one."""
    if key.unit in _TIMES:
        return value > other
    rises = key.unit in {SWITCH, spot_rules.PRIORITY} or RULES[key.rule].comparison in _FROM_BELOW
    return value < other if rises else value > other


@lru_cache
def _defaults(groups: tuple[Group, ...]) -> tuple[Mapping[Key, float], Mapping[Key, Text]]:
    found = {key: parameter.of(groups) for key, parameter in PARAMETERS.items()}
    return {key: each.default for key, each in found.items()}, {key: each.source for key, each in found.items()}


def _other_units(given: Mapping[Key, float]) -> dict[Key, float]:
    out = {}
    for key, value in given.items():
        if key.unit == MG_DL:
            out[key._replace(unit=MMOL_L)] = round(value / MG_DL_PER_MMOL_L, 1)
        elif key.unit == MMOL_L and key._replace(unit=MG_DL) in PARAMETERS:
            out[key._replace(unit=MG_DL)] = float(round(value * MG_DL_PER_MMOL_L))
    return out


def _refuse_contradictions(limits: Limits, told: Sequence[Key]) -> None:
    """told: the numbers as they were given, the newest last."""
    wrong = [(low, high) for low, high in _PAIRS if limits.values[low] > limits.values[high]]
    if wrong:
        units = [key.unit for key in reversed(told)]
        # Of two units the one in which people speak there, else the first.
        wrong.sort(key=lambda pair: units.index(pair[0].unit) if pair[0].unit in units else len(units))
        once = {(low[:2], high[:2]): (low, high) for low, high in reversed(wrong)}
        said = [
            Text(
                en=f"{low.rule}.{low.parameter} is {limits.values[low]:g} {low.unit}, above "
                f"{high.rule}.{high.parameter} with {limits.values[high]:g} {high.unit}. Change one of the two.",
                zh=f"{low.rule}.{low.parameter} 为 {limits.values[low]:g} {low.unit}，高于 "
                f"{high.rule}.{high.parameter} 的 {limits.values[high]:g} {high.unit}。请修改其中一个。",
            )
            for low, high in reversed(once.values())
        ]
        raise ContradictionError(together(said), frozenset(key for pair in wrong for key in pair))


DEFAULTS: Final = limits_for()


def parse_limits(data: Mapping[str, Any]) -> Limits:
    """Read a patient's limits over the defaults of an adult, all as if they held now; see `parse_overrides`."""
    return limits_for(parse_overrides(data, "patient")) if data else DEFAULTS


def parse_overrides(data: Mapping[str, Any], scope: str) -> list[Override]:
    """Read {rule: {parameter: {"value": number, "unit": unit}}}, or a list of such for two units or two times.

    Each may say "author", "entered_at", and "from" and "to" (days as YYYY-MM-DD, or dates). What stands later counts.
    Raises LimitsError, with every mistake, for a rule, parameter or unit that does not exist, and a number without
    unit or out of bounds.
    """
    found, mistakes = read_overrides(data, scope)
    if mistakes:
        raise LimitsError(together(mistakes))
    return found


def read_overrides(data: Mapping[str, Any], scope: str, *, toml: bool = False) -> tuple[list[Override], list[Text]]:
    """As `parse_overrides`: what can be used, and a sentence for each that cannot. toml: of a rule file."""
    found: dict[_Said, dict[Key, float]] = {}
    mistakes: list[Text] = []
    for rule_name, name, entry in _entries(data, mistakes):
        try:
            key, value = parse_number(RULES[rule_name], name, entry, toml=toml)
            given = found.setdefault(_said(f"{rule_name}.{name}", entry), {})
        except LimitsError as error:
            mistakes.append(error.text)
            continue
        if key in given:
            mistakes.append(
                Text(
                    en=f"{rule_name}.{name}: given twice in {key.unit}. Keep one.",
                    zh=f"{rule_name}.{name}：以 {key.unit} 给出了两次。请保留一个。",
                )
            )
        given[key] = value
    return [
        Override(given=MappingProxyType(given), scope=scope, **said._asdict()) for said, given in found.items()
    ], mistakes


# What may be said with a number.
_SAID: Final = frozenset({"value", "unit", "author", "from", "to", "entered_at"})


def _entries(data: Mapping[str, Any], mistakes: list[Text]) -> Iterable[tuple[str, str, Any]]:
    """(rule, parameter, what is said of it) of every number of the rules that there are."""
    for rule_name, parameters in data.items():
        if rule_name not in RULES:
            mistakes.append(no_such_rule(rule_name))
        elif not isinstance(parameters, Mapping):
            form = '{parameter: {"value": ..., "unit": ...}}'
            mistakes.append(Text(en=f"{rule_name}: expected {form}.", zh=f"{rule_name}：应写作 {form}。"))
        else:
            for name, entries in parameters.items():
                yield from (
                    (rule_name, name, entry) for entry in (entries if isinstance(entries, list) else [entries])
                )


def no_such_rule(name: str) -> Text:
    """That a rule is not in the catalogue, and which it may be."""
    near = get_close_matches(name, RULES, 3)
    en, zh = (f" Did you mean {' or '.join(near)}?", f"您要找的是 {' 或 '.join(near)} 吗？") if near else ("", "")
    return Text(
        en=f"{name}: there is no such rule.{en} `homeward rules list` names all.",
        zh=f"{name}：没有这条规则。{zh}`homeward rules list` 列出全部规则。",
    )


def parse_number(rule: Rule, name: str, entry: Any, *, toml: bool = False) -> tuple[Key, float]:
    """Read one number of a rule: a mapping with "value" and "unit". Raises LimitsError.

    toml: how to write it is told in TOML, else in JSON.
    """
    where = f"{rule.name}.{name}"
    units = [parameter.unit for parameter in rule.parameters if parameter.name == name]
    if not units:
        names = sorted({parameter.name for parameter in rule.parameters}) or ["none"]
        raise LimitsError(
            Text(
                en=f"{where}: this rule has no such parameter. Use one of: {', '.join(names)}.",
                zh=f"{where}：该规则没有这个参数。可用的参数：{', '.join(names)}。",
            )
        )
    default = f"{PARAMETERS[Key(rule.name, name, units[0])].default:g}"
    example = f'{{"value": {default}, "unit": "{units[0]}"}}'
    if toml:
        example = f'{{ value = {default}, unit = "{units[0]}" }}'
    if not isinstance(entry, Mapping) or "unit" not in entry:
        raise LimitsError(
            Text(
                en=f"{where}: a number without a unit is refused. Write it as {example}.",
                zh=f"{where}：不接受没有单位的数值。请写作 {example}。",
            )
        )
    if "value" not in entry:
        raise LimitsError(
            Text(
                en=f"{where}: the value is missing. Write it as {example}.",
                zh=f"{where}：缺少 value。请写作 {example}。",
            )
        )
    for stranger in map(str, entry.keys() - _SAID):
        near = get_close_matches(stranger, _SAID, 1)
        en, zh = (f" Did you mean {near[0]}?", f"是否应为 {near[0]}？") if near else ("", "")
        raise LimitsError(
            Text(
                en=f"{where}: {stranger!r} is nothing that a number says.{en} It says value and unit, and may say "
                "author, from and to.",
                zh=f"{where}：数值中没有 {stranger!r} 这一项。{zh}应写 value 和 unit，还可写 author、from 和 to。",
            )
        )
    value, unit = entry["value"], entry["unit"]
    if unit not in units:
        raise LimitsError(
            Text(
                en=f"{where}: unit {unit!r} does not fit. Use {' or '.join(units)}, for example {example}.",
                zh=f"{where}：单位 {unit!r} 不适用。请用 {' 或 '.join(units)}，例如 {example}。",
            )
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LimitsError(
            Text(
                en=f"{where}: {value!r} is not a number. Write it as {example}.",
                zh=f"{where}：{value!r} 不是数字。请写作 {example}。",
            )
        )
    parameter = PARAMETERS[key := Key(rule.name, name, unit)]
    if unit == SWITCH and value not in (0, 1):
        raise LimitsError(
            Text(
                en=f"{where}: {value:g} is neither 1 (on) nor 0 (off). Write one of them.",
                zh=f"{where}：{value:g} 既不是 1（开）也不是 0（关）。请填写其中之一。",
            )
        )
    if not parameter.lower <= value <= parameter.upper:
        lower, upper, usual = (f"{number:g}" for number in (parameter.lower, parameter.upper, parameter.default))
        raise LimitsError(
            Text(
                en=f"{where}: {value:g} {unit} is not safe. "
                f"Choose a value from {lower} to {upper} {unit} (default {usual}).",
                zh=f"{where}：{value:g} {unit} 不安全。请选 {lower} 至 {upper} {unit}（默认 {usual}）。",
            )
        )
    return key, float(value)


class _Said(NamedTuple):
    author: str
    first: date | None
    last: date | None
    entered_at: str


def _said(where: str, entry: Mapping[str, Any]) -> _Said:
    first, last = _day(where, entry.get("from")), _day(where, entry.get("to"))
    if first and last and last < first:
        raise LimitsError(
            Text(
                en=f"{where}: it would end on {last}, before it begins on {first}. Exchange the two days.",
                zh=f"{where}：截止日 {last} 早于起始日 {first}。请对调这两天。",
            )
        )
    author = entry.get("author", "")
    if not isinstance(author, str):
        raise LimitsError(
            Text(
                en=f"{where}: the author {author!r} is not a name. Write it in quotes.",
                zh=f"{where}：author {author!r} 不是姓名。请加引号书写。",
            )
        )
    return _Said(author.strip(), first, last, str(entry.get("entered_at", "")))


def _day(where: str, said: Any) -> date | None:
    if said is None or type(said) is date:
        return said
    try:
        return date(*map(int, _DAY.fullmatch(said).groups()))  # type: ignore[union-attr]
    except (TypeError, ValueError, AttributeError):
        raise LimitsError(
            Text(
                en=f"{where}: {said!r} is not a day. Write it as 2026-03-01.",
                zh=f"{where}：{said!r} 不是日期。请写作 2026-03-01。",
            )
        ) from None


class Care(NamedTuple):
    """Where a patient belongs; None: as the rule file says."""

    population: Group | None = None
    programme: str | None = None


NOWHERE: Final = Care()


class Applied(NamedTuple):
    """The numbers that hold for a patient on a day, and those that would without the patient's own.

    own: what was set for the patient and holds. left_out: a sentence for each number of the patient that does not,
    because it contradicts another one.
    """

    limits: Limits
    usual: Limits
    own: Sequence[Override] = ()
    left_out: Sequence[Text] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """What a clinic has set: its region and usual population, who belongs where, and its overrides.

    patients: by id, where each belongs. populations: what is set for each by name; what is set for the clinic and its
    programmes is meant for `population`.
    """

    region: Group = Group.INTERNATIONAL
    population: Group = Group.ADULT
    clinic: Sequence[Override] = ()
    populations: Mapping[Group, Sequence[Override]] = field(default_factory=dict)
    programmes: Mapping[str, Sequence[Override]] = field(default_factory=dict)
    patients: Mapping[str, Care] = field(default_factory=dict)
    own: Mapping[str, Sequence[Override]] = field(default_factory=dict)

    def care(self, patient: str, said: Care = NOWHERE) -> Care:
        """Where a patient belongs. said: what was set for the patient besides the file, which counts more."""
        population, programme = self.patients.get(patient, NOWHERE)
        return Care(said.population or population, said.programme or programme)

    def limits(self, patient: str, given: Sequence[Override], day: date, care: Care = NOWHERE) -> Limits:
        """The numbers that hold for a patient on a day; given: the patient's own besides those of the file."""
        population = self.care(patient, care).population
        holding = [override for override in self._layers(patient, given, care) if override.holds(day)]
        if not holding and population is None and self == PLAIN:
            return DEFAULTS
        return limits_for(
            holding,
            population=population or self.population,
            region=self.region,
            meant_for=self.population,
        )

    def left_out(self, override: Override, population: Group, day: date) -> Mapping[Key, float]:
        """Which numbers of the clinic or a programme do not hold for a population on a day, and its own instead."""
        by_name = [each for each in self.populations.get(population, ()) if each.holds(day)]
        return _left_out(override, _numbers_of(population, self.population, self.region, by_name))

    def apply(self, patient: str, given: Sequence[Override], day: date, care: Care = NOWHERE) -> Applied:
        """The numbers that hold, without those of the patient's own that contradict others."""
        usual = self.limits(patient, (), day, care)
        own = [override for override in given if override.holds(day)]
        left_out: list[Text] = []
        while True:
            try:
                return Applied(self.limits(patient, own, day, care) if own else usual, usual, own, left_out)
            except ContradictionError as error:
                left_out.append(error.text)
                kept = _without(own, error.keys)
                own = kept if kept != own else []

    def refuse_contradictions(self, patient: str, given: Sequence[Override], day: date, care: Care = NOWHERE) -> None:
        """Raise ContradictionError where the patient's own numbers contradict others, on this day or a later one."""
        then: date | None = day
        while then is not None:
            self.limits(patient, given, then, care)
            then = self.changes_after(patient, given, then, care)

    def changes_after(self, patient: str, given: Sequence[Override], day: date, care: Care = NOWHERE) -> date | None:
        """The next day from which other numbers may hold for a patient."""
        days = [
            moment
            for override in self._layers(patient, given, care)
            for moment in (override.first, override.last and _day_after(override.last))
            if moment and moment > day
        ]
        return min(days, default=None)

    def _layers(self, patient: str, given: Sequence[Override], care: Care) -> Sequence[Override]:
        population, programme = self.care(patient, care)
        by_name = self.populations.get(population or self.population, ())
        return (*self.clinic, *by_name, *self.programmes.get(programme or "", ()), *self.own.get(patient, ()), *given)


def _day_after(day: date) -> date:
    return day if day == date.max else date.fromordinal(day.toordinal() + 1)


def _without(own: Sequence[Override], keys: frozenset[Key]) -> list[Override]:
    """What was set without these numbers, in whatever unit they were given, and without what moved them."""
    names = {key[:2] for key in keys} | {leader[:2] for key, leader, _ in _FOLLOWERS if key in keys}
    kept = [
        replace(
            each, given=MappingProxyType({key: value for key, value in each.given.items() if key[:2] not in names})
        )
        for each in own
    ]
    return [each for each in kept if each.given]


PLAIN: Final = RuleBook()


def parse_book(data: Mapping[str, Any]) -> RuleBook:
    """Read a rule file (TOML, docs/rules.md). Raises LimitsError with every mistake, whose it is and what to do."""
    reader = _BookReader()
    book = reader.book(data)
    if not reader.mistakes:
        reader.refuse_contradictions(book)
    if reader.mistakes:
        raise LimitsError(together(reader.mistakes, _LINES))
    return book


class _BookReader:
    """Reads a rule file, and gathers a line for each mistake."""

    def __init__(self) -> None:
        self.mistakes: list[Text] = []

    def _note(self, where: str, en: str, zh: str) -> None:
        self.mistakes.append(Text(en=f"{where}: {en}", zh=f"{where}：{zh}"))

    def book(self, data: Mapping[str, Any]) -> RuleBook:
        """What can be used of the file."""
        known = ("region", "population", "clinic", *POPULATIONS, "programme", "patient")
        for key in sorted(set(data) - set(known)):
            keys = ", ".join(sorted(known))
            self._note(key, f"there is no such key. Use one of: {keys}.", f"没有这个键。可用的键：{keys}。")
        programmes = {
            name: self._overrides(f"programme.{name}", rules, f"programme {name}")
            for name, rules in self._tables(data, "programme")
        }
        patients: dict[str, Care] = {}
        own: dict[str, list[Override]] = {}
        for name, said in self._tables(data, "patient"):
            rules = dict(said)
            patients[name] = self._care(f"patient.{name}", rules, programmes)
            own[name] = self._overrides(f"patient.{name}", rules, f"patient {name}")
        return RuleBook(
            region=self._group("region", data.get("region"), REGIONS) or Group.INTERNATIONAL,
            population=self._group("population", data.get("population"), POPULATIONS) or Group.ADULT,
            clinic=self._overrides("clinic", self._table("clinic", data.get("clinic", {})), "clinic"),
            populations={
                group: self._overrides(group, self._table(group, data[group]), f"population {group}")
                for group in POPULATIONS
                if group in data
            },
            programmes=programmes,
            patients=patients,
            own=own,
        )

    def refuse_contradictions(self, book: RuleBook) -> None:
        """Note the patients, named ones and all others, whose numbers contradict each other on some day."""
        for patient in ("", *book.patients):
            try:
                book.refuse_contradictions(patient, (), date.min)
            except ContradictionError as error:
                whose = f"patient.{patient}" if patient else "clinic"
                if not any(error.text.en in known.en for known in self.mistakes):  # the clinic's are everybody's
                    self._note(whose, error.text.en, error.text.zh)

    def _care(self, where: str, rules: dict[str, Any], programmes: Mapping[str, object]) -> Care:
        """Where a patient belongs; taken out of what the file says of the patient."""
        population, programme = rules.pop("population", None), rules.pop("programme", None)
        if programme is not None and str(programme) not in programmes:
            self._note(
                where,
                f"there is no programme {programme!r}. Write a table [programme.{programme}].",
                f"没有项目 {programme!r}。请写表 [programme.{programme}]。",
            )
        return Care(self._group(f"{where}.population", population, POPULATIONS), programme)

    def _overrides(self, where: str, rules: Mapping[str, Any], scope: str) -> list[Override]:
        found, mistakes = read_overrides(rules, scope, toml=True)
        self.mistakes += [Text(en=f"{where}.{mistake.en}", zh=f"{where}.{mistake.zh}") for mistake in mistakes]
        return found

    def _tables(self, data: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
        tables = self._table(key, data.get(key, {}))
        return [(name, self._table(f"{key}.{name}", table)) for name, table in tables.items()]

    def _table(self, where: str, said: Any) -> Mapping[str, Any]:
        if isinstance(said, Mapping):
            return said
        self._note(
            where,
            f"expected a table, found {said!r}. Write [{where}] above its lines.",
            f"应为一张表，却是 {said!r}。请在其各行之上写 [{where}]。",
        )
        return {}

    def _group(self, where: str, said: Any, among: Sequence[Group]) -> Group | None:
        if said is None or said in among:
            return None if said is None else Group(said)
        names = ", ".join(among)
        self._note(where, f"{said!r} is not known. Use one of: {names}.", f"{said!r} 未知。可用：{names}。")
        return None
