"""The uplink of a home post: what the packet log keeps is published to the hub's listener, in order, until confirmed.

The hub acknowledges a message once it is committed there, and only then does the cursor of the log move. Whatever
happens between the two is sent again; the hub knows a packet again by its sender and its stamp (`ingest.envelope`).
Every connection gets a paho client of its own, so that nothing waits in the library's memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.links.topics import uplink_topic
from ingest.packet_log import PacketLog

_log = logging.getLogger(__name__)

WINDOW: Final = 500  # packets on their way, unless the hub grants less
WINDOW_OCTETS: Final = 4 * 1_048_576  # that they come to, but for the last one: a home post has little memory
_FIRST_WINDOW: Final = 8
_ANSWER_TIMEOUT: Final = 10.0  # seconds for the hub to answer CONNECT
_KEEP_ALIVE: Final = 30  # seconds; a network that fell silent is noticed after one and a half of them
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """Where the hub's listener is. post: the user name there. tls_ca: PEM file of a private authority."""

    host: str
    port: int
    post: str
    password: str = field(repr=False)
    tls: bool = True
    tls_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkHealth:
    """How the uplink does. says: a sentence, with what to do. waiting: packets that the hub has not confirmed."""

    ok: bool
    says: str
    waiting: int
    last_success: datetime | None


class UplinkError(Exception):
    """The hub does not take what is sent. The text says what is wrong and what to do."""


class Uplink:
    """Forwards the log for ever: run `run()` as a task, set `news` after each commit.

    The cursor, `place`, is named after the address of the hub: a new hub is filled from the oldest packet kept.
    `trouble` is a sentence while something is wrong, else None. `pause(seconds)` waits, `jitter()` gives a number in
    [0, 1), `now()` the aware time.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        log: PacketLog,
        *,
        now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.news = asyncio.Event()
        self.trouble: str | None = f"not yet connected to the hub {_address(settings)}"
        self._settings = settings
        self.place = place_of(settings)
        self._packets = log
        self._now = now
        self._pause = pause
        self._jitter = jitter
        self._last_success: datetime | None = None
        self._tries = 0

    async def run(self) -> None:
        """Forward until cancelled. What is under way then is sent again at the next start."""
        while True:
            try:
                await self._connect_and_forward()
            except UplinkError as error:
                self._note(str(error))
            except sqlite3.OperationalError as error:
                self._note(
                    f"what the hub confirms cannot be written down: {error}; free the disk, or end what holds it"
                )
            # Full jitter: the posts of a whole region must not come back to a restarted hub in step.
            await self._pause(self._jitter() * min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._tries, 6)))
            self._tries += 1

    async def health(self) -> UplinkHealth:
        """The state of affairs now."""
        waiting, oldest = await asyncio.to_thread(self._packets.waiting, self.place)
        said = [self.trouble or "The hub takes what is sent"]
        since = f", since {oldest:%Y-%m-%d %H:%MZ}" if oldest else ""
        said.append(f"packets that it has still to confirm: {waiting}{since}")
        return UplinkHealth(
            ok=self.trouble is None,
            says="; ".join(said) + ".",
            waiting=waiting,
            last_success=self._last_success,
        )

    async def _connect_and_forward(self) -> None:
        connection = _Connection(self._settings, self.news.set)
        try:
            await connection.open()
            if self.trouble:
                _log.info("connected to the hub %s", _address(self._settings))
            self.trouble = None
            await self._forward(connection)
        finally:
            await connection.close()

    async def _forward(self, connection: _Connection) -> None:
        """Publish what the log has and follow with the cursor, until somebody sets that elsewhere.

        Raises UplinkError when the connection is no more.

        The window opens by one for each packet that is confirmed, from a few: on a network that breaks before a whole
        window has gone out and its receipts have come back, each connection still carries something over.
        """
        topic = uplink_topic(self._settings.post)
        at = sent = await asyncio.to_thread(self._packets.cursor, self.place)
        flight: deque[tuple[int, int, int]] = deque()  # number in the log, id of the message, its octets
        window = min(_FIRST_WINDOW, connection.window)
        while await asyncio.to_thread(self._packets.cursor, self.place) == at:  # else somebody has set it back
            self.news.clear()
            packets: list[tuple[int, bytes]] = []
            room = WINDOW_OCTETS - sum(octets for _, _, octets in flight)
            if len(flight) * 2 <= window and room * 2 >= WINDOW_OCTETS:
                packets = await asyncio.to_thread(self._packets.since, sent, window - len(flight), room)
            for sent, payload in packets:
                flight.append((sent, connection.publish(topic, payload), len(payload)))
            under_way = len(flight)
            confirmed, refusal = _confirmed(connection, flight)
            window = min(connection.window, window + under_way - len(flight))
            if confirmed:
                move = partial(self._packets.advance, self.place, confirmed, self._now(), came_from=at)
                await asyncio.to_thread(move)
                at = confirmed
                self._last_success = self._now()
                self._tries = 0
            if refusal:
                raise UplinkError(_why_not_taken(refusal, self._settings))
            if connection.lost:
                raise UplinkError(connection.lost)
            if not packets and not confirmed:
                await self.news.wait()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble


def _confirmed(connection: _Connection, flight: deque[tuple[int, int, int]]) -> tuple[int, ReasonCode | None]:
    """Take what is acknowledged off the front of the flight: the last number, and the refusal that stopped it."""
    confirmed = 0
    while flight and (reason := connection.answers.pop(flight[0][1], None)):
        if reason.is_failure:
            return confirmed, reason
        confirmed, _, _ = flight.popleft()
    return confirmed, None


def place_of(settings: UplinkSettings) -> str:
    """The name of the cursor in the log for this hub and post."""
    return f"{_address(settings)} {settings.post}"


async def probe(settings: UplinkSettings) -> str | None:
    """None when the hub lets the post in; else what is wrong and what to do. Forwards nothing."""
    connection = _Connection(settings, lambda: None, client_id=f"{settings.post}-check")
    try:
        await connection.open()
    except UplinkError as error:
        return str(error)
    finally:
        await connection.close()
    return None


class _Connection:
    """One connection to the hub. answers: reason codes of PUBACKs by message id. lost: why it ended, in a sentence.

    stirred() is called on the loop whenever either changes. window: messages that may wait for their PUBACK.
    """

    def __init__(self, settings: UplinkSettings, stirred: Callable[[], None], client_id: str | None = None) -> None:
        self.answers: dict[int, ReasonCode] = {}
        self.lost: str | None = None
        self.window = WINDOW
        self._settings = settings
        self._stirred = stirred
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or settings.post,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(0)  # the window is kept here
        self._client.username_pw_set(settings.post, settings.password)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    async def open(self) -> None:
        """Connect and log in. Raises UplinkError."""
        try:
            await asyncio.to_thread(self._dial)
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await self._connected
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise UplinkError(_why_unreachable(error, self._settings)) from error

    def _dial(self) -> None:
        if self._settings.tls:
            ca = self._settings.tls_ca
            self._client.tls_set_context(ssl.create_default_context(cafile=None if ca is None else str(ca)))
        self._client.connect(self._settings.host, self._settings.port, _KEEP_ALIVE, clean_start=True)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes) -> int:
        """Send one message with QoS 1; its id."""
        return self._client.publish(topic, payload, qos=1).mid

    async def close(self) -> None:
        """Say farewell and end the library's thread."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        self._connected.cancel()

    # What paho calls, in its thread.

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, terms: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._welcomed, reason, getattr(terms, "ReceiveMaximum", WINDOW))

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _terms: Properties) -> None:
        self._loop.call_soon_threadsafe(self._answered, mid, reason)

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _terms: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._hung_up, reason)

    # The same on the loop.

    def _welcomed(self, reason: ReasonCode, receive_maximum: int) -> None:
        if reason.is_failure:
            self._ended(_why_refused(reason, self._settings))
            return
        self.window = min(WINDOW, receive_maximum)
        if not self._connected.done():
            self._connected.set_result(None)

    def _answered(self, mid: int, reason: ReasonCode) -> None:
        self.answers[mid] = reason
        self._stirred()

    def _hung_up(self, reason: ReasonCode) -> None:
        hub = f"the hub {_address(self._settings)}"
        if self._connected.done():
            self._ended(f"{hub} is gone ({reason})")
        else:
            self._ended(
                f"{hub} hung up instead of an answer ({reason}); check the port: it is that of [listener] at the "
                "hub, not that of its page"
            )

    def _ended(self, why: str) -> None:
        self.lost = self.lost or why
        if not self._connected.done():
            self._connected.set_exception(UplinkError(self.lost))
        self._stirred()


