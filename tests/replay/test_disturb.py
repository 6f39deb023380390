"""What happens to deliveries, the same for each seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from gateway.replay.disturb import disturb
from gateway.replay.table import Row

_START = datetime(2026, 3, 1, tzinfo=UTC)
_TAKEN = [_START + timedelta(minutes=5 * n) for n in range(30 * 288)]
_ROWS = [Row(n, taken, taken, (float(n),)) for n, taken in enumerate(_TAKEN)]


def test_a_seed_gives_one_disturbance() -> None:
    assert disturb(_ROWS, "1 a") == disturb(_ROWS, "1 a")
    assert disturb(_ROWS, "1 a") != disturb(_ROWS, "2 a")
    assert disturb([], "1 a") == []


def test_readings_are_missing_late_repeated_and_shuffled_but_never_early_nor_changed() -> None:
    came = disturb(_ROWS, "1 a")
    by_line = {row.line: row for row in _ROWS}
    assert all(row._replace(received_at=row.taken_at) == by_line[row.line] for row in came)
    assert all(row.received_at >= row.taken_at for row in came)
    assert [row.received_at for row in came] == sorted(row.received_at for row in came)
    lines = [row.line for row in came]
    assert 0.02 < 1 - len(set(lines)) / len(_ROWS) < 0.08  # singles, and gaps of an hour or two in three days
    assert 0.03 < (len(lines) - len(set(lines))) / len(lines) < 0.07
    assert sum(row.received_at > row.taken_at for row in came) > 0.05 * len(came)
    assert any(earlier.taken_at > later.taken_at for earlier, later in pairwise(came))


def test_an_outage_ends_with_all_that_was_held() -> None:
    came = disturb(_ROWS, "1 a")
    first = {row.line: row for row in reversed(came)}
    held = [row for row in first.values() if row.received_at - row.taken_at > timedelta(minutes=15)]
    assert held
    assert max(row.received_at - row.taken_at for row in held) <= timedelta(minutes=91 + 14)


def test_a_gap_is_longer_than_a_sensor_bridges() -> None:
    taken = sorted({row.taken_at for row in disturb(_ROWS, "1 a")})
    gaps = [later - earlier for earlier, later in pairwise(taken)]
    assert 8 <= sum(gap > timedelta(minutes=20) for gap in gaps) <= 12
    assert max(gaps) <= timedelta(minutes=3 * 60 + 5 * 5)
