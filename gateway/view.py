"""What the API and the pages see of the house. `gateway.house` is the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from alerts.alert import Act, Alert
from alerts.audit import Entry
from alerts.book import Book
from alerts.follow_up import Deed, FollowUp
from alerts.follow_up_book import FollowUpBook
from alerts.review_book import ReviewBook
from alerts.rules import Applied, RuleBook
from gateway.bulletin import Bulletin
from gateway.device_book import DeviceState
from gateway.duty import Duty
from gateway.people import Device, MeasuringPlan, Patient, People
from gateway.quality_desk import QualityDesk
from ingest.admit import Wearing
from ingest.journal import Journal, Letter, LetterState
from ingest.reading import Reading
from ingest.series import Series
from ingest.vital import Vital

SeriesStore = Literal["journal", "influxdb"]


class StoreAway(Exception):
    """The store that was asked does not answer or is not configured. The text says which and what to do.

    Besides where it is named, whatever people do may raise it, and nothing is done then.
    """


class UnknownLetter(LookupError):
    """No letter has this number. The text says so."""


class NotWaiting(Exception):
    """The letter was admitted, replaced or discarded before. The text says which."""


class NotReadable(Exception):
    """The device cannot be asked for its records. The text says why and what to do."""


class HouseView(Protocol):
    """The house, as far as people look at it and act on it. `people` and `book` block: call them off the loop."""

    @property
    def people(self) -> People:
        """The register of patients and devices."""
        ...

    @property
    def book(self) -> Book:
        """The alerts and what is written down about them."""
        ...

    @property
    def journal(self) -> Journal:
        """Every reading. Blocks: call it off the loop."""
        ...

    @property
    def duty(self) -> Duty:
        """Who is told of alerts and by which ways; what people answer. Blocks where it is not async."""
        ...

    @property
    def reviews(self) -> ReviewBook:
        """The weekly reviews, and how each patient stands. Blocks: call it off the loop."""
        ...

    @property
    def follow_ups(self) -> FollowUpBook:
        """What is done about patients, and when next. Blocks: call it off the loop."""
        ...

    def audit(self, *, subject: str | None = None, before: int | None = None, limit: int = 100) -> list[Entry]:
        """What was changed, the newest first; see `alerts.audit.entries`. Blocks: call it off the loop."""
        ...

    @property
    def quality(self) -> QualityDesk:
        """Where the quality report and the months of monitoring are put together."""
        ...

    @property
    def rules(self) -> RuleBook:
        """What the clinic's rule file says."""
        ...

    def limits(self, patient: Patient) -> Applied:
        """The numbers that hold for a patient today, on the patient's clock."""
        ...

    @property
    def bulletin(self) -> Bulletin:
        """Where the house tells open pages what changed."""
        ...

    @property
    def zone(self) -> ZoneInfo:
        """Where the clinic is."""
        ...

    def now(self) -> datetime:
        """The moment it is in the house (aware UTC); runs faster in the demonstration."""
        ...

    def health(self) -> Mapping[str, Any]:
        """{"status": "ok" | "degraded", "as_of": DATETIME, "parts": {NAME: {"status": ..., "detail": SENTENCE}}}.

        as_of (aware UTC): when the parts were last asked that have to be; what a part knows of itself is of now.
        """
        ...

    async def feel(self) -> None:
        """Ask the parts now, so that `health` tells of this moment. Takes some milliseconds, at worst seconds."""
        ...

    def device_states(self) -> Mapping[str, DeviceState]:
        """How each device of the register does, as far as it is known."""
        ...

    async def last_arrivals(self) -> Mapping[str, datetime | None]:
        """When each device of the register last brought a new reading (UTC)."""
        ...

    def read_fully(self, device: str) -> None:
        """Have a device tell everything it has stored, when it is next in reach. Raises NotReadable."""
        ...

    async def pair(self, device: str, patient: str, since: datetime | None = None) -> Wearing:
        """Give a device to a patient and admit what waited for it. Raises UnknownPerson, AlreadyKnown."""
        ...

    async def correct(self, before: Wearing, wanted: Wearing, *, by: str, note: str) -> Wearing:
        """Correct whose a wearing was and since when, and try again what waits for an assignment.

        What was admitted before stays with the patient for whom it was admitted. Raises UnknownPerson, AlreadyKnown.
        """
        ...

    async def count_readings(self, wearing: Wearing) -> int:
        """How many readings of the device in the time of a wearing are its patient's."""
        ...

    async def unpair(self, device: str, by: str | None = None) -> Wearing:
        """End the wearing of a device. Raises UnknownPerson when nobody wears it. by: who does it, for the audit."""
        ...

    async def retire(self, device: str, by: str | None = None) -> Device:
        """Take a device out of use; it is not read any more, and what it has sent stays. Raises UnknownPerson.

        by: as in `unpair`.
        """
        ...

    async def change_patient(self, patient: str, change: Callable[[Patient], Patient], by: str | None = None) -> None:
        """Change what is known of a patient, as it is when it is this change's turn, so that none undoes another.

        New limits hold from the next reading. Raises UnknownPerson, LimitsError where new limits cannot hold, and
        what change() raises. by: who ends the limits that are not there any more.
        """
        ...

    async def set_plan(self, patient: str, vital: Vital, plan: MeasuringPlan) -> None:
        """Write down what a patient is to measure of a vital; see `People.set_plan`."""
        ...

    async def end_plan(self, patient: str, number: int, by: str | None) -> None:
        """End one plan of a patient; see `People.end_plan`."""
        ...

    async def act(self, act: Act) -> Alert:
        """Do what a person decided, in seconds. Raises IllegalAct, and StoreAway, which says what may yet come."""
        ...

    async def care(self, deed: Deed) -> FollowUp:
        """Do what a person decided about a follow-up; one that is closed closes its alert. Raises as `act` does."""
        ...

    async def readings(
        self, patient: str, vital: Vital, start: datetime, end: datetime, limit: int | None = None
    ) -> Sequence[Reading]:
        """Readings with start <= taken_at < end, oldest first; with a limit, the newest of them."""
        ...

    async def series(
        self, patient: str, vital: Vital, start: datetime, end: datetime, source: SeriesStore = "journal"
    ) -> Series:
        """The same as arrays, from either store. Raises StoreAway."""
        ...

    async def metrics(self) -> str:
        """The figures of the house in Prometheus' text format."""
        ...

    async def retry_letter(self, number: int) -> Letter:
        """Try a letter again, also one that was discarded, and give it as it is then: it may still wait.

        Raises UnknownLetter, NotWaiting, and StoreAway where InfluxDB refused its line and still does.
        """
        ...

    async def discard_letter(self, number: int, because: str) -> Letter:
        """Take a letter off the waiting list; its octets stay. Raises UnknownLetter, NotWaiting."""
        ...

    async def letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Letter]:
        """Letters, newest first; `before` is the id of the last one of the page before."""
        ...

    async def count_letters(
        self,
        state: LetterState = LetterState.WAITING,
        device: str | None = None,
        reason: str | None = None,
        before: int | None = None,
    ) -> int:
        """How many such letters there are; `before` as in `letters`."""
        ...
