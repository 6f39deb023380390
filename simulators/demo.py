"""`make demo`: a ward in one process. Simulated patients wear simulated devices; the real house reads them.

Nothing else is needed: the devices publish to Homeward's own MQTT listener or are read with bleak over a virtual
Bluetooth radio, and replay real traces (`traces/SOURCE.md`) in a loop on a clock that runs fast. The devices remember
the day before the start, so the charts are not empty. Stopped and started again, the ward goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from alerts.team import EVERY_DAY, Contact, Practitioner, Role, Shift, patient
from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.house import House, HouseError, Radio, clear, keep_house
from gateway.people import Device, DeviceKind, DeviceLink, Patient
from ingest.links.ble_scan import heed_cancellation
from ingest.vital import Unit
from simulators import publisher
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.bodies import Pressure, replay_glucose, replay_pressure, synthetic_pressure
from simulators.cgm import CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseRecord, PressureRecord
from simulators.gatt_server import DeviceClock, Make
from simulators.meter import GlucoseMeter

HISTORY: Final = timedelta(days=1)
SHANGHAI: Final = "Asia/Shanghai"
BERLIN: Final = "Europe/Berlin"
UNPAIRED: Final = "meter-new"
CLEAR_LINE: Final = "\r\x1b[K"
# A virtual radio costs nothing, so devices are looked for all the time.
TIMINGS: Final = replace(
    Radio().timings, first_indication=3.0, next_indication=1.0, rest=1.0, retry=1.0, retry_most=5.0, roster=1.0
)
# Where the messages to staff and patients go: a file beside the ward, so that nothing leaves this machine.
MAILBOX: Final = "messages.txt"
CHANNEL: Final = "app"
_MINUTE: Final = timedelta(minutes=1)

Body = Sequence[tuple[float, Any]]
Emit = Callable[["Beat", bool], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One measurement of a body. number: counts from the first one the device remembers."""

    number: int
    at: datetime
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A simulated patient with one device and the trace that it replays."""

    patient: Patient
    device: Device
    body: Body
    clock_error: timedelta = timedelta(0)

    @property
    def zone(self) -> ZoneInfo:
        """Where the patient lives."""
        return ZoneInfo(self.patient.zone)

    def beats(self, origin: datetime) -> Iterator[Beat]:
        """Measurements from a day before `origin` on, without end: the trace in a loop of whole days."""
        days = int(self.body[-1][0] // 1440) + 1
        number = 0
        turn = -1
        while True:
            for minute, value in self.body:
                at = origin + timedelta(days=turn * days, minutes=minute)
                if at >= origin - HISTORY:
                    yield Beat(number=number, at=at.replace(microsecond=0), value=value)
                    number += 1
            turn += 1


def _guest(
    number: int, name: str, zone: str, kind: DeviceKind, link: DeviceLink, body: Body, **patient: Any
) -> Guest:
    address = f"C4:00:00:00:00:{number:02X}" if link is DeviceLink.BLE else f"{kind}-{number}"
    model = "Simulated BLE device" if link is DeviceLink.BLE else "Simulated MQTT device"
    return Guest(
        patient=Patient(id=f"p-{number:02}", name=name, zone=zone, **patient),
        device=Device(id=address, kind=kind, link=link, model=model),
        body=body,
        clock_error=timedelta(minutes=7) if kind is DeviceKind.METER else timedelta(0),
    )


def _guests() -> list[Guest]:
    cgm, meter, cuff = DeviceKind.CGM, DeviceKind.METER, DeviceKind.CUFF
    ble, mqtt = DeviceLink.BLE, DeviceLink.MQTT
    chinese: dict[str, Any] = {"language": "zh_CN"}
    american: dict[str, Any] = {"glucose_unit": Unit.MG_DL}
    # Guidelines call 160/110 severe in pregnancy: a patient's own limit.
    pregnant = {
        "bp-severe": {
            "systolic": {"value": 160, "unit": "mmHg"},
            "diastolic": {"value": 110, "unit": "mmHg"},
        }
    }
    crisis = list(synthetic_pressure(7, days=2, mean=(190, 125)))
    soon = [(minute - crisis[0][0] + 25.0, value) for minute, value in crisis]
    return [
        _guest(1, "陈桂英", SHANGHAI, cgm, ble, list(replay_glucose("cgm_very_low")), **chinese),
        _guest(2, "李建国", SHANGHAI, cgm, mqtt, list(replay_glucose("cgm_high")), **chinese),
        _guest(3, "Anna Miller", BERLIN, cgm, mqtt, list(replay_glucose("cgm_low")), **american),
        _guest(4, "张伟", SHANGHAI, meter, ble, list(replay_glucose("meter_lows")), **chinese),
        _guest(5, "王芳", SHANGHAI, cuff, ble, soon, **chinese),
        _guest(6, "Marie Keller", BERLIN, cuff, mqtt, list(replay_pressure("bp_severe")), limits=pregnant),
        _guest(7, "刘洋", SHANGHAI, cgm, ble, list(replay_glucose("cgm_quiet")), **chinese),
    ]


async def _sensor(guest: Guest, air: Air, clock: DeviceClock, origin: datetime) -> Emit:
    start = (origin - HISTORY).astimezone(guest.zone).replace(tzinfo=None, microsecond=0)
    radio = await air.device(guest.patient.id, guest.device.id)
    sensor = CgmSensor(radio, clock, session_start=start, zone_quarters=32, dst=0, crc=True)
    await sensor.start()

    async def emit(beat: Beat, live: bool) -> None:
        offset = (beat.at - (origin - HISTORY)) // _MINUTE
        record = CgmRecord(offset_min=offset, glucose=beat.value)
        if live:
            await sensor.emit(record)
        else:
            sensor.add(record)

    return emit


async def _meter(guest: Guest, air: Air, clock: DeviceClock, _origin: datetime) -> Emit:
    meter = GlucoseMeter(await air.device(guest.patient.id, guest.device.id), clock, Make(sleeps=True))
    await meter.start()

    async def emit(beat: Beat, live: bool) -> None:
        shown = (beat.at + clock.error).astimezone(guest.zone).replace(tzinfo=None)
        value = beat.value.scaleb(-5)  # mg/dL to kg/L
        meter.add(GlucoseRecord(sequence=beat.number + 1 & 0xFFFF, base_time=shown, concentration=value))
        if live:
            await meter.wake()

    return emit


async def _cuff(guest: Guest, air: Air, clock: DeviceClock, _origin: datetime) -> Emit:
    cuff = BloodPressureCuff(
        await air.device(guest.patient.id, guest.device.id), clock, Make(sleeps=True), hangs_up=True
    )
    await cuff.start()

    async def emit(beat: Beat, live: bool) -> None:
        taken: Pressure = beat.value
        shown = beat.at.astimezone(guest.zone).replace(tzinfo=None)
        mean = Decimal("NaN")
        cuff.add(
            PressureRecord(
                systolic=taken.systolic, diastolic=taken.diastolic, mean=mean, time=shown, pulse=taken.pulse
            )
        )
        if live:
            await cuff.wake()

    return emit


_BLE: Final = {DeviceKind.CGM: _sensor, DeviceKind.METER: _meter, DeviceKind.CUFF: _cuff}


def _message(guest: Guest, beat: Beat) -> publisher.Reading:
    at = beat.at.astimezone(guest.zone)
    if guest.device.kind is DeviceKind.CUFF:
        taken: Pressure = beat.value
        return publisher.blood_pressure(taken.systolic, taken.diastolic, at, pulse=taken.pulse, sequence=beat.number)
    return publisher.glucose(beat.value, at, kind="cgm_glucose", sequence=beat.number)


async def _live_by_mqtt(guest: Guest, house: House, clock: Clock, origin: datetime) -> None:
    """Publish what the device remembers as one batch, then each measurement as it is taken."""
    port = house.listener.port if house.listener else 0
    async with publisher.Publisher(guest.device.id, "127.0.0.1", port) as device:
        past: list[publisher.Reading] = []
        for beat in guest.beats(origin):
            if beat.at <= clock.now():
                past.append(_message(guest, beat))
                continue
            for first in range(0, len(past), 500):
                await device.publish(*past[first : first + 500])
            past = []
            await clock.sleep(beat.at - clock.now())
            await device.publish(_message(guest, beat))


async def _live_by_ble(guest: Guest, air: Air, clock: Clock, origin: datetime) -> None:
    """Remember what was measured before, then measure; the house comes and reads."""
    watch = DeviceClock(lambda: clock.now().astimezone(guest.zone).replace(tzinfo=None), guest.clock_error)
    emit = await _BLE[guest.device.kind](guest, air, watch, origin)
    for beat in guest.beats(origin):
        heed_cancellation()  # Bumble, by which the device advertises, may have lost it
        live = beat.at > clock.now()
        if live:
            await clock.sleep(beat.at - clock.now())
        await emit(beat, live)


async def _stranger(house: House, clock: Clock) -> None:
    """A meter that nobody has paired yet: its readings wait until somebody does it on the page."""
    port = house.listener.port if house.listener else 0
    async with publisher.Publisher(UNPAIRED, "127.0.0.1", port) as device:
        for number in range(1, 1_000_000):
            value = Decimal(95 + 7 * number % 60)
            now = clock.now().replace(microsecond=0)
            await device.publish(publisher.glucose(value, now, kind="glucose", sequence=number))
            await clock.sleep(timedelta(hours=4))


def _team() -> list[tuple[Practitioner, Shift]]:
    """A small staff: nurses by day and by night, a doctor at every hour, a coordinator who is not there at night."""

    def one(
        name: str, called: str, role: Role, start: int, end: int, days: frozenset[int] = EVERY_DAY
    ) -> tuple[Practitioner, Shift]:
        contact = Contact(channel=CHANNEL, address=name)
        who = Practitioner(
            id=name,
            name=called,
            roles=frozenset({role}),
            language="zh_CN",
            zone=SHANGHAI,
            contacts=(contact,),
        )
        shift = Shift(
            role=role,
            practitioner=name,
            weekdays=days,
            start=time(start),
            end=time(end),
            zone=SHANGHAI,
            first=date(2026, 1, 1),
        )
        return who, shift

    return [
        one("wang", "王丽", Role.NURSE, 8, 20),
        one("zhao", "赵敏", Role.NURSE, 20, 8),
        one("li", "李医生", Role.DOCTOR, 8, 8),
        one("bao", "包静", Role.COORDINATOR, 8, 17, frozenset(range(5))),
    ]


@asynccontextmanager
async def _mailbox(path: Path) -> AsyncIterator[str]:
    """A receiver on this machine that writes each message down; its address."""

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        said = json.loads(await reader.readexactly(length))
        words = "zh" if said["language"] == "zh_CN" else "en"
        with path.open("a", encoding="utf-8") as box:
            box.write(f"{said['written_at']} to {said['to']}: {said['subject'][words]}\n{said['body'][words]}\n")
            box.write(f"{said['link']}\n\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where the ward stands in its own time, kept in a file so that it goes on there."""

    path: Path
    origin: datetime
    now: datetime

    @classmethod
    def load(cls, path: Path, speed: float) -> Progress:
        """Read the file, or begin now."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            origin, now = (datetime.fromisoformat(found[key]) for key in ("origin", "now"))
        except FileNotFoundError:
            start = SystemClock().now().replace(microsecond=0)
            # The traces tell their stories from minute 30 on.
            return cls(path=path, origin=start - 20 * _MINUTE, now=start)
        # The file is a second old at most: never go back behind what was stored.
        return cls(path=path, origin=origin, now=now + timedelta(seconds=2 * speed))

    def save(self, now: datetime) -> None:
        """Write the moment down."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"origin": self.origin.isoformat(), "now": now.isoformat()}), encoding="utf-8")
        fresh.replace(self.path)


