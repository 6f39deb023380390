"""What an MQTT topic and payload become, the same for the clinic's broker and for our own listener.

Readings come on `<prefix>/v1/<device>/readings`, where <device> is 1 to 64 characters of A-Z a-z 0-9 . _ : and -, and
what a home post forwards (`ingest.envelope`) on `<prefix>/v1/<post>/packets`; only our own listener takes the latter.
Whatever else arrives is kept as a packet with a `fault`: it waits as a letter and is acknowledged like the rest,
because a message that is refused again and again blocks everything behind it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from ingest.reading import Packet

PREFIX: Final = "homeward"
DEVICE_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
MAX_PAYLOAD: Final = 262_144  # octets; a batch of a thousand readings fits
KEPT_OCTETS: Final = 4096

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._:-]", re.ASCII)
_SHOWN: Final = 120
_MOST_KNOWN: Final = 100_000  # topics whose device need not be looked for again


class Topics:
    """The topics below one prefix, for one link."""

    __slots__ = ("_known", "_link", "_packets", "_prefix", "_readings")

    def __init__(self, link: str, prefix: str = PREFIX) -> None:
        self._link = link
        self._prefix = prefix
        self._known: dict[str, str] = {}
        self._readings = re.compile(rf"{re.escape(prefix)}/v1/({DEVICE_NAME.pattern})/readings", re.ASCII)
        self._packets = re.compile(rf"{re.escape(prefix)}/v1/({DEVICE_NAME.pattern})/packets", re.ASCII)

    @property
    def filter(self) -> str:
        """The topic filter that catches the readings and every misspelling below the prefix."""
        return f"{self._prefix}/#"

    def device(self, topic: str) -> str | None:
        """The device whose readings this topic carries, or None for any other topic."""
        device = self._known.get(topic)
        if device is None and (match := self._readings.fullmatch(topic)):
            device = match[1]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[topic] = device
        return device

    def post(self, topic: str) -> str | None:
        """The home post that forwards packets on this topic, or None for any other topic."""
        match = self._packets.fullmatch(topic)
        return match[1] if match else None

    def packet(self, topic: str, payload: bytes, received_at: datetime) -> Packet:
        """The message as a packet; with a fault when the topic is not ours or the payload is too large."""
        device = self.device(topic)
        if device is None:
            return self.faulty(
                self._sender(topic),
                payload,
                received_at,
                f"topic {shown(topic)} is not {self._prefix}/v1/<device>/readings",
            )
        if len(payload) > MAX_PAYLOAD:
            return self.faulty(
                device,
                payload,
                received_at,
                f"payload of {len(payload)} octets is larger than {MAX_PAYLOAD}; the first {KEPT_OCTETS} were kept",
            )
        return Packet(link=self._link, sender=device, channel="json", data=payload, received_at=received_at)

    def faulty(self, sender: str, payload: bytes, received_at: datetime, fault: str) -> Packet:
        """A packet that is kept for a person to look at: the first octets and what was wrong with it."""
        return Packet(
            link=self._link,
            sender=cleaned(sender),
            channel="json",
            data=payload[:KEPT_OCTETS],
            received_at=received_at,
            fault=fault,
        )

    def _sender(self, topic: str) -> str:
        """The best guess at who published to a topic that is not ours: the level where the device stands.

        Where there is none the topic itself, which is not to be taken for a device.
        """
        levels = topic.split("/")
        base = self._prefix.count("/") + 1
        ours = len(levels) > base + 1 and topic.startswith(f"{self._prefix}/")
        return levels[base + 1] if ours else f"topic:{topic}"


def uplink_topic(post: str, prefix: str = PREFIX) -> str:
    """Where a home post publishes."""
    return f"{prefix}/v1/{post}/packets"


def cleaned(name: str) -> str:
    """Any text as something that can stand where a device name stands: at most 64 harmless characters."""
    return _NOT_IN_A_NAME.sub("_", name[:64]) or "unknown"


def shown(text: str) -> str:
    """Text of a stranger as it may stand in a sentence: quoted, escaped and cut."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
