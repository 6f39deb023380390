"""Arithmetic on many short series kept in one flat array: series s is values[offsets[s]:offsets[s + 1]].

Offsets are int64, ascending, begin with 0 and end with the number of values; a series may be empty. Everything is
O(n), or one sort of n integers, with a fixed number of numpy calls whatever the number of series.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Longs: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

# A group and a value share one integer, which sorts many times faster than two keys do.
_VALUE_BITS: Final = 34
LARGEST: Final = (1 << _VALUE_BITS) - 1


def owners(offsets: Longs) -> Longs:
    """For each value the number of the series it is in, shape (n,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def offsets_of(keys: Longs) -> Longs:
    """Offsets of the runs of equal neighbours in `keys`, shape (runs + 1,)."""
    starts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    head = [0] if len(keys) else []
    return np.concatenate([head, starts, [len(keys)]]).astype(np.int64)


def sums(values: NDArray[Any], offsets: Longs) -> Floats:
    """Sum of each series, 0 where it is empty, shape (series,)."""
    total = np.zeros(len(offsets) - 1)
    full = np.diff(offsets) > 0
    if full.any():
        total[full] = np.add.reduceat(values, offsets[:-1][full])
    return total


def counts(marked: Bools, offsets: Longs) -> Longs:
    """How many values of each series are marked, shape (series,)."""
    return np.diff(np.searchsorted(np.flatnonzero(marked), offsets))


def means(values: Floats, offsets: Longs) -> Floats:
    """Mean of each series, NaN where it is empty, shape (series,)."""
    return ratio(sums(values, offsets), np.diff(offsets))


def deviations(values: Floats, offsets: Longs) -> Floats:
    """Sample standard deviation (n - 1) of each series, NaN for fewer than two values, shape (series,)."""
    lengths = np.diff(offsets)
    away = values - np.repeat(means(values, offsets), lengths)
    return np.sqrt(ratio(sums(away * away, offsets), lengths - 1))


def ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """Element by element, NaN where `below` is not positive."""
    out = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def quantiles(groups: Longs, values: Longs, size: int, wanted: Sequence[float]) -> tuple[Floats, Longs]:
    """Quantiles of the values of each group, by linear interpolation (Hyndman and Fan's type 7, numpy's default).

    groups: (n,) from 0 to size - 1, in any order. values: (n,) whole numbers from 0 to LARGEST.
    Returns (size, len(wanted)), NaN for an empty group, and the number of values of each group, (size,).
    """
    # Readings lie in order of time, so the keys consist of long rising runs, which only a stable sort makes use of.
    ordered = np.sort((groups << _VALUE_BITS) | values, kind="stable") & LARGEST
    lengths = np.bincount(groups, minlength=size)
    place = (lengths - 1)[:, None] * np.asarray(wanted)[None, :]
    full = lengths > 0
    out = np.full(place.shape, np.nan)
    place, first = place[full], (np.cumsum(lengths) - lengths)[full, None]
    low = np.floor(place).astype(np.int64)
    high = np.ceil(place).astype(np.int64)
    below, above = ordered[first + low], ordered[first + high]
    out[full] = below + (above - below) * (place - low)
    return out, lengths
