"""The objects of a D-Bus service, with ObjectManager and Properties over them.

Written on dbus-fast's messages and not on its ServiceInterface, which does not tell a method who calls it, and sends
InterfacesAdded from the new object where BlueZ sends it from the root.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from dbus_fast import DBusError, ErrorType, Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus

_log = logging.getLogger(__name__)

_OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_LEFT_TO_THE_LIBRARY: Final = ("org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer")


class _PatientSocket:
    """A socket whose full buffer is no error: nothing is sent then, and the sender waits until it is writable.

    dbus-fast 5.2 waits after a message that was sent in part, but takes a buffer that is full between two messages
    for the end of the connection. A few hundred signals in a row are enough.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sendmsg = sock.sendmsg

    def send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0


async def connected_bus(address: str) -> MessageBus:
    """A connection for a service, which may say much at once. Raises OSError when there is no bus."""
    bus = MessageBus(bus_address=address, negotiate_unix_fd=True)
    await bus.connect()
    bus._writer.sock = _PatientSocket(bus._writer.sock)  # type: ignore[union-attr, arg-type]
    return bus


@dataclass(frozen=True, slots=True)
class Reply:
    """What a method gives back. fds: file descriptors, closed once they are sent."""

    signature: str = ""
    body: Sequence[Any] = ()
    fds: Sequence[int] = ()


Method: TypeAlias = Callable[[Message], Awaitable[Reply | None]]
Setter: TypeAlias = Callable[[Any], Awaitable[None]]


@dataclass(slots=True)
class _Interface:
    properties: dict[str, Variant]
    methods: Mapping[str, Method]
    setters: Mapping[str, Setter]


@dataclass(slots=True)
class ObjectTree:
    """Every object of the service on `bus`. Tells the bus of each that comes, changes or goes."""

    bus: MessageBus
    _objects: dict[str, dict[str, _Interface]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.bus.add_message_handler(self._on_message)

    def __contains__(self, path: str) -> bool:
        return path in self._objects

    def below(self, path: str) -> list[str]:
        """The paths of all objects under this one."""
        return [known for known in self._objects if known.startswith(f"{path}/")]

    def add(
        self,
        path: str,
        interface: str,
        properties: dict[str, Variant],
        methods: Mapping[str, Method] | None = None,
        setters: Mapping[str, Setter] | None = None,
    ) -> None:
        """Offer an interface at a path. A method raises DBusError; a property without a setter is read-only."""
        made = _Interface(properties, methods or {}, setters or {})
        self._objects.setdefault(path, {})[interface] = made
        self._signal("/", _OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, {interface: properties}])

    def remove(self, path: str) -> None:
        """Take away an object with all below it, from the leaves to the root."""
        for gone in [*sorted(self.below(path), key=len, reverse=True), path]:
            interfaces = self._objects.pop(gone, None)
            if interfaces is not None:
                self._signal("/", _OBJECT_MANAGER, "InterfacesRemoved", "oas", [gone, list(interfaces)])

    def get(self, path: str, interface: str, name: str) -> Any:
        """A property's present value, None when it is absent."""
        variant = self._objects[path][interface].properties.get(name)
        return None if variant is None else variant.value

    def change(self, path: str, interface: str, changed: dict[str, Variant], invalidated: Sequence[str] = ()) -> None:
        """Change properties and tell of all of them, also of those that have not become different."""
        properties = self._objects[path][interface].properties
        properties.update(changed)
        gone = [name for name in invalidated if properties.pop(name, None) is not None]
        if changed or gone:
            self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, gone])

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do some work beside the calls; it is cancelled at the end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End all work that is under way; nothing is answered any more."""
        self.bus.remove_message_handler(self._on_message)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self.bus.connected:
            self.bus.send(Message.new_signal(path, interface, member, signature, body))

    def _on_message(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL or message.interface in _LEFT_TO_THE_LIBRARY:
            return False
        self.spawn(self._answer(message))
        return True

    async def _answer(self, call: Message) -> None:
        fds: Sequence[int] = ()
        try:
            reply = await self._method(call)(call) or Reply()
            fds = reply.fds
            answer = Message.new_method_return(call, reply.signature, list(reply.body), list(fds))
        except DBusError as error:
            answer = Message.new_error(call, error.type, error.text)
        except Exception as error:  # noqa: BLE001 (logged, and told to the caller)
            _log.exception("%s.%s at %s failed", call.interface, call.member, call.path)
            answer = Message.new_error(call, ErrorType.FAILED, repr(error))
        if self.bus.connected and not call.flags & MessageFlag.NO_REPLY_EXPECTED:
            await self.bus.send(answer)
        for fd in fds:
            os.close(fd)

    def _method(self, call: Message) -> Method:
        interface, member, path = call.interface or "", call.member or "", call.path or ""
        if interface == _OBJECT_MANAGER and path == "/":
            return self._get_managed_objects
        if path not in self._objects:
            raise DBusError(
                ErrorType.UNKNOWN_OBJECT,
                f'Method "{member}" with signature "{call.signature}" on interface "{interface}" doesn\'t exist',
            )
        if interface == _PROPERTIES:
            method: Method | None = {"Get": self._get, "GetAll": self._get_all, "Set": self._set}.get(member)
        else:
            offered = self._objects[path].get(interface)
            method = offered.methods.get(member) if offered else None
        if method is None:
            raise DBusError(
                ErrorType.UNKNOWN_METHOD,
                f'Method "{member}" with signature "{call.signature}" on interface "{interface}" doesn\'t exist',
            )
        return method

    async def _get_managed_objects(self, _call: Message) -> Reply:
        objects = {
            path: {name: interface.properties for name, interface in interfaces.items()}
            for path, interfaces in self._objects.items()
        }
        return Reply("a{oa{sa{sv}}}", [objects])

    async def _get(self, call: Message) -> Reply:
        interface, name = call.body
        properties = self._interface(call.path, interface).properties
        if name not in properties:
            raise DBusError(ErrorType.INVALID_ARGS, f"No such property '{name}'")
        return Reply("v", [properties[name]])

    async def _get_all(self, call: Message) -> Reply:
        return Reply("a{sv}", [self._interface(call.path, call.body[0]).properties])

    async def _set(self, call: Message) -> None:
        interface, name, value = call.body
        setter = self._interface(call.path, interface).setters.get(name)
        if setter is None:
            raise DBusError(ErrorType.PROPERTY_READ_ONLY, f"Property '{name}' is not writable")
        await setter(value.value)

    def _interface(self, path: str | None, name: str) -> _Interface:
        interface = self._objects[path or ""].get(name)
        if interface is None:
            raise DBusError(ErrorType.INVALID_ARGS, f"No such interface '{name}'")
        return interface
