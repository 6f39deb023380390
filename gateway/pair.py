"""`homeward pair`: walks a person through pairing a device, in plain words, and writes it into the register.

Look around, choose, ask the device what it is, bond, read one record to see that it works, choose the patient, write.
Whatever ends it early is one sentence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from bleak.exc import BleakDeviceNotFoundError, BleakError

from gateway.config import Config
from gateway.house import Radio
from gateway.language import Language
from gateway.people import BLUETOOTH_ADDRESS, Device, DeviceKind, DeviceLink, Patient
from gateway.register import RegisterError, open_register
from gateway.terminal import Nobody, Terminal
from gateway.words import KINDS
from ingest.decode import decode
from ingest.links.ble_faults import (
    BOND_LOST,
    HUNG_UP,
    PAIRING_REFUSED,
    RADIO_ERRORS,
    UNKNOWN_MODEL,
    WRONG_PASSKEY,
    adapter_fault,
    is_bonded,
    pairing_fault,
    session_fault,
)
from ingest.links.ble_gatt import SessionError
from ingest.links.first_contact import FirstContact, Nearby, contact, forget, look_around
from ingest.links.pairing import Capability
from ingest.quirks import DeviceIdentity, Quirk, quirk_of
from ingest.reading import Measurement, Packet, Session
from ingest.vital import MG_DL_PER_MMOL_L, Unit, canonical

_MOST_SHOWN: Final = 20
_NEAR_DBM: Final = -60
_FAR_DBM: Final = -80
_PASSKEY_DIGITS: Final = 6
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")  # as the API has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was said on the command line; None where the person is asked.

    yes: every yes-or-no question is answered yes. anyway: also a device without a service that Homeward reads; kind
    then says what it is. seconds: how long to look around.
    """

    address: str | None = None
    patient: str | None = None
    passkey: int | None = None
    kind: DeviceKind | None = None
    yes: bool = False
    anyway: bool = False
    seconds: float = 8.0


