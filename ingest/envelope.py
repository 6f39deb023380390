"""A packet on its way from a home post to the hub: a line of JSON that says what came and when, then the octets.

The octets travel as they came from the device, so the hub decodes and admits them itself, as if the device were its
own: what is learnt about a device later (a quirk, a wearer) holds for what a home post sent as well. The moment of
arrival at the home post is the packet's stamp; with the sender it is its name, and a redelivery bears it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from ingest.reading import EPOCH, UPLINK, Packet, Session

HEADER_LIMIT: Final = 8192  # octets
# Computers that ask a time server differ by less; a stamp further ahead is of a clock that is wrong.
AHEAD: Final = timedelta(minutes=1)

_LONGEST: Final = timedelta(days=366 * 10_000)  # no two clocks can differ by more
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", ser_json_bytes="hex", val_json_bytes="hex", ser_json_timedelta="iso8601"
    )

    version: Literal[1] = 1
    sender: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
    channel: Annotated[str, Field(max_length=40)]
    received_at: AwareDatetime
    companion: Annotated[bytes, Field(max_length=512)] | None = None
    session: Session | None = None
    fault: Annotated[str, Field(max_length=1024)] | None = None


_HEADER: Final = TypeAdapter(_Header)


class EnvelopeError(ValueError):
    """Octets that are no envelope of a packet. The text says why."""


def sealed(packet: Packet) -> bytes:
    """The payload for a packet. The link on which it came to the home post is not told."""
    header = _Header(
        sender=packet.sender,
        channel=packet.channel,
        received_at=packet.received_at,
        companion=packet.companion,
        session=packet.session,
        fault=packet.fault,
    )
    return _HEADER.dump_json(header, exclude_none=True) + b"\n" + packet.data


def opened(post: str, payload: bytes, now: datetime) -> Packet:
    """The packet in a payload from a home post that arrived at `now` (aware UTC). Raises EnvelopeError.

    A stamp in the future is of a clock that is wrong: the arrival here counts instead, and what that clock found
    wrong with the device's is forgotten.
    """
    line, separator, data = payload.partition(b"\n")
    if not separator or len(line) > HEADER_LIMIT:
        raise EnvelopeError(f"an envelope begins with a line of JSON of at most {HEADER_LIMIT} octets")
    try:
        header = _HEADER.validate_json(line)
    except ValidationError as error:
        flaw = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, flaw["loc"])) or "the header"
        raise EnvelopeError(f"the envelope cannot be read: {where}: {flaw['msg']}") from None
    if header.received_at < EPOCH:
        raise EnvelopeError(f"the envelope cannot be read: it was received in {header.received_at.year}")
    if header.session is not None and not _possible(header.session):
        raise EnvelopeError("the envelope cannot be read: no clock differs by so much")
    packet = Packet(
        link=f"{UPLINK}{post}",
        sender=header.sender,
        channel=header.channel,
        data=data,
        received_at=header.received_at.astimezone(UTC),
        companion=header.companion,
        session=header.session,
        fault=header.fault,
    )
    return packet if packet.received_at <= now + AHEAD else _restamped(packet, now)


def _restamped(packet: Packet, now: datetime) -> Packet:
    session = packet.session and replace(packet.session, clock_offset=None, utc_offset=None)
    return replace(packet, received_at=now, session=session)


def _possible(session: Session) -> bool:
    """Whether admission can calculate with it."""
    error, ahead = session.clock_offset or timedelta(0), session.utc_offset or timedelta(0)
    return abs(error) <= _LONGEST and abs(ahead) <= _DAY
