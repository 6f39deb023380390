"""Devices that differ from the specification: each difference is a value with a reason and a source.

A quirk says how a device is recognised, what has to be put right in what it sends, and how a session with it must
be held. The raw octets are always kept, so a quirk found later can be applied to what came before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """What a device says of itself: its advertised name, its Device Information (180A); "" where it says nothing."""

    name: str = ""
    manufacturer: str = ""
    model: str = ""
    firmware: str = ""


class ClockWrite(StrEnum):
    """When a device's clock may be set."""

    AFTER_RECORDS = "after-records"  # the rule: what is stored was measured by the clock as it was
    ON_NOTIFICATION = "on-notification"  # only when the clock (2A2B) itself notifies
    WITH_RECORDS = "with-records"  # when the first record is here: the device hangs up right after the last
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorClock:
    """A clock behind a maker's own characteristic. head: octets before the Date Time (2A08 layout)."""

    service: str
    characteristic: str
    head: bytes = b""
    utc: bool = False  # shows UTC, followed by the wearer's offset from it (i16, minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorWrite:
    """Octets for a maker's own characteristic (full lower-case UUIDs)."""

    service: str
    characteristic: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a session with the device must be held; the default is the specification's.

    bond_first: pair before anything else is asked. pause: seconds to wait before each request (and before the
    subscriptions). clock_write, clock_slack: when the clock may be set, and only if it is further off than this.
    vendor_clock: where it is set when the standard characteristics do not. selects_newer: False = it can only report
    everything. ask: to be written, after the subscriptions, to make it send. part: to be written when all is read.
    rest: seconds to stay away after a session, None = as for any device.
    """

    bond_first: bool = False
    pause: float = 0.0
    clock_write: ClockWrite = ClockWrite.AFTER_RECORDS
    clock_slack: timedelta = timedelta(seconds=60)
    vendor_clock: VendorClock | None = None
    selects_newer: bool = True
    ask: VendorWrite | None = None
    part: VendorWrite | None = None
    rest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How a device is recognised: every pattern given must match the whole text."""

    name: re.Pattern[str] | None = None
    manufacturer: re.Pattern[str] | None = None
    model: re.Pattern[str] | None = None
    firmware: re.Pattern[str] | None = None

    def fits(self, identity: DeviceIdentity) -> bool:
        """Whether the device is meant."""
        wanted = (
            (self.name, identity.name),
            (self.manufacturer, identity.manufacturer),
            (self.model, identity.model),
            (self.firmware, identity.firmware),
        )
        return all(pattern is None or pattern.fullmatch(said) for pattern, said in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One rule. name: as stored with what it was applied to. reason, source: for a person."""

    name: str
    match: Match
    reason: str
    source: str
    manner: Manner = field(default_factory=Manner)


QUIRKS: tuple[Quirk, ...] = ()


def quirk_of(identity: DeviceIdentity) -> Quirk | None:
    """The quirk of a device, None for one that keeps to the specification.

    Raises ValueError when two fit: which of them holds must not be left to chance.
    """
    fitting = [quirk for quirk in QUIRKS if quirk.match.fits(identity)]
    if len(fitting) > 1:
        raise ValueError(f"{', '.join(quirk.name for quirk in fitting)} all claim the device {identity}")
    return fitting[0] if fitting else None
