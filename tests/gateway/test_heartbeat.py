"""The sign of life, to a real HTTP server and a real socket of systemd; and a cycle of escalation that hangs."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from alerts.channels import Speaker
from alerts.messages import Situation
from alerts.team import Contact, Practitioner, Role
from gateway import clock as clock_module
from gateway.clock import SystemClock
from gateway.config import Config, Web
from gateway.duty import STALL
from gateway.heartbeat import Heartbeat
from gateway.house import keep_house
from tests.alerts.telling import shift
from tests.gateway.small_house import NOW, SmallHouse, furnish, very_low


@dataclass
class Waiting:
    """A service that waits for heartbeats, and answers as it is told to."""

    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode())
        writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def waiting() -> AsyncIterator[Waiting]:
    service = Waiting()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ping/s3cret"
    async with server:
        yield service


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Its end of the socket."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def heard_by(systemd: socket.socket) -> list[bytes]:
    systemd.setblocking(False)
    said = []
    try:
        while True:
            said.append(systemd.recv(64))
    except BlockingIOError:
        return said


async def test_no_heartbeat_comes_while_a_cycle_of_escalation_hangs(
    tmp_path: Path, systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: object) -> Situation:
        hangs.set()
        goes_on.wait()
        return Situation()

    async with waiting() as service:
        with closing(SmallHouse(tmp_path)) as house:
            furnish(house)
            duty = house.duty
            duty.speaker = Speaker(house.book, [], base_url="", clock=house.now, outbox=duty.outbox)
            nurse = Practitioner(
                id="bao",
                name="Bao",
                roles=frozenset({Role.NURSE}),
                zone="Asia/Shanghai",
                contacts=(Contact(channel="app", address="bao"),),
            )
            duty.team.put(nurse, now=NOW)
            duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
            duty.escalation.situation = hang
            heartbeat = Heartbeat(service.url, moves=lambda: not duty.hangs, works=lambda: not duty.stands_still)
            house.find(very_low())
            cycle = asyncio.create_task(duty.go())
            await asyncio.to_thread(hangs.wait)
            house.time += STALL
            await heartbeat.beat()
            assert heard_by(systemd) == [b"WATCHDOG=1"]
            assert service.asked == ["GET /ping/s3cret HTTP/1.1"]
            house.time += timedelta(seconds=1)
            with caplog.at_level(logging.CRITICAL, "gateway.heartbeat"):
                await heartbeat.beat()
                await heartbeat.beat()
            assert (heard_by(systemd), len(service.asked)) == ([], 1)
            assert len(caplog.records) == 1
            goes_on.set()
            await cycle
            await heartbeat.beat()
            assert (heard_by(systemd), len(service.asked)) == ([b"WATCHDOG=1"], 2)


class World:
    """Stands in for `time` inside the clock: how long the program runs, in seconds."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def test_a_fast_clock_makes_no_cycle_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 120 times the speed a cycle of more than a second was said to hang for two minutes."""
    world, hangs, goes_on = World(), threading.Event(), threading.Event()
    monkeypatch.setattr(clock_module, "time", world)

    def hang(*_: object) -> int:
        hangs.set()
        goes_on.wait()
        return 0

    with closing(SmallHouse(tmp_path)) as house:
        duty = house.duty
        duty._clock = SystemClock(start=NOW, speed=120)
        duty.escalation.note_overdue = hang
        cycle = asyncio.create_task(duty.go())
        await asyncio.to_thread(hangs.wait)
        found = []
        for world.seconds in (1.5, STALL.total_seconds(), STALL.total_seconds() + 1):
            found.append((duty.hangs, duty.stands_still, duty.trouble is not None))
        goes_on.set()
        await cycle
    assert found == [(False,) * 3, (False,) * 3, (True,) * 3]


async def test_a_house_whose_database_is_away_is_not_started_again_for_it(
    tmp_path: Path, systemd: socket.socket
) -> None:
    """A new start would end at once, and nobody would take the readings in."""
    async with waiting() as service:
        with closing(SmallHouse(tmp_path)) as house:
            duty = house.duty
            duty.speaker = Speaker(house.book, [], base_url="", clock=house.now, outbox=duty.outbox)
            heartbeat = Heartbeat(service.url, moves=lambda: not duty.hangs, works=lambda: not duty.stands_still)
            house.engine.dispose()
            (tmp_path / "hub.sqlite").rename(tmp_path / "away")
            for _ in range(3):
                house.time += STALL
                with pytest.raises(OperationalError):
                    await duty.go()
                await heartbeat.beat()
            assert (heard_by(systemd), len(service.asked)) == ([b"WATCHDOG=1"] * 3, 1)
            (tmp_path / "away").rename(tmp_path / "hub.sqlite")
            house.engine.dispose()
            await duty.go()
            await heartbeat.beat()
            assert (heard_by(systemd), len(service.asked)) == ([b"WATCHDOG=1"], 2)


async def test_a_house_that_takes_nothing_in_is_not_alive_for_others_but_is_not_started_again(
    systemd: socket.socket,
) -> None:
    async with waiting() as service:
        heartbeat = Heartbeat(service.url, moves=lambda: True, works=lambda: False)
        await heartbeat.beat()
    assert (heard_by(systemd), service.asked) == ([b"WATCHDOG=1"], [])


async def test_it_says_when_nobody_takes_the_heartbeat_and_names_no_secret() -> None:
    async with waiting() as service:
        heartbeat = Heartbeat(service.url, moves=lambda: True, works=lambda: True)
        await heartbeat.beat()
        assert heartbeat.trouble is None
        service.status = 404
        await heartbeat.beat()
        assert heartbeat.trouble == (
            "The heartbeat is refused: HTTP 404. "
            "Who waits for it will think that Homeward stands still: see to `url` in [heartbeat]."
        )
        service.status = 200
        await heartbeat.beat()
        assert heartbeat.trouble is None
    await heartbeat.beat()
    assert heartbeat.trouble is not None
    assert heartbeat.trouble.startswith("The heartbeat does not arrive: ConnectError.")
    assert "s3cret" not in heartbeat.trouble


async def test_the_house_tells_systemd_that_it_is_open_and_goes_on(tmp_path: Path, systemd: socket.socket) -> None:
    async with keep_house(Config(data=tmp_path / "data", web=Web(port=0)), SystemClock()):
        said = {await asyncio.to_thread(systemd.recv, 64) for _ in range(2)}
    assert said == {b"READY=1", b"WATCHDOG=1"}
