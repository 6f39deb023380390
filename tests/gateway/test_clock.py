"""The clock that asks the system, with the system's time moved under it."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway import clock as clock_module
from gateway.clock import SystemClock

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class SystemTime:
    """Stands in for `datetime` inside the clock: the one thing that a test cannot move for real."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self, _zone: object) -> datetime:
        return self.moment


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> SystemTime:
    moved = SystemTime()
    monkeypatch.setattr(clock_module, "datetime", moved)
    return moved


def test_a_small_step_back_is_waited_out(system: SystemTime) -> None:
    clock = SystemClock()
    system.moment = NOON + timedelta(seconds=30)
    assert clock.now() == NOON + timedelta(seconds=30)
    system.moment = NOON
    assert clock.now() == NOON + timedelta(seconds=30)
    system.moment = NOON + timedelta(seconds=31)
    assert clock.now() == NOON + timedelta(seconds=31)


def test_a_large_step_back_is_followed_and_told(system: SystemTime, caplog: pytest.LogCaptureFixture) -> None:
    clock = SystemClock()
    system.moment = NOON - timedelta(hours=2)
    assert clock.now() == NOON - timedelta(hours=2)
    assert "set back" in caplog.text


def test_an_accelerated_clock_leaves_from_its_start(system: SystemTime) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    clock = SystemClock(start=start, speed=60)
    system.moment = NOON + timedelta(seconds=2)
    assert clock.now() == start + timedelta(minutes=2)
