"""The clinic's broker: a client that keeps coming back, and acknowledges a message only once it is settled.

paho-mqtt does the protocol and runs on our loop. Every network connection gets a paho client of its own, so that an
acknowledgement that comes late can never be sent for a message of a newer connection; the session lives at the
broker, under the stable client id, and what was not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ingest.links.delivery import Deliver
from ingest.links.intake import Intake, Receipts
from ingest.links.topics import PREFIX, Topics

_log = logging.getLogger(__name__)

_ANSWER_TIMEOUT: Final = 10.0  # seconds for the broker to answer CONNECT and SUBSCRIBE
_FAREWELL_TIMEOUT: Final = 2.0  # seconds for DISCONNECT to leave
_STOOD: Final = 30.0  # seconds a connection must have lasted for the next try to come at once again
_READS: Final = 64  # packets read in one turn of the loop
_OCTET_LIMIT: Final = 64 * 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where the broker is and how to come in.

    client_id names the session at the broker: it must stay the same over restarts and be used by one program alone.
    tls_ca: PEM file of a private certificate authority; None trusts those of the system. receive_maximum: messages
    the broker may send before the first is acknowledged (MQTT 5; a 3.1.1 broker decides alone, Mosquitto takes 20).
    session_expiry: how long the broker keeps messages for us while we are away (MQTT 5). keep_alive, stop_timeout,
    retry_first and retry_longest are seconds; a retry waits a random part of a time that doubles between the two.
    """

    host: str
    port: int = 1883
    client_id: str = "homeward"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: Path | None = None
    version: Literal["5", "3.1.1"] = "5"
    topic_prefix: str = PREFIX
    receive_maximum: int = 1000
    session_expiry: timedelta = timedelta(days=30)
    keep_alive: int = 60
    stop_timeout: float = 5.0
    retry_first: float = 1.0
    retry_longest: float = 60.0


@dataclass(slots=True, kw_only=True)
class BrokerCounts:
    """What has happened since the start."""

    connections: int = 0
    failures: int = 0  # connections that could not be made or were lost
    messages: int = 0
    faults: int = 0
    acknowledged: int = 0


class BrokerError(Exception):
    """The broker cannot be used as it is. The text says what is wrong and what to do about it."""


