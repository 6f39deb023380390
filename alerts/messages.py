"""What is said to people: Jinja2 templates in English and Simplified Chinese, `messages/KIND.LANGUAGE.jinja`.

The first line of a template is the subject, what follows the empty line the body. Links are added by the channels.
What is said through a channel that is not trusted is of a kind that ends in "_untrusted".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from alerts.alert import HOUSE, SEVERAL, Alert, Audience, Notice, Priority, Text, together, utc_offset
from alerts.device_rules import CHANNEL_DEAD, DEVICE_RULES
from alerts.devices import UNWELL
from alerts.escalation import PATIENT, Result, Timer, TimerKind
from alerts.first_aid import advice, advice_late
from alerts.follow_up import Fact, FollowUp
from alerts.invitation import APPOINTMENT_ID, Appointment
from alerts.machine import OVER, PRIORITY_WORDS, for_patient, title
from alerts.metrics import LOW_1
from alerts.scene import span
from alerts.shown import converted, number, shown
from alerts.spot_rules import BP_CUFF_ERROR, MISSED_MEASUREMENT
from alerts.survey import EDUCATION_ID, QUESTIONS, SURVEY_ID
from alerts.team import ROLE_WORDS, Recipient, numbers_among
from ingest.reading import Reading
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital

TRIAL_ID: Final = "c-"  # how the id of a message begins that only tries whether a contact works
CALL_ID: Final = "k-"  # how the id of a message begins that asks somebody to telephone
OVERDUE_ID: Final = "o-"  # how the id of a notice about an overdue follow-up begins
GIVEN_ID: Final = "g-"  # how the id of a notice about a follow-up begins that somebody was given
PLAIN_ID: Final = "p-"  # how the id of a message begins that joins for a patient what is not urgent
_LANGUAGES: Final = ("en", "zh_CN")
_STEADY_MG_DL: Final = 1.0  # per minute; slower is a flat arrow on every sensor
_STEADY_MMOL_L: Final = 0.06
_LATE: Final = timedelta(minutes=20)  # between readings that show how fast glucose moves
# What came later than this after it was taken may be otherwise by now: a low is measured again after as long.
_CAME_LATE: Final = timedelta(minutes=15)
_MOST_READINGS: Final = 3
_MOST_TRIED: Final = 6  # the first round of a ladder of high priority, and one more
_GLUCOSE: Final = frozenset({Vital.GLUCOSE, Vital.CGM})
_BETWEEN_SENTENCES: Final = re.compile(r"(?<=\.) |(?<=。)")
# Of overdue follow-ups, as the templates "overdue" and "digest" begin: no health data.
_SINCE_EN: Final = re.compile(r"(a follow-up is|\d+ follow-ups are) overdue since (.+?), (?:patient|several) ")
_SINCE_ZH: Final = re.compile(r"(?:(\d+) 项)?随访自 (.+?) 起逾期")
# Of one that was given to somebody, as a line of the template "given" begins.
_DUE_EN: Final = re.compile(r"^To be done by ([^.\n]+)\.", re.MULTILINE)
_DUE_ZH: Final = re.compile(r"^请于 ([^。\n]+) 前处理。", re.MULTILINE)
# Of a reply, as the template "reply" begins.
_ANSWERED: Final = " has answered"
# What a rule asks of a patient that no day is lost by: of devices, and of measuring.
_PLAIN: Final = frozenset(for_patient(rule.title) for rule in (*DEVICE_RULES, MISSED_MEASUREMENT, BP_CUFF_ERROR))
_JUST_LATE: Final = Text(en="less than 1 min ago", zh="已逾期不到 1 分钟")
_COMMA: Final = Text(en=", ", zh="，")

_ROLES: Final[Mapping[str, Text]] = {
    PATIENT: Text(en="the patient", zh="患者"),
    **{role.value: words for role, words in ROLE_WORDS.items()},
}
_BY_NAME: Final = Text(en="by name", zh="指定人员")
_RESULTS: Final[Mapping[Result, Text]] = {
    Result.TOLD: Text(en="told, no answer yet", zh="已通知，尚无回应"),
    Result.PUT_OFF: Text(en="will be told after the quiet hours", zh="将在免打扰时段后通知"),
    Result.NOBODY: Text(en="nobody could be told", zh="无人可通知"),
    Result.NOT_DELIVERED: Text(en="the message was not delivered", zh="消息未送达"),
    Result.TO_BE_CALLED: Text(en="staff were asked to telephone", zh="已请工作人员致电"),
    Result.DELIVERED: Text(en="delivered late, no answer yet", zh="延迟送达，尚无回应"),
}
_ANSWER: Final = Text(en="Reach the patient now.", zh="请立即联系患者。")
_NOT_URGENT: Final = Text(en="Contact the patient; it is not urgent.", zh="请联系患者（不紧急）。")
_WHEN_OVER: Final = Text(en="See whether the patient is well.", zh="请确认患者是否已无不适。")
_NO_NUMBER: Final = Text(
    en="no telephone number is entered. Enter one on the patient's page.", zh="未登记电话号码，请在患者页面登记。"
)
# What to ask is from the rules' own sources: an altered state that needs help, signs of an emergency with a severe
# blood pressure, ketone of 3.0 mmol/L.
_FOR_STAFF: Final[Mapping[str, Text]] = {
    "glucose-low": Text(
        en="Reach the patient now. Ask whether they are awake, can swallow, and have somebody with them; if not, "
        "call the emergency number (120 in China).",
        zh="请立即联系患者：询问是否清醒、能否吞咽、身边有无他人；如有不妥，请拨打急救电话（中国大陆 120）。",
    ),
    "blood-pressure-high": Text(
        en="Reach the patient now. Ask for pain in chest or back, breathlessness, numbness or weakness, and change "
        "of vision or speech: with any of these call the emergency number (120 in China).",
        zh="请立即联系患者：询问有无胸背痛、气促、麻木或无力、视物或言语改变；如有任何一项，请拨打急救电话"
        "（中国大陆 120）。",
    ),
    "ketone": Text(
        en="Reach the patient now. Ask for vomiting, hard breathing and drowsiness: with any of these call the "
        "emergency number (120 in China).",
        zh="请立即联系患者：询问有无呕吐、呼吸深快、嗜睡；如有任何一项，请拨打急救电话（中国大陆 120）。",
    ),
    CHANNEL_DEAD.problem: Text(
        en="See to the server and the account behind the channel. People are told through their other contacts "
        "meanwhile; what waits is tried on.",
        zh="请检查该渠道的服务器与账户。期间改用其他联系方式通知；待发消息会继续重试。",
    ),
}
_CALL_ME: Final = Text(
    en="To have your clinic call you, open the link: nobody has to sign in.",
    zh="如需诊所给您打电话，请打开链接，无需登录。",
)
_TOLD_TO_CLINIC: Final = Text(en="Your clinic is being told.", zh="正在通知您的诊所。")
_IF_UNWELL: Final = Text(
    en="If you feel unwell, call the emergency number (120 in China).",
    zh="如感不适，请拨打急救电话（中国大陆 120）。",
)
_CARED_FOR: Final = together((_TOLD_TO_CLINIC, _IF_UNWELL))
# Of a low, by whether the newest reading leaves open that it is over.
_SUGAR: Final[Mapping[bool, Text]] = {
    may_be_over: Text(en=said.en.strip(), zh=said.zh)
    for may_be_over, said in ((False, advice(very_low=True)), (True, advice_late(very_low=True)))
}


_OVERDUE: Final[Mapping[bool, Text]] = {
    False: Text(
        en="Reach the patient and note the try, hand it over with a note, or close it with an outcome.",
        zh="请联系患者并记录，或附说明转交，或填写处理结果后结束。",
    ),
    True: Text(
        en="The patient was reached: close it with an outcome, or agree on another time.",
        zh="已联系到患者：请填写处理结果后结束，或另约时间。",
    ),
}
_OVERDUE_KEPT: Final = Text(
    en="Ask at the place of the appointment, or the patient, whether the patient came, and note “kept” or “not kept” "
    "on the page of this follow-up: that closes it.",
    zh="请向接诊处或患者了解患者是否到诊，并在本随访页面记录“已到诊”或“未到诊”，记录后本随访即结束。",
)
_FOR_EMERGENCY: Final = Text(
    en="Have the emergency number (120 in China) called now, and close it with the outcome “Emergency services” "
    "(emergency): no other is taken.",
    zh="请立即呼叫急救（中国大陆 120），结束时选择“已呼叫急救”（emergency）：不能选择其他结果。",
)


# As the templates have it, of one message and of several; for a way by which no answer comes back it is left out.
_OR_REPLY_EN: Final = re.compile(r", or answer OK(?: to the message about it)?")
_OR_REPLY_ZH: Final = re.compile(r"，或(?:直接回复该警报的消息|回复)“收到”")
# As the template of an alert has it; the links in a message that joins some lead to where one signs in.
_ACKNOWLEDGE: Final = Text(en="Acknowledge with the link, or answer OK", zh="请点击链接确认，或回复“收到”")
_ACKNOWLEDGE_THERE: Final = Text(en="Open the link, sign in and acknowledge it there", zh="请打开链接，登录后确认")


# How a message to a patient greets, before it says what it is about: of a rule, and as the template "patient" begins.
_GREETINGS: Final = (
    for_patient(Text(en="", zh="")),
    Text(en="Please look after yourself now: ", zh="请立即关注："),
)

Doubts = Sequence[tuple[datetime, Text]]
"""What somebody has said of a patient's contacts that are wrong, and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A message in both languages."""

    subject: Text
    body: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The last readings in words and how they move; None where there is nothing to say.

    zone: of whose wall clock the readings' moments are; "" without readings. may_be_over: whether a low may be over
    by now, for the newest reading is none or came late.
    """

    numbers: Text | None = None
    trend: Text | None = None
    zone: str = ""
    may_be_over: bool = False


def write(kind: str, zone: str, **places: Any) -> Written:
    """A message from its template; moments are shown on the wall clock of the zone.

    A place named "now" is a moment in that zone: where a year is another than its own, it is shown.
    """
    en, zh = (_render(f"{kind}.{language}.jinja", zone, places) for language in _LANGUAGES)
    return Written(subject=Text(en=en[0], zh=zh[0]), body=Text(en=en[1], zh=zh[1]))


def alert_message(
    alert: Alert,
    *,
    to_patient: bool,
    zone: str,
    situation: Situation,
    run: Sequence[Timer] = (),
    follow_up: FollowUp | None = None,
    whose: Recipient | None = None,
    doubts: Doubts = (),
) -> Written:
    """What somebody is told of an alert.

    run: the timers of its run, for who was told before. follow_up: the open one, if there is. whose: the patient,
    with the contacts. doubts: see `Doubts`.
    """
    problem, _, _ = alert.problem.partition(":")
    apart = _elsewhere(situation.zone or (whose.zone if whose else zone), zone)
    tried = _tried(run)
    to_do = _FOR_STAFF.get(problem, _NOT_URGENT if alert.priority is Priority.LOW else _ANSWER)
    if alert.condition_gone_at and alert.patient != HOUSE:
        to_do = _WHEN_OVER
    if follow_up and follow_up.emergency:
        to_do = _FOR_EMERGENCY
    if to_patient:
        sugar = together((_SUGAR[situation.may_be_over], _TOLD_TO_CLINIC))
        to_do = sugar if problem == "glucose-low" else _CARED_FOR
    return write(
        "patient" if to_patient else "staff",
        zone,
        priority=PRIORITY_WORDS[alert.priority],
        title=title(alert),
        patient=_patient(alert.patient),
        because=alert.because,
        numbers=situation.numbers,
        trend=situation.trend,
        elsewhere=apart,
        **_reached(alert.patient, whose),
        doubts=doubts,
        over=alert.condition_gone_at is not None,
        tried=[_told(each, zone, with_offset=bool(apart)) for each in tried[-_MOST_TRIED:]],
        tries=len(tried),
        care=follow_up.care if follow_up else None,
        advice=to_do,
    )


def appointment_message(
    appointment: Appointment, *, zone: str, now: datetime, reminds: bool = False, known: bool = True
) -> Written:
    """What a patient is told of an appointment that was made, moved or called off.

    reminds: of one that is near. known: whether the patient was told of it before, where it was changed.
    """
    changed = "cancelled" if appointment.cancelled else "moved" if appointment.sequence and known else "made"
    local = appointment.start.astimezone(ZoneInfo(zone))
    return write(
        "appointment",
        zone,
        news="reminder" if reminds else changed,
        weekday=Text(en=f"{local:%A}", zh=f"星期{'一二三四五六日'[local.weekday()]}"),
        start=appointment.start,
        now=now.astimezone(ZoneInfo(zone)),
        elsewhere=True,
        length=span(appointment.length),
        place=appointment.place,
        whom=appointment.with_whom,
    )


def was_it_kept(appointment: Appointment, zone: ZoneInfo) -> Text:
    """What is asked of an appointment whose day has passed. zone: the patient's."""
    local = appointment.start.astimezone(zone)
    day = _day(local, local.year)
    at, place = f"{local:%H:%M} {utc_offset(local)}", f", {appointment.place}" if appointment.place else ""
    return Text(
        en=f"The appointment of {day.en} {at}{place}: was it kept? Note it on the page of this follow-up.",
        zh=f"{day.zh} {at} 的预约{place.replace(', ', '，')}：患者是否到诊？请在本随访页面记录。",
    )


