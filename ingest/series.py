"""One small interface to read a patient's series back, whichever store it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.vital import Vital


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Readings of one vital of one patient in time order.

    taken_us: int64, shape (n,), microseconds since 1970-01-01 UTC. values: float64, shape (n, components of the
    vital), canonical units, NaN where there is no number (HI, LO, or a component the device did not send).
    """

    taken_us: NDArray[np.int64]
    values: NDArray[np.float64]


class SeriesSource(Protocol):
    """A store that can be asked for a patient's series."""

    def series(self, patient: str, vital: Vital, start: datetime, end: datetime) -> Series:
        """Readings with start <= taken_at < end (aware datetimes), oldest first. Blocks: call it off the loop."""
        ...
