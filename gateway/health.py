"""How the house does, part by part, each with a sentence that says what to do where there is something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerts.channels import ChannelHealth
from ingest.influx import InfluxHealth
from ingest.links.ble import BleHealth
from ingest.links.listener import Gone

if TYPE_CHECKING:
    from gateway.house import House

_NAMED: Final = 5  # devices that are named in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the house. detail: a sentence, and what to do where something is to be done."""

    ok: bool
    detail: str


async def feel(house: House) -> dict[str, Part]:
    """Ask every part how it does."""
    parts = dict(_standing(house))
    counts = await asyncio.to_thread(house.journal.counts)
    waiting = counts["letters.waiting"]
    parts["letters"] = Part(
        ok=True, detail=f"Letters that wait for a person: {waiting}." if waiting else "Nothing waits to be looked at."
    )
    parts["disk"] = Part(ok=house.keeper.ok, detail=house.keeper.detail())
    if house.influx:
        state = await house.influx.health()
        parts["influxdb"] = Part(ok=state.ok, detail=_influxdb(state))
    if house.uplink:
        forwarded = await house.uplink.health()
        parts["uplink"] = Part(ok=forwarded.ok, detail=forwarded.says)
    for channel in await house.speaker.health():
        parts[f"channel {channel.name}"] = _channel(channel)
    return parts


def summary(parts: Mapping[str, Part]) -> dict[str, Any]:
    """The shape of `gateway.view.HouseView.health`."""
    return {
        "status": "ok" if all(part.ok for part in parts.values()) else "degraded",
        "parts": {
            name: {"status": "ok" if part.ok else "degraded", "detail": part.detail} for name, part in parts.items()
        },
    }


def _influxdb(state: InfluxHealth) -> str:
    said = f"{state.says} Readings still to be sent: {state.lag}"
    return f"{said}, of which {state.older} follow behind the new ones." if state.older else f"{said}."


def _standing(house: House) -> Iterator[tuple[str, Part]]:
    trouble = house.path.patience.trouble
    yield "journal", Part(ok=trouble is None, detail=trouble or "Readings are kept as they come.")
    trouble = house.ward.patience.trouble or house.ward.trouble
    yield "watch", Part(ok=trouble is None, detail=trouble or "Every patient is watched.")
    trouble = house.rounds.patience.trouble or house.rounds.trouble
    yield "rounds", Part(ok=trouble is None, detail=trouble or "Every patient's week is reviewed when it is over.")
    if listener := house.listener:
        open_now = f"Open at port {listener.port}; connections now: {listener.counts.connections}."
        if listener.gone:
            open_now += f" Gone without a farewell: {_gone(listener.gone.values())}."
        yield "listener", Part(ok=listener.trouble is None, detail=listener.trouble or open_now)
    if broker := house.broker:
        said = broker.trouble or "; ".join(broker.warnings) or "Connected to the broker."
        yield "broker", Part(ok=broker.trouble is None, detail=said)
    if house.ble:
        yield from _bluetooth(house.ble.health())


def _gone(devices: Iterable[Gone]) -> str:
    """The devices that left last, and since when."""
    last = sorted(devices, key=lambda one: one.since, reverse=True)
    named = ", ".join(f"{one.device} since {one.since:%Y-%m-%d %H:%M} UTC" for one in last[:_NAMED])
    return f"{named} and {len(last) - _NAMED} more" if len(last) > _NAMED else named


def _bluetooth(health: BleHealth) -> Iterator[tuple[str, Part]]:
    reads = f"The adapter works; devices that are read: {len(health.devices)}."
    if not health.devices:  # then nothing has been looked for
        reads = "There is no Bluetooth device to read; `homeward pair` adds one, `homeward check` tries the adapter."
    yield "bluetooth", Part(ok=health.adapter is None, detail=health.adapter or reads)
    for device in health.devices:
        if device.error:
            times = "once" if device.failures == 1 else f"{device.failures} times in a row"
            said = f"{device.error} (failed {times})"
            yield f"device {device.address}", Part(ok=False, detail=said)


def _channel(channel: ChannelHealth) -> Part:
    if channel.dead:
        waiting = "An unknown number of" if channel.waiting is None else channel.waiting
        return Part(ok=False, detail=f"It is dead: {channel.last_error}. {waiting} notices wait for it.")
    if channel.failures:
        return Part(ok=True, detail=f"The last try failed ({channel.last_error}); it is tried again.")
    return Part(ok=True, detail="It delivers." if channel.last_delivered_at else "Nothing had to be said yet.")
