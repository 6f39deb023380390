"""Months of monitoring: on how many days a patient measured, how long staff spent on it, when they spoke. Pure.

The thresholds of US Medicare for 2026 stand beside the figures as information, with their source. They are no advice
on billing: what may be billed depends on the payer, the contract and much that Homeward does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from alerts.alert import Text

WINDOW: Final = timedelta(days=30)
LONGEST: Final = 24 * 60  # minutes of one entry
UNUSUAL: Final = 2 * 60  # above it an entry is more likely a slip of the pen, and is asked about. Homeward's own
LATEST_ENTERED: Final = timedelta(
    days=90
)  # so long after they were spent minutes may be written down. Homeward's own
# Days with data in 30 days, and minutes of care time in a calendar month: at least so many, and what begins there.
DAYS: Final = (
    (16, Text(en="16-30 d: 99454", zh="16-30 天：99454")),
    (2, Text(en="2-15 d: 99445", zh="2-15 天：99445")),
)
MINUTES: Final = (
    (20, Text(en="20 min: 99457", zh="20 分钟：99457")),
    (10, Text(en="10-19 min: 99470", zh="10-19 分钟：99470")),
)
FURTHER: Final = 20  # minutes, each: 99458
SOURCE: Final = Text(
    en="US Medicare 2026 codes as vendors describe them; information only, no billing advice: check with the payer",
    zh="美国 Medicare 2026 年代码（据厂商资料）；仅供参考，不构成计费建议：请向支付方核实",
)
_NONE: Final = Text(en="", zh="")
# Contacts in which both speak at the same time.
LIVE: Final = frozenset({"telephone", "voice", "video", "visit"})


class Window(StrEnum):
    """What a row is about: time codes go by calendar months, those of the device by 30 days."""

    MONTH = "month"
    DAYS_30 = "30-days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What counts instead of an entry's own minutes, by whom, since when (aware UTC) and why. minutes 0: nothing."""

    at: datetime
    by: str
    minutes: int
    live: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CareTime:
    """Minutes that a named person spent on a patient's care, as that person wrote them down; nothing is estimated.

    at: when (aware UTC). live: the patient and the person spoke with each other. number: of the entry, once it is
    kept. corrections: oldest first; the last one counts. Raises ValueError for no minutes, or more than a day.
    """

    patient: str
    at: datetime
    by: str
    minutes: int
    live: bool = False
    note: str = ""
    follow_up: str | None = None
    number: int | None = None
    corrections: tuple[Correction, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.minutes <= LONGEST:
            raise ValueError(f"{self.minutes} minutes; write 1 to {LONGEST}")

    @property
    def counted(self) -> int:
        """The minutes that count."""
        return self.corrections[-1].minutes if self.corrections else self.minutes

    @property
    def spoke(self) -> bool:
        """Whether it counts as a live contact."""
        return self.counted > 0 and self.said_live

    @property
    def said_live(self) -> bool:
        """Whether they spoke, as was said last, also of minutes that were taken back: they may be given again."""
        return self.corrections[-1].live if self.corrections else self.live


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """What is known of one patient. days: on which readings were taken, on the patient's clock (`zone`).

    spoken_at: when the patient was reached live, whatever was written down of the time.
    """

    patient: str
    zone: tzinfo
    programme: str | None = None
    days: frozenset[date] = frozenset()
    times: Collection[CareTime] = ()
    spoken_at: Collection[datetime] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """One patient's window, from `first` to `last`, both included, on the patient's clock.

    days: with readings. minutes: of care time. live: the first day on which patient and staff spoke, None if none.
    threshold: what of the codes is reached, empty if nothing is; see `SOURCE`.
    """

    patient: str
    programme: str | None
    window: Window
    first: date
    last: date
    days: int
    minutes: int
    live: date | None
    threshold: Text


def windows(first: date, last: date, kind: Window) -> Iterator[tuple[date, date]]:
    """The windows, both days included, begun from `first` to `last`: whole months, or 30 days from `first`."""
    start = first.replace(day=1) if kind is Window.MONTH else first
    while start <= last:
        following = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
        end = following if kind is Window.MONTH else start + WINDOW
        yield start, end - timedelta(days=1)
        start = end


def monitored(care: Care, first: date, last: date, kind: Window) -> list[Monitored]:
    """One row for each window, also where nothing was measured."""
    return [_row(care, start, end, kind) for start, end in windows(first, last, kind)]


def _row(care: Care, first: date, last: date, kind: Window) -> Monitored:
    def inside(moment: datetime) -> bool:
        return first <= moment.astimezone(care.zone).date() <= last

    days = sum(first <= day <= last for day in care.days)
    times = [time for time in care.times if inside(time.at)]
    minutes = sum(time.counted for time in times)
    spoken = [*filter(inside, care.spoken_at), *(time.at for time in times if time.spoke)]
    live = min(spoken).astimezone(care.zone).date() if spoken else None
    return Monitored(
        patient=care.patient,
        programme=care.programme,
        window=kind,
        first=first,
        last=last,
        days=days,
        minutes=minutes,
        live=live,
        threshold=_of_days(days) if kind is Window.DAYS_30 else _of_minutes(minutes, live),
    )


def _of_days(days: int) -> Text:
    return next((said for least, said in DAYS if days >= least), _NONE)


def _of_minutes(minutes: int, live: date | None) -> Text:
    """All codes of time need a live contact in the month."""
    if live is None:
        return _NONE
    said = next((said for least, said in MINUTES if minutes >= least), _NONE)
    further = minutes // FURTHER - 1
    more = f"{further} x 99458"
    return Text(en=f"{said.en}, {more}", zh=f"{said.zh}，{more}") if further > 0 else said
