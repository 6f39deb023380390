"""After an outage every sensor of a region comes back at once with what it has kept."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from gateway.clock import SystemClock
from gateway.house import JOURNAL
from ingest.journal import Journal
from ingest.vital import Vital
from tests.accounts import assert_all_accounted_for
from tests.faults.houses import HouseProcess, furnish
from tests.faults.load import Device, History, meant, said
from tests.peers import free_port

DEVICES = 2000
TWO_WEEKS = timedelta(days=14)
STEP = timedelta(minutes=5)
ALL = TWO_WEEKS // STEP
BATCH = 500
# Every sensor has two weeks to tell with HOMEWARD_FULL=1 (`--junitxml FILE` holds the figures). CI has as many
# sensors at the same moment, of which one in 100 was away for so long and the others for two hours.
FULL = os.environ.get("HOMEWARD_FULL") == "1"
SHORT = 24
# Octets that a house may take above what it takes when it has just opened, however much there is to tell: what waits
# (20 000 messages or 64 MiB of them between the sockets and the disk, and as much begun and not ended), SQLite's
# caches, and a bed in the ward for each wearer (`python -m benchmarks.watch` says how much one takes).
WAITING = 256 * 1_048_576
BED = 8192


async def test_two_thousand_sensors_come_back_at_once(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * DEVICES)), hard))
    now, port = SystemClock().now(), free_port()
    counts = {f"cgm-{n}": ALL if FULL or n % 100 == 0 else SHORT for n in range(DEVICES)}
    histories = {name: History(name, now, count, each=BATCH, step=STEP) for name, count in counts.items()}
    furnish(tmp_path / "data", counts)
    house = HouseProcess(data=str(tmp_path / "data"), listener={"port": port})
    await house.start()
    at_rest = house.most_memory
    devices = [Device(name, kept, port=lambda: port, window=1) for name, kept in histories.items()]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.run())
    took, total = time.perf_counter() - began, sum(counts.values())
    record_testsuite_property("readings", total)
    record_testsuite_property("seconds", round(took, 1))
    record_testsuite_property("readings_per_second", round(total / took))
    record_testsuite_property("memory_at_rest_mib", at_rest >> 20)
    record_testsuite_property("memory_at_peak_mib", house.most_memory >> 20)
    assert not sum(device.repeats for device in devices), "a sensor was turned away"
    assert house.most_memory - at_rest < WAITING + DEVICES * BED
    await house.stop()
    with closing(Journal(tmp_path / "data" / JOURNAL)) as journal:
        for name, kept in histories.items():
            readings = journal.readings(f"p-{name}", Vital.CGM, now - 2 * TWO_WEEKS, now + TWO_WEEKS)
            assert {said(reading) for reading in readings} == meant(kept)
            assert len(readings) == counts[name]
        assert journal.tail() == total
    assert_all_accounted_for(tmp_path / "data" / JOURNAL)
