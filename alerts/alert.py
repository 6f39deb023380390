"""The nouns of the alert's life: Finding, Alert, Act, Notice.

An alert is one trouble of one patient, written as dated facts. Its state is a view of the dates: "is the condition
present" and "has a person seen it" are independent. Priorities are named as in IEC 60601-1-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum, StrEnum
from typing import Final

from ingest.quick import quick

# In the place of a patient, where something is about the house itself.
HOUSE: Final = "-"
# Likewise, where one message is about several patients.
SEVERAL: Final = "*"


class Priority(IntEnum):
    """IEC 60601-1-8 alarm priority; a higher number is more urgent."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Verdict(StrEnum):
    """What a rule says now. HOLD is the hysteresis band: neither raise nor clear."""

    RAISE = "raise"
    HOLD = "hold"
    CLEAR = "clear"


class Audience(StrEnum):
    """Whom a finding is for."""

    STAFF = "staff"  # opens or joins an alert
    PATIENT = "patient"  # asks the patient for something (a second reading); opens no alert
    WEEKLY = "weekly"  # a pattern of days: a line of the weekly list


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One sentence for people, in English and in Simplified Chinese."""

    en: str
    zh: str


_BLANK: Final = Text(en=" ", zh="")


def together(texts: Iterable[Text], apart: Text = _BLANK) -> Text:
    """Sentences one behind the other."""
    told = list(texts)
    return Text(en=apart.en.join(each.en for each in told), zh=apart.zh.join(each.zh for each in told))


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule's verdict on one patient at one moment.

    problem groups rules that are about the same trouble (low and very low are both "glucose-low").
    since: when the condition began, by the readings. known_at: when the last of the readings that made it a finding
    came in, by the house's clock; what was done before was done without knowing of it. evidence: keys of the readings
    it rests on, oldest first. emergency_at: when the newest of its measurements came by which alone a person has to
    act, None where there is none. renews: whether an alert that it holds up says this from now on where its evidence
    is new, though nobody is told again.
    """

    patient: str
    rule: str
    problem: str
    verdict: Verdict
    priority: Priority
    audience: Audience
    because: Text
    since: datetime
    known_at: datetime
    evidence: tuple[str, ...] = ()
    emergency_at: datetime | None = None
    renews: bool = False


class Outcome(StrEnum):
    """How a person closed an alert or a follow-up. mended, false-alarm: only of the house itself, of no patient."""

    ADVICE = "advice"
    MEDICATION_CHANGED = "medication-changed"
    APPOINTMENT = "appointment"
    EMERGENCY = "emergency"
    MENDED = "mended"
    FALSE_ALARM = "false-alarm"
    NO_ACTION = "no-action"  # of a patient's alert with a Reason; the note says more


OUTCOMES_OF_HOUSE: Final = (Outcome.MENDED, Outcome.FALSE_ALARM, Outcome.NO_ACTION)
OUTCOMES_OF_CARE: Final = tuple(each for each in Outcome if each not in {Outcome.MENDED, Outcome.FALSE_ALARM})


OUTCOME_WORDS: Final[Mapping[Outcome, Text]] = {
    Outcome.ADVICE: Text(en="Advice given", zh="已给予建议"),
    Outcome.MEDICATION_CHANGED: Text(en="Medication changed", zh="已调整用药"),
    Outcome.APPOINTMENT: Text(en="Appointment made", zh="已预约就诊"),
    Outcome.EMERGENCY: Text(en="Emergency services", zh="已呼叫急救"),
    Outcome.MENDED: Text(en="Mended", zh="已修复"),
    Outcome.FALSE_ALARM: Text(en="False alarm", zh="误报"),
    Outcome.NO_ACTION: Text(en="No action needed", zh="无需处理"),
}


def outcomes_told(outcomes: Iterable[Outcome]) -> Text:
    """Outcomes in a sentence, with the codes of the API."""
    told = list(outcomes)
    return Text(en=", ".join(told), zh="、".join(f"{OUTCOME_WORDS[each].zh}（{each}）" for each in told))


def outcomes_of(patient: str) -> Sequence[Outcome]:
    """With which an alert about somebody, or about HOUSE, may be closed."""
    return OUTCOMES_OF_HOUSE if patient == HOUSE else OUTCOMES_OF_CARE


class Reason(StrEnum):
    """Why nothing was done about an alert of a patient. Homeward's own list: no standard has one.

    In the terms of IEC 60601-1-8 those of FALSE_ALARMS are false positive alarm conditions: there was no valid event
    in the patient. The others are true.
    """

    FALSE_READING = "false-reading"
    DEVICE_FAULT = "device-fault"
    WRONG_ENTRY = "wrong-entry"
    TREATED_BEFORE = "treated-before"
    ACCEPTED = "accepted"
    NOT_REACHED = "not-reached"
    DECLINED = "declined"
    OTHER = "other"  # the note says which


