"""Refused logins: what is told, how often, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.links.refusals import AGAIN, KEEPS_TRYING, MOST, REMEMBERED, Refusals

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_the_same_one_is_told_once_a_minute_with_the_count() -> None:
    refusals = Refusals()
    told = [(n, one.count) for n in range(130) if (one := refusals.note("gm-1", "10.0.0.5", NOON + n * SECOND))]
    assert told == [(0, 1), (60, 61), (120, 121)]
    assert refusals.note("gm-1", "10.0.0.6", NOON + 130 * SECOND) is not None, "from elsewhere it is another"
    assert refusals.note("gm-2", "10.0.0.5", NOON + 130 * SECOND) is not None


def test_who_keeps_trying_is_told_until_he_comes_in_or_for_a_day() -> None:
    refusals = Refusals()
    for n in range(KEEPS_TRYING):
        assert refusals.lasting(NOON) == []
        refusals.note("gm-1", "10.0.0.5", NOON + n * SECOND)
        refusals.note("gm-2", "10.0.0.5", NOON + (n + 0.5) * SECOND)
    assert [one.name for one in refusals.lasting(NOON)] == ["gm-2", "gm-1"]
    refusals.forgive("gm-2")
    [left] = refusals.lasting(NOON)
    assert (left.name, left.address, left.count, left.since) == ("gm-1", "10.0.0.5", KEEPS_TRYING, NOON)
    assert refusals.lasting(left.last + REMEMBERED - SECOND) == [left]
    assert refusals.lasting(left.last + REMEMBERED) == []


def test_names_tried_at_random_fill_neither_memory_nor_log() -> None:
    refusals = Refusals()
    told = [refusals.note(f"guess-{n}", "10.0.0.9", NOON + n * SECOND / 1000) for n in range(10 * MOST)]
    assert sum(one is not None for one in told) == MOST + 1
    [others] = refusals.lasting(NOON + SECOND)
    assert (others.name, others.count) == ("others", 9 * MOST)
    assert refusals.note("guess-x", "10.0.0.9", NOON + AGAIN + SECOND) is others