def please_call_message(follow_up: FollowUp, whose: Recipient, *, zone: str, doubts: Doubts = ()) -> Written:
    """What is told of a patient who asks to be called. doubts: see `Doubts`."""
    places = {"patient": follow_up.patient, "because": follow_up.because, "doubts": doubts}
    return write("please_call", zone, **places, **_reached(follow_up.patient, whose))


def reply_message(
    text: str,
    *,
    who: str,
    zone: str,
    alert: str | None = None,
    open_alerts: Mapping[str, Alert] | None = None,
    whose: Recipient | None = None,
    doubts: Doubts = (),
    is_listed: bool = False,
) -> Written:
    """What is told of a reply that acknowledged nothing.

    open_alerts: which it may be about, by their pages. whose: the patient who has written, with the contacts. doubts:
    see `Doubts`. is_listed: whether it is in a follow-up.
    """
    waiting = [
        {"title": title(each), "patient": _patient(each.patient), "link": link}
        for link, each in (open_alerts or {}).items()
    ]
    named = Text(en=f"Patient {who}", zh=f"患者 {who}") if whose else Text(en=who, zh=who)
    known = {"patient": _reached(who, whose), "doubts": doubts, "is_listed": is_listed}
    return write("reply", zone, who=named, alert=alert, text=text, waiting=waiting, **known)