def _enrol(house: House, guests: Sequence[Guest]) -> None:
    """Write patients and devices down, unless an earlier run has."""
    known = {patient.id for patient in house.people.patients()}
    for guest in guests:
        if guest.patient.id not in known:
            house.people.add_patient(guest.patient, now=house.now())
            house.people.add_device(guest.device, now=house.now())
    if house.people.device(UNPAIRED) is None:
        house.people.add_device(
            Device(id=UNPAIRED, kind=DeviceKind.METER, link=DeviceLink.MQTT, model="Simulated MQTT device"),
            now=house.now(),
        )


def _employ(house: House) -> None:
    """Write the staff and their shifts down, and how patients are told, unless an earlier run has."""
    team, now = house.duty.team, house.now()
    if team.staff():
        return
    for one, shift in _team():
        team.put(one, now=now, by="demo")
        team.add_shift(shift, now=now, by="demo")
    for known in house.people.patients():
        contact = Contact(channel=CHANNEL, address=known.id)
        team.put_contacts(patient(known.id), [contact], now=now, by="demo")


async def _pair(house: House, guests: Sequence[Guest]) -> None:
    for guest in guests:
        if not house.people.wearings(device=guest.device.id):
            await house.pair(guest.device.id, guest.patient.id)


async def _tell(house: House, clock: Clock, progress: Progress, speed: float) -> None:
    """A line that says what flows, rewritten in place on a terminal, and one for each alert that opens."""
    terminal = sys.stdout.isatty()
    told = {alert.id for alert in await asyncio.to_thread(house.book.open_alerts)}
    for second in range(sys.maxsize):
        now = clock.now()
        progress.save(now)
        counts = await asyncio.to_thread(house.journal.counts)
        alerts = await asyncio.to_thread(house.book.open_alerts)
        for alert in alerts:
            if alert.id not in told:
                told.add(alert.id)
                print(
                    f"{CLEAR_LINE if terminal else ''}{now:%a %H:%M}Z alert for {alert.patient}: {alert.because.en}"
                )
        line = (
            f"{now:%a %H:%M}Z x{speed:g} | kept from BLE {counts.get('admitted.ble', 0)}, "
            f"from MQTT {counts.get('admitted.listener', 0)} readings | "
            f"letters {counts['letters.waiting']} | open alerts {len(alerts)} | {house.address}"
        )
        if terminal:
            print(f"{CLEAR_LINE}{line}", end="", flush=True)
        elif second % 5 == 0:
            print(line, flush=True)
        await asyncio.sleep(1.0)


