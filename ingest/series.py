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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GlucoseSeries:
    """Readings of glucose of one patient in time order, each moment once, as the devices' displays showed them.

    taken_us: int64, shape (n,), microseconds since 1970-01-01 UTC. shown: float64, (n,), in the unit family received,
    -inf for LO and +inf for HI. mmol: bool, (n,), True where that is mmol/L, else mg/dL. devices: n names.
    """

    taken_us: NDArray[np.int64]
    shown: NDArray[np.float64]
    mmol: NDArray[np.bool_]
    devices: tuple[str, ...]


class SeriesSource(Protocol):
    """A store that can be asked for a patient's series."""

    def series(self, patient: str, vital: Vital, start: datetime, end: datetime) -> Series:
        """Readings with start <= taken_at < end (aware datetimes), oldest first. Blocks: call it off the loop."""
        ...
