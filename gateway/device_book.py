"""What was last known of each device: kept beside the register, so that it is known after a restart too.

The link knows how its devices do now; the book adds what it knew before. `homeward check` reads it without a hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Integer,
    Row,
    String,
    Table,
    delete,
    insert,
    select,
)

from alerts.database import METADATA, among, reading
from ingest.links.ble import Bond, DeviceHealth
from ingest.links.ble_session import DeviceFacts
from ingest.reading import from_us, to_us

_US: Final = timedelta(microseconds=1)
_states = Table(
    "device_states",
    METADATA,
    Column("device", String(64), primary_key=True),
    Column("last_seen_us", BigInteger),
    Column("bond", String(8)),
    Column("failures", Integer, nullable=False),
    Column("fault", String),
    Column("manufacturer", String, nullable=False),
    Column("model", String, nullable=False),
    Column("serial", String, nullable=False),
    Column("firmware", String, nullable=False),
    Column("battery_pct", Integer),
    Column("clock_offset_us", BigInteger),
    Column("clock_set", Boolean),
    Column("quirk", String),
    Column("session_ends_us", BigInteger),
    Column("sensor", String),
    Column("battery_low_us", BigInteger),
    Column("battery_flag_us", BigInteger),
)
# That a device still advertises is not worth a write every few seconds.
_SEEN_STEP: Final = timedelta(hours=1)
BATTERY_LOW_PCT: Final = 15
BATTERY_GOOD_PCT: Final = 30  # a battery that is warm again tells a little more; only a new one tells this
_FLAG_OVER: Final = timedelta(days=1)  # near its limit a device says it with one reading and not with the next


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """How a device did last. Moments are aware UTC.

    last_seen, bond, failures, fault (a sentence), facts: as `ingest.links.ble.DeviceHealth` has them.
    battery_low: since when its battery is low, None when it is not. battery_flag: when a reading last said so.
    """

    last_seen: datetime | None = None
    bond: Bond | None = None
    failures: int = 0
    fault: str | None = None
    facts: DeviceFacts = field(default_factory=DeviceFacts)
    battery_low: datetime | None = None
    battery_flag: datetime | None = None

    def followed_by(self, health: DeviceHealth, now: datetime) -> DeviceState:
        """The state as the link knows it now; what it has not heard yet stays as it was."""
        tried = health.facts is not None or health.fault is not None
        state = replace(
            self,
            last_seen=health.last_seen or self.last_seen,
            bond=health.bond or self.bond,
            failures=health.failures if tried else self.failures,
            fault=health.error if tried else self.fault,
            facts=health.facts or self.facts,
        )
        pct = health.facts.battery_pct if health.facts else None
        return state if pct is None else state.with_battery(pct, now)

    def with_battery(self, pct: int, now: datetime) -> DeviceState:
        """The battery tells its charge."""
        if pct <= BATTERY_LOW_PCT:
            return replace(self, battery_low=self.battery_low or now)
        # While readings call it low, it is: else the next one that does would have it told once more.
        return replace(self, battery_low=None) if pct >= BATTERY_GOOD_PCT and self.battery_flag is None else self

    def with_flag(self, *, low: bool, now: datetime) -> DeviceState:
        """A reading says that the battery is low, or does not."""
        if low:
            return replace(self, battery_low=self.battery_low or now, battery_flag=now)
        if self.battery_flag is None or now - self.battery_flag < _FLAG_OVER:
            return self
        still = self.facts.battery_pct is not None and self.facts.battery_pct <= BATTERY_LOW_PCT
        return replace(self, battery_low=self.battery_low if still else None, battery_flag=None)

    def retired(self) -> DeviceState:
        """The state of a device that is out of use: what was wrong with it is nobody's task any more."""
        return replace(self, failures=0, fault=None, battery_low=None, battery_flag=None)

    def differs(self, other: DeviceState) -> bool:
        """Whether it is worth writing down after the other one."""
        if replace(self, last_seen=other.last_seen) != other:
            return True
        return self.last_seen is not None and (
            other.last_seen is None or self.last_seen - other.last_seen >= _SEEN_STEP
        )


class DeviceBook:
    """The states of all devices. Blocking and small, as `gateway.people`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def states(self) -> dict[str, DeviceState]:
        """What is known, by device."""
        return states_of(self._engine)

    def write(self, states: Mapping[str, DeviceState]) -> None:
        """Replace what is known of these devices."""
        with self._engine.begin() as db:
            db.execute(delete(_states).where(among(_states.c.device, states)))
            for row in _rows(states.items()):
                db.execute(insert(_states).values(row))


def states_of(engine: Engine) -> dict[str, DeviceState]:
    """What is known, by device, in a database that may be open for reading alone."""
    with reading(engine) as db:
        return {row.device: _state(row) for row in db.execute(select(_states))}


def _rows(states: Iterable[tuple[str, DeviceState]]) -> Iterable[dict[str, Any]]:
    for device, state in states:
        facts = state.facts
        yield {
            "device": device,
            "last_seen_us": _us(state.last_seen),
            "bond": state.bond,
            "failures": state.failures,
            "fault": state.fault,
            "manufacturer": facts.manufacturer,
            "model": facts.model,
            "serial": facts.serial,
            "firmware": facts.firmware,
            "battery_pct": facts.battery_pct,
            "clock_offset_us": None if facts.clock_offset is None else facts.clock_offset // _US,
            "clock_set": facts.clock_set,
            "quirk": facts.quirk,
            "session_ends_us": _us(facts.session_ends),
            "sensor": facts.sensor,
            "battery_low_us": _us(state.battery_low),
            "battery_flag_us": _us(state.battery_flag),
        }


def _state(row: Row[Any]) -> DeviceState:
    return DeviceState(
        last_seen=_moment(row.last_seen_us),
        bond=row.bond and Bond(row.bond),
        failures=row.failures,
        fault=row.fault,
        facts=DeviceFacts(
            manufacturer=row.manufacturer,
            model=row.model,
            serial=row.serial,
            firmware=row.firmware,
            battery_pct=row.battery_pct,
            clock_offset=None if row.clock_offset_us is None else row.clock_offset_us * _US,
            clock_set=row.clock_set,
            quirk=row.quirk,
            session_ends=_moment(row.session_ends_us),
            sensor=row.sensor,
        ),
        battery_low=_moment(row.battery_low_us),
        battery_flag=_moment(row.battery_flag_us),
    )


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
