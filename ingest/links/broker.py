"""The clinic's broker: a client that keeps coming back, and acknowledges a message only once it is settled.

The session lives at the broker, under the stable client id; what was not acknowledged comes again. An acknowledgement
belongs to the connection that brought its message: one that comes late is never sent on a newer connection.

The protocol is our own codec on asyncio: behind Mosquitto it takes a quarter of the time per message that a library
needs which asks the socket for each field (docs/mqtt.md, "Cost").
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, cast

from ingest.links import mqtt_client as wire
from ingest.links.broker_memory import recall, remember
from ingest.links.delivery import Deliver
from ingest.links.intake import Intake, Receipts
from ingest.links.mqtt_client import Connack, Farewell, Suback
from ingest.links.mqtt_wire import V5, V311, MqttError, Publish, Reason
from ingest.links.topics import PREFIX, Topics

_log = logging.getLogger(__name__)

_DIAL_TIMEOUT: Final = 10.0  # seconds for one address of the broker to accept us
_ANSWER_TIMEOUT: Final = 10.0  # seconds for the broker to answer CONNECT and SUBSCRIBE
_FAREWELL_TIMEOUT: Final = 2.0  # seconds for DISCONNECT to leave
_STOOD: Final = 30.0  # seconds a connection must have lasted for the next try to come at once again
_OCTET_LIMIT: Final = 64 * 1_048_576
_TOLD: Final = timedelta(days=1)  # so long a loss stands in the warnings
_DROPPED: Final = "$SYS/broker/publish/messages/dropped"  # Mosquitto counts there what its queues had no room for


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

    trouble: why there is no connection, in a sentence; None when all is well. memory_file: where it is kept over
    our own restarts what the broker had for us and lost (`ingest.links.broker_memory`); None: not kept.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        deliver: Deliver,
        now: Callable[[], datetime],
        *,
        memory_file: Path | None = None,
    ) -> None:
        self.settings = settings
        self.counts = BrokerCounts()
        self.trouble: str | None = f"not yet connected to the broker {_address(settings)}"
        self._now = now
        self._topics = Topics("broker", settings.topic_prefix)
        self._connection: _Connection | None = None
        self._granted_less: tuple[str, ...] = ()
        self._memory_file = memory_file
        self.memory = recall(memory_file, f"{_address(settings)} {settings.client_id}")
        self._intake = Intake(
            deliver, limit=settings.receive_maximum, octet_limit=_OCTET_LIMIT, on_full=self._on_full
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the broker grants less than was asked for, or has lost in the last day: readings may be missing."""
        lost, since = [], self._now() - _TOLD
        if (at := self.memory.forgotten_at) is not None and at > since:
            lost.append(_says_forgotten(at))
        if (at := self.memory.dropped_at) is not None and at > since:
            lost.append(_says_dropped(self.memory.dropped, at))
        return (*self._granted_less, *lost)

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
        connection = _Connection(self.settings, self._topics.filter, self.settings.client_id, self._on_message)
        self._receipts: Receipts[bytes] = Receipts(
            self._intake, lambda answers: self._acknowledge(connection, answers)
        )
        try:
            self._granted_less = await connection.open(resume=True)
            self._connection = connection
            connection.read(not self._intake.full)
            self.counts.connections += 1
            self.trouble = None
            _log.info("connected to the broker %s", _address(self.settings))
            self._look_at_the_session(present=connection.session_present)
            if connection.advice:
                _log.info("broker %s: %s", _address(self.settings), connection.advice)
            for warning in self._granted_less:
                _log.warning("broker %s: %s", _address(self.settings), warning)
            async with self._watching():
                await asyncio.wait([connection.lost])  # to await it directly would cancel it when we are stopped
            connection.lost.result()
        finally:
            self._connection = None
            await connection.close()

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch_dropped())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch_dropped(self) -> None:
        """Hear what the broker has lost, if it tells.

        On a connection of its own: brokers may hang up on who asks for what is not his, and Mosquitto 2.0.11 with
        queue_qos0_messages was seen to lose a reading where such a message lay between those of our session.
        """
        name = f"{self.settings.client_id}-watch"
        connection = _Connection(self.settings, _DROPPED, name, self._on_dropped, qos=0)
        try:
            await connection.open(resume=False)
            await asyncio.wait([connection.lost])
        except BrokerError as error:
            _log.debug("no word of what is dropped: %s", error)
        finally:
            await connection.close()

    def _look_at_the_session(self, *, present: bool) -> None:
        if present or not self.memory.session:
            self._remember(session=True)
            return
        at = self._now()
        _log.warning("broker %s: %s", _address(self.settings), _says_forgotten(at))
        self._remember(forgotten=self.memory.forgotten + 1, forgotten_at=at)

    def _remember(self, **news: Any) -> None:
        memory = replace(self.memory, **news)
        if memory != self.memory:
            self.memory = memory
            remember(self._memory_file, memory)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble

    def _on_message(self, message: Publish) -> None:
        packet = self._topics.packet(message.topic, message.payload, self._now())
        self.counts.messages += 1
        if packet.fault is not None:
            self.counts.faults += 1
        answer = b"\x40\x02" + message.packet_id.to_bytes(2, "big") if message.qos else b""
        self._receipts.take(packet, answer)

    def _acknowledge(self, connection: _Connection, answers: list[bytes]) -> None:
        if connection.write(b"".join(answers)):
            self.counts.acknowledged += sum(map(bool, answers))

    def _on_dropped(self, message: Publish) -> None:
        counted = int(message.payload) if message.payload.isdigit() else 0
        known = self.memory.counted
        more = counted - known if counted >= known else counted  # less: the broker began to count anew
        if not more:
            self._remember(counted=counted)
            return
        dropped, at = self.memory.dropped + more, self._now()
        _log.warning("broker %s: %s", _address(self.settings), _says_dropped(dropped, at))
        self._remember(counted=counted, dropped=dropped, dropped_at=at)

    def _on_full(self, full: bool) -> None:
        if self._connection is not None:
            self._connection.read(not full)


