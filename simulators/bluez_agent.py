"""The side of bluetoothd that asks people: AgentManager1, and what an agent's answers mean to the pairing.

Source: BlueZ doc/agent-api, src/agent.c, and net/bluetooth/smp.c of Linux for who is asked when. AuthorizeService is
never called: bluetoothd asks it for incoming profiles, which a reader of GATT servers does not have.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bumble.pairing import PairingConfig, PairingDelegate
from dbus_fast import DBusError, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus

from simulators.dbus_objects import ObjectTree

_ERROR: Final = "org.bluez.Error."
_PATIENCE_S: Final = 60.0  # REQUEST_TIMEOUT of src/agent.c
_Capability = PairingDelegate.IoCapability
_CAPABILITIES: Final = {
    "": _Capability.DISPLAY_OUTPUT_AND_KEYBOARD_INPUT,
    "DisplayOnly": _Capability.DISPLAY_OUTPUT_ONLY,
    "DisplayYesNo": _Capability.DISPLAY_OUTPUT_AND_YES_NO_INPUT,
    "KeyboardOnly": _Capability.KEYBOARD_INPUT_ONLY,
    "NoInputNoOutput": _Capability.NO_OUTPUT_NO_INPUT,
    "KeyboardDisplay": _Capability.DISPLAY_OUTPUT_AND_KEYBOARD_INPUT,
}


class RefusedError(Exception):
    """The agent said no, went away, or did not answer."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered agent: somebody's Agent1 object."""

    bus: MessageBus
    owner: str
    path: str
    capability: PairingDelegate.IoCapability

    async def ask(self, member: str, signature: str, *body: Any) -> Sequence[Any]:
        """Call the agent and wait for its answer. If that is not wanted any more, tell it (Cancel)."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reply = await self.bus.call(self._message(member, signature, *body))
        except (asyncio.CancelledError, TimeoutError) as ended:
            cancel = self._message("Cancel", "")
            cancel.flags = MessageFlag.NO_REPLY_EXPECTED
            if self.bus.connected:
                self.bus.send(cancel)
            if isinstance(ended, TimeoutError):
                raise RefusedError(f"no answer for {_PATIENCE_S:g} s") from ended
            raise
        if reply.message_type is MessageType.ERROR:
            raise RefusedError(reply.error_name)
        return reply.body

    def _message(self, member: str, signature: str, *body: Any) -> Message:
        return Message(
            destination=self.owner,
            path=self.path,
            interface="org.bluez.Agent1",
            member=member,
            signature=signature,
            body=list(body),
        )


class AgentManager:
    """org.bluez.AgentManager1. Only an agent that asked to be the default one is used, as by bluetoothd."""

    def __init__(self, tree: ObjectTree) -> None:
        self._bus = tree.bus
        self._agents: dict[str, Agent] = {}
        self._defaults: list[str] = []  # owners, the present default last
        methods = {
            "RegisterAgent": self._register,
            "UnregisterAgent": self._unregister,
            "RequestDefaultAgent": self._request_default,
        }
        tree.add("/org/bluez", "org.bluez.AgentManager1", {}, methods)

    def of(self, caller: str | None) -> Agent | None:
        """The agent of whoever asks for a pairing, else the default one."""
        if caller in self._agents:
            return self._agents[caller]
        return self._agents[self._defaults[-1]] if self._defaults else None

    def left(self, owner: str) -> None:
        """Forget the agent of somebody who has left the bus."""
        self._agents.pop(owner, None)
        if owner in self._defaults:
            self._defaults.remove(owner)

    async def _register(self, call: Message) -> None:
        path, capability = call.body
        owner = call.sender or ""
        if owner in self._agents:
            raise DBusError(_ERROR + "AlreadyExists", "Already Exists")
        if capability not in _CAPABILITIES:
            raise DBusError(_ERROR + "InvalidArguments", "Invalid arguments in method call")
        self._agents[owner] = Agent(self._bus, owner, path, _CAPABILITIES[capability])

    async def _unregister(self, call: Message) -> None:
        self.left(self._own(call).owner)

    async def _request_default(self, call: Message) -> None:
        owner = self._own(call).owner
        if owner in self._defaults:
            self._defaults.remove(owner)
        self._defaults.append(owner)

    def _own(self, call: Message) -> Agent:
        agent = self._agents.get(call.sender or "")
        if agent is None or agent.path != call.body[0]:
            raise DBusError(_ERROR + "DoesNotExist", "Does Not Exist")
        return agent


class AskingDelegate(PairingDelegate):
    """Bumble's questions during one pairing, put to the agent.

    wanted: somebody has asked for this pairing. For any other that nobody can verify the agent is asked
    (RequestAuthorization).
    """

    def __init__(self, agent: Agent, device: str, *, wanted: bool) -> None:
        super().__init__(agent.capability)
        self._agent = agent
        self._device = device
        self._wanted = wanted
        self._asking: asyncio.Task[Sequence[Any]] | None = None

    def cancel(self) -> None:
        """Take back the question that is open, if there is one; it then counts as refused."""
        if self._asking is not None:
            self._asking.cancel()

    async def get_number(self) -> int | None:
        """The passkey that the person reads on the device. 000000 is refused: Bumble would hang on it."""
        try:
            (passkey,) = await self._ask("RequestPasskey", "o", self._device)
        except RefusedError:
            return None
        return int(passkey) or None

    async def compare_numbers(self, number: int, digits: int) -> bool:  # noqa: ARG002
        """Whether both sides show the same number."""
        return await self._agreed("RequestConfirmation", "ou", self._device, number)

    async def confirm(self, auto: bool = False) -> bool:  # noqa: ARG002
        """Whether a pairing that nobody can verify may go on."""
        return self._wanted or await self._agreed("RequestAuthorization", "o", self._device)

    async def generate_passkey(self) -> int:
        """A passkey for the person to type into the device; never 0, on which Bumble hangs."""
        return 1 + secrets.randbelow(999_999)

    async def display_number(self, number: int, digits: int) -> None:  # noqa: ARG002
        """Let the agent show the passkey."""
        await self._agreed("DisplayPasskey", "ouq", self._device, number, 0)

    async def _agreed(self, member: str, signature: str, *body: Any) -> bool:
        try:
            await self._ask(member, signature, *body)
        except RefusedError:
            return False
        return True

    async def _ask(self, member: str, signature: str, *body: Any) -> Sequence[Any]:
        self._asking = asyncio.create_task(self._agent.ask(member, signature, *body))
        try:
            return await self._asking
        except asyncio.CancelledError:
            self._asking.cancel()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the link has ended
            raise RefusedError("cancelled") from None
        finally:
            self._asking = None


def pairing_config(delegate: AskingDelegate | None) -> PairingConfig:
    """As the kernel asks for it: protected against a man in the middle whenever the agent can do anything at all."""
    if delegate is None:
        return PairingConfig(mitm=False)
    return PairingConfig(mitm=delegate.io_capability != _Capability.NO_OUTPUT_NO_INPUT, delegate=delegate)
