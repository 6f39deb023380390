"""What the house says of itself while something is wrong with it: the truth, at once, and of which moment."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.team import Contact, Role
from gateway.cli import main
from gateway.house import BROKER, House, HouseError
from gateway.people import DeviceKind
from ingest.influx import InfluxFollower
from simulators.publisher import Publisher, RefusedError, glucose
from tests.alerts.telling import LI, WANG, shift
from tests.full_disk import FullDisk
from tests.peers import Mosquitto, free_port, mosquitto_broker
from tests.real_house import NOW, PATIENCE, HandClock, enrol, real_house, ticking, until

MANY = 2000  # readings: more than a write-ahead log that is there has room for
BATCH = 500


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def asked(house: House) -> dict[str, Any]:
    """What a program reads over the API."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as web:
        found: dict[str, Any] = (await web.get(f"{house.address}/api/v1/health")).json()
        return found


async def part_ok(house: House, part: str) -> bool:
    """What Prometheus reads."""
    return f'homeward_part_ok{{part="{part}"}} 1.0' in await house.metrics()


async def publish(house: House, count: int, first: int = 0) -> None:
    """Readings of a sensor, a batch a message, each behind the acknowledgement of the one before."""
    assert house.listener is not None
    async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
        for batch in range(first, first + count, BATCH):
            numbers = range(batch, min(batch + BATCH, first + count))
            moments = (NOW - timedelta(minutes=n) for n in numbers)
            await sensor.publish(
                *(glucose(Decimal(100), at, kind="cgm_glucose", context={"n": "x" * 60}) for at in moments)
            )


@asynccontextmanager
async def publishing(house: House, count: int, first: int = 0) -> AsyncIterator[asyncio.Task[None]]:
    """A sensor that publishes while the block runs, and waits for its acknowledgements."""
    sending = asyncio.create_task(publish(house, count, first))
    try:
        yield sending
    finally:
        sending.cancel()
        await asyncio.wait([sending])


# The broker ---------------------------------------------------------------------------------------------------------


