"""A home post on a disk of its own that is really full: a small tmpfs that no other process sees.

`python -m tests.post_on_full_disk log FOLDER` is its log, `... post FOLDER ELSEWHERE` the whole of it with a hub
elsewhere; the tests that start them are in `tests/ingest` and in `tests/faults`.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.packet_log import RESERVE, PacketLog
from ingest.reading import Packet
from tests.accounts import assert_balanced
from tests.conftest import need
from tests.faults.load import assert_each_once, meant
from tests.peers import free_port
from tests.real_house import HandClock, ticking, until
from tests.test_uplink import confirmed, home_house, hub_house, send

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MANY, CONFIRMED, STEP = 20_000, 5_000, 500


def on_a_small_disk(folder: Path, mib: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this file with a disk of this size mounted at `folder`. Skips where nobody may mount one."""
    need("unshare", "it belongs to util-linux")
    command = (sys.executable, "-m", "tests.post_on_full_disk", *arguments)
    inside = f"mount -t tmpfs -o size={mib}m homeward {shlex.quote(str(folder))} && exec {shlex.join(command)}"
    for way in (("unshare", "-rm"), ("sudo", "-n", "unshare", "-m")):
        if shutil.which(way[0]) and subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return subprocess.run([*way, "sh", "-c", inside], capture_output=True, text=True, check=False)
    pytest.skip("NO DISK: neither unshare nor sudo may mount one here")


class Glutton:
    """Another program that takes every octet that is free."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "others").open("ab", buffering=0)

    def eat(self) -> None:
        for bite in (65536, 4096, 1):
            with suppress(OSError):  # of "No space left on device"
                while True:
                    self._file.write(bytes(bite))


def packets(count: int) -> list[Packet]:
    return [Packet(link="ble", sender="m", channel="2a18", data=bytes(200), received_at=NOW)] * count


def log(folder: Path) -> None:
    with closing(PacketLog(folder / "packets.db")) as packet_log:
        assert (folder / "packets.db-reserve").stat().st_size == RESERVE
        for _ in range(MANY // STEP):
            packet_log.append(packets(STEP))
        packet_log.advance("hub", CONFIRMED, LATER, came_from=0)
        others = Glutton(folder)
        others.eat()
        kept = MANY
        for came_from in range(CONFIRMED, MANY, STEP):
            packet_log.append(packets(STEP), "hub")
            others.eat()
            packet_log.advance("hub", came_from + STEP, LATER, came_from=came_from)
            others.eat()
            kept += STEP
            found = packet_log.forwarded("hub")
            assert found.packets == kept
            assert found.packets == found.confirmed + found.waiting
        assert [number for number, _ in packet_log.since(MANY, MANY)] == list(range(MANY + 1, kept + 1))
        packet_log.keep_reserve()  # there is no room for it now
        assert not (folder / "packets.db-reserve").exists()
    with closing(sqlite3.connect(folder / "packets.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def post(folder: Path, elsewhere: Path) -> None:
    clock, port = HandClock(), free_port()
    (elsewhere / "home").symlink_to(folder)
    async with home_house(elsewhere, clock, port) as home:
        sent = await send(home, ["cgm-1"], 3000, clock.now())
        Glutton(folder).eat()
        more = asyncio.create_task(send(home, ["cgm-2"], 6000, clock.now()))
        async with ticking(clock):
            await until(lambda: home.path.patience.trouble is not None)
            assert "full" in str(home.path.patience.trouble)
            async with hub_house(elsewhere, clock, "cgm-1", "cgm-2", port=port) as hub:
                sent += await more
                await confirmed(home)
                assert_each_once(hub.journal, meant(message for sensor in sent for message in sensor.messages))
                await until(lambda: home.path.patience.trouble is None)
                assert_balanced(home)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["log", folder]:
            log(Path(folder))
        case ["post", folder, elsewhere]:
            asyncio.run(post(Path(folder), Path(elsewhere)))
