"""Short ways to write down traces; the clock of the wearer is UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from alerts.metrics import MINUTE_US, Traces, arrange
from ingest.reading import to_us

MONDAY = to_us(datetime(2026, 1, 5, tzinfo=UTC))
WORDS = {"LO": -np.inf, "HI": np.inf}

Point = tuple[float, float]


def numbers(shown: Sequence[float | str]) -> np.ndarray:
    return np.array([WORDS[each] if isinstance(each, str) else each for each in shown], dtype=np.float64)


def traces(*each: Sequence[Point], mmol: bool = False, start_us: int = MONDAY) -> Traces:
    """Traces of (minute, value) points, in any order."""
    points = np.array([point for trace in each for point in trace], dtype=np.float64).reshape(-1, 2)
    who = np.repeat(np.arange(len(each)), [len(trace) for trace in each])
    taken = start_us + (points[:, 0] * MINUTE_US).astype(np.int64)
    return arrange(
        who,
        len(each),
        taken_us=taken,
        clock_us=taken,
        shown=points[:, 1],
        mmol=np.full(len(points), mmol),
    )


def even(shown: Sequence[float | str], cadence: float = 5.0, *, first: float = 0.0) -> list[Point]:
    """Values at a steady pace."""
    return [(first + cadence * index, value) for index, value in enumerate(numbers(shown).tolist())]
