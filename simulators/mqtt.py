"""`homeward simulate mqtt`: one simulated device that publishes to a Homeward's listener or to a broker.

It replays real traces (`traces/SOURCE.md`), a value at a time, each taken now; MQTT 5 or 3.1.1, QoS 1.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from paho.mqtt.enums import MQTTProtocolVersion

from simulators.bodies import Pressure, replay_glucose, replay_pressure
from simulators.publisher import Publisher, Reading, RefusedError, blood_pressure, glucose

_TRACES: Final[dict[str, tuple[str, ...]]] = {
    "meter": ("meter_lows", "meter_quiet"),
    "cgm": ("cgm_low", "cgm_very_low", "cgm_high", "cgm_quiet"),
    "cuff": ("bp_severe", "bp_first_high", "bp_quiet"),
}
_VERSIONS: Final = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_MMOL_L_IN_MG_DL: Final = Decimal("18.016")
_TENTH: Final = Decimal("0.1")
_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # as docs/payload.md says
_LEAST_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What to be, and where to publish. every_s: seconds from one value to the next. count: of values, None = all."""

    publisher: Callable[[], Publisher]
    where: str
    kind: str
    unit: str
    trace: str
    every_s: float
    count: int | None


async def simulate(wishes: Wishes) -> None:
    """Publish until the count is reached. Raises RefusedError, or OSError when nobody answers."""
    replay = replay_pressure if wishes.kind == "cuff" else replay_glucose
    values: Iterator[Any] = itertools.cycle([value for _, value in replay(wishes.trace)])
    async with wishes.publisher() as device:
        print(
            f"{device.topic}: {wishes.trace} goes to {wishes.where}; Ctrl-C ends it",
            flush=True,
        )
        for number, value in enumerate(itertools.islice(values, wishes.count)):
            if number:
                await asyncio.sleep(wishes.every_s)
            reading = _reading(wishes, value, datetime.now(UTC))
            await device.publish(reading)
            print(f"{reading['time']} {_shown(reading)}: acknowledged", flush=True)


def _reading(wishes: Wishes, value: Any, now: datetime) -> Reading:
    if isinstance(value, Pressure):
        return blood_pressure(value.systolic, value.diastolic, now, pulse=value.pulse)
    kind: Literal["cgm_glucose", "glucose"] = "cgm_glucose" if wishes.kind == "cgm" else "glucose"
    if wishes.unit == "mg/dL":
        return glucose(value, now, kind=kind)
    shown = value if value.is_infinite() else (value / _MMOL_L_IN_MG_DL).quantize(_TENTH)
    return glucose(shown, now, kind=kind, unit="mmol/L")


def _shown(reading: Reading) -> str:
    value = reading.get("value", f"{reading.get('systolic')}/{reading.get('diastolic')}")
    return f"{value} {reading['unit']}"


def _wishes() -> Wishes:
    parser = argparse.ArgumentParser(prog="homeward simulate mqtt", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="of the listener or the broker (127.0.0.1)")
    parser.add_argument("--port", type=int, help="1883, or 8883 with --tls")
    parser.add_argument("--device", choices=tuple(_TRACES), default="cgm", help="what to be (cgm)")
    parser.add_argument("--name", help="the name it publishes under (cgm-sim); with a password also its login")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="the password of its login")
    parser.add_argument("--tls", action="store_true", help="with TLS")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="PEM of a private authority; means --tls")
    parser.add_argument("--version", choices=tuple(_VERSIONS), default="5", help="of MQTT (5)")
    parser.add_argument("--unit", choices=("mg/dL", "mmol/L"), default="mg/dL", help="of glucose (mg/dL)")
    parser.add_argument("--trace", help=f"what it measures: {'; '.join(', '.join(t) for t in _TRACES.values())}")
    parser.add_argument("--every", type=float, default=60.0, metavar="S", help="seconds between two values (60)")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many values")
    told = parser.parse_args()
    trace = told.trace or _TRACES[told.device][0]
    if trace not in _TRACES[told.device]:
        parser.error(f"--trace: a {told.device} has {', '.join(_TRACES[told.device])}")
    if not _LEAST_S <= told.every <= 86_400.0:
        parser.error(f"--every: from {_LEAST_S:g} to 86400 seconds")
    tls = told.tls or told.tls_ca is not None
    port = told.port or (8883 if tls else 1883)
    name = told.name or f"{told.device}-sim"
    if not _NAME.fullmatch(name):
        parser.error("--name: 1 to 64 of A-Z a-z 0-9 . _ : -")
    try:
        password = told.password_file.read_text(encoding="utf-8").strip() if told.password_file else None
        context = ssl.create_default_context(cafile=told.tls_ca) if tls else None
    except OSError as error:
        parser.error(f"cannot use a file: {error}")
    return Wishes(
        publisher=partial(
            Publisher,
            name,
            told.host,
            port,
            protocol=_VERSIONS[told.version],
            username=name if password else None,
            password=password,
            tls=context,
        ),
        where=f"{told.host}:{port}",
        kind=told.device,
        unit=told.unit,
        trace=trace,
        every_s=told.every,
        count=told.count,
    )


async def _run(wishes: Wishes) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  it runs in one
    for kind in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(kind, task.cancel)
    await simulate(wishes)


def main() -> int:
    """Be a device until told to stop. Exit status: 0 stopped, 2 nobody takes what it publishes."""
    wishes = _wishes()
    try:
        asyncio.run(_run(wishes))
    except asyncio.CancelledError:
        print("The device is switched off.", flush=True)
    except RefusedError as error:
        print(f"{wishes.where} refuses the device: {error}; check its name and its password", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{wishes.where} cannot be reached ({error}); check host, port and --tls", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