def _reached(of_patient: str, whose: Recipient | None) -> dict[str, Any]:
    """Whom a message is about, and the number; only where the channel is trusted with the text."""
    if whose is None or of_patient == HOUSE:
        return {"who": "", "call": None}
    numbers = " / ".join(numbers_among(whose.contacts))
    return {
        "who": whose.name,
        "call": Text(en=f"telephone {numbers}.", zh=f"电话 {numbers}。") if numbers else _NO_NUMBER,
    }


def _elsewhere(of_patient: str, zone: str) -> str:
    """The patient's zone where it is not the reader's: moments are then told with their offset."""
    return of_patient if of_patient != zone else ""


def says_all_of(notice: Notice, message: Notice, alert: Alert) -> bool:
    """Whether who reads a message about an alert need not read what a rule says to the patient at the same moment.

    The message is as urgent, is about the same rule, and leaves out no sentence, in neither language: what differs in
    a number or an advice is told beside it.
    """
    return (
        message.priority >= notice.priority
        and notice.subject == for_patient(title(alert))
        and _has_all(message.body.en, notice.body.en)
        and _has_all(message.body.zh, notice.body.zh)
    )


def _has_all(told: str, said: str) -> bool:
    return all(sentence in told for sentence in _BETWEEN_SENTENCES.split(said))


