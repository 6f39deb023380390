"""Homeward's own door for devices that speak MQTT 3.1.1 or 5.0: they publish straight to us, no broker between.

A PUBACK or PUBREC means that the packet is committed: it is sent only after `settled`. Nothing can be subscribed to.
A redelivery of QoS 1 after a lost connection is the journal's to recognise, one of QoS 2 the session's.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import secrets
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeAlias, cast

from ingest import envelope
from ingest.links import mqtt_wire as wire
from ingest.links.delivery import Deliver
from ingest.links.intake import Intake, Receipts
from ingest.links.mqtt_wire import Connect, Disconnect, Incoming, MqttError, Publish, Reason, Release
from ingest.links.refusals import Refusals
from ingest.links.sessions import Exact, Session, Sessions
from ingest.links.topics import MAX_PAYLOAD, PREFIX, Topics, shown
from ingest.reading import Packet

CheckLogin: TypeAlias = Callable[[str, bytes], Awaitable[bool]]
"""`await check_login(device, password)`: whether this device may come in with this password."""

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT: Final = 5.0  # seconds for a peer to read our farewell
_OTHER_FILES: Final = 512  # file descriptors that the rest of the house needs
_SMALL: Final = 65_536  # octets of an unfinished packet that nobody is blamed for
_LONGEST_ID: Final = 256  # octets of a client id: sessions are remembered by it, in memory and on the disk
_MOST_GONE: Final = 1000  # names of devices that are remembered as gone


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where the listener stands and how much it takes on.

    port 0 picks a free one. tls_certificate and tls_key are PEM files; without them the traffic is not encrypted.
    window: messages of one connection that may be unsettled (the Receive Maximum of MQTT 5). max_unsettled and
    max_unsettled_octets: the same for all connections together; then no socket is read until half is settled.
    connect_timeout, stall_timeout, stop_timeout: seconds for a CONNECT to come, for a peer to read its
    acknowledgements, and for the house to settle what is in flight.
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
    stall_timeout: float = 60.0
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


@dataclass(frozen=True, slots=True)
class Gone:
    """A device that left a will and has gone without a farewell, and since when."""

    device: str
    since: datetime


class Listener:
    """Takes MQTT connections, delivers what they publish and acknowledges it once it is settled.

    now: the aware UTC time, for arrival stamps. check_login: asked about every client when given; the user name is
    the device, and a client may then publish for no other. posts: user names of home posts, which may forward packets
    of any device (`ingest.envelope`). session_file: where sessions are kept over a restart, so that strict MQTT 5
    clients keep their unacknowledged messages over it; None keeps them in memory only.
    gone: by client, the devices that left a will and whose connection was lost without a farewell. refusals: of
    logins, in the last day.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        deliver: Deliver,
        now: Callable[[], datetime],
        *,
        check_login: CheckLogin | None = None,
        posts: Collection[str] = (),
        session_file: Path | None = None,
    ) -> None:
        self.settings = settings
        self.counts = ListenerCounts()
        self.port = settings.port
        self.now = now
        self.check_login = check_login
        self.posts = frozenset(posts)
        self.topics = Topics("listener", settings.topic_prefix)
        self.intake = Intake(
            deliver,
            limit=settings.max_unsettled,
            octet_limit=settings.max_unsettled_octets,
            on_full=self._on_full,
        )
        self.gone: dict[str, Gone] = {}
        self.refusals = Refusals()
        self._posts_seen = dict.fromkeys(sorted(self.posts), now())  # when each was last here; at first, the start
        self.unfinished = 0
        self.tls: ssl.SSLContext | None = None
        self._session_file = session_file
        self._wills: dict[str, asyncio.TimerHandle] = {}
        self._sessions: Sessions | None = None
        self._connections: set[_Connection] = set()
        self._clients: dict[str, _Connection] = {}
        self._all_gone = asyncio.Event()
        self._stopping = False

    @property
    def trouble(self) -> str | None:
        """What keeps the listener from its work, in a sentence; None when all is well."""
        if self.intake.full:
            return f"the listener has stopped reading: {self.intake.unsettled} messages wait to be committed"
        if self._sessions is not None and self._sessions.trouble is not None:
            return f"the listener keeps devices waiting: {self._sessions.trouble}"
        if self.counts.connections >= self.settings.max_connections:
            return f"the listener turns devices away: all {self.settings.max_connections} connections are taken"
        return None

    def absent_posts(self) -> dict[str, datetime]:
        """The home posts that are not connected, which they always should be, with when each was last here (UTC)."""
        here = {connection.device for connection in self._clients.values()}
        return {post: seen for post, seen in self._posts_seen.items() if post not in here}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while the block runs; at its end stop reading, wait for what is in flight, then say farewell.

        Raises OSError when the address cannot be bound, ssl.SSLError or OSError when the certificate cannot be read,
        sqlite3.Error when the file of the sessions cannot be used.
        """
        self.tls = self._tls()
        self._allow_files()
        with closing(Sessions(self._session_file, self.now())) as sessions:
            self._sessions = sessions
            server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self),
                self.settings.host,
                self.settings.port,
                backlog=1024,
                start_serving=False,
            )
            self.port = server.sockets[0].getsockname()[1]
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await server.start_serving()
                work = [tasks.create_task(self.intake.run()), tasks.create_task(sessions.run())]
                try:
                    yield
                finally:
                    server.close()
                    await self._stop(settling=not any(task.done() for task in work))
                    for task in work:
                        task.cancel()
                    await server.wait_closed()

    def _allow_files(self) -> None:
        """Each connection is a file descriptor; systems often allow 1024 unless asked for more."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.settings.max_connections + _OTHER_FILES
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            _log.warning(
                "listener: this system allows %d open files, so at most %d of %d connections; raise it (systemd: "
                "LimitNOFILE=%d)",
                allowed,
                max(allowed - _OTHER_FILES, 0),
                self.settings.max_connections,
                wanted,
            )

    def _tls(self) -> ssl.SSLContext | None:
        if self.settings.tls_certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.settings.tls_certificate, self.settings.tls_key)
        return context

    async def _stop(self, *, settling: bool) -> None:
        self._stopping = True
        for will in self._wills.values():
            will.cancel()
        for connection in self._connections:
            connection.update_reading()
        if settling and not await self.intake.wait_settled(self.settings.stop_timeout):
            _log.warning("listener: %d messages were not committed in time; devices keep them", self.intake.unsettled)
        await asyncio.sleep(0)  # the acknowledgements of the last batch go out in this turn of the loop
        if settling:
            await self._write_sessions()
        for connection in list(self._connections):
            connection.end(Reason.SERVER_SHUTTING_DOWN)
        if self._connections:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._all_gone.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()

    async def _write_sessions(self) -> None:
        """Let what is committed with QoS 2 be told before the farewell."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.stop_timeout):
                await self.sessions.written()
                await asyncio.sleep(0)

    @property
    def sessions(self) -> Sessions:
        """While the listener runs."""
        assert self._sessions is not None  # noqa: S101 (connections live only while it runs)
        return self._sessions

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
        if connection.session is not None and self._clients.get(connection.session.client) is connection:
            del self._clients[connection.session.client]
            self.sessions.end(connection.session, self.now())
            if connection.device in self._posts_seen:
                self._posts_seen[connection.device] = self.now()
            self._await_return(connection, connection.session)
        if self._stopping and not self._connections:
            self._all_gone.set()

    def _await_return(self, connection: _Connection, session: Session) -> None:
        """A device that wants its loss told is gone, unless it comes back before its will is due (3.1.3.2.2)."""
        will = connection.will
        if will is None or self._stopping:
            return
        device = connection.device or self.topics.packet(will.topic, b"", self.now()).sender
        delay = min(will.delay, session.expiry)
        self._wills[session.client] = asyncio.get_running_loop().call_later(
            delay, self._miss, session.client, Gone(device, self.now())
        )

    def _miss(self, client: str, gone: Gone) -> None:
        del self._wills[client]
        self.gone[client] = gone
        if len(self.gone) > _MOST_GONE:
            del self.gone[next(iter(self.gone))]
        _log.info("listener: device %s has gone without a farewell", gone.device)

    def returned(self, client: str) -> None:
        """A client has come in."""
        will = self._wills.pop(client, None)
        if will is not None:
            will.cancel()
        self.gone.pop(client, None)

    def refuse(self, name: str, address: str) -> None:
        """A login was refused."""
        self.counts.logins_refused += 1
        if refused := self.refusals.note(name, address, self.now()):
            _log.warning(
                "listener: the login of %s from %s is refused (%d since %s); check its user name and password, and "
                "[listener] here",
                shown(refused.name),
                refused.address,
                refused.count,
                f"{refused.since:%Y-%m-%d %H:%M} UTC",
            )

    def let_in(self, steps: Coroutine[None, None, None]) -> None:
        """Let a handshake or a login take its time while the others go on. A fault of ours ends it."""
        self._tasks.create_task(steps)

    def take_over(self, connection: _Connection, client: str) -> None:
        """A client has come in. An older connection of it ends: the newer one is the living one (3.1.4)."""
        older = self._clients.get(client)
        if older is not None:
            older.end(Reason.SESSION_TAKEN_OVER)
        self._clients[client] = connection


class _Connection(asyncio.Protocol):
    """One socket: from its CONNECT to its end."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._settings = listener.settings
        self._counts = listener.counts
        self._loop = asyncio.get_running_loop()
        self._decoder = wire.Decoder(self._settings.max_packet)
        self._receipts: Receipts[bytes | Exact] = Receipts(listener.intake, self._acknowledge)
        self._held: deque[Incoming] = deque()  # what came behind a CONNECT whose login is being checked
        self._unreleased: set[int] = set()  # QoS 2
        self._unfinished = 0
        self._pings = 0  # to be answered at the end of the block
        self._connected = False
        self._choked = False
        self._paused = False
        self._secured = True  # but for the time of a handshake
        self._early: list[bytes] = []
        self.device: str | None = None
        self._keep_alive = 0.0
        self._last_heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.client_id = ""
        self._chosen_id = ""
        self.session: Session | None = None
        self.will: wire.Will | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.joined(self):
            self._transport.abort()
            return
        sock: socket.socket = self._transport.get_extra_info("socket")
        # A client may ask for no keep-alive at all; a peer that lost its power must still be noticed some day.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        if self._listener.tls is None:
            self._begin()
        else:
            self._secured = False
            self._listener.let_in(self._secure(self._listener.tls))

    def connection_lost(self, _exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._connected = False
        self._abandon()
        self._listener.left(self)

    def data_received(self, data: bytes) -> None:
        if not self._secured:
            self._early.append(data)
            return
        self._last_heard = self._loop.time()
        packets = self._decoder.feed(data)
        unfinished = self._decoder.unfinished
        if unfinished != self._unfinished:
            self._listener.unfinished += unfinished - self._unfinished
            self._unfinished = unfinished
            if unfinished > _SMALL and self._listener.unfinished > self._settings.max_unsettled_octets:
                # Thousands of packets that are begun and never ended would fill the memory.
                error = MqttError(Reason.QUOTA_EXCEEDED, "too much is begun and not ended, here and elsewhere")
                error.kept = self._decoder.abandon()
                packets.append(error)
        self._handle(packets)

    def pause_writing(self) -> None:
        # A peer that does not read its acknowledgements gets to write no more either, and not for ever.
        self._choked = True
        self._stalled = self._loop.call_later(self._settings.stall_timeout, self._too_late)
        self.update_reading()

    def resume_writing(self) -> None:
        self._choked = False
        if self._stalled is not None:
            self._stalled.cancel()
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
        if self._pings:
            self._say(wire.PINGRESP * self._pings)  # a flood of them costs one write a block
            self._pings = 0
        self.update_reading()

    def _publish(self, message: Publish, received_at: datetime) -> None:
        qos = message.qos
        if qos:
            if qos == 2 and self._came_again(message):
                return
            # Clients were seen to send all that they have after a connection was lost. To end the next one for it,
            # before what is committed could be acknowledged, would go on for ever: what is too much is read later
            # (`update_reading`). But where nothing is read, nothing is released.
            if qos == 2 and len(self._unreleased) >= self._settings.window and self._decoder.version == wire.V5:
                error = MqttError(Reason.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self._settings.window} not released")
                self._violation(error, received_at)
                return
        packet = self._listener.topics.packet(message.topic, message.payload, received_at)
        code = Reason.SUCCESS
        if packet.fault is not None or (self.device is not None and packet.sender != self.device):
            packet, code = self._unusual(packet, message)
        self._counts.messages += 1
        self._receipts.take(packet, self._answer(message, code) if qos else b"")

    def _unusual(self, packet: Packet, message: Publish) -> tuple[Packet, Reason]:
        """What came otherwise than as a device's own readings, and what its acknowledgement says of it."""
        topics, received_at = self._listener.topics, packet.received_at
        post = topics.post(message.topic)
        sender, code = self.device, Reason.NOT_AUTHORIZED
        if post is not None and post == self.device and post in self._listener.posts:
            try:
                return envelope.opened(post, message.payload, received_at), Reason.SUCCESS
            except envelope.EnvelopeError as error:
                because, code = str(error), Reason.PAYLOAD_FORMAT_INVALID
        elif self.device is not None and packet.sender != self.device:
            because = f"topic {shown(message.topic)} is not one of {self.device}, who sent this"
        elif post is not None:
            because, sender = f"{post} may not forward packets; name it under [listener.posts], with a password", post
        else:
            self._counts.faults += 1
            too_large = len(message.payload) > MAX_PAYLOAD
            return packet, Reason.QUOTA_EXCEEDED if too_large else Reason.TOPIC_NAME_INVALID
        self._counts.faults += 1
        return topics.faulty(sender or packet.sender, message.payload, received_at, because), code

    def _answer(self, message: Publish, code: Reason) -> bytes | Exact:
        """What is due once the message is committed."""
        version, packet_id = self._decoder.version, message.packet_id
        if message.qos == 1:
            return wire.puback(version, packet_id, code)
        if code and version == wire.V5:  # its packet id is then free at once (4.3.3), as with QoS 1
            return wire.pubrec(version, packet_id, code)
        exact = Exact(packet_id, _digest(message), partial(self._received, packet_id))
        self._known[packet_id] = exact
        self._unreleased.add(packet_id)
        return exact

    @property
    def _known(self) -> dict[int, Exact]:
        """The QoS 2 messages of this session."""
        return self.session.received if self.session is not None else {}

    def _came_again(self, message: Publish) -> bool:
        """Whether a QoS 2 message is known; then PUBREC is due as soon as it is kept, and nothing else."""
        known = self._known.get(message.packet_id)
        if known is None or known.digest != _digest(message):
            return False
        self._unreleased.add(message.packet_id)
        known.answer = partial(self._received, message.packet_id)
        if known.kept:
            known.answer()
        return True

    def _received(self, packet_id: int) -> None:
        self._say(wire.pubrec(self._decoder.version, packet_id))

    def _release(self, packet_id: int, received_at: datetime) -> None:
        known = self._known.get(packet_id)
        if known is not None and not known.kept:
            error = MqttError(Reason.PROTOCOL_ERROR, f"a PUBREL for packet id {packet_id} before its PUBREC")
            self._violation(error, received_at)
        elif self.session is not None:
            # An id that is not known was released on a connection that was lost before its PUBCOMP. "Not found"
            # (0x92) would be true as well, but MQTT.js tells its user then that the message has failed.
            self._counts.acknowledged += known is not None
            self._listener.sessions.release(self.session, packet_id, partial(self._completed, packet_id))

    def _completed(self, packet_id: int) -> None:
        self._unreleased.discard(packet_id)
        self._say(wire.pubcomp(packet_id))

    def _say(self, octets: bytes) -> None:
        if self._connected and not self._transport.is_closing():
            self._transport.write(octets)

    def _other(self, packet: Incoming, received_at: datetime) -> None:
        version = self._decoder.version
        match packet:
            case wire.PingRequest():
                self._pings += 1
            case Release():
                self._release(packet.packet_id, received_at)
            case wire.Subscribe():
                self._transport.write(wire.suback(version, packet))
            case wire.Unsubscribe():
                self._transport.write(wire.unsuback(version, packet))
            case Disconnect():
                if not packet.with_will:
                    self.will = None
                if packet.session_expiry is not None and self.session is not None and self.session.expiry:
                    self._listener.sessions.expire_after(self.session, packet.session_expiry)
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
        fault = f"not MQTT as it should be: {error.reason}"
        if self.device is None:
            fault += "; which device sent it is not known"
        if not error.kept:
            fault += "; its octets are not kept, for there may be a password among them"
        self._counts.faults += 1
        sender = self.device or self._stranger()
        self._receipts.take(self._listener.topics.faulty(sender, error.kept, received_at, fault), b"")
        self.end(error.code)

    def _stranger(self) -> str:
        """What is known of a client without a login; not to be taken for a device."""
        if self._chosen_id:
            return f"client:{self._chosen_id}"
        host, *_ = self._transport.get_extra_info("peername") or ("unknown",)
        return f"address:{host}"

    # The beginning.

    async def _secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS on a socket that counts already: who says nothing takes a place as well."""
        if self._transport.is_closing():
            return
        timeout = self._settings.connect_timeout
        secured = None
        with suppress(OSError):  # it speaks no TLS, says nothing, or is gone
            secured = await self._loop.start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=timeout
            )
        if secured is None:
            self._transport.abort()
            self.connection_lost(None)  # asyncio does not always tell of an end before there is TLS
            return
        self._transport = secured
        self._secured = True
        self._begin()
        for data in self._early:  # what came with the end of the handshake
            self.data_received(data)
        self._early.clear()

    def _begin(self) -> None:
        self._timer = self._loop.call_later(self._settings.connect_timeout, self._too_late)
        self.update_reading()

    def _open(self, connect: Connect) -> None:
        if self._timer is not None:
            self._timer.cancel()
        check = self._listener.check_login
        if check is None:
            self._welcome(connect)
        else:
            self._hold_reading()
            self._listener.let_in(self._log_in(connect, check))

    async def _log_in(self, connect: Connect, check: CheckLogin) -> None:
        granted = connect.username is not None and await check(connect.username, connect.password)
        if self._transport.is_closing():
            return
        if granted:
            self.device = connect.username
            self._listener.refusals.forgive(connect.username or "")
            self._welcome(connect)
        else:
            self._listener.refuse(connect.username or "", self._transport.get_extra_info("peername")[0])
            self._refuse(Reason.BAD_USER_NAME_OR_PASSWORD)

    def _welcome(self, connect: Connect) -> None:
        unknowable = not connect.client_id and connect.version == wire.V311 and not connect.clean_start
        if unknowable or len(connect.client_id.encode()) > _LONGEST_ID:
            self._refuse(Reason.CLIENT_IDENTIFIER_NOT_VALID)
            return
        self._chosen_id = connect.client_id
        self.client_id = connect.client_id or f"hw-{secrets.token_hex(8)}"
        # One device must not take over the session of another by using its client id.
        client = f"{self.device or ''}/{self.client_id}"
        self._listener.take_over(self, client)
        self._hold_reading()  # until the disk knows of the session
        self.session = self._listener.sessions.open(
            client,
            clean_start=connect.clean_start,
            expiry=connect.session_expiry,
            now=self._listener.now(),
            then=partial(self._greet, connect),
        )

    def _greet(self, connect: Connect, session: Session, present: bool) -> None:
        if self._transport.is_closing():
            return
        self.session = session
        self.will = connect.will if connect.client_id else None  # who has no name of his own cannot be seen to return
        self._connected = True
        self._counts.accepted += 1
        self._listener.returned(session.client)
        terms = wire.Terms(
            session_present=present,
            session_expiry=session.expiry,
            receive_maximum=self._settings.window,
            max_packet=self._settings.max_packet,
            assigned_id=None if connect.client_id else self.client_id,
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

    def _acknowledge(self, answers: list[bytes | Exact]) -> None:
        words = [answer for answer in answers if type(answer) is bytes and answer]
        if words and self._connected and not self._transport.is_closing():
            self._transport.write(b"".join(words))
            self._counts.acknowledged += len(words)
        if len(words) < len(answers) and self.session is not None:
            for answer in answers:
                if isinstance(answer, Exact):
                    self._listener.sessions.keep(self.session, answer)
        self.update_reading()

    def update_reading(self) -> None:
        """Read or do not read, whichever is right now."""
        if self._transport.is_closing() or not self._secured:
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

    def _abandon(self) -> None:
        self._decoder.abandon()
        self._listener.unfinished -= self._unfinished
        self._unfinished = 0

    def _close(self) -> None:
        self._abandon()
        if not self._transport.is_closing():
            self._transport.close()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)


def _digest(message: Publish) -> bytes:
    return blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=16).digest()
