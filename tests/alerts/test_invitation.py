"""An invitation is what RFC 5545 says: read back by a reader of calendars, and line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar, Event

from alerts.alert import IllegalAct
from alerts.invitation import Appointment, cancelled, invitation, moved, noted

AT = datetime(2026, 3, 3, 6, 30, tzinfo=UTC)
FIRST = Appointment(
    id="m-1",
    follow_up="f-1",
    patient="p-1",
    start=datetime(2026, 3, 10, 9, 30, tzinfo=ZoneInfo("Asia/Shanghai")),
    length=timedelta(minutes=20),
    place="Clinic; room 3, floor 2",
    made_by="Nurse Chen",
    changed_at=AT,
)


def sent(appointment: Appointment, summary: str = "门诊预约") -> bytes:
    return invitation(appointment, summary=summary, organizer="ward@clinic.example", attendee="wang@home.example")


def read(octets: bytes) -> tuple[Calendar, Event]:
    calendar = Calendar.from_ical(octets)
    (event,) = calendar.walk("VEVENT")
    return calendar, event


def test_an_invitation_line_by_line() -> None:
    lines = sent(FIRST).decode().split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    for line in (
        "METHOD:REQUEST",
        "VERSION:2.0",
        "UID:m-1@homeward",
        "DTSTAMP:20260303T063000Z",
        "DTSTART:20260310T013000Z",
        "DTEND:20260310T015000Z",
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
        "SUMMARY:门诊预约",
        r"LOCATION:Clinic\; room 3\, floor 2",
        "ORGANIZER:mailto:ward@clinic.example",
    ):
        assert line in lines
    assert all(len(line.encode()) <= 75 for line in lines)
    assert "p-1" not in sent(FIRST).decode(), "who it is about stands nowhere in it"


def test_a_change_and_a_cancelling_have_the_same_name_and_a_higher_sequence() -> None:
    later = moved(
        FIRST, start=FIRST.start + timedelta(days=1), length=FIRST.length, place="", at=AT + timedelta(hours=1)
    )
    over = cancelled(later, AT + timedelta(hours=2))
    found = [read(sent(each)) for each in (FIRST, later, over)]
    assert [str(calendar["method"]) for calendar, _ in found] == ["REQUEST", "REQUEST", "CANCEL"]
    assert {str(event["uid"]) for _, event in found} == {"m-1@homeward"}
    assert [event["sequence"] for _, event in found] == [0, 1, 2]
    assert [str(event["status"]) for _, event in found] == ["CONFIRMED", "CONFIRMED", "CANCELLED"]
    assert found[1][1].decoded("dtstart") == datetime(2026, 3, 11, 1, 30, tzinfo=UTC)
    assert "location" not in found[1][1]
    for act in (lambda: cancelled(over, AT), lambda: moved(over, start=AT, length=FIRST.length, place="", at=AT)):
        with pytest.raises(IllegalAct, match=r"was cancelled at 2026-03-03 08:30 UTC\. Make a new one"):
            act()


def test_what_is_long_is_folded_and_comes_back_whole() -> None:
    summary = "很长的预约说明，" * 20 + "end; of, it"
    _, event = read(sent(FIRST, summary))
    assert str(event["summary"]) == summary
    assert all(len(line) <= 75 for line in sent(FIRST, summary).split(b"\r\n"))
    assert event["attendee"].params["RSVP"] == "TRUE"


def test_it_is_not_moved_into_the_past() -> None:
    past = AT - timedelta(minutes=1)
    with pytest.raises(IllegalAct, match="would begin in the past"):
        moved(FIRST, start=past, length=FIRST.length, place="", at=AT)
    assert moved(FIRST, start=AT, length=FIRST.length, place="", at=AT).start == AT


@pytest.mark.parametrize("kept", [True, False, None])
def test_what_is_past_or_was_noted_is_not_moved_or_called_off(kept: bool | None) -> None:
    begun, over = FIRST.start + timedelta(minutes=5), FIRST.start + FIRST.length
    at = over if kept is None else begun
    known = FIRST if kept is None else noted(FIRST, kept=kept, at=begun)
    why = r"is past: .* Note whether it was kept" if kept is None else r"noted already .* Make a new one"
    for act in (
        lambda: cancelled(known, at),
        lambda: moved(known, start=at + timedelta(days=1), length=FIRST.length, place="", at=at),
    ):
        with pytest.raises(IllegalAct, match=why):
            act()
    assert cancelled(FIRST, begun).cancelled