def all_clear_message(
    alert: Alert, said: Written, *, to_patient: bool, zone: str, care: Text | None = None
) -> Written:
    """What those are told who were told before, when the condition is over. said: what there is to say of that."""
    return write(
        "patient_all_clear" if to_patient else "staff_all_clear",
        zone,
        headline=said.subject,
        patient=_patient(alert.patient),
        because=said.body,
        acknowledged_by=alert.acknowledged_by,
        closed_by=alert.closed_by,
        care=care,
    )


def overdue_message(
    follow_up: FollowUp,
    *,
    zone: str,
    now: datetime,
    given: Fact | None = None,
    elsewhere: bool = False,
    whose: Recipient | None = None,
    doubts: Doubts = (),
) -> Written:
    """What who has a follow-up is told when its time has passed.

    given: how it was, if somebody gave it. elsewhere: see `_moment`. whose: the patient, with the contacts. doubts:
    see `Doubts`.
    """
    return write(
        "overdue",
        zone,
        priority=PRIORITY_WORDS[follow_up.priority],
        patient=follow_up.patient,
        **_reached(follow_up.patient, whose),
        because=follow_up.because,
        given_by=given.by if given and given.note else None,
        note=given.note if given else "",
        due_at=follow_up.due_at,
        now=now.astimezone(ZoneInfo(zone)),
        late=_late(now - follow_up.due_at),
        rule=follow_up.rule,
        assigned_to=follow_up.assigned_to,
        role=ROLE_WORDS[follow_up.role],
        tries=_tries(follow_up),
        doubts=doubts,
        emergency=follow_up.emergency,
        advice=_overdue_advice(follow_up),
        unasked=follow_up.unasked,
        elsewhere=elsewhere,
    )


