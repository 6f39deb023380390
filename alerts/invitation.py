"""An appointment as an iCalendar invitation (RFC 5545, RFC 5546). Pure.

Made with `icalendar` (BSD-2, kept up by its maintainers), which folds lines, escapes text and quotes parameters as
the standard wants. Moments are UTC: every calendar shows them on its owner's clock, and no zone has to be described.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from icalendar import Calendar, Event, vCalAddress, vText

from alerts.alert import IllegalAct, Text

MEDIA_TYPE: Final = "text/calendar"
_PRODUCT: Final = "-//Homeward//Follow-up//EN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """An appointment with a patient (moments aware UTC), as it is after `sequence` changes.

    id: its name for ever, in every calendar. follow_up: in which it was made.
    """

    id: str
    follow_up: str
    patient: str
    start: datetime
    length: timedelta
    place: str
    made_by: str
    changed_at: datetime
    sequence: int = 0
    cancelled: bool = False


def moved(appointment: Appointment, *, start: datetime, length: timedelta, place: str, at: datetime) -> Appointment:
    """The appointment at another time or place. Raises IllegalAct where it was cancelled, or begins in the past."""
    _refuse_cancelled(appointment)
    refuse_past(start, at)
    return replace(
        appointment, start=start, length=length, place=place, changed_at=at, sequence=appointment.sequence + 1
    )


def cancelled(appointment: Appointment, at: datetime) -> Appointment:
    """The appointment, called off. Raises IllegalAct where it was before."""
    _refuse_cancelled(appointment)
    return replace(appointment, cancelled=True, changed_at=at, sequence=appointment.sequence + 1)


def invitation(appointment: Appointment, *, summary: str, organizer: str, attendee: str | None = None) -> bytes:
    """The invitation, its change or its cancelling, as it goes out.

    summary: in the patient's language, without anything about health. organizer, attendee: e-mail addresses.
    """
    event = Event()
    event.add("uid", f"{appointment.id}@homeward")
    event.add("dtstamp", appointment.changed_at.astimezone(UTC))
    event.add("dtstart", appointment.start.astimezone(UTC))
    event.add("dtend", (appointment.start + appointment.length).astimezone(UTC))
    event.add("sequence", appointment.sequence)
    event.add("status", "CANCELLED" if appointment.cancelled else "CONFIRMED")
    event.add("summary", summary)
    if appointment.place:
        event.add("location", appointment.place)
    event.add("organizer", vCalAddress(f"mailto:{organizer}"))
    if attendee:
        guest = vCalAddress(f"mailto:{attendee}")
        guest.params["PARTSTAT"] = vText("NEEDS-ACTION")
        guest.params["RSVP"] = vText("TRUE")
        event.add("attendee", guest)
    calendar = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "CANCEL" if appointment.cancelled else "REQUEST")
    calendar.add_component(event)
    made: bytes = calendar.to_ical()
    return made


def refuse_past(start: datetime, at: datetime) -> None:
    """Raises IllegalAct for an appointment that would begin before the moment at which it is made."""
    if start < at:
        raise IllegalAct(
            Text(
                en="This appointment would begin in the past. Choose a begin that is still to come.",
                zh="预约的开始时间已过。请选择将来的时间。",
            )
        )


def _refuse_cancelled(appointment: Appointment) -> None:
    if appointment.cancelled:
        raise IllegalAct(
            Text(
                en=f"Appointment {appointment.id} was cancelled at {{moment}}. Make a new one.",
                zh=f"预约 {appointment.id} 已于 {{moment}} 取消。请重新预约。",
            ),
            appointment.changed_at,
        )
