"""Homeward's own door for devices that speak MQTT 3.1.1 or 5.0: they publish straight to us, no broker between.

A PUBACK means that the packet is committed: it is sent only after `settled`. Nothing can be subscribed to. QoS 0 and
1 are taken; a redelivery after a lost connection is the journal's to recognise.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias, cast

from ingest.links import mqtt_wire as wire
from ingest.links.delivery import Deliver
from ingest.links.intake import Intake, Receipts
from ingest.links.mqtt_wire import Connect, Disconnect, Incoming, MqttError, Publish, Reason
from ingest.links.topics import MAX_PAYLOAD, PREFIX, Topics, shown

CheckLogin: TypeAlias = Callable[[str, bytes], Awaitable[bool]]
"""`await check_login(device, password)`: whether this device may come in with this password."""

_log = logging.getLogger(__name__)

_LONGEST_SESSION: Final = timedelta(days=90)
_MOST_SESSIONS: Final = 100_000
_CLOSE_TIMEOUT: Final = 5.0  # seconds for a peer to read our farewell


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where the listener stands and how much it takes on.

    port 0 picks a free one. tls_certificate and tls_key are PEM files; without them the traffic is not encrypted.
    window: messages of one connection that may be unsettled (the Receive Maximum of MQTT 5). max_unsettled and
    max_unsettled_octets: the same for all connections together; then no socket is read until half is settled.
    connect_timeout, stop_timeout: seconds for a CONNECT to come, and for the house to settle what is in flight.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    topic_prefix: str = PREFIX
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    window: int = 1000
    max_connections: int = 4096
    max_packet: int = 1_048_576
    max_unsettled: int = 20_000
    max_unsettled_octets: int = 64 * 1_048_576
    connect_timeout: float = 10.0
    stop_timeout: float = 5.0


@dataclass(slots=True, kw_only=True)
class ListenerCounts:
    """What has happened at the door since it opened; `connections` is how many stand open now."""

    connections: int = 0
    accepted: int = 0
    logins_refused: int = 0
    turned_away: int = 0
    messages: int = 0
    faults: int = 0
    acknowledged: int = 0
    violations: int = 0
    timeouts: int = 0


class Listener:
    """Takes MQTT connections, delivers what they publish and acknowledges it once it is settled.

    now: the aware UTC time, for arrival stamps. check_login: asked about every client when given; the user name is
    the device, and a client may then publish for no other. sessions: when each known session ends, by client; a
    mapping that is kept over a restart lets strict MQTT 5 clients keep their unacknowledged messages over it too.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        deliver: Deliver,
        now: Callable[[], datetime],
        *,
        check_login: CheckLogin | None = None,
        sessions: MutableMapping[str, datetime] | None = None,
    ) -> None:
        self.settings = settings
        self.counts = ListenerCounts()
        self.port = settings.port
        self.now = now
        self.check_login = check_login
        self.topics = Topics("listener", settings.topic_prefix)
        self.intake = Intake(
            deliver,
            limit=settings.max_unsettled,
            octet_limit=settings.max_unsettled_octets,
            on_full=self._on_full,
        )
        self._sessions: MutableMapping[str, datetime] = {} if sessions is None else sessions
        self._connections: set[_Connection] = set()
        self._clients: dict[str, _Connection] = {}
        self._all_gone = asyncio.Event()
        self._stopping = False

    @property
    def trouble(self) -> str | None:
        """What keeps the listener from its work, in a sentence; None when all is well."""
        if self.intake.full:
            return f"the listener has stopped reading: {self.intake.unsettled} messages wait to be committed"
        if self.counts.connections >= self.settings.max_connections:
            return f"the listener turns devices away: all {self.settings.max_connections} connections are taken"
        return None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while the block runs; at its end stop reading, wait for what is in flight, then say farewell.

        Raises OSError when the address cannot be bound, ssl.SSLError or OSError when the certificate cannot be read.
        """
        context = self._tls()
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self),
            self.settings.host,
            self.settings.port,
            ssl=context,
            ssl_handshake_timeout=self.settings.connect_timeout if context else None,
            backlog=1024,
            start_serving=False,
        )
        self.port = server.sockets[0].getsockname()[1]
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await server.start_serving()
            pump = tasks.create_task(self.intake.run())
            try:
                yield
            finally:
                server.close()
                await self._stop(pump)
                pump.cancel()
                await server.wait_closed()

    def _tls(self) -> ssl.SSLContext | None:
        if self.settings.tls_certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.settings.tls_certificate, self.settings.tls_key)
        return context

    async def _stop(self, pump: asyncio.Task[None]) -> None:
        self._stopping = True
        for connection in self._connections:
            connection.update_reading()
        if not pump.done() and not await self.intake.wait_settled(self.settings.stop_timeout):
            _log.warning("listener: %d messages were not committed in time; devices keep them", self.intake.unsettled)
        await asyncio.sleep(0)  # the acknowledgements of the last batch go out in this turn of the loop
        for connection in list(self._connections):
            connection.end(Reason.SERVER_SHUTTING_DOWN)
        if self._connections:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._all_gone.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()

    def _on_full(self, _full: bool) -> None:
        for connection in self._connections:
            connection.update_reading()

    @property
    def holds_back(self) -> bool:
        """Whether no connection should be read now."""
        return self._stopping or self.intake.full

    def joined(self, connection: _Connection) -> bool:
        """A socket has opened; False when there is no place for it."""
        if self._stopping or len(self._connections) >= self.settings.max_connections:
            self.counts.turned_away += 1
            return False
        self._connections.add(connection)
        self.counts.connections += 1
        return True

    def left(self, connection: _Connection) -> None:
        """A socket has closed."""
        self._connections.discard(connection)
        self.counts.connections = len(self._connections)
        if self._clients.get(connection.client) is connection:
            del self._clients[connection.client]
            self._keep_session(connection.client, connection.session_expiry)
        if self._stopping and not self._connections:
            self._all_gone.set()

    def log_in(self, login: Coroutine[None, None, None]) -> None:
        """Let a login take its time while the others go on. An error of the check is the house's own."""
        self._tasks.create_task(login)

    def open_session(self, connection: _Connection, connect: Connect) -> tuple[bool, int]:
        """Give a client its session: whether it was there before, and the seconds it may outlive the connection.

        An older connection of the same client ends: the newer one is the living one (3.1.4).
        """
        client = connection.client
        older = self._clients.get(client)
        if older is not None:
            older.end(Reason.SESSION_TAKEN_OVER)
        self._clients[client] = connection
        now = self.now()
        present = not connect.clean_start and self._sessions.get(client, now) > now
        expiry = min(connect.session_expiry, int(_LONGEST_SESSION.total_seconds()))
        self._keep_session(client, expiry)
        return present, expiry

    def _keep_session(self, client: str, expiry: int) -> None:
        """Remember a client for so many seconds from now; 0 forgets it."""
        self._sessions.pop(client, None)
        if expiry:
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[client] = self.now() + timedelta(seconds=expiry)