async def _run(options: argparse.Namespace) -> None:
    progress = Progress.load(options.data / "demo.json", options.speed)
    clock = SystemClock(start=progress.now, speed=options.speed)
    guests = _guests()
    async with AsyncExitStack() as stack:
        mailbox = await stack.enter_async_context(_mailbox(options.data / MAILBOX))
        config = Config.model_validate(
            {
                "data": options.data,
                "clinic": {"zone": SHANGHAI},
                "web": {"port": options.port},
                "listener": {"port": 0},
                "channel": [{"name": CHANNEL, "kind": "webhook", "url": mailbox, "trusted": True}],
            }
        )
        air = await stack.enter_async_context(Air())
        central = await Central.open(air)
        radio = Radio(
            offer=central.offer,
            scanner_kwargs=central.scanner_kwargs,
            client_kwargs=central.client_kwargs,
            timings=TIMINGS,
        )
        house = await stack.enter_async_context(keep_house(config, clock, radio=radio))
        await asyncio.to_thread(_enrol, house, guests)
        await asyncio.to_thread(_employ, house)
        await _pair(house, guests)
        print(f"\nThe ward is open: {house.address}   (stop with Ctrl-C; data in {options.data})", flush=True)
        print(f"What staff and patients are told is written into {options.data / MAILBOX}.\n", flush=True)
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(_tell(house, clock, progress, options.speed))]
            lives.append(group.create_task(_stranger(house, clock)))
            for guest in guests:
                if guest.device.link is DeviceLink.BLE:
                    lives.append(group.create_task(_live_by_ble(guest, air, clock, progress.origin)))
                else:
                    lives.append(group.create_task(_live_by_mqtt(guest, house, clock, progress.origin)))
            await house.stopped()
            for life in lives:
                life.cancel()
        print("\nClosing the ward; start it again and it goes on from here.", flush=True)


def main() -> int:
    """Run the demonstration until it is stopped."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("homeward-data/demo"), help="where the ward is kept")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier ward and start over")
    parser.add_argument("--port", type=int, default=8080, help="of the page (8080)")
    parser.add_argument("--speed", type=float, default=60.0, help="how fast time passes (60: a minute a second)")
    options = parser.parse_args()
    if not 0 <= options.port <= 65535:
        parser.error("--port: a number from 0 (any free one) to 65535")
    if not 0.1 <= options.speed <= 1000:
        parser.error("--speed: a number from 0.1 to 1000")
    logging.basicConfig(level=logging.WARNING, format="\n%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bumble").setLevel(logging.CRITICAL)
    try:
        if options.fresh:
            clear(options.data)
        asyncio.run(_run(options))
    except HouseError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
