"""`homeward simulate ble`: one simulated device on a real radio, for a tester with a dongle to spare.

The same devices as on the virtual air, behind a Bluetooth controller of one's own: a USB dongle (usb:0), a board with
HCI firmware (serial:/dev/ttyACM0,1000000), or HCI over a socket (tcp-client:HOST:PORT). The system's own Bluetooth
must not use that controller. They replay real traces (`traces/SOURCE.md`), a value at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bumble import hci
from bumble.core import BaseBumbleError
from bumble.device import Connection, Device
from bumble.host import Host
from bumble.keys import JsonKeyStore
from bumble.transport import open_transport
from bumble.transport.common import Transport, TransportSpecError

from simulators.bodies import Pressure, replay_glucose, replay_pressure
from simulators.cgm import DST_UNKNOWN, CgmSensor
from simulators.cuff import BloodPressureCuff
from simulators.encode import CgmRecord, GlucoseRecord, PressureRecord
from simulators.gatt_server import DeviceClock, GattServer, Make, Security
from simulators.meter import GlucoseMeter

_TRACES: Final[dict[str, tuple[str, ...]]] = {
    "meter": ("meter_lows", "meter_quiet"),
    "cgm": ("cgm_low", "cgm_very_low", "cgm_high", "cgm_quiet"),
    "cuff": ("bp_severe", "bp_first_high", "bp_quiet"),
}
_NAMES: Final = {"meter": "glucose meter", "cgm": "glucose sensor", "cuff": "blood-pressure cuff"}
_INTERVAL_MS: Final = 100.0
_HISTORY: Final = 6
_APART: Final = timedelta(minutes=5)
_QUARTER: Final = timedelta(minutes=15)
_MG_DL_AS_KG_L: Final = -5
_PATIENCE_S: Final = 10.0
_LEAST_S: Final = 1.0
_SENSOR_LEAST_S: Final = 60.0  # a sensor's records are told apart by their minute


class RadioError(Exception):
    """The radio cannot be used. The text is a sentence that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What to be. kind: meter, cgm or cuff. every_s: seconds from one value to the next. bonds: a file, or None."""

    transport: str
    kind: str
    name: str
    address: str
    make: Make
    trace: str
    every_s: float
    bonds: Path | None


def _now() -> datetime:
    """The wearer's clock: this computer's local time."""
    return datetime.now()  # noqa: DTZ005  a device knows no zone


def _meter(device: Device, make: Make, values: Iterator[Any]) -> tuple[GattServer, Callable[[], Any]]:
    meter = GlucoseMeter(device, DeviceClock(_now), make)
    for sequence in range(1, _HISTORY + 1):
        taken = _now().replace(microsecond=0) - (_HISTORY + 1 - sequence) * _APART
        concentration = next(values).scaleb(_MG_DL_AS_KG_L)
        meter.add(GlucoseRecord(sequence=sequence, base_time=taken, concentration=concentration))
    return meter, lambda: meter.measure(next(values).scaleb(_MG_DL_AS_KG_L))


def _sensor(device: Device, make: Make, values: Iterator[Any]) -> tuple[GattServer, Callable[[], Any]]:
    start = _now().replace(microsecond=0) - _HISTORY * _APART
    offset = _now().astimezone().utcoffset() or timedelta(0)
    sensor = CgmSensor(
        device,
        DeviceClock(_now),
        make,
        session_start=start,
        # All of it as the zone, for the part of it that is summer time is not known.
        zone_quarters=offset // _QUARTER,
        dst=0 if offset % _QUARTER == timedelta(0) else DST_UNKNOWN,
        crc=True,
    )
    for number in range(_HISTORY):
        sensor.add(CgmRecord(offset_min=number * (_APART // timedelta(minutes=1)), glucose=next(values)))
    return sensor, lambda: sensor.measure(next(values))


def _cuff(device: Device, make: Make, values: Iterator[Any]) -> tuple[GattServer, Callable[[], Any]]:
    cuff = BloodPressureCuff(device, DeviceClock(_now), make, hangs_up=True)
    taken: Pressure = next(values)
    nan = Decimal("NaN")
    moment = _now().replace(microsecond=0) - _APART
    cuff.add(PressureRecord(systolic=taken.systolic, diastolic=taken.diastolic, mean=nan, time=moment))

    def measure() -> Any:
        taken: Pressure = next(values)
        return cuff.measure(taken.systolic, taken.diastolic, pulse=taken.pulse)

    return cuff, measure


_DEVICES: Final = {"meter": _meter, "cgm": _sensor, "cuff": _cuff}


async def simulate(wishes: Wishes, stop: asyncio.Event) -> None:
    """Be a device until `stop` is set. Raises RadioError."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            transport = await open_transport(wishes.transport)
    except TransportSpecError as error:
        raise RadioError(
            f"{wishes.transport} names no radio; write it like usb:0, serial:/dev/ttyACM0,1000000 or "
            "tcp-client:127.0.0.1:9001"
        ) from error
    except Exception as error:  # what a transport raises depends on the library below it
        raise RadioError(
            f"the radio {wishes.transport} cannot be opened ({error!r}); is it plugged in, free of the system's own "
            "Bluetooth, and may this user open it?"
        ) from error
    try:
        await _live(wishes, transport, stop)
    finally:
        with suppress(BaseBumbleError, OSError):
            await transport.close()


