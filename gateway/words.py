"""What things are called on the pages, and how a reading is written. English here; other languages in `locale/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from alerts.alert import OUTCOME_WORDS, REASON_WORDS, Audience, Outcome, Priority, Reason
from alerts.machine import FactKind
from alerts.review_rules import NIGHTS, POINTS
from alerts.rule import COUNT, DAYS, HOURS, MIN, SWITCH, Group
from alerts.spot_rules import PRIORITY
from gateway.language import Language
from gateway.people import DeviceKind, DeviceLink
from ingest.links.ble import Bond
from ingest.reading import Flag, Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital, family

_CLOCK_RIGHT_S: Final = 60.0


def N_(message: str) -> str:  # noqa: N802  the name by which message extraction knows it
    """Mark a message that is translated where it is shown."""
    return message


FACTS: Final[Mapping[FactKind, str]] = {
    FactKind.OPENED: N_("Opened"),
    FactKind.JOINED: N_("Another rule agrees"),
    FactKind.WORSENED: N_("Worse"),
    FactKind.EASED: N_("One rule less"),
    FactKind.CONDITION_GONE: N_("Condition over"),
    FactKind.RELAPSED: N_("New episode"),
    FactKind.SUPERSEDED: N_("Handed on to a new alert"),
    FactKind.NOTIFIED: N_("Staff told"),
    FactKind.ACKNOWLEDGED: N_("Acknowledged"),
    FactKind.SNOOZED: N_("Put off"),
    FactKind.SNOOZE_ENDED: N_("Put off no longer"),
    FactKind.CLOSED: N_("Closed"),
}
# Channels of the house; those of persons are called as the clinic calls them.
WAYS: Final[Mapping[str, str]] = {"webhook": N_("the clinic's webhook")}
KINDS: Final[Mapping[str, str]] = {
    DeviceKind.METER: N_("Blood glucose meter"),
    DeviceKind.CGM: N_("Glucose sensor (CGM)"),
    DeviceKind.CUFF: N_("Blood-pressure cuff"),
}
LINKS: Final[Mapping[str, str]] = {DeviceLink.BLE: N_("Bluetooth"), DeviceLink.MQTT: N_("Network (MQTT)")}
BONDS: Final[Mapping[Bond, str]] = {
    Bond.NONE: N_("not paired"),
    Bond.BONDED: N_("paired"),
    Bond.LOST: N_("pairing lost"),
}
# Every parameter of every rule; a limit set for a patient is shown with it.
PARAMETERS: Final[Mapping[str, str]] = {
    "limit": N_("limit"),
    "limit-level-2": N_("limit of the second level"),
    "clear": N_("over again at"),
    "hold": N_("has to last"),
    "staff-after": N_("from the onset, staff are told after"),
    "unrecovered": N_("more urgent after"),
    "staff-after-doubt": N_("where the sensor may be wrong, staff are told after"),
    "after-closing": N_("looked at again so long after a closing"),
    "fresh-sensor": N_("a sensor's reading counts for"),
    "fresh-meter": N_("a single measurement counts for"),
    "systolic": N_("systolic limit"),
    "diastolic": N_("diastolic limit"),
    "clear-systolic": N_("systolic over again at"),
    "clear-diastolic": N_("diastolic over again at"),
    "crisis-systolic": N_("systolic crisis limit"),
    "crisis-diastolic": N_("diastolic crisis limit"),
    "session": N_("measurements belong together within"),
    "apart": N_("second measurement at least after"),
    "wait": N_("second measurement expected within"),
    "patient-after": N_("the patient is told after"),
    "first-day": N_("how long a sensor is new"),
    "fall": N_("fall that may be pressure on the sensor"),
    "count": N_("number of readings"),
    "before-meal": N_("limit before meals"),
    "after-meal": N_("limit after meals"),
    "very-high": N_("very high from"),
    "low": N_("lower limit"),
    "high": N_("upper limit"),
    "follow-up": N_("next check within"),
    "at-once": N_("staff are told at once below"),
    "recheck": N_("measure again after"),
    "watch": N_("watched from"),
    "call": N_("staff are told from"),
    "emergency": N_("emergency from"),
    "ketoacidosis": N_("ketoacidosis with glucose from"),
    "days": N_("number of days"),
    "share": N_("share of the measurements"),
    "sensor": N_("difference from the sensor"),
    "sensor-share": N_("difference from the sensor, as a share"),
    "meter": N_("difference of two measurements"),
    "meter-share": N_("difference of two measurements, as a share"),
    "ketone": N_("difference of two ketones"),
    "ketone-share": N_("difference of two ketones, as a share"),
    "staff-systolic": N_("systolic, staff are told from"),
    "staff-diastolic": N_("diastolic, staff are told from"),
    "staff-days": N_("staff are told after days"),
    "wait-severe": N_("second severe measurement expected within"),
    "confirmed": N_("priority when confirmed"),
    "very-low-systolic": N_("very low systolic limit"),
    "uncontrolled-systolic": N_("systolic limit of poor control"),
    "uncontrolled-diastolic": N_("diastolic limit of poor control"),
    "readings": N_("least number of measurements"),
    "excess": N_("morning above evening by"),
    "mornings": N_("number of mornings"),
    "dip": N_("fall by night of at least"),
    "nights": N_("number of nights"),
    "silence-cgm_glucose": N_("silence of a sensor"),
    "silence-glucose": N_("silence of a meter"),
    "silence-blood_pressure": N_("silence of a cuff"),
    "staff-after-cgm_glucose": N_("silence of a sensor, staff are told after"),
    "staff-after-low-cgm_glucose": N_("silence of a sensor after a low, staff are told after"),
    "staff-after-glucose": N_("silence of a meter, staff are told after"),
    "staff-after-blood_pressure": N_("silence of a cuff, staff are told after"),
    "on": N_("switched on"),
    "warm-up": N_("warm-up of a sensor"),
}
# Units of the rules' numbers that are words; the others are written alike in every language.
UNITS: Final[Mapping[str, str]] = {
    MIN: N_("min"),
    HOURS: N_("h"),
    DAYS: N_("d"),
    COUNT: N_("readings"),
    SWITCH: N_("(1: on, 0: off)"),
    PRIORITY: N_("(1: low, 2: medium, 3: high; IEC 60601-1-8)"),
    NIGHTS: N_("nights"),
    POINTS: N_("percentage points"),
}
GROUPS: Final[Mapping[Group, str]] = {
    Group.ADULT: N_("adult"),
    Group.OLDER: N_("older, or at high risk"),
    Group.PREGNANCY: N_("pregnancy"),
    Group.INTERNATIONAL: N_("international guidelines"),
    Group.CHINA: N_("guidelines of China"),
}
AUDIENCES: Final[Mapping[Audience, str]] = {
    Audience.PATIENT: N_("the patient"),
    Audience.STAFF: N_("staff"),
    Audience.WEEKLY: N_("the weekly list"),
}
PRIORITIES: Final[Mapping[Priority, str]] = {
    Priority.LOW: N_("low priority"),
    Priority.MEDIUM: N_("medium priority"),
    Priority.HIGH: N_("high priority"),
}
VITALS: Final[Mapping[Vital, str]] = {
    Vital.CGM: N_("Glucose, sensor"),
    Vital.GLUCOSE: N_("Glucose, meter"),
    Vital.KETONE: N_("Ketone, meter"),
    Vital.BLOOD_PRESSURE: N_("Blood pressure"),
}
REASONS: Final[Mapping[str, str]] = {
    "unassigned": N_("Nobody is known to wear the device"),
    "no-value": N_("The device reports a failed measurement"),
    "control-solution": N_("A test of the meter, not of the patient"),
    "impossible": N_("A value no living person has"),
    "conflict": N_("The same record came before with another value"),
    "too_short": N_("The message is cut short"),
    "invalid": N_("Not a message we can read"),
    "rejected": N_("InfluxDB refused it for good"),
    "too-many": N_("More came than can wait, and is not kept"),
}
# What helps with a letter of each reason, for who cannot read the English sentence that it keeps.
WHAT_HELPS: Final[Mapping[str, str]] = {
    "unassigned": N_("Give the device to a patient, or correct since when it is worn; then this is tried again."),
    "no-value": N_("Ask the patient to measure again."),
    "control-solution": N_("Nothing has to be done: it is no reading of the patient. It can be discarded."),
    "impossible": N_("Ask the patient to measure again, and look at the device."),
    "conflict": N_("Try it again: it becomes a revision."),
    "too_short": N_("Ask the maker of the device; after an update of Homeward, try it again."),
    "invalid": N_("Ask the maker of the device; after an update of Homeward, try it again."),
    "rejected": N_("Mend in InfluxDB what its answer says, then try it again. The reading itself is not lost."),
    "too-many": N_("Give the device to a patient, or discard its letters."),
}
FLAGS: Final[Mapping[Flag, str]] = {
    Flag.ABOVE_RANGE: N_("above what the device can measure"),
    Flag.BELOW_RANGE: N_("below what the device can measure"),
    Flag.BATTERY_LOW: N_("battery low"),
    Flag.SENSOR_MALFUNCTION: N_("sensor malfunction"),
    Flag.SAMPLE_INSUFFICIENT: N_("too little blood"),
    Flag.STRIP_ERROR: N_("strip error"),
    Flag.TEMPERATURE_ERROR: N_("too cold or too warm"),
    Flag.TIME_FAULT: N_("clock fault"),
    Flag.CONTROL_SOLUTION: N_("control solution"),
    Flag.BODY_MOVEMENT: N_("moved while measuring"),
    Flag.CUFF_LOOSE: N_("cuff loose"),
    Flag.IRREGULAR_PULSE: N_("irregular pulse"),
    Flag.PULSE_ABOVE_RANGE: N_("pulse above range"),
    Flag.PULSE_BELOW_RANGE: N_("pulse below range"),
    Flag.IMPROPER_POSITION: N_("wrong position"),
    Flag.SESSION_STOPPED: N_("sensor session over"),
    Flag.CALIBRATION_NEEDED: N_("calibration needed"),
    Flag.MEAL_UNKNOWN: N_("meal unknown"),
}
_DISPLAY: Final = {Flag.ABOVE_RANGE: "HI", Flag.BELOW_RANGE: "LO"}


def clock_word(error_s: float, was_set: bool | None, language: Language) -> str:
    """How right a device's clock is. error_s: seconds that it was ahead; was_set: as in `DeviceFacts.clock_set`."""
    say = language.gettext
    error = timedelta(minutes=round(abs(error_s) / 60))
    if abs(error_s) < _CLOCK_RIGHT_S:
        told = say("right")
    else:
        told = say("{time} fast") if error_s > 0 else say("{time} slow")
        told = told.format(time=language.duration(error))
    if was_set is None:
        return told
    return f"{told}, {say('set right since') if was_set else say('would not be set')}"