class _Connection(asyncio.Protocol):
    """One socket: from its CONNECT to its end."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._settings = listener.settings
        self._counts = listener.counts
        self._loop = asyncio.get_running_loop()
        self._decoder = wire.Decoder(self._settings.max_packet)
        self._receipts: Receipts[bytes] = Receipts(listener.intake, self._acknowledge)
        self._held: deque[Incoming] = deque()  # what came behind a CONNECT whose login is being checked
        self._unacknowledged = 0
        self._connected = False
        self._choked = False
        self._paused = False
        self._device: str | None = None
        self._keep_alive = 0.0
        self._last_heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.client = ""
        self.session_expiry = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.joined(self):
            self._transport.abort()
            return
        sock: socket.socket = self._transport.get_extra_info("socket")
        # A client may ask for no keep-alive at all; a peer that lost its power must still be noticed some day.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._timer = self._loop.call_later(self._settings.connect_timeout, self._too_late)
        self.update_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connected = False
        self._listener.left(self)

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        self._handle(self._decoder.feed(data))

    def pause_writing(self) -> None:
        # A peer that does not read its acknowledgements gets to write no more either.
        self._choked = True
        self.update_reading()

    def resume_writing(self) -> None:
        self._choked = False
        self.update_reading()

    # What came.

    def _handle(self, packets: list[Incoming]) -> None:
        received_at = self._listener.now()
        for position, packet in enumerate(packets):
            if self._transport.is_closing():
                return
            if isinstance(packet, Publish) and self._connected:
                self._publish(packet, received_at)
            elif isinstance(packet, Connect):
                self._held.extend(packets[position + 1 :])
                self._open(packet)
                return
            else:
                self._other(packet, received_at)
        self.update_reading()

    def _publish(self, message: Publish, received_at: datetime) -> None:
        if message.qos and self._decoder.version == wire.V5 and self._unacknowledged >= self._settings.window:
            error = MqttError(Reason.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self._settings.window} unacknowledged")
            self._violation(error, received_at)
            return
        topics = self._listener.topics
        packet = topics.packet(message.topic, message.payload, received_at)
        code = Reason.SUCCESS
        if self._device is not None and packet.sender != self._device:
            because = f"topic {shown(message.topic)} is not one of {self._device}, who sent this"
            packet = topics.faulty(self._device, message.payload, received_at, because)
            code = Reason.NOT_AUTHORIZED
        elif packet.fault is not None:
            code = Reason.QUOTA_EXCEEDED if len(message.payload) > MAX_PAYLOAD else Reason.TOPIC_NAME_INVALID
        self._counts.messages += 1
        if packet.fault is not None:
            self._counts.faults += 1
        answer = b""
        if message.qos:
            self._unacknowledged += 1
            answer = wire.puback(self._decoder.version, message.packet_id, code)
        self._receipts.take(packet, answer)

    def _other(self, packet: Incoming, received_at: datetime) -> None:
        version = self._decoder.version
        match packet:
            case wire.PingRequest():
                self._transport.write(wire.PINGRESP)
            case wire.Subscribe():
                self._transport.write(wire.suback(version, packet))
            case wire.Unsubscribe():
                self._transport.write(wire.unsuback(version, packet))
            case Disconnect():
                if packet.session_expiry is not None and self.session_expiry:
                    self.session_expiry = min(packet.session_expiry, int(_LONGEST_SESSION.total_seconds()))
                self._close()
            case MqttError():
                self._violation(packet, received_at)

    def _violation(self, error: MqttError, received_at: datetime) -> None:
        self._counts.violations += 1
        if not self._connected:
            self._transport.write(wire.refusal(self._decoder.version, error.code))
            self._close()
            return
        # What a known device meant may be in there; what a stranger sent is not worth the disk.
        sender = self._device or self.client.removeprefix("/")
        fault = f"not MQTT as it should be: {error.reason}"
        self._counts.faults += 1
        self._receipts.take(self._listener.topics.faulty(sender, error.kept, received_at, fault), b"")
        self.end(error.code)

    # The beginning.

    def _open(self, connect: Connect) -> None:
        if self._timer is not None:
            self._timer.cancel()
        check = self._listener.check_login
        if check is None:
            self._welcome(connect)
        else:
            self._hold_reading()
            self._listener.log_in(self._log_in(connect, check))

    async def _log_in(self, connect: Connect, check: CheckLogin) -> None:
        granted = connect.username is not None and await check(connect.username, connect.password)
        if self._transport.is_closing():
            return
        if granted:
            self._device = connect.username
            self._welcome(connect)
        else:
            self._counts.logins_refused += 1
            self._refuse(Reason.BAD_USER_NAME_OR_PASSWORD)

    def _welcome(self, connect: Connect) -> None:
        assigned = None
        if not connect.client_id:
            if connect.version == wire.V311 and not connect.clean_start:
                self._refuse(Reason.CLIENT_IDENTIFIER_NOT_VALID)
                return
            assigned = f"hw-{secrets.token_hex(8)}"
        # One device must not take over the session of another by using its client id.
        self.client = f"{self._device or ''}/{assigned or connect.client_id}"
        present, self.session_expiry = self._listener.open_session(self, connect)
        self._connected = True
        self._counts.accepted += 1
        terms = wire.Terms(
            session_present=present,
            session_expiry=self.session_expiry,
            receive_maximum=self._settings.window,
            max_packet=self._settings.max_packet,
            assigned_id=assigned,
        )
        self._transport.write(wire.connack(connect.version, terms))
        self._last_heard = self._loop.time()
        self._keep_alive = 1.5 * connect.keep_alive
        if self._keep_alive:
            self._timer = self._loop.call_later(self._keep_alive, self._check_keep_alive)
        held = list(self._held)
        self._held.clear()
        self._handle(held)

    def _refuse(self, code: Reason) -> None:
        self._transport.write(wire.refusal(self._decoder.version, code))
        self._close()

    # The flow.

    def _acknowledge(self, answers: list[bytes]) -> None:
        acknowledged = sum(map(bool, answers))
        self._unacknowledged -= acknowledged
        if acknowledged and self._connected and not self._transport.is_closing():
            self._transport.write(b"".join(answers))
            self._counts.acknowledged += acknowledged
        self.update_reading()

    def update_reading(self) -> None:
        """Read or do not read, whichever is right now."""
        if self._transport.is_closing():
            return
        full = len(self._receipts) >= self._settings.window
        if full or self._choked or self._listener.holds_back:
            self._hold_reading()
        elif self._paused and (self._connected or not self._decoder.version):
            self._paused = False
            self._last_heard = self._loop.time()
            self._transport.resume_reading()

    def _hold_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # The end.

    def _too_late(self) -> None:
        self._counts.timeouts += 1
        self._transport.abort()

    def _check_keep_alive(self) -> None:
        heard = self._loop.time() if self._paused else self._last_heard  # while we do not read, we cannot hear
        remaining = heard + self._keep_alive - self._loop.time()
        if remaining > 0:
            self._timer = self._loop.call_later(remaining, self._check_keep_alive)
        else:
            self._counts.timeouts += 1
            self.end(Reason.KEEP_ALIVE_TIMEOUT)

    def end(self, code: Reason) -> None:
        """Tell the client why, as far as its version has words for it, and close."""
        if self._connected and not self._transport.is_closing():
            self._transport.write(wire.disconnect(self._decoder.version, code))
        self._close()

    def abort(self) -> None:
        """Close without waiting for the peer to read."""
        self._transport.abort()

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)
