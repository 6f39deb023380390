from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.admit import Roster, Wearing, admit
from ingest.decode import decode
from ingest.envelope import AHEAD, EnvelopeError, opened, sealed
from ingest.reading import DecodeError, Packet, Session

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ROSTER = Roster([Wearing(device="C4:00", patient="p", zone=ZoneInfo("Asia/Shanghai"))])
PLAIN = Packet(link="ble", sender="C4:00", channel="2a18", data=b"\x00", received_at=NOW)

spans = st.timedeltas(min_value=timedelta(days=-3_000_000), max_value=timedelta(days=3_000_000))
zones = st.integers(-95, 95).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
sessions = st.builds(
    Session,
    clock_offset=st.none() | spans,
    utc_offset=st.none() | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    session_start=st.none() | st.datetimes() | st.datetimes(timezones=zones),
    e2e_crc=st.booleans(),
    quirk=st.none() | st.text(max_size=30),
)
packets = st.builds(
    Packet,
    link=st.just("uplink home"),
    sender=st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True),
    channel=st.sampled_from(["json", "2a18", "2a35", "2aa7", "nonsense"]),
    data=st.binary(max_size=300),
    received_at=st.datetimes(datetime(1970, 1, 1), datetime(2026, 3, 2), timezones=st.just(UTC)),
    companion=st.none() | st.binary(max_size=40),
    session=st.none() | sessions,
    fault=st.none() | st.text(max_size=80),
)


@given(packets)
def test_what_is_opened_is_what_was_sealed(packet: Packet) -> None:
    assert opened("home", sealed(packet), NOW) == packet


@given(packets)
def test_whatever_a_home_post_says_can_be_decoded_and_admitted(packet: Packet) -> None:
    packet = opened("home", sealed(replace(packet, sender="C4:00")), NOW)
    for outcome in decode(packet):
        if not isinstance(outcome, DecodeError):
            admit(outcome, packet, ROSTER)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda octets: octets + b"\n"))
def test_any_octets_are_an_envelope_or_an_error(octets: bytes) -> None:
    with pytest.raises(EnvelopeError):
        opened("home", octets, NOW)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"sender": "a b"}, "sender: String should match pattern"),
        ({"sender": "x" * 65}, "sender"),
        ({"received_at": "2026-03-02T12:00:00"}, "received_at: Input should have timezone info"),
        ({"received_at": "1969-12-31T23:59:59Z"}, "received in 1969"),
        ({"companion": "0g"}, "companion"),
        ({"session": {"clock_offset": "P9999999D"}}, "no clock differs by so much"),
        ({"session": {"utc_offset": "P2D"}}, "no clock differs by so much"),
        ({"more": 1}, "more: Unexpected keyword argument"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], said: str) -> None:
    header, _, data = sealed(PLAIN).partition(b"\n")
    with pytest.raises(EnvelopeError, match=said):
        opened("home", json.dumps(json.loads(header) | changed).encode() + b"\n" + data, NOW)


def test_a_header_has_an_end() -> None:
    with pytest.raises(EnvelopeError, match="at most 8192 octets"):
        opened("home", b" " * 9000 + sealed(PLAIN), NOW)


def test_a_stamp_of_the_future_is_not_believed() -> None:
    session = Session(clock_offset=timedelta(days=-400), utc_offset=timedelta(hours=8), e2e_crc=True)
    wrong = replace(PLAIN, received_at=NOW + timedelta(days=400), session=session)
    found = opened("home", sealed(wrong), NOW)
    assert (found.received_at, found.session) == (NOW, Session(e2e_crc=True))
    near = replace(PLAIN, received_at=NOW + AHEAD, session=session)
    assert opened("home", sealed(near), NOW).session == session
