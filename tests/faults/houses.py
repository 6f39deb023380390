"""Houses that can be killed: each in a process of its own, forked from one that has everything imported already."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from alerts.database import METADATA
from gateway.clock import SystemClock
from gateway.config import BOOK, Config
from gateway.house import keep_house, sole_tenant
from gateway.people import DeviceKind, DeviceLink
from gateway.schema import open_database
from ingest.reading import to_us

_OPEN_WITHIN = 60.0
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def furnish(data: Path, devices: Iterable[str]) -> None:
    """Write patients down who wear a sensor each, "p-" and the device's name, before a house opens there."""
    ZoneInfo("UTC")
    with sole_tenant(data):
        engine = open_database(f"sqlite:///{data / BOOK}")
        tables, now = METADATA.tables, to_us(SystemClock().now())
        names = list(devices)
        with engine.begin() as db:
            db.execute(
                insert(tables["patients"]),
                [
                    {"id": f"p-{name}", "name": name, "zone": "UTC", "language": "en", "glucose_unit": "mg/dL",
                     "pseudonym": f"w-{name}", "limits": {}}
                    for name in names
                ],
            )  # fmt: skip
            db.execute(
                insert(tables["devices"]),
                [{"id": name, "kind": DeviceKind.CGM, "link": DeviceLink.MQTT, "model": ""} for name in names],
            )
            db.execute(
                insert(tables["wearings"]),
                [
                    {"device": name, "patient": f"p-{name}", "since_us": None, "until_us": None, "slot": 0,
                     "assigned_us": now}
                    for name in names
                ],
            )  # fmt: skip
        engine.dispose()


class HouseProcess:
    """A house with the given configuration that runs, is killed, and runs again on the same data."""

    def __init__(self, **sections: Any) -> None:
        self._sections = {"web": {"port": 0}, **sections}
        self._process: BaseProcess | None = None
        self.is_open = asyncio.Event()

    async def start(self) -> None:
        ours, theirs = _forks.Pipe()
        self._process = _forks.Process(target=_live, args=(self._sections, theirs), daemon=True)
        self._process.start()
        theirs.close()
        answered = await asyncio.to_thread(ours.poll, _OPEN_WITHIN)
        assert answered, "the house did not open"
        ours.recv()
        self.is_open.set()

    @property
    def most_memory(self) -> int:
        """Octets of memory that it has taken at its peak, as Linux counts them."""
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return 1024 * next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:"))

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self.is_open.clear()
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    async def stop(self) -> None:
        """SIGTERM, and wait until it has closed."""
        assert self._process is not None
        self.is_open.clear()
        self._process.terminate()
        await asyncio.to_thread(self._process.join)
        assert self._process.exitcode == 0


def _live(sections: dict[str, Any], said: Connection) -> None:
    asyncio.run(_keep(sections, said))


async def _keep(sections: dict[str, Any], said: Connection) -> None:
    async with keep_house(Config.model_validate(sections), SystemClock()) as house:
        stopping = asyncio.create_task(house.stopped())
        await asyncio.sleep(0)  # from here on it hears the signals
        said.send("open")
        await stopping
