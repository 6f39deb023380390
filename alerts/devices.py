"""Devices that are not heard, whose readings come too late to be judged, or whose clock is wrong. Pure.

- **No data**: nothing came for the time that is usual for the device, or nothing with a value that the device itself
  does not doubt. The patient, who can do something about it, is told first; a device that does not come back reaches
  staff, and sooner where the patient was not well when last heard (`alerts.forecast.Forecast.unwell`).
- **Late data**: a device whose readings come too late to be fresh, because its clock is behind or something keeps
  them, is watched by nobody: told after three such arrivals in a row. Readings stored during an outage come faster
  than they were taken, and are not meant.
- **Clock wrong**: a clock that nothing sets. Admission (`ingest.device_clock`) finds out and corrects what it can;
  the patient is asked once a week to set it, when it was found wrong at every reading for a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Text, Verdict
from alerts.device_rules import CLOCK_WRONG, LATE_DATA, NO_DATA
from alerts.rule import Limits
from alerts.scene import DEVICES, VITALS, Scene, span
from ingest.reading import Flag, Reading, TimeBasis
from ingest.vital import Vital

# Later than this after it was taken, a reading comes late. No patient can be given a shorter time for which readings
# are fresh ("fresh-sensor", "fresh-meter"), so that no device comes late and still too early to be told.
LATE: Final = {
    Vital.CGM: timedelta(minutes=15),
    Vital.GLUCOSE: timedelta(hours=6),
    Vital.KETONE: timedelta(hours=6),
    Vital.BLOOD_PRESSURE: timedelta(hours=6),
}
# A value with one of these says nothing.
UNRELIABLE: Final = frozenset({Flag.SENSOR_MALFUNCTION, Flag.TEMPERATURE_ERROR, Flag.SESSION_STOPPED})
_WORDS: Final = frozenset({Flag.BELOW_RANGE, Flag.ABOVE_RANGE})
UNWELL: Final = Text(
    en="; when last heard glucose was low, about to be, or had been very low within 3 h",
    zh="；末次数据时血糖偏低、即将偏低，或此前 3 小时内曾严重偏低",
)
# So many late arrivals in a row are no accident.
LATE_COUNT: Final = 3
# What a clock is off by less than this does to a diary is not worth anybody's time.
CLOCK_OFF: Final = timedelta(minutes=15)
# Hours of the patient's clock. Who measures before breakfast and at bedtime may measure at no other time.
_WAKING: Final = range(7, 23)
_NAMED: Final = re.compile(r" from device (\S+) since ")
_CORRECTED: Final = TimeBasis.CORRECTED  # looked up once: there is one for each reading


class Astray(NamedTuple):
    """A clock that every arrival since this moment has found wrong.

    ahead: of the wearer's local time, as the newest arrival says; None where it does not say by how much.
    """

    since: datetime
    ahead: timedelta | None


class Arrivals:
    """How a device's readings come in; all but taken_at by the house's clock.

    What came at one moment is one arrival, judged by its newest reading. late: the first arrivals, up to LATE_COUNT,
    of a row in which every one came late and none came faster than twice the pace at which they were taken, as what
    was stored during an outage does. Empty after one in time. astray: how the clock is wrong, None when it is right.
    """

    __slots__ = ("_before", "astray", "late", "received_at", "taken_at", "usable_at")

    def __init__(self, reading: Reading) -> None:
        self.received_at = reading.received_at
        self.taken_at = reading.taken_at
        self.usable_at = reading.received_at  # since the first one, if none is
        in_time = reading.received_at - reading.taken_at <= LATE[reading.vital]
        self.late: tuple[datetime, ...] = () if in_time else (reading.received_at,)
        self.astray = _astray(reading, None)
        # The arrival before, if it was late: when it came, when its newest was taken, its row.
        self._before: tuple[datetime, datetime, tuple[datetime, ...]] | None = None

    @property
    def behind(self) -> timedelta:
        """How old the newest reading was when it came."""
        return self.received_at - self.taken_at

    def take(self, reading: Reading) -> None:
        """Note a further one; what came before the newest, or came with it and is older, changes nothing."""
        received, taken, doubted = reading.received_at, reading.taken_at, reading.flags
        if received > self.usable_at and (is_usable(reading) if doubted else reading.sent[0] is not None):
            self.usable_at = received
        if received > self.received_at:
            self._before = (self.received_at, self.taken_at, self.late) if self.late else None
        elif received < self.received_at or taken <= self.taken_at:
            return
        in_time = received - taken <= LATE[reading.vital]
        self.late = () if in_time else (*self._row(received, taken), received)[:LATE_COUNT]
        wrong = doubted or reading.time_basis is _CORRECTED
        self.astray = _astray(reading, self.astray) if wrong else None
        self.received_at, self.taken_at = received, taken

    def _row(self, received: datetime, taken: datetime) -> tuple[datetime, ...]:
        """The late arrivals that this one goes on from."""
        if self._before is None:
            return ()
        came, newest, late = self._before
        return late if timedelta() <= taken - newest <= 2 * (received - came) else ()


def _astray(reading: Reading, before: Astray | None) -> Astray | None:
    """What an arrival says of the clock. A sensor counts from its start, so nobody need set it for being off."""
    corrected = reading.time_basis is _CORRECTED and reading.vital is not Vital.CGM
    ahead = reading.clock_offset if corrected else None
    if (ahead is None or abs(ahead) < CLOCK_OFF) and not (reading.flags and Flag.TIME_FAULT in reading.flags):
        return None
    return Astray(before.since if before else reading.received_at, ahead)


def is_usable(reading: Reading) -> bool:
    """Whether a reading says something: a value that is not doubted, or a HI or LO."""
    flags = reading.flags
    known = reading.sent[0] is not None or not _WORDS.isdisjoint(flags)
    return known and UNRELIABLE.isdisjoint(flags)


class LastHeard(NamedTuple):
    """How a hub heard a device last: when, with a value that says something, and whether the patient was not well."""

    at: datetime
    unwell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A device that ought to be heard.

    no-data is raised when nothing usable came for `silence`, for the patient, and for `staff_after`, for staff, or
    for `staff_after_low` where the patient was not well when last heard (`unwell`); counted from the newest such
    arrival, or from `since` (when it was paired, or last heard for all that is known) where none is known or it is
    later, but for a device that is heard without a usable value. not_before: nothing is raised before (this house may
    have been what was not there). worn_since: since when the patient wears it, None where nobody knows. elsewhere:
    the newest usable arrival at another hub on the same database, None where there is none; unwell_elsewhere: whether
    the patient was not well then.
    """

    device: str
    vital: Vital
    silence: timedelta
    staff_after: timedelta
    staff_after_low: timedelta
    since: datetime
    not_before: datetime
    unwell: bool = False
    worn_since: datetime | None = None
    elsewhere: datetime | None = None
    unwell_elsewhere: bool = False

    def of_one_unwell(self) -> Expected:
        """The same, of a patient who was not well when last heard."""
        return replace(self, staff_after=self.staff_after_low, unwell=True)

    def of_one_missed(self, since: datetime) -> Expected:
        """The same where staff were told at `since` of a device that was not heard, this one perhaps.

        How the patient was, only the hub knows that heard it last.
        """
        if self.elsewhere is None or self.elsewhere > since:
            return self
        return replace(self, staff_after=self.staff_after_low)

    def of_one_heard(self, there: LastHeard) -> Expected:
        """The same, as another hub heard it last."""
        return replace(self, elsewhere=there.at, unwell_elsewhere=there.unwell)

    @property
    def patient_after(self) -> timedelta:
        """No later than the soonest that staff may hear."""
        return min(self.silence, self.staff_after_low)

    def heard_at(self, arrivals: Mapping[str, Arrivals]) -> datetime:
        """From when its silence counts."""
        here = self._heard_here(arrivals.get(self.device))
        return here if self.elsewhere is None else max(here, self.elsewhere)

    def _heard_here(self, heard: Arrivals | None) -> datetime:
        if heard is None:
            return self.since
        return heard.usable_at if heard.usable_at < heard.received_at else max(self.since, heard.received_at)

    def told_at(self, arrivals: Mapping[str, Arrivals]) -> tuple[datetime, datetime]:
        """When the patient hears of its silence, and when staff do, unless it is heard before."""
        heard = self.heard_at(arrivals)
        return max(heard + self.patient_after, self.not_before), max(heard + self.staff_after, self.not_before)


