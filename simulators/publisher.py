"""A simulated device that publishes Homeward's JSON payload over MQTT.

Written from the description of the payload in `docs/`, apart from the models that read it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Final, Literal, Self

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

Reading = Mapping[str, object]

_VERSION: Final = 1
_PATIENCE_S: Final = 10.0


class RefusedError(Exception):
    """The broker did not take the connection or the message; the text is its reason."""


def glucose(
    value: Decimal,
    time: datetime,
    *,
    kind: Literal["glucose", "cgm_glucose"],
    unit: Literal["mg/dL", "mmol/L"] = "mg/dL",
    sequence: int | None = None,
    flags: Sequence[str] = (),
    context: Mapping[str, str | float] | None = None,
) -> Reading:
    """One value of a meter or a sensor, the infinities as "HI" and "LO". time: aware, on the device's clock."""
    return _reading(kind, {"value": _number(value)}, unit, time, sequence, flags, context)


def ketone(
    value: Decimal,
    time: datetime,
    *,
    sequence: int | None = None,
    flags: Sequence[str] = (),
    context: Mapping[str, str | float] | None = None,
) -> Reading:
    """One blood ketone (mmol/L) of a meter, the infinities as "HI" and "LO". time: aware, on the device's clock."""
    return _reading("ketone", {"value": _number(value)}, "mmol/L", time, sequence, flags, context)


def blood_pressure(
    systolic: Decimal,
    diastolic: Decimal,
    time: datetime,
    *,
    mean: Decimal | None = None,
    pulse: Decimal | None = None,
    unit: Literal["mmHg", "kPa"] = "mmHg",
    sequence: int | None = None,
    flags: Sequence[str] = (),
    context: Mapping[str, str | float] | None = None,
) -> Reading:
    """One value of a cuff. time: aware, on the device's clock."""
    numbers = {"systolic": systolic, "diastolic": diastolic, "mean": mean, "pulse": pulse}
    values = {name: _number(number) for name, number in numbers.items() if number is not None}
    return _reading("blood_pressure", values, unit, time, sequence, flags, context)


class Publisher:
    """One device's connection to a broker or to Homeward's own listener: QoS 1, MQTT 5 or 3.1.1.

    An asynchronous context manager. A lost connection is taken up again, and what was not acknowledged is sent again.
    """

    def __init__(
        self,
        device: str,
        host: str,
        port: int,
        *,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.device = device
        self.topic = f"homeward/v1/{device}/readings"
        self._address = (host, port)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=device, protocol=protocol)
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def publish(self, *readings: Reading) -> None:
        """Publish one reading, or several (up to 1000) as one batch, and wait for the acknowledgement.

        Raises RefusedError when the broker refuses the message, ValueError for a number that JSON has not (NaN).
        A broker that stays away is waited for.
        """
        message: dict[str, object] = {"version": _VERSION, "device": self.device}
        message |= readings[0] if len(readings) == 1 else {"readings": readings}
        await self.publish_bytes(json.dumps(message, allow_nan=False).encode())

    async def publish_bytes(self, payload: bytes) -> None:
        """Publish any bytes on the device's topic, and wait for the acknowledgement."""
        acknowledged = asyncio.get_running_loop().create_future()
        self._waiting[self._client.publish(self.topic, payload, qos=1).mid] = acknowledged
        await acknowledged

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        await asyncio.to_thread(self._client.connect, *self._address)
        self._client.loop_start()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._connected
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # The two callbacks run in paho's thread.

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(_settle, self._connected, reason)

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        # The future of this message is known to the loop before this is: it was registered where it was published.
        self._loop.call_soon_threadsafe(lambda: _settle(self._waiting.pop(mid), reason))


def _settle(future: asyncio.Future[None], reason: ReasonCode) -> None:
    if future.done():
        return
    if reason.is_failure:
        future.set_exception(RefusedError(str(reason)))
    else:
        future.set_result(None)


def _number(value: Decimal) -> float | str:
    if value.is_infinite():
        return "HI" if value > 0 else "LO"
    return float(value)


def _reading(
    kind: str,
    values: Mapping[str, float | str],
    unit: str,
    time: datetime,
    sequence: int | None,
    flags: Sequence[str],
    context: Mapping[str, str | float] | None,
) -> Reading:
    reading: dict[str, object] = {"kind": kind, **values, "unit": unit, "time": time.isoformat()}
    if sequence is not None:
        reading["sequence"] = sequence
    return reading | {"flags": list(flags), "context": dict(context or {})}