def digest_message(
    items: Sequence[Mapping[str, Any]],
    *,
    zone: str,
    now: datetime,
    elsewhere: bool,
    priority: Priority,
    patient: str,
    since: datetime | None,
) -> Written:
    """Some messages in one.

    now: in the zone. elsewhere: see `_moment`. priority: of the most urgent. since: the first is overdue, where all
    are of overdue follow-ups; else None.
    """
    return write(
        "digest",
        zone,
        items=[{**each, "body": each["body"] and _as_joined(each["body"])} for each in items],
        now=now,
        elsewhere=elsewhere,
        priority=PRIORITY_WORDS[priority],
        patient=_patient(patient),
        since=since,
    )


def _as_joined(body: Text) -> Text:
    return Text(
        en=body.en.replace(_ACKNOWLEDGE.en, _ACKNOWLEDGE_THERE.en),
        zh=body.zh.replace(_ACKNOWLEDGE.zh, _ACKNOWLEDGE_THERE.zh),
    )


def given_message(
    follow_up: FollowUp,
    given: Fact,
    *,
    zone: str,
    now: datetime,
    elsewhere: bool = False,
    whose: Recipient | None = None,
    doubts: Doubts = (),
) -> Written:
    """What who is given a follow-up by somebody is told.

    given: how it was; its note is what there is to know. elsewhere: see `_moment`. whose: the patient, with the
    contacts. doubts: see `Doubts`.
    """
    return write(
        "given",
        zone,
        elsewhere=elsewhere,
        priority=PRIORITY_WORDS[follow_up.priority],
        by=given.by,
        to=follow_up.assigned_to,
        role=ROLE_WORDS[follow_up.role],
        patient=follow_up.patient,
        **_reached(follow_up.patient, whose),
        because=follow_up.because,
        note=given.note,
        due_at=follow_up.due_at,
        now=now.astimezone(ZoneInfo(zone)),
        rule=follow_up.rule,
        tries=_tries(follow_up),
        doubts=doubts,
        unasked=follow_up.unasked,
    )


def _late(by: timedelta) -> Text:
    """By how much it is overdue; most are told within seconds."""
    if by < timedelta(minutes=1):
        return _JUST_LATE
    said = span(by)
    return Text(en=f"{said.en} ago", zh=f"已逾期 {said.zh}")


def _tries(follow_up: FollowUp) -> Text | None:
    """None where nobody is asked to reach the patient."""
    return None if follow_up.asks_kept and not follow_up.attempts else follow_up.tries


def _overdue_advice(follow_up: FollowUp) -> Text:
    if follow_up.emergency:
        return _FOR_EMERGENCY
    return _OVERDUE_KEPT if follow_up.asks_kept else _OVERDUE[follow_up.is_reached]


def call_message(
    about: Notice,
    alert: Alert | None,
    *,
    name: str,
    number: str,
    zone: str,
    situation: Situation,
    failed: bool,
    besides: Sequence[Text] = (),
    of_patient: str = "",
    doubts: Doubts = (),
) -> Written:
    """What who is to telephone somebody is told. about: what the other one is to be told, with the alert that lasts.

    A survey is asked by telephone, and its answers are noted behind the link. failed: whether another contact of the
    same person has. besides: what else is to be said in the same call. of_patient: the patient's zone, by which what
    a rule says to the patient is. doubts: see `Doubts`.
    """
    elsewhere = _elsewhere(situation.zone or of_patient or zone, zone)
    problem, _, _ = alert.problem.partition(":") if alert and about.audience is Audience.PATIENT else ("", "", "")
    say = _SUGAR[situation.may_be_over] if problem == "glucose-low" else _IF_UNWELL
    is_said = not problem or any(_has_all(each.zh, say.zh) for each in besides)
    is_asked = about.id.startswith(SURVEY_ID)
    return write(
        "call",
        zone,
        name=name,
        number=number,
        about=_without_greeting(about.subject),
        because=None if is_asked else alert.because if alert else about.body,
        questions=[*QUESTIONS.values()] if is_asked else [],
        numbers=situation.numbers,
        trend=situation.trend,
        elsewhere=elsewhere,
        clock="" if alert or is_asked else elsewhere,
        failed=failed,
        besides=besides,
        doubts=doubts,
        advice=_FOR_STAFF.get(problem),
        say=None if is_said else say,
    )


def _without_greeting(subject: Text) -> Text:
    for greeting in _GREETINGS:
        subject = Text(en=subject.en.removeprefix(greeting.en), zh=subject.zh.removeprefix(greeting.zh))
    return subject