def after_low(limits: Limits, vital: Vital, staff_after: timedelta) -> timedelta:
    """How soon staff hear of the silence of one who was not well: sooner of a sensor, for it alone can tell."""
    return limits.minutes(NO_DATA.name, f"staff-after-low-{vital}") if vital is Vital.CGM else staff_after


def no_data(scene: Scene, expected: Sequence[Expected], arrivals: Mapping[str, Arrivals]) -> list[Finding]:
    """RAISE for staff with the devices that are silent for so long, else CLEAR; RAISE for the patient with others.

    Where staff hear as soon as the patient does, both do.
    """
    told_at = {each: each.told_at(arrivals) for each in expected}
    handed = [each for each in expected if told_at[each][1] <= scene.now]
    silent = [
        each
        for each in expected
        if told_at[each][0] <= scene.now and (each not in handed or each.patient_after == each.staff_after)
    ]
    found = []
    if silent:
        found.append(_silent(scene, silent, arrivals, Audience.PATIENT))
    if handed:
        found.append(_silent(scene, handed, arrivals, Audience.STAFF))
    else:
        heard = max((each.heard_at(arrivals) for each in expected), default=scene.now)
        because = Text(en="Every expected device has been heard in its time.", zh="所有设备均按时上传数据。")
        found.append(scene.finding(NO_DATA, Verdict.CLEAR, because, heard, ()))
    return found


