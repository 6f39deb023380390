"""How long the metrics of 1000 patients with 14 days of CGM take: `python -m benchmarks.metrics [PATIENTS]`.

Prints CPU seconds of one core, scaled to 4 million readings, best of three, and for the whole of it also the worst.
The bar of the project is 2 s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from time import process_time

import numpy as np

from alerts.glucose_events import KINDS, LEVEL_1_LOW, Finder, night_lows
from alerts.metrics import DAY_US, MINUTE_US, Traces, profile, summarise, weeks

DAYS = 14
READINGS = DAYS * 288
MONDAY_US = 20_458 * DAY_US  # 2026-01-05
ROUNDS = 3


def ward(patients: int, rng: np.random.Generator) -> Traces:
    """Five-minute traces of whole mg/dL with slow waves, meals, noise, seconds of jitter and 8 % missing."""
    minutes = np.arange(READINGS) * 5.0
    waves = np.zeros((patients, READINGS)) + sum(
        rng.uniform(5, 40, (patients, 1))
        * np.sin(minutes / 1440 * 2 * np.pi * rng.uniform(0.5, 6, (patients, 1)) + k)
        for k in range(5)
    )
    glucose = rng.uniform(110, 190, (patients, 1)) + waves + rng.normal(0, 4, (patients, READINGS))
    taken = (minutes * MINUTE_US).astype(np.int64) + rng.integers(-3, 4, (patients, READINGS)) * 1_000_000
    kept = rng.random((patients, READINGS)) > 0.02
    lost = rng.integers(0, READINGS - 240, patients)
    for row, start in zip(kept, lost, strict=True):
        row[start : start + 240] = False
    taken_us = MONDAY_US + DAY_US + taken[kept]
    return Traces(
        offsets=np.concatenate([[0], np.cumsum(kept.sum(axis=1))]),
        taken_us=taken_us,
        clock_us=taken_us + 8 * 60 * MINUTE_US,
        shown=np.round(np.clip(glucose[kept], 40, 400)).astype(np.float64),
        mmol=np.zeros(len(taken_us), dtype=np.bool_),
    )


def seconds(work: Callable[[], object]) -> list[float]:
    """CPU seconds of each round."""
    spent = []
    for _ in range(ROUNDS):
        start = process_time()
        work()
        spent.append(process_time() - start)
    return spent


def main() -> None:
    """Measure each part and the whole."""
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    traces = ward(patients, np.random.default_rng(1))
    lows = Finder(traces).find(LEVEL_1_LOW)
    parts: dict[str, Callable[[], object]] = {
        "checks, cadence": lambda: Traces(
            offsets=traces.offsets,
            taken_us=traces.taken_us,
            clock_us=traces.clock_us,
            shown=traces.shown,
            mmol=traces.mmol,
        ),
        "summary": lambda: summarise(traces, timedelta(days=DAYS)),
        "profile (AGP)": lambda: profile(traces),
        "events, 7 kinds": lambda: [found.find(kind) for found in (Finder(traces),) for kind in KINDS.values()],
        "nights": lambda: night_lows(traces, lows),
        "weeks": lambda: weeks(traces),
    }
    size = len(traces.shown)
    scale = 4e6 / size
    sys.stdout.write(f"{patients} patients, {size} readings; CPU seconds per 4 million readings\n")
    spent = {name: seconds(work) for name, work in parts.items()}
    for name, rounds in spent.items():
        sys.stdout.write(f"  {name:16} {min(rounds) * scale:6.3f}\n")
    best, worst = (scale * sum(choose(rounds) for rounds in spent.values()) for choose in (min, max))
    sys.stdout.write(f"  {'all':16} {best:6.3f} (worst {worst:.3f})\n")


if __name__ == "__main__":
    main()