def outcome_word(language: Language, outcome: Outcome, reason: Reason | None = None) -> str:
    """How something ended, and why nothing was done where that was asked for."""
    ended = language.text(OUTCOME_WORDS[outcome])
    if reason is None:
        return ended
    said = language.gettext("{outcome}, because: {reason}")
    return said.format(outcome=ended, reason=language.text(REASON_WORDS[reason]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A reading as a person reads it."""

    label: str
    value: str
    unit: str
    at: datetime
    device: str
    remarks: str


def shown(reading: Reading, glucose_unit: Unit, language: Language, *, sent: bool = False) -> Shown:
    """The reading in the patient's unit of glucose; sent: and, where that was another one, as the device sent it."""
    say = language.gettext
    value, unit = (
        _pressure(reading, say)
        if reading.vital is Vital.BLOOD_PRESSURE
        else _glucose(reading, glucose_unit, sent=sent)
    )
    return Shown(
        label=say(VITALS[reading.vital]),
        value=value,
        unit=unit,
        at=reading.taken_at,
        device=reading.device,
        remarks=", ".join(say(word) for flag, word in FLAGS.items() if flag in reading.flags),
    )


def _glucose(reading: Reading, wanted: Unit, *, sent: bool) -> tuple[str, str]:
    if reading.sent[0] is None or reading.values[0] is None:
        return next((word for flag, word in _DISPLAY.items() if flag in reading.flags), "–"), ""
    number, unit = family(reading.sent[0], reading.unit)
    if reading.vital is Vital.KETONE or (sent and wanted is unit):
        return f"{number:g}", unit
    value = reading.values[0] if wanted is Unit.MG_DL else reading.values[0] / MG_DL_PER_MMOL_L
    return (
        f"{number if wanted is unit else value:.{0 if wanted is Unit.MG_DL else 1}f}",
        f"{wanted} ({number:g} {unit})" if sent else wanted,
    )


def _pressure(reading: Reading, say: Callable[[str], str]) -> tuple[str, str]:
    value, pulse = _both(reading.sent, "g"), reading.sent[3]
    beat = "" if pulse is None else ", " + say("pulse {n}/min").format(n=f"{pulse:g}")
    known = "" if reading.unit is Unit.MMHG else f" ({_both(reading.values, '.0f')} {Unit.MMHG})"
    return value, f"{reading.unit}{known}{beat}"


def _both(values: tuple[float | None, ...], form: str) -> str:
    return "/".join("–" if number is None else f"{number:{form}}" for number in values[:2])