def late_message(notice: Notice, now: datetime, *, has_link: bool) -> Written:
    """A notice as it stands; of one that comes late, for quiet hours or a channel that was dead, how old it is.

    has_link: a patient reads what it is good for, where the notice itself does not say so.
    """
    age, said = now - notice.written_at, [notice.body]
    if age > _CAME_LATE:
        old = span(age)
        said.insert(0, Text(en=f"This message was written {old.en} ago.", zh=f"本消息写于 {old.zh}前。"))
    if has_link and notice.audience is Audience.PATIENT and not notice.id.startswith((SURVEY_ID, EDUCATION_ID)):
        said.append(_CALL_ME)
    return Written(subject=notice.subject, body=together(said, Text(en="\n", zh="\n")))


def is_end(notice: Notice) -> bool:
    """Whether a notice says that the condition of an alert is over."""
    return notice.subject.en.startswith(OVER.en.removesuffix("{title}"))


def is_plain(notice: Notice) -> bool:
    """Whether a message tells a patient nothing that is urgent, nor by which the patient may be in danger."""
    known = notice.id.startswith((APPOINTMENT_ID, EDUCATION_ID, PLAIN_ID)) or notice.subject in _PLAIN
    is_low = notice.audience is Audience.PATIENT and notice.priority is Priority.LOW
    # A sensor that was silent after a low would not tell that there is another one.
    return is_low and (known or is_end(notice)) and UNWELL.zh not in notice.body.zh


def untrusted_message(notice: Notice, *, has_link: bool) -> Written:
    """What may be said of a notice through a channel that is not trusted. Some say nothing of health.

    has_link: whether the patient finds all of it behind one; else there is only the clinic to ask.
    """
    if notice.id.startswith((SURVEY_ID, TRIAL_ID)):
        return Written(subject=notice.subject, body=notice.body)
    if notice.id.startswith(EDUCATION_ID):
        return write("education_untrusted", "UTC")
    if notice.id.startswith(OVERDUE_ID):
        en, zh = _SINCE_EN.search(notice.subject.en), _SINCE_ZH.search(notice.subject.zh)
        since = Text(en=en[2], zh=zh[2]) if en and zh else None
        words, many = PRIORITY_WORDS[notice.priority], zh[1] if zh else None
        whose = _patient(notice.patient)
        kept = _OVERDUE_KEPT.zh in notice.body.zh
        return write("overdue_untrusted", "UTC", priority=words, patient=whose, since=since, many=many, kept=kept)
    if notice.id.startswith(GIVEN_ID):
        # A note of somebody stands before it.
        due = Text(en=_DUE_EN.findall(notice.body.en)[-1], zh=_DUE_ZH.findall(notice.body.zh)[-1])
        words, whose = PRIORITY_WORDS[notice.priority], _patient(notice.patient)
        return write("given_untrusted", "UTC", priority=words, patient=whose, due=due)
    kind = "patient_untrusted" if notice.audience is Audience.PATIENT else "staff_untrusted"
    if is_plain(notice):
        kind = "plain_untrusted"
    elif notice.id.startswith(CALL_ID):
        kind = "call_untrusted"
    elif kind == "staff_untrusted" and is_end(notice):
        kind = "over_untrusted"
    return write(
        kind,
        "UTC",
        priority=PRIORITY_WORDS[notice.priority],
        patient=_patient(notice.patient),
        is_alert=notice.alert is not None,
        has_link=has_link,
        said=about_untrusted(notice),
    )


def about_untrusted(notice: Notice) -> Text:
    """How urgent a notice to staff is, whom it is about, and where all of it stands: no health data."""
    urgency, whom = PRIORITY_WORDS[notice.priority], _patient(notice.patient)
    where = Text(en="Details only after signing in.", zh="详情请登录查看。")
    if notice.patient == HOUSE and _ANSWERED in notice.subject.en:
        whom = Text(en="a reply that is of no patient", zh="一条不属于任何患者的回复")
        where = Text(en="Its text is in the audit (GET /api/v1/audit).", zh="内容见审计记录（GET /api/v1/audit）。")
    return Text(en=f"{urgency.en}, {whom.en}. {where.en}", zh=f"{urgency.zh}，{whom.zh}。{where.zh}")


def _patient(name: str) -> Text:
    """Whom a message is about."""
    if name == HOUSE:
        return Text(en="Homeward itself", zh="Homeward 系统")
    if name == SEVERAL:
        return Text(en="several patients", zh="多名患者")
    return Text(en=f"patient {name}", zh=f"患者 {name}")


