"""What Homeward measures: the vitals, their components, units and the bounds of the possible.

A number never travels without its unit. Readings keep the value as it was sent, bit for bit, beside the value in
the vital's canonical unit. Limits are compared in the unit family that was sent (`family`), because
3.9 mmol/L is 70.26 mg/dL and not 70 mg/dL.

Sources: glucose factor 18.01559 (Nightscout, xDrip+, Tidepool); kPa x 7.50062 = mmHg; validity bounds from
common meter ranges (from 10 mg/dL) and home cuffs (systolic 50 to 260, diastolic 30 to 160, pulse 30 to 220). Most
meters end at 600 mg/dL (33.3 mmol/L), where a hyperosmolar state begins (consensus 2024); some go on, and such a
value is an emergency and no error, so the bound stands at 1000 (55.5), beyond the limit of every rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import ceil, floor
from typing import Final


class Unit(StrEnum):
    """Units a device may send. The Bluetooth SIG sends glucose in kg/L or mol/L whatever its display shows."""

    MG_DL = "mg/dL"
    MMOL_L = "mmol/L"
    KG_L = "kg/L"
    MOL_L = "mol/L"
    MMHG = "mmHg"
    KPA = "kPa"
    PER_MIN = "1/min"


class Vital(StrEnum):
    """One kind of measurement. The value is the name in storage, in the API and in InfluxDB."""

    GLUCOSE = "glucose"  # blood, from a meter (LOINC 2339-0 / 15074-8)
    KETONE = "ketone"  # blood, beta-hydroxybutyrate, from a meter (LOINC 53060-9)
    CGM = "cgm_glucose"  # interstitial fluid, from a sensor (LOINC 99504-3 / 105272-9)
    BLOOD_PRESSURE = "blood_pressure"  # LOINC 85354-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One number of a vital: its name, its canonical unit, and the closed interval of possible values in it."""

    name: str
    unit: Unit
    lowest: float
    highest: float

    def span(self, factor: float) -> str:
        """The interval divided by a factor, to a tenth and inwards: no value beyond it reads as one within."""
        return f"{ceil(10 * self.lowest / factor) / 10:g} to {floor(10 * self.highest / factor) / 10:g}"


MG_DL_PER_MMOL_L: Final = 18.01559
MMHG_PER_KPA: Final = 7.50062

_GLUCOSE = (Component(name="glucose", unit=Unit.MG_DL, lowest=10.0, highest=1000.0),)

COMPONENTS: Final[dict[Vital, tuple[Component, ...]]] = {
    Vital.GLUCOSE: _GLUCOSE,
    Vital.KETONE: (Component(name="ketone", unit=Unit.MMOL_L, lowest=0.0, highest=25.0),),
    Vital.CGM: _GLUCOSE,
    Vital.BLOOD_PRESSURE: (
        Component(name="systolic", unit=Unit.MMHG, lowest=50.0, highest=260.0),
        Component(name="diastolic", unit=Unit.MMHG, lowest=30.0, highest=160.0),
        Component(name="mean", unit=Unit.MMHG, lowest=30.0, highest=220.0),
        Component(name="pulse", unit=Unit.PER_MIN, lowest=30.0, highest=220.0),
    ),
}

_BOUNDS: Final = {
    vital: tuple((component.lowest, component.highest) for component in components)
    for vital, components in COMPONENTS.items()
}
_TO_CANONICAL: Final[dict[Vital, dict[Unit, float]]] = {
    Vital.GLUCOSE: {
        Unit.MG_DL: 1.0,
        Unit.MMOL_L: MG_DL_PER_MMOL_L,
        Unit.KG_L: 100_000.0,
        Unit.MOL_L: 1000.0 * MG_DL_PER_MMOL_L,
    },
    Vital.KETONE: {Unit.MMOL_L: 1.0},
    Vital.BLOOD_PRESSURE: {Unit.MMHG: 1.0, Unit.KPA: MMHG_PER_KPA},
}
_TO_CANONICAL[Vital.CGM] = _TO_CANONICAL[Vital.GLUCOSE]

# What a clinician would read off the display: kg/L is shown as mg/dL, mol/L as mmol/L.
_FAMILY: Final[dict[Unit, tuple[Unit, float]]] = {
    Unit.KG_L: (Unit.MG_DL, 100_000.0),
    Unit.MOL_L: (Unit.MMOL_L, 1000.0),
}

# Binary noise of a conversion (0.0007 kg/L * 100000 = 70.00000000000001) must never cross a limit.
_DIGITS: Final = 6


def canonical(vital: Vital, sent: tuple[float | None, ...], unit: Unit) -> tuple[float | None, ...]:
    """Convert the components of a vital from the unit sent to the canonical unit.

    A pulse is 1/min in every unit system and passes unchanged. None (no value) stays None.
    Raises KeyError when the vital is never sent in that unit.
    """
    factor = _TO_CANONICAL[vital][unit]
    if factor == 1.0:
        return sent
    if len(sent) == 1:  # glucose, most of what ever comes
        return (None if sent[0] is None else round(sent[0] * factor, _DIGITS),)
    return tuple(
        value if value is None or component.unit is Unit.PER_MIN else round(value * factor, _DIGITS)
        for component, value in zip(COMPONENTS[vital], sent, strict=True)
    )


def family(value: float, unit: Unit) -> tuple[float, Unit]:
    """The value in the unit of the sender's display (mg/dL, mmol/L, mmHg or kPa), with all digits that were sent."""
    shown, factor = _FAMILY.get(unit, (unit, 1.0))
    return (value if factor == 1.0 else round(value * factor, _DIGITS)), shown


def is_too_high(vital: Vital, values: tuple[float | None, ...]) -> bool:
    """Whether a blood glucose (canonical) is impossible for being too high; it may be true and must be heard."""
    return vital is Vital.GLUCOSE and values[0] is not None and values[0] > _BOUNDS[vital][0][1]


def impossible(vital: Vital, values: tuple[float | None, ...], unit: Unit) -> str | None:
    """A sentence saying which canonical value no living person has, or None when all are possible.

    It says numbers in the unit family that was sent, and where that is another one, in the canonical unit too.
    """
    bounds = _BOUNDS[vital]
    for place, value in enumerate(values):
        lowest, highest = bounds[place]
        if value is not None and not lowest <= value <= highest:
            component = COMPONENTS[vital][place]
            said = _said(partial(_number, value), component.unit, unit)
            return f"{component.name} {said} is outside the possible {_said(component.span, component.unit, unit)}"
    if len(values) > 1:  # a blood pressure
        systolic, diastolic = values[0], values[1]
        if systolic is not None and diastolic is not None and systolic <= diastolic:
            upper, lower = (_said(partial(_number, each), Unit.MMHG, unit) for each in (systolic, diastolic))
            return f"systolic {upper} is not above diastolic {lower}"
    return None


def _number(value: float, factor: float) -> str:
    return f"{round(value / factor, 2):g}"


def _said(form: Callable[[float], str], canonical_unit: Unit, unit: Unit) -> str:
    """What is canonical, first in the family of the unit that was sent. form: as text, divided by a factor."""
    said = f"{form(1.0)} {canonical_unit}"
    match canonical_unit, unit:
        case Unit.MG_DL, Unit.MMOL_L | Unit.MOL_L:
            factor, family_unit = MG_DL_PER_MMOL_L, Unit.MMOL_L
        case Unit.MMHG, Unit.KPA:
            factor, family_unit = MMHG_PER_KPA, Unit.KPA
        case _:
            return said
    return f"{form(factor)} {family_unit} ({said})"