_TO_CHECK: Final = Text(
    en=" Please check that the sensor sits firmly and that the phone or receiver is near it, charged and on, with "
    "Bluetooth and the network; measure by finger if you feel unwell.",
    zh="请检查传感器是否贴牢，手机或接收器是否在身边、有电并已开机，蓝牙和网络是否打开；如有不适，请测指尖血糖。",
)
_TO_MEASURE: Final = Text(
    en=" Please measure today, and check that the device is charged and near its phone or gateway.",
    zh="请今天测量，并检查设备是否有电、是否靠近手机或网关。",
)


def _silent(
    scene: Scene, devices: Iterable[Expected], arrivals: Mapping[str, Arrivals], audience: Audience
) -> Finding:
    heard = {each: each.heard_at(arrivals) for each in devices}
    staff = audience is Audience.STAFF
    in_order = sorted(heard, key=lambda each: (heard[each], each.device))
    because = _listed([_is_silent(scene, each, heard[each], arrivals, staff=staff) for each in in_order])
    if not staff:
        todo = _TO_CHECK if any(each.vital is Vital.CGM for each in in_order) else _TO_MEASURE
        because = Text(en=because.en + todo.en, zh=because.zh + todo.zh)
    # A device that falls silent while another one is silent already is news.
    since = max(heard[each] + (each.staff_after if staff else each.patient_after) for each in heard)
    known_at = max(each.told_at(arrivals)[staff] for each in heard)
    return scene.finding(NO_DATA, Verdict.RAISE, because, since, (), known_at=known_at, audience=audience)


def _is_silent(
    scene: Scene, each: Expected, heard: datetime, arrivals: Mapping[str, Arrivals], *, staff: bool
) -> Text:
    """One device, for how long, and against which limit: that of whom is told."""
    what, vital = _what(each, arrivals), VITALS[each.vital]
    since, lasted = scene.clock(heard), span(scene.now - heard)
    if staff:
        after = span(each.staff_after)
        limit = Text(en=f"staff are told after {after.en}", zh=f"满 {after.zh}通知医护")
    else:
        within = span(each.patient_after)
        limit = Text(en=f"expected within {within.en}", zh=f"应在 {within.zh}内")
    unwell = UNWELL if each.unwell else Text(en="", zh="")
    # In a history nobody knows the device: it is called as who wears it, who is none.
    name = "" if each.device == scene.patient else f" {each.device}"
    of = Text(en=f"device{name}" if name else "the device", zh=f"设备{name} 自" if name else "设备自")
    return Text(
        en=f"{vital.en}: {what.en} from {of.en} since {since} ({lasted.en}; {limit.en}{unwell.en})",
        zh=f"{vital.zh}：{of.zh} {since} 起{what.zh}（{lasted.zh}，{limit.zh}{unwell.zh}）",
    )


def silent_in(said: Text) -> frozenset[str]:
    """The devices that a sentence of `no_data` names."""
    return frozenset(_NAMED.findall(said.en))


def _what(each: Expected, arrivals: Mapping[str, Arrivals]) -> Text:
    came = arrivals.get(each.device)
    if came is None or came.usable_at == came.received_at:
        return Text(en="nothing", zh="无数据")
    return Text(en="readings without a usable value", zh="只有无效数值")


