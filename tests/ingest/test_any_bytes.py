"""Any octets, from any characteristic, with any quirk: a value or a declared error, never another exception.

HOMEWARD_FUZZ_TIMES multiplies the examples; `make fuzz` does that for a longer run.
"""

import asyncio
import json
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from ingest import gatt as characteristics
from ingest import quirks
from ingest.admit import Roster, Wearing, admit
from ingest.decode import decode
from ingest.quirks import QUIRKS
from ingest.reading import DecodeError, Measurement, Packet, Reading, Refusal, Session
from ingest.rows import from_row, to_row
from ingest.vital import COMPONENTS
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.gatt_server import STANDARD, GattServer, Guarded, service
from tests.bluetooth.radio import Radio
from tests.bluetooth.ward import BRISK, CGM, CUFF, METER, Ward, a_clock, known

TIMES = int(os.environ.get("HOMEWARD_FUZZ_TIMES", "1"))
ARRIVED = datetime(2026, 10, 5, 12, tzinfo=UTC)
ROSTER = Roster([Wearing(device="AA:BB", patient="p", zone=ZoneInfo("Asia/Shanghai"))])

DECODED = ["2a18", "2a35", "2a36", "2aa7", "json", "2a34", "2a37"]
NAMES = [*(quirk.name for quirk in QUIRKS), "unheard-of"]
ZONES = st.sampled_from([UTC, ZoneInfo("Asia/Shanghai"), ZoneInfo("America/St_Johns")])
OFFSETS = st.none() | st.timedeltas(timedelta(days=-20_000), timedelta(days=20_000))
SESSIONS = st.none() | st.builds(
    Session,
    clock_offset=OFFSETS,
    utc_offset=st.none() | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    session_start=st.none() | st.datetimes() | st.datetimes(timezones=ZONES),
    e2e_crc=st.booleans(),
    quirk=st.none() | st.sampled_from(NAMES),
)


def flagged(first, rest):
    return bytes((first,)) + rest


# Octets at random rarely have the length that their flags announce: most examples begin with what devices send.
GLUCOSE = st.builds(flagged, st.sampled_from([0x03, 0x13, 0x0B, 0x1B, 0x17]), st.binary(min_size=12, max_size=18))
PRESSURE = st.builds(flagged, st.sampled_from([0x16, 0x56, 0x57, 0x1E, 0x04]), st.binary(min_size=8, max_size=20))
SENSOR = st.lists(
    st.builds(
        lambda flags, body: bytes((len(body) + 2, flags)) + body,
        st.sampled_from([0x00, 0x80, 0xE0, 0xA1, 0xE3]),
        st.binary(min_size=4, max_size=13),
    ),
    max_size=4,
).map(b"".join)
OCTETS = st.one_of(st.binary(max_size=40), GLUCOSE, PRESSURE, SENSOR)


@settings(max_examples=9000 * TIMES, deadline=None)
@given(st.sampled_from(DECODED), OCTETS, st.none() | st.binary(max_size=20), SESSIONS)
def test_any_octets_become_readings_or_say_why_not(channel, octets, companion, session):
    packet = Packet(
        link="ble",
        sender="AA:BB",
        channel=channel,
        data=octets,
        received_at=ARRIVED,
        companion=companion,
        session=session,
    )
    for outcome in decode(packet):
        if isinstance(outcome, DecodeError):
            assert outcome.reason
            assert outcome.offset >= 0
            continue
        assert isinstance(outcome, Measurement)
        assert len(outcome.sent) == len(COMPONENTS[outcome.vital])
        assert outcome.raw in octets
        admitted = admit(outcome, packet, ROSTER)
        if isinstance(admitted, Refusal):
            assert admitted.because
        else:
            assert isinstance(admitted, Reading)
            assert from_row((*to_row(admitted, 1, 1), 1, "p", admitted.vital, "AA:BB")) == admitted


@settings(max_examples=1500 * TIMES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*characteristics.CHARACTERISTICS, "sfloat", "crc", "180a"]),
    OCTETS,
    st.sampled_from([None, *NAMES]),
)
def test_any_octets_are_described_or_refused_on_the_command_line(capsys, name, octets, quirk):
    said = ["--quirk", quirk] if quirk else []
    status = main(["decode", name, octets.hex(), *said])
    out, err = capsys.readouterr()
    assert status == (2 if err else 0)
    assert bool(out) != bool(err)
    for line in out.splitlines():
        json.loads(line)


# --- through a live link

Noise = list[tuple[str, bytes]]

_READ = ("2a08", "2a2b", "2aa8", "2aa9", "2aaa", "2aab", "2a51", "2a49", "2a19", "2a24", "2a29")
_SENT = {"meter": ("2a18", "2a34", "2a52"), "cuff": ("2a35", "2a36"), "cgm": ("2aa7", "2a52", "2aac")}
_SERVICES = {"meter": 0x1808, "cuff": 0x1810, "cgm": 0x181F}
_ADDRESSES = {"meter": METER, "cuff": CUFF, "cgm": CGM}
SHORT = replace(BRISK, request=2.0, session=8.0)  # so that a device that is stuck shows within the patience
_DONE = b"\x06\x00\x01\x01"