def _address(settings: UplinkSettings) -> str:
    return f"{settings.host}:{settings.port}"


def _why_unreachable(error: OSError | UnicodeError, settings: UplinkSettings) -> str:
    hub = f"the hub {_address(settings)}"
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"{hub} shows a certificate that is not trusted ({error.verify_message}); set tls_ca to the "
                "certificate authority that signed it, and host to a name in it"
            )
        case ssl.SSLError():
            return f"{hub} does not speak TLS with us ({error.reason}); check the port (8883 is usual for TLS)"
        case FileNotFoundError():
            return f"the file {settings.tls_ca} with the certificate authority does not exist; check tls_ca"
        case TimeoutError():
            return f"{hub} does not answer; check the network, host and port"
        case _:
            return f"{hub} cannot be reached ({error}); check the network, host and port"


def _why_refused(reason: ReasonCode, settings: UplinkSettings) -> str:
    hub = f"the hub {_address(settings)}"
    if reason.getName() in {"Bad user name or password", "Not authorized"}:
        return f"{hub} refuses the login of {settings.post}; check post and password, and [listener.posts] at the hub"
    return f"{hub} refuses the session: {reason}"


def _why_not_taken(reason: ReasonCode, settings: UplinkSettings) -> str:
    """A refusal stops the uplink: what was refused is kept here, and there as a letter."""
    hub = f"the hub {_address(settings)}"
    match reason.getName():
        case "Not authorized":
            return f"{hub} takes no packets from {settings.post}; name it under [listener.posts] there"
        case "Payload format invalid":
            return f"{hub} does not understand what {settings.post} sends; update Homeward there first"
        case name:
            return f"{hub} does not take what {settings.post} sends ({name}); its letters say why"
