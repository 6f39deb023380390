"""A hub in a process of its own whose clock is moved by hand: it can be stopped, killed, and started again."""

from __future__ import annotations

import asyncio
import multiprocessing
from datetime import datetime, timedelta
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from apprise import Apprise
from sqlalchemy import or_, select

from alerts.database import METADATA
from gateway.config import Config
from gateway.house import House, keep_house
from ingest.reading import to_us
from tests.real_house import PATIENCE, HandClock

_OPEN_WITHIN_S = 60.0
_WORKS = 5  # that sleep by the house's clock: the tick, the upkeep, the rounds, the duty, and the heartbeat
_LOOKS = 20  # at what is due, before those who see to it are woken once more
Apprise().add("json://localhost")  # it looks for its services once: here, for all hubs that are forked
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


class Hub:
    """One hub; moments are aware UTC. address: of its page; port: of its MQTT listener; while it is open."""

    def __init__(self, sections: dict[str, Any]) -> None:
        self._sections = sections
        self._process: BaseProcess | None = None
        self.address = ""
        self.port = 0

    @property
    def is_open(self) -> bool:
        return self._process is not None

    async def start(self, now: datetime) -> None:
        self._line, theirs = _forks.Pipe()
        self._process = _forks.Process(target=_live, args=(self._sections, now, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.address, self.port = await self._answer()

    async def move(self, now: datetime) -> None:
        """Move its clock, and wait until it has done what is due by then and sleeps."""
        self._line.send(now)
        await self._answer()

    async def stop(self) -> None:
        """SIGTERM, and wait until it has closed."""
        process, self._process = self._process, None
        assert process is not None
        process.terminate()
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0

    async def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.join)

    async def _answer(self) -> Any:
        answered = await asyncio.to_thread(self._line.poll, _OPEN_WITHIN_S)
        assert answered, "the hub does not answer"
        return self._line.recv()


class SleepersClock(HandClock):
    """Knows when all who work by it sleep."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.all_asleep = asyncio.Event()
        self._asleep = 0

    async def sleep(self, duration: timedelta) -> None:
        self._count(1)
        try:
            await super().sleep(duration)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._asleep += more
        if self._asleep == _WORKS:
            self.all_asleep.set()
        else:
            self.all_asleep.clear()


def _live(sections: dict[str, Any], now: datetime, line: Connection) -> None:
    asyncio.run(_keep(sections, now, line))


async def _keep(sections: dict[str, Any], now: datetime, line: Connection) -> None:
    clock, moments = SleepersClock(now), asyncio.Queue[datetime]()
    async with keep_house(Config.model_validate(sections), clock) as house:
        stopping = asyncio.create_task(house.stopped())
        await asyncio.sleep(0)  # from here on it hears the signals
        assert house.listener is not None
        line.send((house.address, house.listener.port))
        asyncio.get_running_loop().add_reader(line.fileno(), lambda: moments.put_nowait(line.recv()))
        moving = asyncio.create_task(_move(house, clock, moments, line))
        done, _ = await asyncio.wait([stopping, moving], return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        moving.cancel()


async def _move(house: House, clock: SleepersClock, moments: asyncio.Queue[datetime], line: Connection) -> None:
    while True:
        clock.advance(await moments.get() - clock.now())
        await house.path.round(_nothing)  # readings that came before are judged, and those who are due are up
        async with asyncio.timeout(PATIENCE):
            await _settle(house, clock)
        line.send("settled")


async def _settle(house: House, clock: SleepersClock) -> None:
    """Until all sleep and nothing is due, also when they have looked once more, as they do some seconds later."""
    looked_again = False
    for look in count(1):
        await clock.all_asleep.wait()
        if await asyncio.to_thread(_is_anything_due, house, clock.now()):
            looked_again = False
            if look % _LOOKS == 0:
                house._wake()
        elif not looked_again:
            looked_again = True
            house._wake()
            await asyncio.to_thread(lambda: None)
        elif clock.all_asleep.is_set():
            return


async def _nothing() -> None:
    return


def _is_anything_due(house: House, now: datetime) -> bool:
    due = to_us(now)
    timers, own, personal = (METADATA.tables[name] for name in ("escalations", "deliveries", "personal_deliveries"))
    wait = (
        select(timers.c.id).where(timers.c.done_us.is_(None), timers.c.due_us <= due).exists(),
        select(own.c.notice).where(own.c.due_us <= due).exists(),
        select(personal.c.notice).where(or_(personal.c.due_us <= due, personal.c.next_us <= due)).exists(),
    )
    with house.book._engine.connect() as db:
        return any(db.execute(select(*wait)).one())