class Babbler(GattServer):
    """A device that answers every read and every subscription with arbitrary octets."""

    def __init__(self, device, kind, noise, answers):
        self.service_uuid = _SERVICES[kind]
        super().__init__(device, a_clock(), STANDARD)
        self._kind = kind
        self._noise = noise
        self._answers = answers
        self.said = 0
        self.has_said_all = False
        self._sent = {
            uuid: self.characteristic(
                int(uuid, 16),
                notify=uuid not in ("2a35", "2a52", "2aac"),
                indicate=uuid in ("2a35", "2a52", "2aac"),
                write=self._asked,
            )
            for uuid in _SENT[kind]
        }
        for characteristic in self._sent.values():
            characteristic.on(Guarded.EVENT_SUBSCRIPTION, lambda *_: kind == "cuff" and self.spawn(self._babble()))

    def services(self):
        reads = [self._readable(uuid) for uuid in _READ[:8]]
        return [service(self.service_uuid, [*self._sent.values(), *reads])]

    def _own_services(self):
        clock = self._readable("2a2b")
        info = [self._readable(uuid) for uuid in ("2a24", "2a29", "2a26")]
        return [service(0x180A, info), service(0x180F, [self._readable("2a19")]), service(0x1805, [clock])]

    def _readable(self, uuid):
        return self.characteristic(int(uuid, 16), read=lambda: self._answers.get(uuid, b""), write=lambda *_: None)

    def _asked(self, _connection, _value):
        self.spawn(self._babble())

    async def _babble(self):
        for uuid, octets in self._noise:
            characteristic = self._sent.get(uuid)
            if characteristic is None or not self.subscribed(characteristic):
                continue
            self.said += 1
            if uuid in ("2a35", "2a52", "2aac"):
                await self.indicate(characteristic, octets)
            else:
                await self.notify(characteristic, octets)
        self.has_said_all = True
        if "2a52" in self._sent:
            await self.indicate(self._sent["2a52"], _DONE)
        else:
            await self.hang_up()


def noise_of(kind):
    sent = st.sampled_from(_SENT[kind])
    return st.lists(st.tuples(sent, OCTETS.map(lambda octets: octets[:20])), min_size=40, max_size=60)


ANSWERS = st.dictionaries(st.sampled_from([*_READ, "2a26"]), st.binary(max_size=22))


@pytest.fixture
def hasty_quirks(monkeypatch):
    """The quirks without their pauses."""
    manners = {quirk.name: replace(quirk.manner, pause=0.0, rest=None) for quirk in QUIRKS}
    monkeypatch.setattr(quirks, "QUIRKS", tuple(replace(quirk, manner=manners[quirk.name]) for quirk in QUIRKS))


@pytest.mark.parametrize("kind", ["meter", "cuff", "cgm"])
def test_a_babbling_device_neither_breaks_nor_holds_the_link(kind, hasty_quirks):
    said = 0

    # Every example waits for a radio: a failing one is told as it is, not made smaller.
    @settings(max_examples=8 * TIMES, deadline=None, phases=[Phase.generate])
    @given(noise_of(kind), ANSWERS, st.sampled_from(["", "CareSens Dual", "BM85", "Nordic_CGMS", "TNG VOICE"]))
    def babble(noise, answers, name):
        nonlocal said
        said += asyncio.run(listened(kind, noise, answers, name))

    babble()
    assert said >= 100


async def listened(kind: str, noise: Noise, answers: dict[str, bytes], name: str) -> int:
    """How many messages got through, of a device that babbles and then of one that keeps to the specification."""
    async with Air() as air:
        central = await Central.open(air)
        ward = Ward(
            Radio(
                level="A",
                air=air,
                offer=central.offer,
                scanner_kwargs=central.scanner_kwargs,
                client_kwargs=central.client_kwargs,
            )
        )
        logger = logging.getLogger("ingest.links")
        logger.addHandler(ward)
        try:
            babbler = await ward.started(
                Babbler(await air.device(name or "device", _ADDRESSES[kind]), kind, noise, answers)
            )
            async with ward.reading(known(kind, _ADDRESSES[kind]), timings=SHORT):
                await ward.until(lambda: babbler.has_said_all or ward.sessions_ended > 3)
                await air.remove(babbler.device)
                ward.stored.clear()  # else nothing of the sound device may be newer than what was babbled
                await sound(ward, kind)
                count = len(ward.packets)
                await ward.until(lambda: len(ward.packets) > count)
        finally:
            logger.removeHandler(ward)
    return babbler.said


async def sound(ward: Ward, kind: str) -> GattServer:
    if kind == "meter":
        return await ward.meter(3)
    return await (ward.cuff(118, 131) if kind == "cuff" else ward.sensor(3))