def situation_of(
    readings: Sequence[Reading],
    zone: str,
    reads: Unit | None = None,
    now: datetime | None = None,
    *,
    glucose: Reading | None = None,
) -> Situation:
    """The last readings of one vital, oldest first, in words; and how glucose or pressure moves.

    zone: the patient's, by which the sentence of the alert is as well. reads: the unit in which a glucose is said
    first; None: the one received. now: a reading of another day is told with its day; None: as of the newest.
    glucose: the newest, where it is to be said beside them.
    """
    last = readings[-_MOST_READINGS:]
    if not last:
        return Situation()
    wall = ZoneInfo(zone)
    today = (now or last[-1].taken_at).astimezone(wall)
    times = [_clock(each.taken_at.astimezone(wall), today) for each in last]
    told = [_measured(each, time, reads) for each, time in zip(last, times, strict=True)]
    numbers = together(told, _COMMA)
    if glucose:
        beside = _measured(glucose, _clock(glucose.taken_at.astimezone(wall), today), reads)
        numbers = Text(en=f"{numbers.en}; newest glucose {beside.en}", zh=f"{numbers.zh}；最新血糖 {beside.zh}")
    return Situation(
        numbers=numbers,
        trend=_trend(last, times, reads),
        zone=zone,
        may_be_over=_may_be_over(last[-1]),
    )


def without_reply(written: Written | Notice) -> Written:
    """The same for a way by which no answer comes back: the link alone acknowledges."""
    en, zh = _OR_REPLY_EN.sub("", written.body.en), _OR_REPLY_ZH.sub("", written.body.zh)
    return Written(subject=written.subject, body=Text(en=en, zh=zh))


def _clock(moment: datetime, now: datetime) -> Text:
    """A local time, with its day where that is not today."""
    clock = f"{moment:%H:%M}"
    if moment.date() == now.date():
        return Text(en=clock, zh=clock)
    day = _day(moment, now.year)
    return Text(en=f"{day.en} {clock}", zh=f"{day.zh} {clock}")


def _day(moment: datetime, year: int) -> Text:
    """A local day, with its year where that is not the one given."""
    en, zh = f"{moment.day} {moment:%b}", f"{moment.month}月{moment.day}日"
    if moment.year == year:
        return Text(en=en, zh=zh)
    return Text(en=f"{en} {moment.year}", zh=f"{moment.year}年{zh}")


def _may_be_over(newest: Reading) -> bool:
    """Whether a low may be over by now, as far as the newest reading says."""
    return newest.vital in _GLUCOSE and (is_no_low(newest) or newest.received_at - newest.taken_at > _CAME_LATE)


def is_no_low(reading: Reading) -> bool:
    """Whether a glucose is not low; False of a value that is not known."""
    value, unit = shown(reading)
    return value >= (LOW_1.mmol_l if unit is Unit.MMOL_L else LOW_1.mg_dl)


def _measured(reading: Reading, time: Text, reads: Unit | None) -> Text:
    value = _value(reading, reads)
    return Text(en=f"{time.en} {value.en}", zh=f"{time.zh} {value.zh}")


def _value(reading: Reading, reads: Unit | None) -> Text:
    """A glucose in the unit that is read, and as it was received where that is another one."""
    received = _received(reading)
    value, unit = shown(reading)
    if reading.vital not in _GLUCOSE or reads in (None, unit) or not math.isfinite(value):
        return Text(en=received, zh=received)
    first = converted(value, unit)
    return Text(en=f"{first} ({received})", zh=f"{first}（{received}）")


def _received(reading: Reading) -> str:
    if reading.vital is Vital.BLOOD_PRESSURE:
        systolic, diastolic = (f"{value:.0f}" if value is not None else "?" for value in reading.values[:2])
        return f"{systolic}/{diastolic} {Unit.MMHG}"
    value, unit = shown(reading)
    if math.isinf(value):
        return "HI" if value > 0 else "LO"
    return "?" if math.isnan(value) else number(value, unit)


def _trend(readings: Sequence[Reading], times: Sequence[Text], reads: Unit | None) -> Text | None:
    """How the last reading stands to the one before. times: of the readings, in words."""
    if len(readings) < 2:
        return None
    before, now = readings[-2:]
    if now.vital is Vital.BLOOD_PRESSURE:
        return _pressure_trend(before, now, times[-2])
    (first, unit), (second, other) = shown(before), shown(now)
    minutes = (now.taken_at - before.taken_at) / timedelta(minutes=1)
    if now.vital is not Vital.CGM or unit is not other or not 0 < minutes <= _LATE / timedelta(minutes=1):
        return None
    rate = (second - first) / minutes
    if not math.isfinite(rate):
        return None
    if abs(rate) < (_STEADY_MMOL_L if unit is Unit.MMOL_L else _STEADY_MG_DL):
        return Text(en="steady.", zh="平稳。")
    said = reads or unit
    if said is not unit:
        rate *= MG_DL_PER_MMOL_L if said is Unit.MG_DL else 1 / MG_DL_PER_MMOL_L
    much = f"{abs(rate):.2f}" if said is Unit.MMOL_L else f"{abs(rate):.1f}"
    en, zh = ("falling", "下降") if rate < 0 else ("rising", "上升")
    return Text(en=f"{en} by {much} {said} per minute.", zh=f"每分钟{zh} {much} {said}。")


