"""Home post and hub: two real houses with a network between them that can be cut; each reading once, at its time."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from gateway.cli import main
from gateway.house import PACKETS, House, Radio
from gateway.people import DeviceKind, DeviceLink
from ingest.accounts import Forwarded
from ingest.envelope import sealed
from ingest.links.uplink import Uplink, UplinkSettings, probe
from ingest.packet_log import PacketLog
from ingest.reading import Packet, Reading, TimeBasis
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.cuff import BloodPressureCuff
from simulators.encode import GlucoseContext, GlucoseRecord, PressureRecord
from simulators.gatt_server import DeviceClock
from simulators.meter import GlucoseMeter
from simulators.publisher import Publisher, RefusedError
from tests.accounts import assert_balanced
from tests.faults.load import (
    Device as Sensor,
)
from tests.faults.load import (
    assert_each_once,
    history,
    kept,
    meant,
    seeded,
)
from tests.peers import certificate, free_port
from tests.real_house import NOW, HandClock, enrol, real_house, stored, ticking, until
from tests.wire import Wire

SECRET = "open sesame"
STEP = timedelta(minutes=5)


def hub_listener(port: int = 0, **changed: Any) -> dict[str, Any]:
    return {"port": port, "posts": {"home": SECRET}, **changed}


def uplink_to(port: int, **changed: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "post": "home", "password": SECRET, "tls": False, **changed}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@asynccontextmanager
async def hub_house(folder: Path, clock: HandClock, *devices: str, **listener: Any) -> AsyncIterator[House]:
    async with real_house(folder / "hub", clock, listener=hub_listener(**listener)) as hub:
        for device in devices:
            if hub.people.device(device) is None:
                await enrol(hub, f"p-{device}", device, DeviceKind.CGM)
        yield hub


@asynccontextmanager
async def home_house(folder: Path, clock: HandClock, port: int, **sections: Any) -> AsyncIterator[House]:
    sections = {"listener": {"port": 0}, **sections}
    async with real_house(folder / "home", clock, uplink=uplink_to(port), **sections) as home:
        yield home


async def cutting(wire: Wire, chance: random.Random) -> None:
    """The wire is cut again and again, at any octet."""
    while True:
        wire.cut_after(chance.randrange(40_000))
        await wire.was_cut.wait()


async def confirmed(home: House) -> None:
    """Wait until the hub has confirmed everything."""
    assert home.uplink is not None
    async with asyncio.timeout(30):
        while (await home.uplink.health()).waiting:  # noqa: ASYNC110  it has no event of its own
            await asyncio.sleep(0)


# Bluetooth at home, the roster at the hub ---------------------------------------------------------------------------

METER, CUFF = "C4:00:00:00:00:01", "C4:00:00:00:00:03"


async def test_what_bluetooth_brought_is_at_the_hub_what_it_would_be_on_its_own_adapter(
    tmp_path: Path, clock: HandClock
) -> None:
    shanghai = timedelta(hours=8)
    slow = timedelta(minutes=12)  # the meter's clock is behind

    def shown() -> datetime:
        return (clock.now() + shanghai - slow).replace(tzinfo=None)

    async with Air() as air:
        meter = GlucoseMeter(await air.device("meter", METER), DeviceClock(shown))
        for number in range(1, 21):
            meter.add(
                GlucoseRecord(
                    sequence=number,
                    base_time=shown().replace(microsecond=0) - timedelta(hours=21 - number),
                    concentration=Decimal(90 + number).scaleb(-5),
                    unit="kg/L",
                    context=GlucoseContext(meal=2) if number % 4 == 0 else None,
                )
            )
        await meter.start()
        cuff = BloodPressureCuff(await air.device("cuff", CUFF), DeviceClock(shown))
        for _ in range(3):  # without a time nothing but the arrival at home tells one from the other
            cuff.add(PressureRecord(systolic=Decimal(130), diastolic=Decimal(80), mean=Decimal(95)))
        await cuff.start()
        central = await Central.open(air)
        radio = Radio(scanner_kwargs=central.scanner_kwargs, client_kwargs=central.client_kwargs)
        async with hub_house(tmp_path, clock) as hub:
            assert hub.listener is not None
            async with home_house(tmp_path, clock, hub.listener.port, radio=radio, listener=None) as home:
                await enrol(home, "at-home", METER, DeviceKind.METER, DeviceLink.BLE)
                await enrol(home, "at-home", CUFF, DeviceKind.CUFF, DeviceLink.BLE)
                at_home = await stored(home, 23)
                await confirmed(home)
                assert {letter.reason for letter in hub.journal.letters()} == {"unassigned"}
                for device, kind in ((METER, DeviceKind.METER), (CUFF, DeviceKind.CUFF)):
                    await enrol(hub, "anna", device, kind)
                there = await stored(hub, 23)
                assert belief(there, METER) == belief(at_home, METER)
                assert [r.sent for r in there if r.device == CUFF] == [(130.0, 80.0, 95.0, None)] * 3
                assert {abs(r.taken_at - NOW) < timedelta(milliseconds=1) for r in there if r.device == CUFF} == {
                    True
                }
                assert {r.time_basis for r in there if r.device == METER} == {TimeBasis.CORRECTED}
                assert {r.clock_offset for r in there if r.device == METER} != {None}
            begin_again(tmp_path)
            async with home_house(tmp_path, clock, hub.listener.port) as home:
                await confirmed(home)
            assert len(kept(hub.journal)) == 23
            assert hub.journal.counts()["duplicate"] >= 23
            assert hub.journal.letters() == []
            assert_balanced(hub)


def begin_again(folder: Path) -> None:
    """Set the cursor of the home post back to its first packet."""
    with closing(sqlite3.connect(folder / "home" / "data" / PACKETS, isolation_level=None)) as log:
        assert log.execute("UPDATE cursors SET number=0").rowcount == 1


def belief(readings: Sequence[Reading], device: str) -> list[tuple[Any, ...]]:
    return sorted(
        (r.device, r.vital, r.sequence, r.taken_at, r.time_basis, r.sent, r.unit, r.device_time, r.raw,
         dict(r.context), r.clock_offset, r.flags)
        for r in readings
        if r.device == device
    )  # fmt: skip


# A network that is cut, a hub that is away --------------------------------------------------------------------------


async def test_a_network_that_is_cut_again_and_again(tmp_path: Path, clock: HandClock) -> None:
    chance = seeded()
    names = [f"cgm-{n}" for n in range(4)]
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_house(tmp_path, clock, *names))
        assert hub.listener is not None
        wire = await stack.enter_async_context(Wire(hub.listener.port).laid())
        home = await stack.enter_async_context(home_house(tmp_path, clock, wire.port))
        wire.cut()
        sensors = await send(home, names, 300)
        wire.mend()
        going = asyncio.create_task(cutting(wire, chance))
        async with ticking(clock):
            await confirmed(home)
        going.cancel()
        assert wire.cuts > 3
        readings = assert_each_once(hub.journal, meant(m for sensor in sensors for m in sensor.messages))
        assert in_order(readings)
        assert_balanced(hub)
        assert_balanced(home)


async def send(home: House, names: Sequence[str], count: int, last: datetime = NOW) -> list[Sensor]:
    """Sensors at home that publish to the home post; returns when it has everything on disk."""
    assert home.listener is not None
    port = home.listener.port
    sensors = [Sensor(name, history(name, last, count, step=STEP), port=lambda: port) for name in names]
    # No promise: what hangs ends. On a full disk it takes 8 s by itself, and 30 s and more on a machine at work.
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for sensor in sensors:
            group.create_task(sensor.run())
    return sensors


def in_order(readings: Sequence[Reading]) -> bool:
    moments: dict[str, list[datetime]] = {}
    for reading in readings:
        moments.setdefault(reading.device, []).append(reading.taken_at)
    return all(found == sorted(found) for found in moments.values())


async def test_a_hub_that_is_away_for_weeks(tmp_path: Path, clock: HandClock) -> None:
    port = free_port()
    sent: list[Sensor] = []
    async with home_house(tmp_path, clock, port) as home:
        for _ in range(3):  # weeks
            clock.advance(timedelta(days=7))
            sent += await send(home, ["cgm-1"], 2016, clock.now())
        await home.feel()
        part = home.health()["parts"]["uplink"]
        assert part["status"] == "degraded"
        assert f"127.0.0.1:{port} cannot be reached" in part["detail"]
        assert "confirm: 6048, since 2026-03-09 12:00Z" in part["detail"]
    async with hub_house(tmp_path, clock, "cgm-1", port=port) as hub, home_house(tmp_path, clock, port) as home:
        await confirmed(home)
        readings = assert_each_once(hub.journal, meant(m for sensor in sent for m in sensor.messages))
        assert in_order(readings)
        assert {r.time_basis for r in readings} == {TimeBasis.DEVICE}
        assert {r.received_at.date() for r in readings} == {(NOW + timedelta(days=7 * n)).date() for n in (1, 2, 3)}
        assert home.accounts().uplink == Forwarded(packets=6048, confirmed=6048, waiting=0)
        assert "homeward_uplink_confirmed_total 6048.0" in await home.metrics()
        assert_balanced(home)
        assert home.health()["parts"]["uplink"] == {
            "status": "ok",
            "detail": "The hub takes what is sent; packets that it has still to confirm: 0.",
        }


async def test_a_hub_that_lost_its_disk_is_filled_again(
    tmp_path: Path, clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    again = refill_of(tmp_path, port)
    async with ticking(clock), home_house(tmp_path, clock, port) as home:
        async with hub_house(tmp_path, clock, "cgm-1", port=port):
            sensors = await send(home, ["cgm-1"], 300)
            await confirmed(home)
        shutil.rmtree(tmp_path / "hub")
        async with hub_house(tmp_path, clock, "cgm-1", port=port) as hub:
            assert await asyncio.to_thread(main, again) == 0
            assert "will get all 300 packets again" in capsys.readouterr().out
            assert home.accounts().uplink == Forwarded(packets=300, confirmed=0, waiting=300)
            await home.upkeep()  # it sees that the cursor was set back, connected as it is
            sensors += await send(home, ["cgm-2"], 5)
            await stored(hub, 300)
            await confirmed(home)
            assert_each_once(hub.journal, meant(sensors[0].messages))
            assert len(hub.journal.letters()) == 5  # of a sensor that this hub does not know
            assert home.accounts().uplink == Forwarded(packets=305, confirmed=305, waiting=0)
            # A hub that lost nothing drops what it knows.
            assert await asyncio.to_thread(main, again) == 0
            await home.upkeep()
            await confirmed(home)
            assert_each_once(hub.journal, meant(sensors[0].messages))
            assert_balanced(hub)
            assert_balanced(home)
    assert main(again) == 0
    assert "when it is started" in capsys.readouterr().out
    assert main(["journal", "refill", "uplink", "--data", str(tmp_path)]) == 2
    assert "this is no home post; name its configuration" in capsys.readouterr().err


def refill_of(folder: Path, port: int) -> list[str]:
    """What a person types at home."""
    config = folder / "homeward.toml"
    config.write_text(
        f'data = "{folder / "home" / "data"}"\n[uplink]\nhost = "127.0.0.1"\nport = {port}\npost = "home"\n'
        f'password = "{SECRET}"\ntls = false\n',
        encoding="utf-8",
    )
    return ["journal", "refill", "uplink", "-c", str(config)]


async def test_a_login_that_is_no_post_and_one_that_is_unknown(tmp_path: Path, clock: HandClock) -> None:
    async with real_house(tmp_path / "hub", clock, listener={"port": 0, "logins": {"home": SECRET}}) as hub:
        assert hub.listener is not None
        async with home_house(tmp_path, clock, hub.listener.port) as home:
            await send(home, ["cgm-1"], 3)
            await until(lambda: "name it under [listener.posts]" in str(home.uplink and home.uplink.trouble))
            assert (await home.uplink.health()).waiting == 3  # type: ignore[union-attr]
        settings = UplinkSettings(host="127.0.0.1", port=hub.listener.port, post="home", password="wrong", tls=False)
        assert "refuses the login of home" in str(await probe(settings))
        assert await probe(replace(settings, password=SECRET)) is None
        page = int(hub.address.rpartition(":")[2])
        assert "check the port: it is that of [listener] at the hub" in str(await probe(replace(settings, port=page)))
        assert {letter.device for letter in hub.journal.letters()} == {"home"}


async def test_a_device_cannot_forward_and_a_post_forwards_for_itself_only(tmp_path: Path, clock: HandClock) -> None:
    forged = sealed(Packet(link="ble", sender="cgm-1", channel="json", data=b"{}", received_at=NOW))
    async with hub_house(tmp_path, clock, logins={"cgm-9": SECRET}) as hub:
        assert hub.listener is not None
        for user, topic in (("cgm-9", "cgm-9"), ("cgm-9", "home"), ("home", "other")):
            async with Publisher(user, "127.0.0.1", hub.listener.port, username=user, password=SECRET) as one:
                one.topic = f"homeward/v1/{topic}/packets"
                with pytest.raises(RefusedError, match="Not authorized"):
                    await one.publish_bytes(forged)
        async with Publisher("home", "127.0.0.1", hub.listener.port, username="home", password=SECRET) as one:
            one.topic = "homeward/v1/home/packets"
            with pytest.raises(RefusedError, match="Payload format invalid"):
                await one.publish_bytes(b"nothing of the kind")
        assert {letter.reason for letter in hub.journal.letters()} == {"invalid"}
        assert len(hub.journal.letters()) == 4


class SlowHub:
    """A connection to a hub that confirms one packet when it is asked to, and never more."""

    window, lost = 500, None

    def __init__(self, stirred: Callable[[], None]) -> None:
        self.answers = dict[int, ReasonCode]()
        self.under_way = deque[tuple[int, int]]()
        self.most = self.published = 0
        self._stirred = stirred

    def publish(self, _topic: str, payload: bytes) -> int:
        self.published += 1
        self.under_way.append((self.published, len(payload)))
        self.most = max(self.most, sum(octets for _, octets in self.under_way))
        return self.published

    def confirm(self) -> None:
        self.answers[self.under_way.popleft()[0]] = ReasonCode(PacketTypes.PUBACK, "Success")
        self._stirred()


async def test_what_is_under_way_is_bounded_in_octets_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.links.uplink.WINDOW_OCTETS", 5000)
    with closing(PacketLog(tmp_path / "packets.db")) as log:
        log.append([Packet(link="ble", sender="m", channel="2a18", data=bytes(900), received_at=NOW)] * 60)
        largest = max(len(payload) for _, payload in log.since(0, 60))
        uplink = Uplink(UplinkSettings(host="hub", port=1, post="home", password=SECRET), log, now=lambda: NOW)
        hub = SlowHub(uplink.news.set)
        forwarding = asyncio.create_task(uplink._forward(hub))  # type: ignore[arg-type]
        for _ in range(60):
            await until(lambda: bool(hub.under_way))
            hub.confirm()
        await until(lambda: log.cursor(uplink.place) == 60)
        forwarding.cancel()
        await asyncio.wait([forwarding])
        assert largest < hub.most < 5000 + largest


async def test_over_tls(tmp_path: Path, clock: HandClock) -> None:
    files = certificate(tmp_path)
    tls = {"tls_certificate": files.certificate, "tls_key": files.key}
    async with hub_house(tmp_path, clock, "cgm-1", **tls) as hub:
        assert hub.listener is not None
        strange = UplinkSettings(host="localhost", port=hub.listener.port, post="home", password=SECRET)
        assert "certificate that is not trusted" in str(await probe(strange))
        uplink = uplink_to(hub.listener.port, tls=True, tls_ca=files.certificate)
        async with real_house(tmp_path / "home", clock, uplink=uplink, listener={"port": 0}) as home:
            await send(home, ["cgm-1"], 10)
            await confirmed(home)
        assert len(kept(hub.journal)) == 10


async def test_a_message_that_no_sensor_meant_waits_at_the_hub(tmp_path: Path, clock: HandClock) -> None:
    async with hub_house(tmp_path, clock) as hub:
        assert hub.listener is not None
        async with home_house(tmp_path, clock, hub.listener.port) as home:
            assert home.listener is not None
            async with Publisher("cgm-1", "127.0.0.1", home.listener.port) as sensor:
                await sensor.publish_bytes(b"{broken")
            await confirmed(home)
            (letter,) = hub.journal.letters()
            assert (letter.device, letter.packet.link, letter.packet.data) == ("cgm-1", "uplink home", b"{broken")


async def test_a_log_that_cannot_be_written_is_one_sentence_and_then_goes_on(
    tmp_path: Path, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with home_house(tmp_path, clock, port) as home, ticking(clock):
        assert home.listener is not None
        assert home.packets is not None
        uplink = home.uplink
        assert uplink is not None
        async with Publisher("cgm-1", "127.0.0.1", home.listener.port) as sensor:
            await sensor.publish_bytes(b"{}")
        home.packets._db.execute("PRAGMA query_only=1")
        async with hub_house(tmp_path, clock, "cgm-1", port=port):
            await until(lambda: "cannot be written down: attempt to write a readonly database" in str(uplink.trouble))
            home.packets._db.execute("PRAGMA query_only=0")
            await confirmed(home)
    assert "Traceback" not in caplog.text
