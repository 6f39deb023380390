"""After an outage every sensor of a region comes back at once, each with two weeks of history."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from ingest.vital import Vital
from tests.accounts import assert_balanced
from tests.faults.houses import furnish
from tests.faults.load import Device, Message, history, meant, said
from tests.real_house import NOW, HandClock, real_house

DEVICES = 2000
TWO_WEEKS = timedelta(days=14)
# A sensor takes 4032 readings in two weeks. CI sends one in ten hours and a half; HOMEWARD_FULL=1 sends all of them
# (`--junitxml FILE` holds the figures).
FULL = os.environ.get("HOMEWARD_FULL") == "1"
READINGS = 4032 if FULL else 32
BATCH = 1000 if FULL else 8


def two_weeks(name: str) -> list[Message]:
    return history(name, NOW, READINGS, each=BATCH, step=TWO_WEEKS / READINGS)


async def test_two_thousand_sensors_come_back_at_once(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * DEVICES)), hard))
    names = [f"cgm-{n}" for n in range(DEVICES)]
    furnish(tmp_path / "data", names)
    async with real_house(tmp_path, HandClock()) as house:
        assert house.listener is not None
        port = house.listener.port
        devices = [
            Device(name, [Message(m.payload, ()) for m in two_weeks(name)], port=lambda: port) for name in names
        ]
        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for device in devices:
                group.create_task(device.run())
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        total = DEVICES * READINGS
        record_testsuite_property("readings", total)
        record_testsuite_property("seconds", round(took, 1))
        record_testsuite_property("cpu_us_per_reading_with_the_sensors", round(1e6 * spent / total))
        for name in names:
            readings = await house.readings(f"p-{name}", Vital.CGM, NOW - 2 * TWO_WEEKS, NOW + TWO_WEEKS)
            assert {said(reading) for reading in readings} == meant(two_weeks(name))
            assert len(readings) == READINGS
        assert house.journal.tail() == total
        assert_balanced(house)
        assert house.listener.counts.turned_away == 0