def _pressure_trend(before: Reading, now: Reading, then: Text) -> Text | None:
    first, second = before.values[0], now.values[0]
    if first is None or second is None:
        return None
    change = round(second - first)
    if not change:
        return Text(en=f"systolic unchanged since {then.en}.", zh=f"收缩压较 {then.zh} 无变化。")
    en, zh = ("lower", "降低") if change < 0 else ("higher", "升高")
    return Text(
        en=f"systolic {abs(change)} {Unit.MMHG} {en} than at {then.en}.",
        zh=f"收缩压较 {then.zh} {zh} {abs(change)} {Unit.MMHG}。",
    )


def _tried(run: Sequence[Timer]) -> list[Timer]:
    """The steps that were taken, the newest last. Whether one was delivered is looked into by a timer of its own."""
    done = [
        each for each in run if each.kind is TimerKind.STEP and each.done_at and each.step and each.result in _RESULTS
    ]
    return sorted(done, key=lambda one: (one.done_at or one.due, one.number))


def _told(timer: Timer, zone: str, *, with_offset: bool) -> Text:
    """When a step that was taken told whom, and what came of it."""
    to = timer.step.to if timer.step else ""
    at = (timer.done_at or timer.due).astimezone(UTC)
    return _told_at(at, to, timer.who, timer.result or Result.TOLD, zone, with_offset=with_offset)


@lru_cache(maxsize=4096)  # it is said again with each later step of its run
def _told_at(at: datetime, to: str, who: tuple[str, ...], result: Result, zone: str, *, with_offset: bool) -> Text:
    moment, role, said = (
        _moment_on(at, zone, None, with_offset=with_offset),
        _ROLES.get(to, _BY_NAME),
        _RESULTS[result],
    )
    named = Text(en=f" ({', '.join(who)})", zh=f"（{'、'.join(who)}）") if who else Text(en="", zh="")
    return Text(
        en=f"{moment.en}, {role.en}{named.en}: {said.en}",
        zh=f"{moment.zh}，{role.zh}{named.zh}：{said.zh}",
    )


def _environment(language: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("alerts", "messages"),
        autoescape=False,  # noqa: S701  plain text; who puts it into HTML escapes it there
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )
    environment.filters["t"] = lambda text: text.zh if language == "zh_CN" else text.en
    environment.filters["at"] = _moment_in_chinese if language == "zh_CN" else _moment_in_english
    return environment


@pass_context
def _moment_in_english(context: Context, moment: datetime) -> str:
    return _moment(context, moment).en


@pass_context
def _moment_in_chinese(context: Context, moment: datetime) -> str:
    return _moment(context, moment).zh


def _moment(context: Context, moment: datetime) -> Text:
    """On the reader's clock; with its offset where the patient's is another one ("elsewhere")."""
    now = context.get("now")
    with_offset = bool(context.get("elsewhere"))
    return _moment_on(moment.astimezone(UTC), context["zone"], now.year if now else None, with_offset=with_offset)


@lru_cache(
    maxsize=4096
)  # for both languages; a moment in UTC, for the two of an hour that comes twice are equal else
def _moment_on(moment: datetime, zone: str, year: int | None, *, with_offset: bool) -> Text:
    """A moment on a clock, with its year where it is another than the one given."""
    local = moment.astimezone(ZoneInfo(zone))
    day = _day(local, local.year if year is None else year)
    clock = f"{local:%H:%M}" + (f" {utc_offset(local)}" if with_offset else "")
    return Text(en=f"{day.en} {clock}", zh=f"{day.zh} {clock}")


_ENVIRONMENTS: Final = {language: _environment(language) for language in _LANGUAGES}


def _render(name: str, zone: str, places: Mapping[str, Any]) -> tuple[str, str]:
    language = name.split(".")[1]
    subject, body = _ENVIRONMENTS[language].get_template(name).render(zone=zone, **places).split("\n\n", 1)
    return subject, body.strip()
