from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerts.rhythm import GAP, Rhythm

HOLD = timedelta(minutes=15)


def rhythm_of(minutes: Sequence[float]) -> Rhythm:
    rhythm = Rhythm()
    for each in minutes:
        rhythm.note(60 * each)
    return rhythm


def median(minutes: Sequence[float]) -> int:
    whole = sorted(min(31, int(each + 0.5)) for each in minutes)
    return whole[len(whole) // 2] if whole else 5


def sparse(minutes: Sequence[float]) -> int:
    last = [median([each]) for each in minutes[-3:]]
    return min(last) if len(last) == 3 and min(last) > 20 else 0


INTERVALS = st.lists(
    st.tuples(st.sampled_from([5, 5, 5, 15, 1, 0.2, 4.9, 10, 21, 25, 30, 300]), st.integers(1, 40)), max_size=8
).map(lambda stretches: [every for every, count in stretches for _ in range(count)])


@given(INTERVALS, INTERVALS)
def test_it_is_the_same_whether_it_was_asked_before_or_is_asked_at_the_end(
    first: list[float], then: list[float]
) -> None:
    asked = rhythm_of(first)
    asked.readings(HOLD)
    for each in then:
        asked.note(60 * each)
        asked.readings(HOLD)
    intervals = first + then
    usual, recent = median(intervals), median(intervals[-33:])
    rare = sparse(intervals)
    wanted = [math.ceil(15 / each) if each else 1 for each in (usual, max(recent, rare))]
    for rhythm in (asked, rhythm_of(intervals)):
        assert rhythm.readings(HOLD) == min(wanted)
        assert rhythm.cadence == timedelta(minutes=max(1, usual))
        assert rhythm.gap == max(GAP, timedelta(minutes=2.5 * max(usual, rare)))
        assert rhythm.total == len(intervals)


def test_what_is_taken_over_from_another_is_not_among_the_last() -> None:
    rhythm = rhythm_of([5, 5, 5])
    rhythm.adopt(rhythm_of([5] * 300))
    assert rhythm.total == 300
    assert rhythm.readings(HOLD) == 3
