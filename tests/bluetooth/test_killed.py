"""The gateway's process is killed in the middle of a thousand records; the device and its air live on in this one."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from bumble.device import Connection, Device
from bumble.transport import open_transport

from gateway.clock import SystemClock
from gateway.house import JOURNAL
from ingest.journal import Journal
from ingest.reading import TimeBasis
from simulators.air import Air
from simulators.encode import GlucoseRecord
from simulators.gatt_server import DeviceClock
from simulators.meter import GlucoseMeter
from tests.bluetooth.radio import LEVELS
from tests.bluetooth.ward import METER, PATIENCE_S, a_record

SHANGHAI = ZoneInfo("Asia/Shanghai")
RECORDS = 1000


@asynccontextmanager
async def a_gateway(air: Air, folder: Path, name: str) -> AsyncIterator[Process]:
    """A house in a process of its own, on the data in `folder`. It is killed at the end, if it lives."""
    socket = str(folder / name)
    controller = air.controller(name)
    async with await open_transport(f"unix-server:{socket}") as transport:
        controller.host = transport.sink
        transport.source.set_packet_sink(controller)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bluetooth.gateway_process", str(folder / "data"), socket, stderr=PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            air.silence(controller)
            controller.host = None
            await asyncio.sleep(0)  # what is under way arrives: the farewell at the peers


def local_now() -> datetime:
    return SystemClock().now().astimezone(SHANGHAI).replace(tzinfo=None)


@pytest.mark.skipif("C" in LEVELS, reason="nothing of the kernel's is in it, and an emulated processor is slow")
async def test_killed_in_the_middle_of_a_thousand_records(tmp_path: Path) -> None:
    async with Air() as air:
        meter = GlucoseMeter(await air.device("meter", METER), DeviceClock(local_now))
        first = local_now().replace(second=0, microsecond=0) - timedelta(minutes=RECORDS + 60)
        for sequence in range(1, RECORDS + 1):
            meter.add(replace(a_record(sequence), base_time=first + timedelta(minutes=sequence)))
        await meter.start()
        report = meter._report

        async with asyncio.timeout(3 * PATIENCE_S), a_gateway(air, tmp_path, "first") as gateway:

            async def report_and_kill(record: GlucoseRecord) -> None:
                await report(record)
                if record.sequence == 400:
                    while not stored(tmp_path):  # the gateway may be slower than the meter
                        await asyncio.to_thread(lambda: None)
                    gateway.kill()

            meter.access._report = report_and_kill
            await gateway.wait()
        meter.access._report = report
        kept = stored(tmp_path)
        assert 0 < len(kept) < RECORDS, "it was not the middle"

        async with asyncio.timeout(3 * PATIENCE_S), a_gateway(air, tmp_path, "second") as gateway:
            ended = asyncio.Event()
            meter.device.on(
                Device.EVENT_CONNECTION, lambda link: link.on(Connection.EVENT_DISCONNECTION, lambda _: ended.set())
            )
            while len(stored(tmp_path)) < RECORDS:
                assert gateway.returncode is None
                await ended.wait()
                ended.clear()

    found = stored(tmp_path)
    assert [(r[0], r[1]) for r in found] == [
        (record.sequence, record.base_time.replace(tzinfo=SHANGHAI)) for record in meter.records
    ]
    assert {basis for _, _, basis in found} == {TimeBasis.DEVICE}
    journal = Journal(tmp_path / "data" / JOURNAL)
    assert journal.counts()["letters.waiting"] == 0
    journal.close()


def stored(folder: Path) -> list[tuple[int | None, datetime, TimeBasis]]:
    """Every reading of the journal in the order of its moment: sequence, moment, how that is known."""
    journal = Journal(folder / "data" / JOURNAL)
    try:
        readings = [reading for _, reading in journal.since(0, 10 * RECORDS)]
    finally:
        journal.close()
    return sorted((r.sequence, r.taken_at, r.time_basis) for r in readings)
