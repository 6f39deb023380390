"""The demonstration's devices, apart from its process: whenever they are switched off, they end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.people import DeviceKind, DeviceLink
from simulators.air import Air
from simulators.demo import Guest, _guests, _live_by_ble

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class HastyClock:
    """Nobody waits on it: who sleeps moves it. Also a Clock of the house."""

    def __init__(self) -> None:
        self._now = START

    def now(self) -> datetime:
        return self._now

    async def sleep(self, duration: timedelta) -> None:
        self._now += max(duration, timedelta(0))
        await asyncio.sleep(0)


async def _ends_when_cancelled_after(steps: int, guest: Guest) -> bool:
    """Whether the device has ended 100 steps of the loop after it was switched off."""
    async with Air() as air:
        life = asyncio.create_task(_live_by_ble(guest, air, HastyClock(), START))
        for _ in range(steps):
            await asyncio.sleep(0)
        life.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        ended = life.done()
        while not life.done():
            life.cancel()
            await asyncio.sleep(0)
        return ended


@pytest.mark.parametrize("kind", list(DeviceKind))
async def test_a_device_ends_at_whatever_moment_it_is_switched_off(kind: DeviceKind) -> None:
    # Before Python 3.12 `asyncio.wait_for` loses a cancellation that meets the answer. Each step here is one of the
    # start: the adapter is on, the services are added, it advertises, the first values are there.
    guest = next(guest for guest in _guests() if guest.device.kind is kind and guest.device.link is DeviceLink.BLE)
    alive = [steps for steps in range(30, 60) if not await _ends_when_cancelled_after(steps, guest)]
    assert alive == []