async def probe(settings: BrokerSettings) -> str | None:
    """Try the broker as the link would use it, without touching the link's own session.

    None when it can be used as it is; else a sentence that says what is wrong or granted less, and what to do.
    """
    topic_filter = Topics("broker", settings.topic_prefix).filter
    connection = _Connection(settings, topic_filter, f"{settings.client_id}-check", _unheard)
    try:
        warnings = await connection.open(resume=False)
    except BrokerError as error:
        return str(error)
    finally:
        await connection.close()
    return "; ".join((*warnings, connection.advice) if connection.advice else warnings) or None


class _Connection(asyncio.Protocol):
    """One network connection, from dialling to its end.

    lost: a future that ends with a BrokerError when the connection is gone. on_message is called for each message
    while we read. session_present: whether the broker knew us.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        topic_filter: str,
        client_id: str,
        on_message: Callable[[Publish], None],
        *,
        qos: Literal[0, 1] = 1,
    ) -> None:
        self._settings = settings
        self._filter = topic_filter
        self._client_id = client_id
        self._on_message = on_message
        self._qos = qos
        self._version = V5 if settings.version == "5" else V311
        self._decoder = wire.ClientDecoder(self._version)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._waiting: deque[wire.Incoming] = deque()  # what was read in the block in which reading had to stop
        self._keep_alive = float(settings.keep_alive)
        self._last_heard = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[Connack] = self._loop.create_future()
        self._suback: asyncio.Future[Suback] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.session_present = False
        # What nobody can see from here whether it was heeded: it is said once, and no fault of the link.
        self.advice = None if self._version == V5 else _advice(settings)

    async def open(self, *, resume: bool) -> tuple[str, ...]:
        """Connect and subscribe; what the broker grants less than asked, in sentences. Raises BrokerError.

        resume: go on with the session that the broker keeps for us, and let it keep one.
        """
        asked = int(self._settings.session_expiry.total_seconds()) if resume else 0
        try:
            await self._dial()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name at all
            raise BrokerError(_why_unreachable(error, self._settings)) from error
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                self.write(self._connect(asked, clean_start=not resume))
                terms = await self._either(self._connack)
                # At every connection: the broker may have lost the session, and asking twice does no harm.
                self.write(wire.subscribe(self._version, 1, self._filter, self._qos))
                granted = max((await self._either(self._suback)).codes, default=Reason.UNSPECIFIED)
        except TimeoutError:
            raise BrokerError(
                f"the broker {_address(self._settings)} does not answer in MQTT; is another program at this port, "
                "or does it expect TLS?"
            ) from None
        if granted >= 0x80:
            raise BrokerError(
                f"the broker {_address(self._settings)} does not let {self._who()} subscribe to {self._filter}; "
                "allow it in the broker's access list"
            )
        self.session_present = terms.session_present
        return self._shortfalls(asked, terms, granted)

    async def _dial(self) -> None:
        context = await asyncio.to_thread(self._tls) if self._settings.tls else None
        host, port = self._settings.host, self._settings.port
        addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        trouble: OSError | None = None
        for address in (str(info[4][0]) for info in addresses):
            try:
                async with asyncio.timeout(_DIAL_TIMEOUT):
                    name = host if context else None
                    await self._loop.create_connection(lambda: self, address, port, ssl=context, server_hostname=name)
            except OSError as error:
                trouble = error
            else:
                return
        raise trouble or OSError("it has no address")

    def _tls(self) -> ssl.SSLContext:
        ca = self._settings.tls_ca
        return ssl.create_default_context(cafile=None if ca is None else str(ca))

    def _connect(self, session_expiry: int, *, clean_start: bool) -> bytes:
        return wire.connect(
            self._version,
            self._client_id,
            clean_start=clean_start,
            keep_alive=self._settings.keep_alive,
            session_expiry=session_expiry,
            receive_maximum=self._settings.receive_maximum,
            username=self._settings.username,
            password=self._settings.password,
        )

    async def _either(self, answer: asyncio.Future[Any]) -> Any:
        """The answer, or the error that ended the connection before it came."""
        await asyncio.wait([answer, self.lost], return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else self.lost.result()

    def write(self, octets: bytes) -> bool:
        """Send, unless the connection has gone; whether it stood."""
        if self._transport is None or self._transport.is_closing() or self.lost.done():
            return False
        self._transport.write(octets)
        return True

    def read(self, on: bool) -> None:
        """Read from the socket, or leave the messages with the broker."""
        if self._transport is None or on == self._reading:
            return
        self._reading = on
        if on:
            self._transport.resume_reading()
            self._loop.call_soon(self._work_off)
        else:
            self._transport.pause_reading()

    async def close(self) -> None:
        """Send what still waits, say farewell (the session stays) and let go of the socket."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._waiting.clear()
            self._on_message = _unheard
            if self._connack.done() and self.write(wire.DISCONNECT):
                # The broker hangs up then. To do it ourselves with octets unread would reset the connection, and
                # the broker might never read our last acknowledgements.
                self.read(True)
                await asyncio.wait([self._gone], timeout=_FAREWELL_TIMEOUT)
            self._transport.abort()
        answers: list[asyncio.Future[Any]] = [self.lost, self._connack, self._suback]
        for future in answers:
            if future.done() and not future.cancelled():
                future.exception()  # it has been told already, or nobody waits for it any more
            future.cancel()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._last_heard = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        self._waiting.extend(self._decoder.feed(data))
        self._work_off()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._connack.done():
            # Mosquitto is as silent when another client takes the session over as when it dies.
            said = "; if that repeats, see whether another program uses our client_id"
        else:
            said = f" before it answered; does it speak MQTT {self._settings.version}, or expect TLS?"
        self._lose(f"the broker {_address(self._settings)} ended the connection{said}")
        if not self._gone.done():
            self._gone.set_result(None)

    # What the broker says.

    def _work_off(self) -> None:
        waiting = self._waiting
        while waiting and self._reading:
            packet = waiting.popleft()
            if isinstance(packet, Publish):
                self._heard(packet)
            else:
                self._told(packet)

    def _heard(self, message: Publish) -> None:
        if message.qos > 1:
            self._lose(f"the broker {_address(self._settings)} sends QoS 2, which was not asked for; it is not MQTT")
        else:
            self._on_message(message)

    def _told(self, packet: wire.Incoming) -> None:
        broker = f"the broker {_address(self._settings)}"
        match packet:
            case Connack() if packet.code:
                self._lose(_why_refused(packet, self._settings))
            case Connack() if not self._connack.done():
                self._connack.set_result(packet)
                if packet.keep_alive is not None:
                    self._keep_alive = float(packet.keep_alive)
                self._stay_alive()
            case Suback() if not self._suback.done():
                self._suback.set_result(packet)
            case Farewell():
                self._lose(f"{broker} ended the connection: {_in_words(packet.code, packet.said)}")
            case MqttError():
                self._lose(f"{broker} does not keep to MQTT {self._settings.version}: {packet.reason}")
            case _:
                pass  # a PINGRESP: that it came is all it says

    def _stay_alive(self) -> None:
        """Twice in each keep-alive: show that we live, and see whether the broker does."""
        if not self._keep_alive:
            return
        if not self._reading:
            self._last_heard = self._loop.time()  # while we do not read, we cannot hear
        if self._loop.time() - self._last_heard > 1.5 * self._keep_alive:
            self._lose(f"the broker {_address(self._settings)} has fallen silent; check it and the network")
            return
        self.write(wire.PINGREQ)
        self._timer = self._loop.call_later(self._keep_alive / 2, self._stay_alive)

    def _lose(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_exception(BrokerError(why))
        if self._transport is not None:
            self._transport.abort()

    # What is said about it.

    def _who(self) -> str:
        return "us without a user name" if self._settings.username is None else f"user {self._settings.username}"

    def _shortfalls(self, asked: int, terms: Connack, granted: int) -> tuple[str, ...]:
        found = []
        if granted < self._qos:
            found.append(
                "grants QoS 0 instead of 1, so messages are lost whenever the connection is; raise its maximum QoS"
            )
        kept = terms.session_expiry
        if kept is not None and kept < asked:
            found.append(
                f"keeps our messages for {kept} s while we are away, {asked} s were asked; raise its session expiry"
            )
        return tuple(found)


def _unheard(_message: Publish) -> None:
    """What comes behind our farewell was not acknowledged and comes again."""


def _advice(settings: BrokerSettings) -> str:
    return (
        "MQTT 3.1.1 cannot ask for a larger window; set max_inflight_messages (Mosquitto: 20) to "
        f"{settings.receive_maximum} at the broker, or use version 5"
    )


def _says_dropped(dropped: int, at: datetime) -> str:
    return (
        f"has dropped {dropped} messages to its clients, as last seen at {at:%Y-%m-%d %H:%M} UTC, because their "
        "queues were full; raise its max_queued_messages"
    )


def _says_forgotten(at: datetime) -> str:
    return (
        f"had forgotten our session at {at:%Y-%m-%d %H:%M} UTC: what it had received for us and not delivered is "
        "gone unless devices send it again; check its persistence and its session expiry"
    )


def _in_words(code: int, said: str) -> str:
    """A reason code of MQTT 5.0 with its name, where we know it, and with what the broker says itself."""
    name = Reason(code).name.replace("_", " ").lower() if code in set(Reason) else "no reason that we know"
    return f"{name} (0x{code:02x}){f', it says {said[:120]!a}' if said else ''}"


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
        case ConnectionResetError() | ConnectionAbortedError():
            return f"{broker} hangs up before a word is said; check the port, and whether TLS is wanted there"
        case TimeoutError():
            return f"{broker} does not answer; check the network, a firewall, host and port"
        case FileNotFoundError():
            return f"the file {settings.tls_ca} with the certificate authority does not exist; check tls_ca"
        case _:
            return f"{broker} cannot be reached ({error}); check the network, host and port"


def _why_refused(answer: Connack, settings: BrokerSettings) -> str:
    """What a refusing CONNACK means and what to do about it."""
    broker = f"the broker {_address(settings)}"
    match answer.code:
        case Reason.BAD_USER_NAME_OR_PASSWORD | Reason.NOT_AUTHORIZED:
            given = "no user name was given" if settings.username is None else f"user {settings.username}"
            return f"{broker} refuses the login ({given}); check username and password"
        case Reason.CLIENT_IDENTIFIER_NOT_VALID:
            return f"{broker} refuses the client id {settings.client_id!r}; choose another client_id"
        case Reason.UNSUPPORTED_PROTOCOL_VERSION:
            return f"{broker} does not speak MQTT {settings.version}; set version to the other one"
        case code:
            return f"{broker} refuses the session: {_in_words(code, answer.said)}"