class BrokerLink:
    """Subscribes to the readings at the clinic's broker and delivers them, for as long as it runs.

    trouble: why there is no connection, in a sentence; None when all is well. warnings: what the broker grants less
    than was asked for; the link works, but slower or with less memory.
    """

    def __init__(self, settings: BrokerSettings, deliver: Deliver, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self.counts = BrokerCounts()
        self.trouble: str | None = f"not yet connected to the broker {_address(settings)}"
        self.warnings: tuple[str, ...] = ()
        self._now = now
        self._topics = Topics("broker", settings.topic_prefix)
        self._connection: _Connection | None = None
        self._intake = Intake(
            deliver, limit=settings.receive_maximum, octet_limit=_OCTET_LIMIT, on_full=self._on_full
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected while the block runs; at its end settle what is in flight, acknowledge it and leave.

        An absent broker is no error: it is said in `trouble` and tried again.
        """
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._intake.run())
            staying = tasks.create_task(self._stay_connected())
            try:
                yield
            finally:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.read(False)
                if not pump.done() and not await self._intake.wait_settled(self.settings.stop_timeout):
                    _log.warning("broker: %d messages were not committed in time; they come again", len(self))
                await asyncio.sleep(0)  # the acknowledgements of the last batch go out in this turn of the loop
                staying.cancel()
                await asyncio.wait([staying])
                pump.cancel()

    def __len__(self) -> int:
        """Messages that are not yet settled."""
        return self._intake.unsettled

    async def _stay_connected(self) -> None:
        tries = 0
        while True:
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                await self._connect_once()
            except BrokerError as error:
                self.counts.failures += 1
                self._note(str(error))
            if loop.time() - began > _STOOD:
                tries = 0
            longest = min(self.settings.retry_first * 2.0 ** min(tries, 32), self.settings.retry_longest)
            tries += 1
            # Full jitter: a ward of gateways must not come back to a restarted broker all in the same second.
            await asyncio.sleep(random.uniform(0.0, longest))  # noqa: S311 (spreads load, guards no secret)
            # What the lost connection brought is settled first: it keeps the order, and the memory bounded.
            await self._intake.wait_settled(None)

    async def _connect_once(self) -> None:
        """One connection from its beginning to its end; raises BrokerError when it cannot be made or is lost."""
        connection = _Connection(
            self.settings, self._topics.filter, self.settings.client_id, resume=True, on_message=self._on_message
        )
        self._receipts: Receipts[int] = Receipts(self._intake, lambda mids: self._acknowledge(connection, mids))
        try:
            self.warnings = await connection.open()
            self._connection = connection
            connection.read(not self._intake.full)
            self.counts.connections += 1
            self.trouble = None
            _log.info("connected to the broker %s", _address(self.settings))
            for warning in self.warnings:
                _log.warning("broker %s: %s", _address(self.settings), warning)
            await asyncio.wait([connection.lost])  # to await it directly would cancel it when we are stopped
            connection.lost.result()
        finally:
            self._connection = None
            await connection.close()

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble

    def _on_message(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\N{REPLACEMENT CHARACTER}"
        packet = self._topics.packet(topic, bytes(message.payload), self._now())
        self.counts.messages += 1
        if packet.fault is not None:
            self.counts.faults += 1
        self._receipts.take(packet, message.mid if message.qos else 0)

    def _acknowledge(self, connection: _Connection, mids: list[int]) -> None:
        if connection.is_open:
            for mid in filter(None, mids):
                connection.client.ack(mid, 1)
                self.counts.acknowledged += 1

    def _on_full(self, full: bool) -> None:
        if self._connection is not None:
            self._connection.read(not full)


async def probe(settings: BrokerSettings) -> str | None:
    """Try the broker as the link would use it, without touching the link's own session.

    None when it can be used as it is; else a sentence that says what is wrong or granted less, and what to do.
    """
    topics = Topics("broker", settings.topic_prefix)
    connection = _Connection(
        settings, topics.filter, f"{settings.client_id}-check", resume=False, on_message=lambda _message: None
    )
    try:
        warnings = await connection.open()
    except BrokerError as error:
        return str(error)
    finally:
        await connection.close()
    return "; ".join(warnings) or None


class _Connection:
    """One network connection with a paho client of its own.

    lost: a future that ends with a BrokerError when the connection is gone.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        topic_filter: str,
        client_id: str,
        *,
        resume: bool,
        on_message: Callable[[MQTTMessage], None],
    ) -> None:
        self._settings = settings
        self._filter = topic_filter
        self._resume = resume
        self._v5 = settings.version == "5"
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False
        self._packets = 0
        self._sock: socket.socket | None = None
        self._granted: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._connected: asyncio.Future[Properties | None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.client = self._make_client(client_id)

    @property
    def is_open(self) -> bool:
        """Whether an acknowledgement can still go out here."""
        return self._sock is not None and not self.lost.done()

    def _make_client(self, client_id: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._v5 else not self._resume,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # else paho falls back to MQTT 3.1 by itself
            manual_ack=True,
        )
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._settings.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._heard
        return client

    async def open(self) -> tuple[str, ...]:
        """Connect and subscribe; what the broker grants less than asked, in sentences. Raises BrokerError."""
        try:
            # Looking up the name, TCP and the TLS handshake block in paho: not on our loop.
            await asyncio.to_thread(self._dial)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name at all
            raise BrokerError(_why_unreachable(error, self._settings)) from error
        self._join_loop()
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                terms = await self._either(self._connected)
                # At every connection: the broker may have lost the session, and asking twice does no harm.
                self.client.subscribe(self._filter, qos=1)
                granted = await self._either(self._granted)
        except TimeoutError:
            raise BrokerError(
                f"the broker {_address(self._settings)} does not answer in MQTT; is another program at this port, "
                "or does it expect TLS?"
            ) from None
        return self._shortfalls(terms, granted)

    def _dial(self) -> None:
        if self._settings.tls:
            ca = self._settings.tls_ca
            self.client.tls_set_context(ssl.create_default_context(cafile=None if ca is None else str(ca)))
        where = (self._settings.host, self._settings.port, self._settings.keep_alive)
        if self._v5:
            asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            asked.ReceiveMaximum = self._settings.receive_maximum
            asked.SessionExpiryInterval = int(self._settings.session_expiry.total_seconds()) if self._resume else 0
            self.client.connect(*where, clean_start=not self._resume, properties=asked)
        else:
            self.client.connect(*where)

    def _join_loop(self) -> None:
        sock = self.client.socket()
        if sock is None:
            raise BrokerError(f"the broker {_address(self._settings)} closed the connection at once")
        self._sock = sock  # type: ignore[assignment]  # paho's SocketLike is a real socket for TCP and TLS
        self.client.on_socket_close = self._on_socket_close
        self.client.on_socket_register_write = self._on_register_write
        self.client.on_socket_unregister_write = self._on_unregister_write
        if self.client.want_write():
            self._loop.add_writer(sock, self.client.loop_write)
        self.read(True)
        self._timer = self._loop.call_later(1.0, self._tick)

    async def _either(self, answer: asyncio.Future[Any]) -> Any:
        """The answer, or the error that ended the connection before it came."""
        await asyncio.wait([answer, self.lost], return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else self.lost.result()

    def read(self, on: bool) -> None:
        """Read from the socket, or leave the messages with the broker."""
        if self._sock is None or on == self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._sock, self._readable)
            self._loop.call_soon(self._readable)  # TLS may hold decrypted octets that no selector knows of
        else:
            self._loop.remove_reader(self._sock)

    def _readable(self) -> None:
        for _ in range(_READS):
            if not self._reading:
                return
            before = self._packets
            self.client.loop_read()
            if self._packets == before and not self._pending():
                return
        if self._pending():
            self._loop.call_soon(self._readable)

    def _pending(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _tick(self) -> None:
        self._timer = self._loop.call_later(1.0, self._tick)
        self.client.loop_misc()

    async def close(self) -> None:
        """Send what still waits, say farewell (the session stays) and let go of the socket."""
        if self.is_open and self._connected.done():
            self.client.disconnect()
            await asyncio.wait([self.lost], timeout=_FAREWELL_TIMEOUT)
        if self._timer is not None:
            self._timer.cancel()
        if self._sock is not None:
            sock = self._sock
            self._on_socket_close(self.client, None, sock)
            sock.close()
        for future in (self.lost, self._connected, self._granted):
            if future.done() and not future.cancelled():
                future.exception()  # it has been told already, or nobody waits for it any more
            future.cancel()

    # What paho calls, on the loop.

    def _heard(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._packets += 1
        self._on_message(message)

    def _on_connect(
        self, _client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._lose(_why_refused(reason, self._settings))
        elif not self._connected.done():
            self._connected.set_result(properties)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._lose(
                f"the broker {_address(self._settings)} does not let {self._who()} subscribe to {self._filter}; "
                "allow it in the broker's access list"
            )
        elif not self._granted.done():
            self._granted.set_result(reasons)

    def _on_disconnect(
        self, _client: Client, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            said = f": {reason}"
        elif not self._connected.done():
            said = f" before it answered; does it speak MQTT {self._settings.version}, or expect TLS?"
        else:
            # Mosquitto is as silent when another client takes the session over as when it dies.
            said = "; if that repeats, see whether another program uses our client_id"
        self._lose(f"the broker {_address(self._settings)} ended the connection{said}")

    def _on_socket_close(self, _client: Client, _userdata: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)
        self._reading = False
        self._sock = None

    def _on_register_write(self, _client: Client, _userdata: Any, sock: Any) -> None:
        self._loop.add_writer(sock, self.client.loop_write)

    def _on_unregister_write(self, _client: Client, _userdata: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _lose(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_exception(BrokerError(why))

    # What is said about it.

    def _who(self) -> str:
        return "us without a user name" if self._settings.username is None else f"user {self._settings.username}"

    def _shortfalls(self, terms: Properties | None, granted: list[ReasonCode]) -> tuple[str, ...]:
        found = []
        if any(reason.value == 0 for reason in granted):
            found.append(
                "grants QoS 0 instead of 1, so messages are lost whenever the connection is; raise its maximum QoS"
            )
        if not self._v5:
            found.append(
                "MQTT 3.1.1 cannot ask for a larger window; set max_inflight_messages (Mosquitto: 20) to "
                f"{self._settings.receive_maximum} at the broker, or use version 5"
            )
        asked = int(self._settings.session_expiry.total_seconds())
        kept = getattr(terms, "SessionExpiryInterval", asked)
        if self._resume and kept < asked:
            found.append(
                f"keeps our messages for {kept} s while we are away, {asked} s were asked; raise its session expiry"
            )
        return tuple(found)


def _address(settings: BrokerSettings) -> str:
    return f"{settings.host}:{settings.port}"


def _why_unreachable(error: OSError | UnicodeError, settings: BrokerSettings) -> str:
    """What an error of the network means and what to do about it."""
    broker = f"the broker {_address(settings)}"
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"{broker} shows a certificate that is not trusted ({error.verify_message}); set tls_ca to the "
                "certificate authority that signed it, and host to a name in it"
            )
        case ssl.SSLError():
            return f"{broker} does not speak TLS with us ({error.reason}); check the port (8883 is usual for TLS)"
        case socket.gaierror() | UnicodeError():
            return f"the broker's host {settings.host} is unknown; check host, or the name server of this computer"
        case ConnectionRefusedError():
            return f"{broker} refuses connections; start the broker there, or check host and port"
        case ConnectionResetError():
            return f"{broker} hangs up before a word is said; check the port, and whether TLS is wanted there"
        case TimeoutError():
            return f"{broker} does not answer; check the network, a firewall, host and port"
        case FileNotFoundError():
            return f"the file {settings.tls_ca} with the certificate authority does not exist; check tls_ca"
        case _:
            return f"{broker} cannot be reached ({error}); check the network, host and port"


def _why_refused(reason: ReasonCode, settings: BrokerSettings) -> str:
    """What a refusing CONNACK means and what to do about it; paho gives 3.1.1 codes their MQTT 5 names."""
    broker = f"the broker {_address(settings)}"
    match reason.getName():
        case "Bad user name or password" | "Not authorized":
            given = "no user name was given" if settings.username is None else f"user {settings.username}"
            return f"{broker} refuses the login ({given}); check username and password"
        case "Client identifier not valid":
            return f"{broker} refuses the client id {settings.client_id!r}; choose another client_id"
        case "Unsupported protocol version":
            return f"{broker} does not speak MQTT {settings.version}; set version to the other one"
        case name:
            return f"{broker} refuses the session: {name}"