def language_code(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The language to speak: what was asked for (en, zh, zh_CN), else that of the terminal."""
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh_CN" if (wanted or next(filter(None, names), "")).startswith("zh") else "en"


async def pair(
    config: Config, wishes: Wishes, radio: Radio, terminal: Terminal, language: Language, now: Callable[[], datetime]
) -> int:
    """Pair one device. Exit status: 0 paired, 1 not; the last sentence says why."""
    walk = _Walk(config, wishes, radio, terminal, language, now)
    say = language.gettext
    try:
        await walk.go()
    except _Stop as stop:
        terminal.say(str(stop))
    except Nobody:
        terminal.say(say("Nobody answers; give what is asked for on the command line: homeward pair --help."))
    except RegisterError as error:
        terminal.say(say("The register refuses: {reason}.").format(reason=error))
    else:
        return 0
    return 1


class _Stop(Exception):
    """The walk ends here. The text is a sentence in the person's language."""


class _PairsWithNobody(Exception):
    """The pairing failed before anything was asked of the person."""


class _Answers:
    """The person at the terminal as a `PairingAgent`, for one device. asked: whether anything was asked at all."""

    capability: Capability = "KeyboardDisplay"

    def __init__(self, wishes: Wishes, terminal: Terminal, language: Language) -> None:
        self._wishes = wishes
        self._terminal = terminal
        self._say = language.gettext
        self.device = ""
        self.asked = False
        self.typed = False
        self.declined = False

    async def passkey(self, device: str) -> int | None:
        if device != self.device:
            return None
        self.asked = True
        passkey = self._wishes.passkey
        if passkey is None:
            passkey = await self._typed_passkey()
        self.typed = passkey is not None
        self.declined = passkey is None
        return passkey

    async def show(self, device: str, passkey: int) -> None:
        if device == self.device:
            self.asked = True
            say = self._say
            self._terminal.say(say("Type this number into the device: {digits}").format(digits=f"{passkey:06}"))

    async def confirm(self, device: str, passkey: int) -> bool:
        if device != self.device:
            return False
        self.asked = True
        say = self._say
        question = say("Does the device show {digits}? (y/n)").format(digits=f"{passkey:06}")
        agrees = self._wishes.yes or await _yes(self._terminal, question)
        self.declined = not agrees
        return agrees

    async def authorize(self, device: str) -> bool:
        return device == self.device

    async def _typed_passkey(self) -> int | None:
        say = self._say
        self._terminal.say(
            say(
                "The device wants a passkey: six digits on its display, or on a label on its back, in the battery "
                "compartment or in its manual. It waits for half a minute."
            )
        )
        while True:
            try:
                answer = await self._terminal.ask(say("The six digits (Enter to give up):"))
            except Nobody:
                return None
            digits = answer.replace(" ", "").replace("-", "")
            if not digits:
                return None
            if len(digits) == _PASSKEY_DIGITS and digits.isascii() and digits.isdecimal():
                return int(digits)
            self._terminal.say(say("These are not six digits."))


class _Walk:
    """The conversation, step by step."""

    def __init__(
        self,
        config: Config,
        wishes: Wishes,
        radio: Radio,
        terminal: Terminal,
        language: Language,
        now: Callable[[], datetime],
    ) -> None:
        self._config = config
        self._wishes = wishes
        self._radio = radio
        self._terminal = terminal
        self._language = language
        self._now = now
        self._answers = _Answers(wishes, terminal, language)

    async def go(self) -> None:
        say = self._language.gettext
        if self._wishes.address and not BLUETOOTH_ADDRESS.fullmatch(self._wishes.address):
            wrong = say(
                "{address} is no Bluetooth address; write it like C0:26:DA:00:12:34, or leave it out to choose."
            )
            raise _Stop(wrong.format(address=self._wishes.address))
        if self._wishes.patient:
            await self._patient()  # before anything is done to the device
        nearby = await self._choose()
        device = await self._introduced(nearby)
        patient = await self._patient()
        async with open_register(self._config, self._now()) as register:
            entry = await register.entry(device.id)
            if entry and entry.device.kind is not device.kind:
                known = say(KINDS[entry.device.kind])
                raise _Stop(
                    say("The register has {device} as another kind ({kind}); one id cannot stand for both.").format(
                        device=device.id, kind=known
                    )
                )
            if entry and entry.wearer not in {None, patient.id}:
                question = say("Patient {wearer} wears this device now. Give it to {patient}? (y/n)")
                await self._agreed(question.format(wearer=entry.wearer, patient=patient.id))
            await register.give(device, patient.id)
        done = say("Done: {device} ({kind}) belongs to {name} ({patient}). The hub reads it whenever it is on.")
        self._tell(done.format(device=device.id, kind=say(KINDS[device.kind]), name=patient.name, patient=patient.id))
        if self._config.bluetooth is None:
            self._tell(say("The configuration has no section [bluetooth]: add it, or the hub reads no such device."))

    # The device

    async def _choose(self) -> Nearby:
        say = self._language.gettext
        while True:
            self._tell(
                say(
                    "Switch the device on, or press what its manual says for pairing. Looking around for {n} s …"
                ).format(n=f"{self._wishes.seconds:g}")
            )
            found = await self._look(self._wishes.address)
            if self._wishes.address:
                chosen = next((nearby for nearby in found if nearby.address == self._wishes.address), None)
                if chosen is None:
                    raise self._not_heard(self._wishes.address)
                return chosen
            shown = [nearby for nearby in found if nearby.kind or nearby.name][:_MOST_SHOWN]
            self._list(shown)
            if chosen := await self._picked(shown):
                return chosen

    def _not_heard(self, address: str) -> _Stop:
        say = self._language.gettext
        return _Stop(
            say("The device {device} was not heard; bring it nearer, wake it, and try again.").format(device=address)
        )

    async def _look(self, address: str | None) -> list[Nearby]:
        say = self._language.gettext
        try:
            return await look_around(self._wishes.seconds, self._radio.scanner_kwargs, address=address)
        except RADIO_ERRORS as error:
            raise _Stop(self._sentence(say(adapter_fault(error)))) from error

    def _list(self, shown: list[Nearby]) -> None:
        say = self._language.gettext
        if not shown:
            self._tell(say("No Bluetooth device was heard; bring it nearer, switch it on or wake it."))
        for number, nearby in enumerate(shown, start=1):
            kind = say(KINDS[DeviceKind(nearby.kind)]) if nearby.kind else say("unknown kind")
            self._tell(
                f"{number:>3}  {nearby.address}  {_strength(nearby.rssi, say):<8}  {kind:<24}  {nearby.name}".rstrip()
            )

    async def _picked(self, shown: list[Nearby]) -> Nearby | None:
        """The device that was chosen, None to look again."""
        say = self._language.gettext
        while True:
            answer = await self._terminal.ask(say("Number of the device (Enter looks again, q ends):"))
            if not answer:
                return None
            if answer.lower() == "q":
                raise _Stop(say("Nothing was paired."))
            if answer.isdecimal() and 0 < int(answer) <= len(shown):
                return shown[int(answer) - 1]
            self._tell(say("Type a number from the list."))

    async def _introduced(self, nearby: Nearby) -> Device:
        """Bond with the device and see that it can be read; a bond that it has lost is made anew."""
        say = self._language.gettext
        offer = self._radio.offer
        try:
            async with offer(self._answers) if offer else nullcontext():
                return await self._bonded_or_not(nearby)
        except BleakDeviceNotFoundError as error:
            raise self._fault(error, nearby) from error
        except BleakError as error:
            fault = self._fault(error, nearby)
            if self._answers.asked or str(fault) != self._sentence(say(BOND_LOST)):
                raise fault from error
            self._tell(self._sentence(say(BOND_LOST)))
            await self._agreed(say("Remove the old pairing on this computer and pair anew? (y/n)"))
        except (SessionError, TimeoutError, OSError, EOFError) as error:
            raise self._fault(error, nearby) from error
        try:
            await forget(nearby, self._radio.client_kwargs)
        except RADIO_ERRORS as error:
            raise self._fault(error, nearby) from error
        again = await self._again(nearby)
        if is_bonded(again.device):
            raise _Stop(self._sentence(say(BOND_LOST)))
        return await self._introduced(again)

    async def _bonded_or_not(self, nearby: Nearby) -> Device:
        try:
            return await self._meet(nearby, bond=True)
        except _PairsWithNobody:
            self._tell(self._language.gettext("The device does not pair; trying to read it as it is."))
        # Over a new connection: BlueZ ends the old one and forgets the device when a pairing has failed.
        return await self._meet(await self._again(nearby), bond=False)

    async def _again(self, nearby: Nearby) -> Nearby:
        """The same device as it advertises now."""
        found = await self._look(nearby.address)
        again = next((heard for heard in found if heard.address == nearby.address), None)
        if again is None:
            raise self._not_heard(nearby.address)
        return again

    async def _meet(self, nearby: Nearby, *, bond: bool) -> Device:
        say = self._language.gettext
        self._answers.device = nearby.address
        self._tell(say("Connecting to {device} …").format(device=nearby.name or nearby.address))
        async with contact(nearby, self._radio.client_kwargs, self._now) as device:
            kind = await self._kind(device)
            if bond:
                await self._bond(device)
            identity = DeviceIdentity(name=nearby.name)
            try:
                identity = await device.identity()
                await self._try_reading(device, kind, identity)
            except (BleakError, SessionError) as error:
                if not bond:
                    raise _Stop(self._sentence(say(PAIRING_REFUSED))) from error
                if device.connected:
                    raise
                self._tell(
                    say("The device hung up once it was paired, as some do; the hub reads it when it comes again.")
                )
            model = " ".join(filter(None, (identity.manufacturer, identity.model))) or identity.name
            return Device(id=device.address, kind=kind, link=DeviceLink.BLE, model=model[:200])

    async def _try_reading(self, device: FirstContact, kind: DeviceKind, identity: DeviceIdentity) -> None:
        try:
            quirk = quirk_of(identity)
        except ValueError as error:
            raise SessionError(str(error)) from error
        self._tell_identity(kind, identity, quirk)
        if device.kind:
            record = await device.first_record(pause=quirk.manner.pause if quirk else 0.0)
            self._tell_record(device, record, quirk)

    async def _kind(self, device: FirstContact) -> DeviceKind:
        """What the device is. One without a service that can be read is refused, unless it is wanted anyway."""
        say = self._language.gettext
        if device.kind:
            return DeviceKind(device.kind)
        if not self._wishes.anyway or self._wishes.kind is None:
            raise _Stop(
                self._sentence(say(UNKNOWN_MODEL))
                + " "
                + say("If you know better, say so with --anyway and --kind meter, cgm or cuff.")
            )
        return self._wishes.kind

    async def _bond(self, device: FirstContact) -> None:
        """Pair. Raises _PairsWithNobody when that failed before anything was asked."""
        say = self._language.gettext
        try:
            await device.bond()
        except RADIO_ERRORS as error:
            if self._answers.declined:
                raise _Stop(say("The pairing was not confirmed, so nothing was paired.")) from error
            if self._answers.typed and isinstance(error, BleakError):
                raise _Stop(self._sentence(say(WRONG_PASSKEY))) from error
            if self._answers.asked:
                said = pairing_fault(error, passkey_given=self._answers.typed)
                raise _Stop(self._sentence(say(said))) from error
            raise _PairsWithNobody from error
        self._tell(say("The device is paired."))

    def _fault(self, error: BaseException, nearby: Nearby) -> _Stop:
        # Once is enough here: whoever stands beside it is asked before anything is removed.
        fault = session_fault(error, bonded=is_bonded(nearby.device), before=HUNG_UP)
        return _Stop(self._sentence(self._language.gettext(fault.says)))

    def _tell_identity(self, kind: DeviceKind, identity: DeviceIdentity, quirk: Quirk | None) -> None:
        say = self._language.gettext
        told = ", ".join(filter(None, (identity.manufacturer, identity.model, identity.firmware)))
        self._tell(say("It is: {kind}. It says of itself: {told}").format(kind=say(KINDS[kind]), told=told or "–"))
        if quirk:
            self._tell(say("Homeward knows this model and its ways ({quirk}).").format(quirk=quirk.name))

    def _tell_record(self, device: FirstContact, record: bytes | None, quirk: Quirk | None) -> None:
        say = self._language.gettext
        if device.kind == "cuff":
            self._tell(
                say("It can be read. A cuff tells each measurement only once, so none was fetched for a test.")
            )
        elif record is None:
            self._tell(say("It can be read; nothing is stored in it yet."))
        else:
            value = self._value("2aa7" if device.kind == "cgm" else "2a18", record, quirk)
            self._tell(say("It can be read; the oldest value in it is {value}.").format(value=value))

    def _value(self, channel: str, record: bytes, quirk: Quirk | None) -> str:
        now = self._now()
        session = Session(session_start=now, quirk=quirk.name if quirk else None)
        packet = Packet(link="ble", sender="", channel=channel, data=record, received_at=now, session=session)
        found = next((part for part in decode(packet) if isinstance(part, Measurement)), None)
        if found is None or found.sent[0] is None:
            return self._language.gettext("no number")
        (mg_dl, *_) = canonical(found.vital, found.sent, found.unit)
        units = [f"{mg_dl:.0f} mg/dL", f"{(mg_dl or 0.0) / MG_DL_PER_MMOL_L:.1f} mmol/L"]
        if found.unit in {Unit.MMOL_L, Unit.MOL_L}:  # whose it will be, and how that person reads it, comes later
            units.reverse()
        value = "{} ({})".format(*units)
        at = found.device_time
        return value if channel == "2aa7" or at is None else f"{value}, {at:%Y-%m-%d %H:%M}"

    # The patient

    async def _patient(self) -> Patient:
        say = self._language.gettext
        async with open_register(self._config, self._now()) as register:
            patients = await register.patients()
        if self._wishes.patient:
            known = next((patient for patient in patients if patient.id == self._wishes.patient), None)
            if known is None:
                raise _Stop(say("No patient has the id {patient}.").format(patient=self._wishes.patient))
            return known
        for number, patient in enumerate(patients, start=1):
            self._tell(f"{number:>3}  {patient.name} ({patient.id})")
        while True:
            answer = await self._terminal.ask(say("Number of the patient who wears it (n adds a new one, q ends):"))
            if answer.lower() == "q":
                raise _Stop(say("The device is paired with this computer, but belongs to nobody yet."))
            if answer.lower() == "n":
                return await self._new_patient({patient.id for patient in patients})
            if answer.isdecimal() and 0 < int(answer) <= len(patients):
                return patients[int(answer) - 1]
            self._tell(say("Type a number from the list."))

    async def _new_patient(self, known: set[str]) -> Patient:
        say = self._language.gettext
        name = ""
        while not name:
            name = (await self._terminal.ask(say("Name of the patient:")))[:200]
        proposed = next(f"p-{n:03}" for n in range(1, len(known) + 2) if f"p-{n:03}" not in known)
        while True:
            given = await self._terminal.ask(say("Id (Enter for {proposed}):").format(proposed=proposed)) or proposed
            if _IDENTIFIER.fullmatch(given) and given not in known:
                break
            self._tell(say("Use up to 64 letters, digits and _ . : - that no other patient has."))
        home = self._config.clinic.zone
        while True:
            zone = await self._terminal.ask(say("Time zone (Enter for {zone}):").format(zone=home)) or home
            try:
                ZoneInfo(zone)
                break
            except (KeyError, ValueError, OSError):
                self._tell(say("No time zone is called {zone}; use a name such as Asia/Shanghai.").format(zone=zone))
        patient = Patient(id=given, name=name, zone=zone, language=self._language.code)
        async with open_register(self._config, self._now()) as register:
            await register.add_patient(patient)
        return patient

    # Words

    def _tell(self, text: str) -> None:
        self._terminal.say(text)

    async def _agreed(self, question: str) -> None:
        if not (self._wishes.yes or await _yes(self._terminal, question)):
            raise _Stop(self._language.gettext("Nothing was paired."))

    def _sentence(self, text: str) -> str:
        """What stands after a colon elsewhere, as a sentence of its own."""
        return f"{text[:1].upper()}{text[1:]}{'。' if self._language.code == 'zh_CN' else '.'}"


async def _yes(terminal: Terminal, question: str) -> bool:
    return (await terminal.ask(question)).strip().lower() in {"y", "yes", "是"}


def _strength(rssi: int, say: Callable[[str], str]) -> str:
    if rssi >= _NEAR_DBM:
        return say("near")
    return say("far") if rssi < _FAR_DBM else say("not far")
