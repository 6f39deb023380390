"""What every detector needs beside the readings: whose they are, the limits, the moment, and the patient's clock."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Priority, Text, Verdict
from alerts.rule import MIN, Limits, Rule
from ingest.reading import EPOCH, Reading
from ingest.vital import Unit, Vital

MINUTE: Final = timedelta(minutes=1)
# Where no zone is known: moments are what the patient's clock showed, as if it were that of UTC.
OWN_CLOCK: Final = timezone(timedelta(), "the subject's clock")
_CLOCK_TIME: Final = re.compile(r"\d\d:\d\d")
# Spot readings further apart than this say nothing about the time between them.
SPOT_GAP: Final = timedelta(hours=2)
VITALS: Final = {
    Vital.CGM: Text(en="Sensor glucose", zh="动态血糖"),
    Vital.GLUCOSE: Text(en="Meter glucose", zh="指尖血糖"),
    Vital.KETONE: Text(en="Blood ketone", zh="血酮"),
    Vital.BLOOD_PRESSURE: Text(en="Blood pressure", zh="血压"),
}
DEVICES: Final = {
    Vital.CGM: Text(en="glucose sensor", zh="动态血糖传感器"),
    Vital.GLUCOSE: Text(en="glucose meter", zh="血糖仪"),
    Vital.BLOOD_PRESSURE: Text(en="blood-pressure cuff", zh="血压计"),
}


class Judged(NamedTuple):
    """Findings, and when time alone may change them: None where only a further reading can."""

    findings: tuple[Finding, ...]
    again: datetime | None


def is_heard(rule: Rule, raising: Collection[str] | None) -> bool:
    """Whether anybody hears that the rule does not raise. raising: those that hold up an alert; None: all of them."""
    return raising is None or rule.name in raising


def last_arrival(readings: Iterable[Reading]) -> datetime | None:
    """When the last of the readings came in, which need not be the one taken last."""
    return max((reading.received_at for reading in readings), default=None)


def came_together(readings: Iterable[Reading]) -> bool:
    """Whether all came so close to each other that nobody could be asked for the next one before it was taken."""
    arrivals = [reading.received_at for reading in readings]
    return max(arrivals) - min(arrivals) < MINUTE


def answers(readings: Iterable[Reading], apart: timedelta = 5 * MINUTE) -> list[Reading]:
    """The measurements, oldest first, that the patient is answered; the first always is."""
    answered: list[Reading] = []
    for each in readings:
        if not answered or is_answered(answered[-1].taken_at, each.taken_at, apart):
            answered.append(each)
    return answered


def is_answered(before: datetime, moment: datetime, apart: timedelta = 5 * MINUTE) -> bool:
    """Whether a measurement is answered after the one that was answered before: one of `apart` later always is.

    One of less than half of it never is. In between a stretch of time that is counted from a fixed moment decides, so
    that a device gone mad, of which only the newest are judged, begins nothing anew.
    """
    passed = moment - before
    return passed >= apart or (2 * passed >= apart and (moment - EPOCH) // apart != (before - EPOCH) // apart)


def late_words(scene: Scene, reading: Reading, usual: timedelta) -> Text:
    """That a reading came later than usual after it was taken, and when; empty where it did not."""
    if reading.received_at - reading.taken_at <= usual:
        return Text(en="", zh="")
    came = scene.clock(reading.received_at)
    return Text(
        en=f" This came late, at {came}: by then it may have been otherwise.",
        zh=f"数据迟至 {came} 才到达：届时情况可能已有变化。",
    )


def span(lasted: timedelta) -> Text:
    """A stretch of time as people say it: in minutes up to two hours, then in hours, from two days on in days."""
    return _in_words(round(lasted / MINUTE))


@lru_cache(1024)
def _in_words(minutes: int) -> Text:
    if minutes <= 120:
        return Text(en=f"{minutes} min", zh=f"{minutes} 分钟")
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return _in_two(Text(en=f"{hours} h", zh=f"{hours} 小时"), Text(en=f"{rest} min", zh=f"{rest} 分钟"), rest)
    days, rest = divmod(hours, 24)
    return _in_two(Text(en=f"{days} days", zh=f"{days} 天"), Text(en=f"{rest} h", zh=f"{rest} 小时"), rest)


def _in_two(whole: Text, part: Text, rest: int) -> Text:
    return Text(en=f"{whole.en} {part.en}", zh=f"{whole.zh} {part.zh}") if rest else whole


def for_staff(because: Text, zone: tzinfo) -> Text:
    """A sentence with the zone of its clock times, if it has any, said once: staff may live in another one."""
    if not _CLOCK_TIME.search(because.en):
        return because
    whose = _whose_times(zone)
    return Text(en=because.en + whose.en, zh=because.zh + whose.zh)


def _set(because: Text) -> Text:
    """Behind a full-width bracket, with which a value may end or not, there is no blank."""
    return Text(en=because.en, zh=because.zh.replace("） ", "）"))


def one_after_the_other(sentences: Sequence[Text], zone: tzinfo) -> Text:
    """Sentences for staff as one, which names the zone of its clock times once."""
    whose = _whose_times(zone)
    *before, last = sentences
    return Text(
        en=" ".join([*(each.en.removesuffix(whose.en) for each in before), last.en]),
        zh="".join([*(each.zh.removesuffix(whose.zh) for each in before), last.zh]),
    )


def _whose_times(zone: tzinfo) -> Text:
    if zone is OWN_CLOCK:
        return Text(en=" Times are those of the patient's own clock.", zh="时间为患者自己时钟所示。")
    return Text(en=f" Times are of {zone}.", zh=f"时间按 {zone} 时区。")


class Scene(NamedTuple):
    """One patient at one moment. reads: the unit in which patient and staff read glucose, None: as it is received."""

    patient: str
    limits: Limits
    now: datetime
    zone: tzinfo
    reads: Unit | None = None

    def unit(self, received: Unit) -> Unit:
        """In which a glucose received in this unit is said, or said first; it is compared as it was received."""
        return self.reads or received

    def clock(self, moment: datetime) -> str:
        """The moment as the patient's own clock shows it."""
        return moment.astimezone(self.zone).isoformat(" ", "minutes")[:16]

    def minutes(self, rule: Rule, parameter: str) -> timedelta:
        """A parameter of time as it holds for this patient."""
        return timedelta(minutes=self.limits.value(rule.name, parameter, MIN))

    def number(self, rule: Rule, parameter: str, unit: str) -> float:
        """A parameter as it holds for this patient, in the unit named."""
        return self.limits.value(rule.name, parameter, unit)

    def day(self, moment: datetime) -> date:
        """The day of the moment by the patient's own clock."""
        return moment.astimezone(self.zone).date()

    def week_of(self, moment: datetime) -> datetime:
        """When the patient's own week (from Monday) of the moment began."""
        local = moment.astimezone(self.zone)
        monday = datetime.combine(local.date() - timedelta(days=local.weekday()), time(), self.zone)
        return monday.astimezone(UTC)

    def fresh(self, rule: Rule, parameter: str, newest: Reading) -> bool:
        """Whether the reading is recent enough to raise anything."""
        return self.now - newest.taken_at <= self.minutes(rule, parameter)

    def finding(
        self,
        rule: Rule,
        verdict: Verdict,
        because: Text,
        since: datetime,
        evidence: Sequence[Reading],
        *,
        known_at: datetime | None = None,
        priority: Priority | None = None,
        audience: Audience = Audience.STAFF,
        emergencies: Iterable[Reading] = (),
        renews: bool = False,
    ) -> Finding:
        """A finding of this patient; priority None: the rule's own, known_at None: the arrival of the evidence.

        emergencies: the measurements by which alone a person has to act. None was taken after it came, whatever its
        clock says, and one that was read out twice came when it first did.
        """
        newest = max(
            sorted(emergencies, key=lambda each: each.received_at),
            key=lambda each: min(each.taken_at, each.received_at),
            default=None,
        )
        return Finding(
            patient=self.patient,
            rule=rule.name,
            problem=rule.problem,
            verdict=verdict,
            priority=priority or rule.priority,
            audience=audience,
            because=_set(for_staff(because, self.zone) if audience is Audience.STAFF else because),
            since=since,
            known_at=known_at or last_arrival(evidence) or self.now,
            evidence=tuple(dict.fromkeys(reading.key for reading in evidence)),
            emergency_at=newest.received_at if newest else None,
            renews=renews,
        )