async def test_a_dead_broker_is_seen_everywhere(
    mosquitto: str, tmp_path: Path, clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    status = ["status", "--data", str(tmp_path / "data")]
    with mosquitto_broker(mosquitto, tmp_path) as broker:
        async with real_house(tmp_path, clock, broker={"host": "127.0.0.1", "port": broker.port}) as house:
            link = house.broker
            assert link is not None
            await until(lambda: link.trouble is None)
            assert (await asked(house))["parts"]["broker"] == {"status": "ok", "detail": "Connected to the broker."}
            assert await part_ok(house, "broker")
            assert await asyncio.to_thread(main, status) == 0
            assert "ok   broker: Connected" in capsys.readouterr().out
            await asyncio.to_thread(broker.kill)
            await until(lambda: link.trouble is not None)
            found = await asked(house)
            assert (found["status"], found["parts"]["broker"]["status"]) == ("degraded", "degraded")
            assert not await part_ok(house, "broker")
            assert await asyncio.to_thread(main, status) == 1
            assert "FAIL broker:" in capsys.readouterr().out


async def test_what_the_broker_dropped_is_no_good_health(mosquitto: str, tmp_path: Path, clock: HandClock) -> None:
    with mosquitto_broker(mosquitto, tmp_path, "sys_interval 1", "max_queued_messages 10") as broker:
        where = {"host": "127.0.0.1", "port": broker.port}
        async with real_house(tmp_path, clock, broker=where) as house:
            await until((tmp_path / "data" / BROKER).exists)
        await asyncio.to_thread(publish_to, broker, 30)
        async with real_house(tmp_path, clock, broker=where) as house:
            link = house.broker
            assert link is not None
            await until(lambda: link.memory.dropped == 20)
            found = (await asked(house))["parts"]["broker"]
            assert found["status"] == "degraded"
            assert "the broker has dropped 20 messages" in found["detail"]
            assert "\nhomeward_broker_dropped_total 20.0\n" in await house.metrics()


def publish_to(broker: Mosquitto, count: int) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for sent in [client.publish("homeward/v1/cgm-1/readings", b"%d" % n, qos=1) for n in range(count)]:
        sent.wait_for_publish(PATIENCE)
    client.disconnect()
    client.loop_stop()


# A full disk, a locked file -----------------------------------------------------------------------------------------


async def test_a_disk_that_fills_while_readings_arrive_is_told_although_the_worker_waits(
    full_disk: FullDisk, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with real_house(full_disk.path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await publish(house, 10)
        assert (await asked(house))["parts"]["journal"]["status"] == "ok"
        full_disk.fill()
        async with publishing(house, MANY, first=10) as sending:
            await until(lambda: house.path.patience.trouble is not None)
            clock.set(NOW + timedelta(milliseconds=500))  # less than the worker waits before it tries again
            found = await asked(house)
            assert found["status"] == "degraded"
            assert found["as_of"] == "2026-03-02T12:00:00.500000Z"
            assert "database or disk is full" in found["parts"]["journal"]["detail"]
            assert "100% full, 0.0 MB are free" in found["parts"]["disk"]["detail"]
            assert not await part_ok(house, "journal")
            assert not await part_ok(house, "disk")
            page = await on_the_page(house)
            assert "Something needs attention" in page
            assert "100% full" in page
            assert not sending.done()
            full_disk.clear()
            while not sending.done():
                clock.advance(timedelta(seconds=1))
                await asyncio.to_thread(lambda: None)
            assert (await asked(house))["parts"]["journal"]["status"] == "ok"
            assert "the journal can be used again" in caplog.text


async def on_the_page(house: House) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as web:
        return (await web.get(f"{house.address}/health")).text


async def test_a_house_that_opens_on_a_full_disk_says_so_before_it_has_watched_anything(
    full_disk: FullDisk, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_house(full_disk.path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await publish(house, 50)
    with closing(sqlite3.connect(full_disk.path / "data" / "hub.db")) as book:
        book.execute("UPDATE watch_cursor SET seq=0")
        book.commit()
    full_disk.fill(spare=500_000)  # less cannot be opened at all, and `run` says so
    monkeypatch.setattr("gateway.ward.Ward.see", without_end)
    monkeypatch.setattr("gateway.house.LAST_WORK_S", 0.1)
    async with real_house(full_disk.path, clock) as house:
        found = house.health()  # what the worklist shows, which asks nobody
        assert found["parts"]["disk"]["status"] == found["status"] == "degraded"


async def test_a_home_post_tells_of_a_small_disk_once(full_disk: FullDisk, clock: HandClock) -> None:
    uplink = {"host": "127.0.0.1", "port": free_port(), "post": "home", "password": "secret", "tls": False}
    async with real_house(full_disk.path, clock, uplink=uplink, listener={"port": 0}) as house:
        parts = (await asked(house))["parts"]
        assert parts["disk"]["status"] == "degraded", "8 MiB are few"
        assert "make room, or bring the hub back" in parts["disk"]["detail"]
        assert [name for name, part in parts.items() if "disk" in part["detail"]] == ["disk"]


async def test_a_house_that_cannot_open_on_a_full_disk_says_that_room_is_wanted_whichever_store_it_is(
    full_disk: FullDisk, clock: HandClock
) -> None:
    async with real_house(full_disk.path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
    told = []
    for spare in range(0, 1_000_000, 8192):
        full_disk.fill(spare=spare)
        try:
            async with real_house(full_disk.path, clock):
                break
        except HouseError as error:
            told.append(str(error))
    assert len(told) > 5
    for said in told:
        assert re.search(r"^the disk .* is \d+% full, 0\.\d MB are free: make room", said)
        assert "or delete" not in said


async def without_end(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_journal_that_another_program_holds_is_told_before_sqlite_gives_up(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.patience.PROMPT_S", 0.05)
    async with real_house(tmp_path, clock) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        with closing(sqlite3.connect(tmp_path / "data" / "journal.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with publishing(house, 1) as sending:
                await until(lambda: house.path.patience.trouble is not None)
                found = (await asked(house))["parts"]["journal"]
                assert found["status"] == "degraded"
                assert "the journal has not answered for" in found["detail"]
                other.execute("ROLLBACK")
                await sending
        assert house.path.patience.trouble is None


async def test_a_part_that_does_not_answer_is_told_and_holds_up_no_other(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.health.ANSWER_S", 0.05)
    let_go = threading.Event()
    times = 0

    def stuck() -> None:
        nonlocal times
        times += 1
        let_go.wait()
        raise sqlite3.OperationalError("disk I/O error")

    async with real_house(tmp_path, clock) as house:
        monkeypatch.setattr(house.journal, "counts", stuck)
        for _ in range(3):
            found = await asked(house)
            assert "does not answer within" in found["parts"]["letters"]["detail"]
            assert "full" in found["parts"]["disk"]["detail"]
        assert times == 1, "it is not asked again and again: each question would hold a thread"
        let_go.set()
        monkeypatch.setattr("gateway.health.ANSWER_S", PATIENCE)
        assert (await asked(house))["parts"]["letters"] == {
            "status": "degraded",
            "detail": "It cannot be asked: disk I/O error; see to the disk and the log.",
        }


async def test_pages_that_are_open_hear_that_the_health_has_changed_although_the_worker_waits(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ward.Ward.tick", without_end)
    monkeypatch.setattr("gateway.house.LAST_WORK_S", 0.1)
    async with real_house(tmp_path, clock) as house:
        await house.feel()
        with house.bulletin.subscribe(types=frozenset({"health"})) as events:
            for faulty in ({"p-1"}, set[str]()):
                house.ward._faulty = faulty
                async with ticking(clock), asyncio.timeout(PATIENCE):
                    assert b"event: health" in await anext(events)


async def test_a_part_that_falls_over_is_told_until_it_has_stood_for_a_while(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [sqlite3.OperationalError("database is locked"), ValueError("a fault of ours")]

    async def falls(_: InfluxFollower) -> None:
        if errors:
            raise errors.pop(0)
        await without_end()

    monkeypatch.setattr("ingest.influx.InfluxFollower.run", falls)
    influxdb = {"url": "http://127.0.0.1:9", "token": "t", "bucket": "b"}
    async with real_house(tmp_path, clock, influxdb=influxdb) as house:
        await until(lambda: len(errors) == 1)
        found = (await asked(house))["parts"]["influxdb"]
        assert found["status"] == "degraded"
        assert found["detail"].startswith("It stopped (database is locked) and is started again within 15 s")
        assert "Traceback" not in caplog.text
        async with ticking(clock):
            await until(lambda: not errors)
        assert "a fault of ours" in (await asked(house))["parts"]["influxdb"]["detail"]
        assert "Traceback" in caplog.text
        clock.advance(timedelta(seconds=30))
        assert (await asked(house))["parts"]["influxdb"]["detail"].startswith("InfluxDB follows the journal")


@pytest.mark.parametrize(
    ("part", "work"), [("tick", "gateway.ward.Ward.tick"), ("rounds", "gateway.rounds.Rounds.go")]
)
async def test_what_is_done_again_and_again_is_told_when_it_fails(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, part: str, work: str
) -> None:
    faults = [ValueError("a fault of ours")]

    async def fails(_: object) -> bool:
        if faults:
            raise faults.pop()
        return False

    monkeypatch.setattr(work, fails)
    async with real_house(tmp_path, clock) as house:
        await until(lambda: part in house.fallen)
        assert (await asked(house))["parts"][part] == {
            "status": "degraded",
            "detail": "It stopped (a fault of ours) and is started again within 15 s; the log says more.",
        }
        clock.advance(timedelta(seconds=30))
        assert (await asked(house))["status"] == "ok"


# The listener -------------------------------------------------------------------------------------------------------


async def log_in(house: House, name: str, password: str) -> None:
    assert house.listener is not None
    async with Publisher(name, "127.0.0.1", house.listener.port, username=name, password=password):
        pass


async def test_a_device_that_keeps_being_refused_is_told(
    tmp_path: Path, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with real_house(tmp_path, clock, listener={"port": 0, "logins": {"gm-1": "sweet"}}) as house:
        assert (await asked(house))["parts"]["logins"]["status"] == "ok"
        for _ in range(3):
            with pytest.raises(RefusedError):
                await log_in(house, "gm-1", "stale")
        told = [line for line in caplog.messages if "is refused" in line]
        assert len(told) == 1
        assert "the login of 'gm-1' from 127.0.0.1 is refused (1 since 2026-03-02 12:00 UTC)" in told[0]
        found = (await asked(house))["parts"]["logins"]
        assert found["status"] == "degraded"
        assert "'gm-1' from 127.0.0.1, 3 times since 2026-03-02 12:00 UTC" in found["detail"]
        assert "\nhomeward_listener_logins_refused_total 3.0\n" in await house.metrics()
        clock.advance(timedelta(minutes=1))
        with pytest.raises(RefusedError):
            await log_in(house, "gm-1", "stale")
        assert any("is refused (4 since" in line for line in caplog.messages)
        await log_in(house, "gm-1", "sweet")
        assert (await asked(house))["parts"]["logins"]["status"] == "ok"


async def test_the_hub_names_a_home_post_that_is_cut_off(tmp_path: Path, clock: HandClock) -> None:
    posts = {"home-1": "secret", "home-2": "secret"}
    async with real_house(tmp_path / "hub", clock, listener={"port": 0, "posts": posts}) as hub:
        assert hub.listener is not None
        uplink = {
            "host": "127.0.0.1",
            "port": hub.listener.port,
            "post": "home-1",
            "password": "secret",
            "tls": False,
        }
        async with real_house(tmp_path / "home", clock, listener={"port": 0}, uplink=uplink) as home:
            await until(lambda: home.uplink is not None and home.uplink.trouble is None)
            assert (await asked(hub))["parts"]["home posts"]["status"] == "ok", "home-2 has had no time to come"
            assert "\nhomeward_home_posts_absent 1.0\n" in await hub.metrics()
            clock.advance(timedelta(minutes=20))
            said = (await asked(hub))["parts"]["home posts"]
            assert said["status"] == "degraded"
            assert "home-2, last here 2026-03-02 12:00 UTC" in said["detail"]
            assert "home-1" not in said["detail"]
        await until(lambda: len(hub.listener.absent_posts()) == 2)  # type: ignore[union-attr]
        clock.advance(timedelta(minutes=15))
        said = (await asked(hub))["parts"]["home posts"]
        assert "home-1, last here 2026-03-02 12:20 UTC" in said["detail"]


async def test_a_role_of_a_ladder_that_nobody_is_on_duty_in_for_a_day_is_told(
    tmp_path: Path, clock: HandClock
) -> None:
    app_channel = {"name": "app", "kind": "webhook", "url": "http://127.0.0.1:9/"}  # nothing is sent
    async with real_house(tmp_path, clock, channel=[app_channel]) as house:
        parts = (await asked(house))["parts"]
        assert parts["channel app"]["detail"] == "Nothing had to be said since the start."
        alone = parts["team"]
        assert (alone["status"], "No staff are registered" in alone["detail"]) == ("ok", True)
        team = house.duty.team
        app = replace(WANG, id="zhao", contacts=(Contact(channel="app", address="zhao"),))  # who can be asked to dial
        await asyncio.to_thread(partial(team.put, app, now=NOW))
        for one in (WANG, LI):
            by_telephone = replace(one, contacts=(Contact(channel="telephone", address="+8613"),))
            await asyncio.to_thread(partial(team.put, by_telephone, now=NOW))
        await asyncio.to_thread(partial(team.add_shift, shift(WANG.id, Role.NURSE), now=NOW))
        missing = (await asked(house))["parts"]["team"]
        assert missing == {
            "status": "degraded",
            "detail": "Nobody who can be told is on duty within 24 h as doctor: enter shifts and contacts on the "
            "page Team.",
        }
        await asyncio.to_thread(partial(team.add_shift, shift(LI.id, Role.DOCTOR), now=NOW))
        assert (await asked(house))["parts"]["team"]["status"] == "ok"
        await asyncio.to_thread(partial(team.put_contacts, f"staff:{LI.id}", [], now=NOW))
        assert (await asked(house))["parts"]["team"] == missing
