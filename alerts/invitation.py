"""An appointment as an iCalendar invitation (RFC 5545, RFC 5546). Pure.

Made with `icalendar` (BSD-2, kept up by its maintainers), which folds lines, escapes text and quotes parameters as
the standard wants. Moments are UTC: every calendar shows them on its owner's clock, and no zone has to be described.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vCalAddress, vText

from alerts.alert import IllegalAct, Text

MEDIA_TYPE: Final = "text/calendar"
ABOUT: Final = "appointment:"  # how the problem of a follow-up begins that is about an appointment
KEPT: Final = "kept:"  # the same, of one that asks whether it was kept
APPOINTMENT_ID: Final = "m-"  # how the id of an appointment begins, and that of a notice about it
_PRODUCT: Final = "-//Homeward//Follow-up//EN"
# What begins, or was to begin, within this is told at whatever hour: the longest night (20:00 to 8:00) and 2 h more.
_SOON: Final = timedelta(hours=14)
_REMINDED_AT: Final = time(10)  # on the day before, on the patient's clock
_ASKED_AT: Final = time(8)  # on the day after, on the patient's clock
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """An appointment with a patient (moments aware UTC), as it is after `sequence` changes.

    id: its name for ever, in every calendar. follow_up: in which it was made. whom: with whom it is; "": who made it.
    kept: whether the patient came; None: nobody has noted it.
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
    whom: str = ""
    kept: bool | None = None

    @property
    def with_whom(self) -> str:
        """With whom the patient has it."""
        return self.whom or self.made_by

    def says_same(self, other: Appointment) -> bool:
        """Whether the patient has nothing else to know of another state of it."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("start", "length", "place", "with_whom", "cancelled")
        )

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return now >= self.start + self.length

    @property
    def problem(self) -> str:
        """What the follow-up is about in which somebody is to see to it."""
        return f"{ABOUT}{self.id}"

    @property
    def asks_kept(self) -> str:
        """The same of the follow-up that asks whether it was kept."""
        return f"{KEPT}{self.id}"


def moved(
    appointment: Appointment, *, start: datetime, length: timedelta, place: str, whom: str = "", at: datetime
) -> Appointment:
    """The appointment at another time or place, or with somebody else.

    Raises IllegalAct where it was cancelled or is past, or would begin in the past.
    """
    _refuse_cancelled(appointment)
    _refuse_over(appointment, at)
    refuse_past(start, at)
    return replace(
        appointment,
        start=start,
        length=length,
        place=place,
        whom=whom,
        changed_at=at,
        sequence=appointment.sequence + 1,
    )


def cancelled(appointment: Appointment, at: datetime) -> Appointment:
    """The appointment, called off. Raises IllegalAct where it was before, or is past."""
    _refuse_cancelled(appointment)
    _refuse_over(appointment, at)
    return replace(appointment, cancelled=True, changed_at=at, sequence=appointment.sequence + 1)


def noted(appointment: Appointment, *, kept: bool, at: datetime) -> Appointment:
    """The appointment with whether the patient came. Raises IllegalAct where it was cancelled, or has not begun."""
    _refuse_cancelled(appointment)
    if at < appointment.start:
        raise IllegalAct(
            Text(
                en="The appointment begins at {moment}: whether it was kept can be noted from then on.",
                zh="预约于 {moment} 开始，届时方可记录患者是否到诊。",
            ),
            appointment.start,
        )
    return replace(appointment, kept=kept)


def asked_at(appointment: Appointment, zone: ZoneInfo) -> datetime | None:
    """When somebody is asked whether it was kept (aware UTC): on the day after. None where it was called off.

    zone: the patient's.
    """
    if appointment.cancelled:
        return None
    day_after = (appointment.start + appointment.length).astimezone(zone).date() + _DAY
    return datetime.combine(day_after, _ASKED_AT, zone).astimezone(UTC)


def is_soon(appointment: Appointment, before: Appointment | None) -> bool:
    """Whether it begins so soon after its change that this is told at whatever hour. before: as it was."""
    return min(each.start for each in (appointment, before) if each) - appointment.changed_at < _SOON


def reminder_at(appointment: Appointment, zone: ZoneInfo) -> datetime | None:
    """When the patient is reminded (aware UTC), on the day before.

    None where it begins within a day, or that moment is past. zone: the patient's.
    """
    day_before = appointment.start.astimezone(zone).date() - _DAY
    at = datetime.combine(day_before, _REMINDED_AT, zone).astimezone(UTC)
    is_far = appointment.start - appointment.changed_at > _DAY
    return at if is_far and at > appointment.changed_at and not appointment.cancelled else None


def invitation(
    appointment: Appointment, *, summary: str, organizer: str | None = None, attendee: str | None = None
) -> bytes:
    """The invitation, its change or its cancelling, as it goes out; without an organizer a plain entry.

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
    if organizer:
        event.add("organizer", vCalAddress(f"mailto:{organizer}"))
    if attendee:
        guest = vCalAddress(f"mailto:{attendee}")
        guest.params["PARTSTAT"] = vText("NEEDS-ACTION")
        guest.params["RSVP"] = vText("TRUE")
        event.add("attendee", guest)
    calendar = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    if organizer:
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


def _refuse_over(appointment: Appointment, at: datetime) -> None:
    """Raises IllegalAct where it is past, or where it is noted whether it was kept: a change would say otherwise."""
    if appointment.kept is not None:
        raise IllegalAct(
            Text(
                en=f"It is noted already whether appointment {appointment.id} was kept: it can no longer be moved or "
                "called off. Make a new one.",
                zh=f"预约 {appointment.id} 已记录是否到诊，不能再改期或取消。如有需要请重新预约。",
            )
        )
    if appointment.is_over(at):
        raise IllegalAct(
            Text(
                en=f"Appointment {appointment.id} is past: it can no longer be moved or called off. Note whether it "
                "was kept, and make a new one if one is needed.",
                zh=f"预约 {appointment.id} 的时间已过，不能再改期或取消。请记录患者是否到诊，如有需要请重新预约。",
            )
        )
