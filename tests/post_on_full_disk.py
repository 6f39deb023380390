"""A disk of our own that is really full: a small tmpfs that no other process sees.

`python -m tests.post_on_full_disk FOLDER` is the home post on it; the test that starts it is in `tests/ingest`.
"""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.packet_log import RESERVE, PacketLog
from ingest.reading import Packet

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MANY, CONFIRMED, STEP = 20_000, 5_000, 500


def on_a_small_disk(folder: Path, mib: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a disk of this size mounted at `folder`."""
    inside = f"mount -t tmpfs -o size={mib}m homeward {shlex.quote(str(folder))} && exec {shlex.join(command)}"
    for way in (("unshare", "-rm"), ("sudo", "-n", "unshare", "-m")):
        if shutil.which(way[0]) and subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return subprocess.run([*way, "sh", "-c", inside], capture_output=True, text=True, check=False)
    raise LookupError("neither unshare nor sudo may mount a disk here")


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


def main(folder: Path) -> None:
    with closing(PacketLog(folder / "packets.db")) as log:
        assert (folder / "packets.db-reserve").stat().st_size == RESERVE
        for _ in range(MANY // STEP):
            log.append(packets(STEP))
        log.advance("hub", CONFIRMED, LATER, came_from=0)
        others = Glutton(folder)
        others.eat()
        kept = MANY
        for came_from in range(CONFIRMED, MANY, STEP):
            log.append(packets(STEP), "hub")
            others.eat()
            log.advance("hub", came_from + STEP, LATER, came_from=came_from)
            others.eat()
            kept += STEP
            found = log.forwarded("hub")
            assert found.packets == kept
            assert found.packets == found.confirmed + found.waiting
        assert [number for number, _ in log.since(MANY, MANY)] == list(range(MANY + 1, kept + 1))
        log.keep_reserve()  # there is no room for it now
        assert not (folder / "packets.db-reserve").exists()
    with closing(sqlite3.connect(folder / "packets.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