def late_data(scene: Scene, expected: Sequence[Expected], arrivals: Mapping[str, Arrivals]) -> Finding:
    """RAISE with the devices that come late, CLEAR when all come in time, HOLD while too little has come."""
    known = [(each, arrivals[each.device]) for each in expected if each.device in arrivals]
    late = [(each, came) for each, came in known if len(came.late) == LATE_COUNT]
    if late:
        parts = [_comes_late(each, came.behind) for each, came in late]
        newest = max((came.late for _, came in late), key=lambda row: row[0])
        return scene.finding(LATE_DATA, Verdict.RAISE, _listed(parts), newest[0], (), known_at=newest[-1])
    if any(came.late for _, came in known) or (expected and not known):
        because = Text(
            en="Too little has come to say whether it comes in time.", zh="数据不足，无法判断是否按时到达。"
        )
        return scene.finding(LATE_DATA, Verdict.HOLD, because, scene.now, ())
    because = Text(en="What the expected devices send comes in time.", zh="所有设备的数据均按时到达。")
    return scene.finding(LATE_DATA, Verdict.CLEAR, because, scene.now, ())


def _comes_late(each: Expected, behind: timedelta) -> Text:
    age, vital, limit = span(behind), VITALS[each.vital], span(LATE[each.vital])
    return Text(
        en=f"{vital.en}: what device {each.device} sends is {age.en} old when it comes (expected within {limit.en}) "
        f"and may be too old to raise an alert; its clock is {age.en} behind, or something delays its data: "
        "set its clock, then check its connection",
        zh=f"{vital.zh}：设备 {each.device} 的数据到达时已过 {age.zh}（应在 {limit.zh}内），"
        f"可能因过旧而无法触发报警；设备时钟慢了 {age.zh}，或数据传输有延迟：请校准设备时钟，再检查连接",
    )


def wrong_clock(scene: Scene, expected: Sequence[Expected], arrivals: Mapping[str, Arrivals]) -> Finding | None:
    """RAISE with the devices whose clock is wrong and is set by nobody, once a week; None where there is none.

    It can wait, so nobody is woken by it.
    """
    if scene.now.astimezone(scene.zone).hour not in _WAKING:
        return None
    hold = scene.minutes(CLOCK_WRONG, "hold")
    known = [(each, arrivals[each.device]) for each in expected if each.device in arrivals]
    wrong = [
        (each, came.astray, came.received_at)
        for each, came in known
        if came.astray and came.received_at - came.astray.since >= hold
    ]
    if not wrong:
        return None
    because = _listed([_is_wrong(each, astray.ahead) for each, astray, _ in wrong])
    known_at = max(received for _, _, received in wrong)
    since = scene.week_of(known_at)
    return scene.finding(
        CLOCK_WRONG, Verdict.RAISE, because, since, (), known_at=known_at, audience=CLOCK_WRONG.audience
    )


def _is_wrong(each: Expected, ahead: timedelta | None) -> Text:
    name = Text(en=f"{DEVICES[each.vital].en} ({each.device})", zh=f"{DEVICES[each.vital].zh}（{each.device}）")
    if ahead is not None:
        off, way = span(abs(ahead)), Text(en="behind", zh="慢") if ahead < timedelta() else Text(en="ahead", zh="快")
        return Text(
            en=f"The clock of your {name.en} is {off.en} {way.en}: please set its date and time",
            zh=f"您的{name.zh}时钟{way.zh}了 {off.zh}：请校准其日期和时间",
        )
    if each.vital is Vital.CGM:
        return Text(
            en=f"Your {name.en} does not know what time it is, so the times of its readings may be wrong: please "
            "check date, time and time zone of the phone or receiver that reads it",
            zh=f"您的{name.zh}时间未知，读数时间可能有误：请检查读取它的手机或接收器的日期、时间和时区",
        )
    return Text(
        en=f"Your {name.en} does not know what time it is, so the times of its readings may be wrong: please set its "
        "date and time",
        zh=f"您的{name.zh}时间未知，读数时间可能有误：请校准其日期和时间",
    )


def _listed(parts: Sequence[Text]) -> Text:
    return Text(en="; ".join(part.en for part in parts) + ".", zh="；".join(part.zh for part in parts) + "。")
