"""What is remembered of the clinic's broker over our own restarts: that it kept a session for us, and what it lost.

A file of JSON that is replaced as a whole. What a power cut takes of it is a warning, never a reading.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from pydantic import AwareDatetime, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerMemory:
    """What the broker of one place had for us.

    place: address and client id. session: whether a session was made there. counted: the broker's own count of
    dropped messages, as last heard; it begins again when the broker does. dropped: all that were ever counted.
    forgotten: how often our session was gone. dropped_at, forgotten_at: when that was last noticed (aware UTC).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    place: str
    session: bool = False
    counted: NonNegativeInt = 0
    dropped: NonNegativeInt = 0
    dropped_at: AwareDatetime | None = None
    forgotten: NonNegativeInt = 0
    forgotten_at: AwareDatetime | None = None


_FILE: Final = TypeAdapter(BrokerMemory)


def recall(path: Path | None, place: str) -> BrokerMemory:
    """What is remembered of a place; nothing when there is no file, or it tells of another one or cannot be read."""
    if path is not None and path.exists():
        try:
            found = _FILE.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            _log.warning("what was known of the broker cannot be read from %s: %s; it is learnt anew", path, error)
        else:
            if found.place == place:
                return found
    return BrokerMemory(place=place)


def remember(path: Path | None, memory: BrokerMemory) -> None:
    """Write it down. A full disk is told by the parts that need it: here it costs a warning at the next start."""
    if path is None:
        return
    fresh = path.with_suffix(".new")
    try:
        fresh.touch(mode=0o600)
        fresh.write_bytes(_FILE.dump_json(memory))
        fresh.replace(path)
    except OSError as error:
        _log.warning("what is known of the broker cannot be written to %s: %s", path, error)
