"""Bodies: what a device would measure, minute by minute. Real traces replayed, and simple seeded synthetic ones.

Every body is an iterator over (minutes since the start, value). Glucose is a Decimal in mg/dL, where the infinities
are the display's HI and LO. Real traces come in the cadence of their source, with its gaps; see traces/SOURCE.md.

Sources of the synthetic numbers: AR(1) 0.7 at 15 minutes (simglucose); home blood pressure N(131, 12)/N(80, 9), day
effect SD 8.6/5.8 (Ohasama), first reading 4 +/- 7 mmHg too high (one man's 35 home sessions).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from math import cos, exp, pi
from typing import Final

from numpy.random import default_rng

LO: Final = Decimal("-Infinity")
HI: Final = Decimal("Infinity")
DAY_MIN: Final = 24 * 60

_LOWEST_MG_DL: Final = 40
_HIGHEST_MG_DL: Final = 400
_MEALS: Final = ((7.5 * 60, 55.0), (12.5 * 60, 70.0), (18.5 * 60, 80.0))  # minute of the day, rise in mg/dL
_MEAL_PEAK_MIN: Final = 60.0
_AR_5_MIN: Final = 0.7 ** (5 / 15)
_NOISE_MG_DL: Final = 4.0
_LOW_MG_DL: Final = 48.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """One cuff reading: mmHg, and the pulse in 1/min where the source has one."""

    systolic: Decimal
    diastolic: Decimal
    pulse: Decimal | None = None


def replay_glucose(trace: str) -> Iterator[tuple[float, Decimal]]:
    """A real trace of glucose: cgm_very_low, cgm_low, cgm_high, cgm_quiet, meter_lows or meter_quiet."""
    words = {"Low": LO, "High": HI}
    for row in _rows(trace):
        yield float(row["minute"]), words.get(row["glucose"]) or Decimal(row["glucose"])


def replay_pressure(trace: str) -> Iterator[tuple[float, Pressure]]:
    """A real trace of blood pressure: bp_severe, bp_first_high or bp_quiet."""
    for row in _rows(trace):
        yield (
            float(row["minute"]),
            Pressure(systolic=Decimal(row["systolic"]), diastolic=Decimal(row["diastolic"])),
        )


def synthetic_cgm(seed: int, *, days: int = 1, low_at_min: float | None = None) -> Iterator[tuple[float, Decimal]]:
    """A sensor's value every 5 minutes from midnight: three meals a day, noise, and a low of 48 mg/dL if asked for.

    low_at_min: middle of the low, which is below 54 for at least 20 minutes.
    """
    random = default_rng(seed)
    noise = 0.0
    for minute in range(0, days * DAY_MIN, 5):
        noise = _AR_5_MIN * noise + random.normal(0.0, _NOISE_MG_DL)
        glucose = 110.0 + noise + sum(_meal(minute % DAY_MIN - start, rise) for start, rise in _MEALS)
        if low_at_min is not None:
            depth = _depth(abs(minute - low_at_min))
            glucose = (1.0 - depth) * glucose + depth * _LOW_MG_DL
        yield float(minute), _displayed(glucose)


def synthetic_meter(seed: int, *, days: int = 14) -> Iterator[tuple[float, Decimal]]:
    """Finger-stick values before each meal and at bedtime, at about the same times of every day."""
    random = default_rng(seed)
    for day in range(days):
        for hour in (7, 12, 18, 22):
            minute = day * DAY_MIN + hour * 60 + random.uniform(-30.0, 30.0)
            yield round(minute, 2), _displayed(140.0 * exp(random.normal(0.0, 0.3)))


def synthetic_pressure(
    seed: int, *, days: int = 7, mean: tuple[float, float] | None = None
) -> Iterator[tuple[float, Pressure]]:
    """Two cuff readings a minute apart, at about 7:00 and 19:00 of each day.

    mean: the person's own systolic and diastolic mean, drawn when it is not given. (190, 125) is a crisis.
    """
    random = default_rng(seed)
    systolic, diastolic = mean or (random.normal(131.0, 12.0), random.normal(80.0, 9.0))
    for day in range(days):
        effect = random.normal()  # a day moves both numbers together
        for hour in (7, 19):
            start = round(day * DAY_MIN + hour * 60 + random.uniform(-20.0, 20.0), 2)
            for repeat, excess in enumerate((random.normal(4.0, 7.0), 0.0)):
                yield (
                    start + repeat,
                    Pressure(
                        systolic=Decimal(round(systolic + 8.6 * effect + excess + random.normal(0.0, 3.0))),
                        diastolic=Decimal(round(diastolic + 5.8 * effect + random.normal(0.0, 2.0))),
                        pulse=Decimal(round(random.normal(70.0, 6.0))),
                    ),
                )


def _rows(trace: str) -> Iterator[dict[str, str]]:
    with (files("simulators") / "traces" / f"{trace}.csv").open(encoding="utf-8") as text:
        yield from csv.DictReader(text)


def _meal(since_min: float, rise: float) -> float:
    if since_min <= 0.0:
        return 0.0
    part = since_min / _MEAL_PEAK_MIN
    return rise * part * exp(1.0 - part)


def _depth(from_middle_min: float) -> float:
    """How much of the low is felt: all within 15 minutes of its middle, nothing beyond 60."""
    if from_middle_min <= 15.0:
        return 1.0
    return 0.5 + 0.5 * cos(pi * min(from_middle_min - 15.0, 45.0) / 45.0)


def _displayed(mg_dl: float) -> Decimal:
    if mg_dl < _LOWEST_MG_DL:
        return LO
    return HI if mg_dl > _HIGHEST_MG_DL else Decimal(round(mg_dl))
