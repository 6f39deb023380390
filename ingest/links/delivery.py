"""How every link hands a packet to the house."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ingest.reading import Packet

Deliver: TypeAlias = Callable[[Packet, Callable[[], None]], Awaitable[None]]
"""`await deliver(packet, settled)`: awaiting it is the back-pressure.

`settled` is called on the loop, once, when the packet's fate is committed (its readings stored, or its bytes kept as
a letter). Only then may the link acknowledge its source and forget the packet.
"""
