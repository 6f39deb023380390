"""What a rule is: a name, a trouble, an audience, and numbers with their unit, bounds and source.

Glucose limits exist in mg/dL and in mmol/L and are compared in the unit received, because 3.9 mmol/L is 70.26 mg/dL.
Blood-pressure limits exist in mmHg only: no guideline gives home limits in kPa.
The rules themselves stand at the top of the modules that judge them; `alerts.rules` is the catalogue of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from alerts.alert import Audience, Priority, Text
from ingest.vital import Vital

MG_DL: Final = "mg/dL"
MMOL_L: Final = "mmol/L"
MMHG: Final = "mmHg"
MIN: Final = "min"
HOURS: Final = "h"
DAYS: Final = "d"
PERCENT: Final = "%"
COUNT: Final = "readings"
RATE: Final = "mg/dL/min"
SWITCH: Final = "switch"  # 1: on, 0: off

OWN: Final = Text(en="Homeward default, to be confirmed by the clinic", zh="Homeward 默认值，由医疗机构确认")


class Comparison(StrEnum):
    """How a value stands to the limit when the rule is broken."""

    BELOW = "<"
    ABOVE = ">"
    AT_LEAST = ">="
    AT_MOST = "<="


class Group(StrEnum):
    """For whom a default may differ: populations, and regions with guidelines of their own."""

    ADULT = "adult"
    OLDER = "older"  # older or at high risk
    PREGNANCY = "pregnancy"
    INTERNATIONAL = "international"
    CHINA = "china"


POPULATIONS: Final = (Group.ADULT, Group.OLDER, Group.PREGNANCY)
REGIONS: Final = (Group.INTERNATIONAL, Group.CHINA)


class Variant(NamedTuple):
    """Another default, for a population or a region."""

    default: float
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of a rule. lower and upper are the closed interval that any other value must keep.

    default: for an adult, by international guidelines. variants: the defaults that differ, by group.
    """

    name: str
    unit: str
    default: float
    lower: float
    upper: float
    source: Text
    variants: Mapping[Group, Variant] = field(default_factory=dict)

    def of(self, groups: tuple[Group, ...]) -> Variant:
        """The default for somebody in these groups; the last that has one of its own counts."""
        found = Variant(self.default, self.source)
        for group in groups:
            found = self.variants.get(group, found)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: the trouble it is about, its priority, and who hears of it first.

    quiet: for a trouble that lasts for days whatever is done, a new episode that is no worse is told again only so
    long after staff were told, acknowledged or closed; zero for troubles of which each episode counts.
    holds_up: whether an alert is not over while the patient alone is told by this rule; not so by a milder one of
    which many are never free.
    """

    name: str
    title: Text
    problem: str
    vitals: tuple[Vital, ...]
    comparison: Comparison
    priority: Priority
    audience: Audience
    parameters: tuple[Parameter, ...] = ()
    quiet: timedelta = timedelta()
    holds_up: bool = True

    def bounds(self, parameter: str, unit: str) -> tuple[float, float]:
        """The least and the highest that the parameter can be for anybody. StopIteration for an unknown one."""
        found = next(each for each in self.parameters if (each.name, each.unit) == (parameter, unit))
        return found.lower, found.upper


class Key(NamedTuple):
    """A parameter of a rule in one unit."""

    rule: str
    parameter: str
    unit: str


class LimitsError(ValueError):
    """Limits that were refused. `text` says where, what is wrong and what to do."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)
        self.text = text


class ContradictionError(LimitsError):
    """Numbers that cannot hold together. keys: those that contradict each other."""

    def __init__(self, text: Text, keys: frozenset[Key]) -> None:
        super().__init__(text)
        self.keys = keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers that hold for somebody at some time, each with its source.

    given: what was set for the patient alone. values and sources hold every parameter of the catalogue.
    """

    given: Mapping[Key, float] = field(default_factory=dict)
    values: Mapping[Key, float] = field(repr=False)
    sources: Mapping[Key, Text] = field(repr=False)

    def value(self, rule: str, parameter: str, unit: str) -> float:
        """The number that holds. KeyError when the rule has no such parameter in that unit."""
        return self.values[Key(rule, parameter, unit)]

    def minutes(self, rule: str, parameter: str) -> timedelta:
        """A parameter of time."""
        return timedelta(minutes=self.values[Key(rule, parameter, MIN)])

    def source(self, rule: str, parameter: str, unit: str) -> Text:
        """Where the number comes from: its guideline, or by whom it was set."""
        return self.sources[Key(rule, parameter, unit)]

    def to_json(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """What was given: {rule: {parameter: [{"value": number, "unit": unit}, ...]}}."""
        out: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for key, value in sorted(self.given.items()):
            out.setdefault(key.rule, {}).setdefault(key.parameter, []).append({"value": value, "unit": key.unit})
        return out


def both(
    name: str,
    source: Text,
    mg_dl: tuple[float, float, float],
    mmol_l: tuple[float, float, float],
    variants: Mapping[Group, tuple[float, float, Text]] | None = None,
) -> Iterator[Parameter]:
    """A glucose limit in both units: each (default, lower, upper); variants: (mg/dL, mmol/L, source)."""
    others = variants or {}
    for place, (unit, (default, lower, upper)) in enumerate(((MG_DL, mg_dl), (MMOL_L, mmol_l))):
        yield Parameter(
            name=name,
            unit=unit,
            default=default,
            lower=lower,
            upper=upper,
            source=source,
            variants={
                group: Variant((in_mg_dl, in_mmol_l)[place], its_source)
                for group, (in_mg_dl, in_mmol_l, its_source) in others.items()
            },
        )


def minutes(
    name: str,
    default: float,
    lower: float,
    upper: float,
    source: Text,
    variants: Mapping[Group, Variant] | None = None,
) -> Parameter:
    """A time in minutes."""
    return Parameter(
        name=name, unit=MIN, default=default, lower=lower, upper=upper, source=source, variants=variants or {}
    )


def mmhg(
    name: str,
    default: float,
    lower: float,
    upper: float,
    source: Text,
    variants: Mapping[Group, Variant] | None = None,
) -> Parameter:
    """A pressure in mmHg."""
    return Parameter(
        name=name, unit=MMHG, default=default, lower=lower, upper=upper, source=source, variants=variants or {}
    )


def switch(source: Text, default: float = 1, variants: Mapping[Group, Variant] | None = None) -> Parameter:
    """Whether a rule is on."""
    return Parameter(
        name="on", unit=SWITCH, default=default, lower=0, upper=1, source=source, variants=variants or {}
    )