async def _live(wishes: Wishes, transport: Transport, stop: asyncio.Event) -> None:
    host = Host(transport.source, transport.sink)
    device = Device(name=wishes.name, address=hci.Address(wishes.address), host=host)
    if wishes.bonds is not None:
        device.keystore = JsonKeyStore(wishes.address, str(wishes.bonds))
    replay = replay_pressure if wishes.kind == "cuff" else replay_glucose
    values = itertools.cycle([value for _, value in replay(wishes.trace)])
    server, measure = _DEVICES[wishes.kind](device, wishes.make, values)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await device.power_on()
            await server.start()
    except (TimeoutError, BaseBumbleError) as error:
        raise RadioError(
            f"what is at {wishes.transport} does not answer as a Bluetooth LE controller that advertises ({error!r})"
        ) from error
    device.on(Device.EVENT_CONNECTION, _tell_connection)
    _introduce(wishes, server)
    gone: asyncio.Future[None] = transport.source.terminated
    gone.add_done_callback(lambda _gone: stop.set())
    while not await _set_within(stop, wishes.every_s):
        print(f"{_now():%H:%M:%S} measured {_shown(await measure())}", flush=True)
    if gone.done():
        raise RadioError(f"the radio {wishes.transport} has gone; plug it in and start again")
    with suppress(BaseBumbleError, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await server.hang_up()
            await device.power_off()
    print("The device is switched off.", flush=True)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _introduce(wishes: Wishes, server: GattServer) -> None:
    how = {
        Security.OPEN: "it wants no pairing",
        Security.ENCRYPTED: "it wants a bond without a passkey",
        Security.PASSKEY: f"its passkey is {wishes.make.passkey:06}",
    }[wishes.make.security]
    print(
        f"{wishes.name}, a simulated {_NAMES[wishes.kind]}, advertises at {wishes.address} "
        f"(service {server.service_uuid:04X}) over {wishes.transport}; {how}.\n"
        f"On the computer that reads it:  homeward pair --address {wishes.address}\n"
        f"It replays {wishes.trace}, a value every {wishes.every_s:g} s. Ctrl-C switches it off.",
        flush=True,
    )


def _tell_connection(link: Connection) -> None:
    print(f"{_now():%H:%M:%S} connected by {link.peer_address}", flush=True)
    link.on(Connection.EVENT_DISCONNECTION, lambda _reason: print(f"{_now():%H:%M:%S} disconnected", flush=True))
    link.on(Connection.EVENT_PAIRING, lambda _keys: print(f"{_now():%H:%M:%S} paired", flush=True))
    link.on(
        Connection.EVENT_PAIRING_FAILURE,
        lambda reason: print(f"{_now():%H:%M:%S} pairing failed ({reason!r})", flush=True),
    )


def _shown(record: GlucoseRecord | CgmRecord | PressureRecord) -> str:
    match record:
        case GlucoseRecord():
            return f"{(record.concentration or Decimal('NaN')).scaleb(-_MG_DL_AS_KG_L):f} mg/dL"
        case CgmRecord():
            return f"{record.glucose:f} mg/dL"
    return f"{record.systolic}/{record.diastolic} mmHg"


def _wishes() -> Wishes:
    parser = argparse.ArgumentParser(prog="homeward simulate ble", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--transport", required=True, help="usb:0, serial:/dev/ttyACM0,1000000, tcp-client:HOST:PORT, ..."
    )
    parser.add_argument("--device", choices=tuple(_DEVICES), default="meter", help="what to be (meter)")
    parser.add_argument("--name", help="as it advertises itself (meter+0001)")
    parser.add_argument("--address", default="C4:AF:00:00:00:01", help="a static random address (C4:AF:00:00:00:01)")
    parser.add_argument("--security", choices=[each.value for each in Security], default="encrypted")
    parser.add_argument("--passkey", metavar="DIGITS", help="six digits that it shows; means --security passkey")
    parser.add_argument("--trace", help=f"what it measures: {'; '.join(', '.join(t) for t in _TRACES.values())}")
    parser.add_argument("--every", type=float, default=60.0, metavar="S", help="seconds between two values (60)")
    parser.add_argument("--bonds", type=Path, metavar="FILE", help="keep bonds; without it they end with the program")
    told = parser.parse_args()
    trace = told.trace or _TRACES[told.device][0]
    passkey = told.passkey or "123456"
    if trace not in _TRACES[told.device]:
        parser.error(f"--trace: a {told.device} has {', '.join(_TRACES[told.device])}")
    if not (len(passkey) == 6 and passkey.isascii() and passkey.isdecimal() and int(passkey)):
        parser.error("--passkey: six digits, and not all of them 0")
    least = _SENSOR_LEAST_S if told.device == "cgm" else _LEAST_S
    if not least <= told.every <= 86_400.0:
        parser.error(f"--every: from {least:g} to 86400 seconds")
    try:
        address = hci.Address(told.address.upper(), hci.Address.RANDOM_DEVICE_ADDRESS)
    except ValueError:
        parser.error("--address: six octets, such as C4:AF:00:00:00:01")
    if not address.is_static:
        parser.error("--address: a static random address begins with C0 to FF")
    security = Security.PASSKEY if told.passkey else Security(told.security)
    return Wishes(
        transport=told.transport,
        kind=told.device,
        name=told.name or f"{told.device}+0001",
        address=told.address.upper(),
        make=Make(security=security, passkey=int(passkey), interval_ms=_INTERVAL_MS),
        trace=trace,
        every_s=told.every,
        bonds=told.bonds,
    )


async def _run(wishes: Wishes) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for kind in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(kind, stop.set)
    await simulate(wishes, stop)


def main() -> int:
    """Be a device until told to stop. Exit status: 0 stopped, 2 the radio cannot be used."""
    wishes = _wishes()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bumble").setLevel(logging.CRITICAL)
    try:
        asyncio.run(_run(wishes))
    except RadioError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