FALSE_ALARMS: Final = frozenset({Reason.FALSE_READING, Reason.DEVICE_FAULT, Reason.WRONG_ENTRY})
REASON_WORDS: Final[Mapping[Reason, Text]] = {
    Reason.FALSE_READING: Text(
        en="false reading (pressure on the sensor, interference)", zh="读数不实（传感器受压、受干扰）"
    ),
    Reason.DEVICE_FAULT: Text(en="fault of the device or cuff", zh="设备或袖带故障"),
    Reason.WRONG_ENTRY: Text(en="measured on somebody else, or entered wrongly", zh="非本人测量或录入有误"),
    Reason.TREATED_BEFORE: Text(en="treated before anybody was in contact", zh="联系前已自行处理"),
    Reason.ACCEPTED: Text(en="known and accepted for this patient", zh="已知情况，对该患者可接受"),
    Reason.NOT_REACHED: Text(en="the patient could not be reached in the end", zh="最终未能联系到患者"),
    Reason.DECLINED: Text(en="the patient declined", zh="患者拒绝"),
    Reason.OTHER: Text(en="another reason", zh="其他原因"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One trouble of one patient as dated facts (all aware UTC).

    id: "a-" and 16 hexadecimal digits, derived from (patient, problem, opened_at), so that a replay of the journal
    opens the same alert. raising: names of the rules that hold the condition up; empty once it has gone.
    since, because and evidence are about the newest episode of which staff were told; earlier ones are in the facts.
    emergency_at: as of the newest finding of that episode that had one. untold_since: when the condition came back
    for the patient alone, an episode of which staff have not been told; None when they have, or it is over.
    snoozed_at and what goes with it: somebody has put it off until then, and that lasts; None when nobody has, or it
    has ended. reason: of the outcome no-action; None of another, and where it was closed before it was asked for.
    """

    id: str
    patient: str
    problem: str
    priority: Priority
    because: Text
    evidence: tuple[str, ...]
    raising: frozenset[str]
    since: datetime
    opened_at: datetime
    updated_at: datetime
    notified_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_note: str | None = None
    snoozed_at: datetime | None = None
    snoozed_until: datetime | None = None
    snoozed_by: str | None = None
    snoozed_note: str | None = None
    emergency_at: datetime | None = None
    condition_gone_at: datetime | None = None
    untold_since: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    closing_note: str | None = None


class Symptom(StrEnum):
    """What makes a severe blood pressure an emergency (AHA; headache and vomiting: China, public health service)."""

    CHEST_PAIN = "chest-pain"
    BACK_PAIN = "back-pain"
    BREATHLESSNESS = "breathlessness"
    WEAKNESS = "numbness-or-weakness"
    VISION = "vision-change"
    SPEECH = "speech-change"
    HEADACHE = "severe-headache"
    VOMITING = "vomiting"


Symptoms = frozenset[Symptom]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a named person does with an alert. outcome is required to close and refused otherwise.

    reason: required with the outcome no-action about a patient, and refused otherwise. symptoms: on closing, those
    the patient has; empty: asked, none; None: not asked. until: on putting it off.
    """

    kind: ActKind
    alert: str
    by: str
    at: datetime
    note: str = ""
    outcome: Outcome | None = None
    reason: Reason | None = None
    symptoms: Symptoms | None = None
    until: datetime | None = None


class ActKind(StrEnum):
    """Acts a person can do."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    CLOSE = "close"


class IllegalAct(Exception):
    """The act does not fit the alert's state. `text` says why and what is possible instead.

    moment: (aware) what {moment} in the form stands for; UTC, until `on_clock` has it on somebody's clock.
    """

    def __init__(self, form: Text, moment: datetime | None = None, zone: tzinfo = UTC) -> None:
        said = "" if moment is None else minute_on(moment.astimezone(zone))
        self.text = Text(en=form.en.replace("{moment}", said), zh=form.zh.replace("{moment}", said)) if said else form
        super().__init__(self.text.en)
        self._form, self._moment = form, moment

    def on_clock(self, zone: tzinfo) -> IllegalAct:
        """The same, with its moment on the clock of a zone."""
        return IllegalAct(self._form, self._moment, zone)


def refuse_reason(what: Text, outcome: Outcome, reason: Reason | None, *, takes_one: bool) -> None:
    """Raises IllegalAct where something is to be closed without an action and does not say why, or else does.

    what: such as "alert a-1". takes_one: whether a reason is asked for where nothing was done.
    """
    if takes_one and outcome is Outcome.NO_ACTION:
        if reason is None:
            raise IllegalAct(
                Text(
                    en=f"Closing {what.en} with the outcome “No action needed” ({outcome}) needs a reason: "
                    f"{'; '.join(f'{words.en} ({each})' for each, words in REASON_WORDS.items())}.",
                    zh=f"以“无需处理”（{outcome}）关闭{what.zh} 须选择原因："
                    f"{'；'.join(f'{words.zh}（{each}）' for each, words in REASON_WORDS.items())}。",
                )
            )
    elif reason is not None:
        raise IllegalAct(
            Text(
                en=f"Closing {what.en} with the outcome {outcome} takes no reason: only no-action of a patient's "
                "alert does. Leave it out.",
                zh=f"以{outcomes_told([outcome]).zh}关闭{what.zh} 不填原因：仅患者警报的"
                f"{outcomes_told([Outcome.NO_ACTION]).zh}需要。请去掉原因。",
            )
        )


def minute_on(local: datetime) -> str:
    """An aware moment on the clock that it has: 2026-03-03 14:30 UTC+8."""
    return f"{local:%Y-%m-%d %H:%M} {utc_offset(local)}"


def utc_offset(local: datetime) -> str:
    """The offset that an aware moment has: UTC, UTC+8, UTC-3:30."""
    minutes = int((local.utcoffset() or timedelta()).total_seconds() // 60)
    if minutes == 0:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to one audience, written down before it is sent.

    id: derived from what it is about, so the same notice is never written twice. alert is None for a request to the
    patient, and of what is about a follow_up alone (the id of one). subject and body are in both languages.
    recipient: "staff:ID" or "patient:ID" whose own contacts it goes to; None: it goes to the channels that the house
    has for its audience.
    """

    id: str
    alert: str | None
    patient: str
    audience: Audience
    priority: Priority
    subject: Text
    body: Text
    written_at: datetime
    recipient: str | None = None
    follow_up: str | None = None
