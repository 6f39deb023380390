"""The life of a follow-up: what a named person does about a patient, until it has an outcome. Pure.

A follow-up is dated facts. What is true after each of them (who has it, by when, and why by then) stands in the fact
itself, so that `replay` gives the same state whatever the rules say later. `decide` is total; by what there is and
what comes:

|             | Open  | Claim       | HandOver                   | Attempt     | Postpone | Close  |
|-------------|-------|-------------|----------------------------|-------------|----------|--------|
| none        | opens | refused     | refused                    | refused     | refused  | refused |
| open        | -     | in progress | role: open, person: in progress | in progress | open | closed |
| in progress | -     | refused     | role: open, person: in progress | in progress, or open | in progress | closed |
| closed      | -     | refused     | refused                    | refused     | refused  | refused |

**Open** means that nobody has it, but it has a role, and is due. Whoever tries to reach the patient has it from then
on. What was opened once is not opened again (-). What is refused raises IllegalAct with what is possible instead; a
closed one is never opened again, a new one is.

**The next try** is found by rule (`TRY_AGAIN`, `MOST_TRIES`): after three tries in a row that reached nobody the
follow-up goes to the coordinator, who finds another way. A wrong number opens a task of its own for the coordinator.

**What gets worse** (`worsened`): an alert that becomes more urgent, or comes back, makes its follow-up as urgent, and
due sooner; who has it stays.

**Overdue** (`overdue`): that its time has passed is a dated fact, once for each `due_at`; whoever has it is told, and
after as long again as it may take to act (`ACT_WITHIN`) the coordinators; of high priority again and again
(`alerts.escalation.overdue_ladder`).
What gives it another time begins this anew, as a new episode of its alert does with what is overdue. So do a
hand-over and an alert that gets worse, for who has it now is to know; they gain no time, and the coordinators are
told no later.

**Symptoms** have to be asked for where a severe blood pressure is followed up. Any of them makes it an emergency: of
high priority and due at once, whatever a later try finds, and no other outcome is taken then (AHA: above 180/120 mmHg
with chest or back pain, breathlessness, numbness or weakness, change of vision or speech; China: at or above 180/110
mmHg with headache, vomiting, speech or limb signs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import Final, NoReturn

from alerts.alert import (
    OUTCOMES_OF_CARE,
    Act,
    ActKind,
    Alert,
    IllegalAct,
    Notice,
    Outcome,
    Priority,
    Reason,
    Symptom,
    Symptoms,
    Text,
    outcomes_of,
    outcomes_told,
    refuse_reason,
    together,
)
from alerts.invitation import KEPT
from alerts.team import ROLE_WORDS, Role

# Usual tiers of programmes (an act within the hour, the half day, two days); no standard names them.
ACT_WITHIN: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: timedelta(minutes=30),
    Priority.MEDIUM: timedelta(hours=4),
    Priority.LOW: timedelta(hours=48),
}
# Homeward's own: after a try that reached nobody.
TRY_AGAIN: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: timedelta(minutes=15),
    Priority.MEDIUM: timedelta(hours=1),
    Priority.LOW: timedelta(days=1),
}
MOST_TRIES: Final = 3
# Within this a person says what a message would have said at once: as long as a message may take. Homeward's own.
CALL_WITHIN: Final = timedelta(minutes=15)
# So long after its time a follow-up may still be entered; earlier is a slip of the pen. Homeward's own.
LATEST_ENTERED: Final = timedelta(days=1)
# For how long one may be put off at once; one of high priority is handed over instead.
PUT_OFF: Final[Mapping[Priority, timedelta]] = {
    Priority.MEDIUM: timedelta(days=1),
    Priority.LOW: timedelta(days=31),
}
CONTACT_DATA: Final = "contact-data"
PLEASE_CALL: Final = "please-call"
# What claims that somebody has spoken with the patient; of high priority it is taken where a try says so.
_OUTCOMES_OF_CONTACT: Final = frozenset({Outcome.ADVICE, Outcome.MEDICATION_CHANGED})
WROTE: Final = "wrote"
_SEVERE_PROBLEM: Final = "blood-pressure-high"


class Why(StrEnum):
    """What opened a follow-up."""

    ALERT = "alert"
    PLAN = "plan"
    PATIENT = "patient"
    STAFF = "staff"


class State(StrEnum):
    """How far a follow-up has come: a view of its facts."""

    OPEN = "open"
    IN_PROGRESS = "in-progress"
    CLOSED = "closed"


class Result(StrEnum):
    """What came of a try to reach the patient."""

    REACHED = "reached"
    NO_ANSWER = "no-answer"
    BUSY = "busy"
    WRONG_NUMBER = "wrong-number"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"
    MESSAGE_LEFT = "message-left"


SYMPTOM_WORDS: Final[Mapping[Symptom, Text]] = {
    Symptom.CHEST_PAIN: Text(en="chest pain", zh="胸痛"),
    Symptom.BACK_PAIN: Text(en="back pain", zh="背痛"),
    Symptom.BREATHLESSNESS: Text(en="breathlessness", zh="呼吸困难"),
    Symptom.WEAKNESS: Text(en="numbness or weakness", zh="麻木或无力"),
    Symptom.VISION: Text(en="change of vision", zh="视力改变"),
    Symptom.SPEECH: Text(en="change of speech", zh="言语不清"),
    Symptom.HEADACHE: Text(en="severe headache", zh="剧烈头痛"),
    Symptom.VOMITING: Text(en="vomiting", zh="呕吐"),
}
# What the forms offer; through the API a try may also name a channel of the house.
CHANNEL_WORDS: Final[Mapping[str, Text]] = {
    "telephone": Text(en="telephone", zh="电话"),
    "video": Text(en="video call", zh="视频通话"),
    "visit": Text(en="visit", zh="当面（就诊或家访）"),
    "app": Text(en="app message", zh="应用消息"),
    "sms": Text(en="SMS", zh="短信"),
    "email": Text(en="e-mail", zh="电子邮件"),
    "wecom": Text(en="WeCom", zh="企业微信"),
}


def channel_word(channel: str) -> Text:
    """What the channel of a try is called; its own name where it is none of the forms'."""
    return CHANNEL_WORDS.get(channel, Text(en=channel, zh=channel))


# What people do. by: the named person, None where the house does it. at: aware UTC.


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Have a patient followed up.

    key: what it is about, so that the same thing opens one follow-up only. problem: as of an alert, or what the plan
    or the patient wants. due_at: None is `within`, else `ACT_WITHIN`. assigned_to: who has it at once.
    """

    patient: str
    why: Why
    key: str
    because: Text
    at: datetime
    role: Role
    priority: Priority = Priority.LOW
    problem: str | None = None
    alert: str | None = None
    programme: str | None = None
    due_at: datetime | None = None
    within: timedelta | None = None
    assigned_to: str | None = None
    by: str | None = None
    note: str = ""

    @property
    def follow_up(self) -> str:
        """The id of what it opens: "f-" and 16 hexadecimal digits."""
        return follow_up_of(self.why, self.patient, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Take a follow-up that nobody has."""

    follow_up: str
    by: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Give it to a role or a person (or to a person in a role), with what they have to know as the note."""

    follow_up: str
    by: str
    at: datetime
    note: str
    role: Role | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A try to reach the patient. symptoms: those the patient has; empty: asked, none; None: not asked."""

    follow_up: str
    by: str
    at: datetime
    channel: str
    result: Result
    note: str = ""
    symptoms: Symptoms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postpone:
    """Put it off until a moment; the note says why."""

    follow_up: str
    by: str
    at: datetime
    until: datetime
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """End it. reason: with no-action where it is of an alert, and not else. symptoms as in Attempt.

    needless: by Homeward, for what it asks for was done elsewhere, or is not needed any more.
    """

    follow_up: str
    by: str
    at: datetime
    outcome: Outcome | None
    note: str
    reason: Reason | None = None
    symptoms: Symptoms | None = None
    needless: bool = False


Deed = Claim | HandOver | Attempt | Postpone | Close


class What(StrEnum):
    """What can happen in the life of a follow-up."""

    OPENED = "opened"
    WORSENED = "worsened"
    PATIENT_WROTE = "patient-wrote"
    UNREACHED = "unreached"
    CLAIMED = "claimed"
    HANDED_OVER = "handed-over"
    ATTEMPTED = "attempted"
    POSTPONED = "postponed"
    OVERDUE = "overdue"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What never changes of a follow-up."""

    patient: str
    why: Why
    because: Text
    problem: str | None = None
    alert: str | None = None
    programme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One dated fact, and what is true after it: priority, role, assigned_to, due_at and why by then (`rule`).

    opening: of the first one. channel, result: of an attempt. outcome, reason: of the last. symptoms: None where not
    asked.
    """

    follow_up: str
    what: What
    at: datetime
    by: str | None
    priority: Priority
    role: Role
    assigned_to: str | None
    due_at: datetime
    rule: Text
    note: str = ""
    opening: Opening | None = None
    channel: str | None = None
    result: Result | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    symptoms: Symptoms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A follow-up as its facts made it (moments aware UTC). due_at: when it is to be acted on; rule: why then.

    attempts: tries so far; unanswered: those in a row that reached nobody. symptoms: all the patient was found to
    have, None while nobody has asked, also where there were none and the alert was told again since. overdue_at: when
    it was noted that due_at has passed, None where that was not.
    version: how many facts it has.
    """

    id: str
    patient: str
    why: Why
    because: Text
    priority: Priority
    problem: str | None
    alert: str | None
    programme: str | None
    opened_at: datetime
    opened_by: str | None
    role: Role
    assigned_to: str | None
    due_at: datetime
    rule: Text
    updated_at: datetime
    version: int
    attempts: int = 0
    unanswered: int = 0
    reached_at: datetime | None = None
    declined_at: datetime | None = None
    symptoms: Symptoms | None = None
    overdue_at: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    closing_note: str | None = None

    @property
    def state(self) -> State:
        """Open while nobody has it, in progress while somebody does."""
        if self.closed_at:
            return State.CLOSED
        return State.IN_PROGRESS if self.assigned_to else State.OPEN

    @property
    def asks_symptoms(self) -> bool:
        """Whether the patient has to be asked for symptoms before it is closed: the pressure was severe."""
        return asks_symptoms(self)

    @property
    def asks_kept(self) -> bool:
        """Whether nothing is to be done but to note whether an appointment was kept."""
        return self.problem is not None and self.problem.startswith(KEPT)

    @property
    def care(self) -> Text | None:
        """Who has it, what was tried, and what makes it an emergency; None where that is nobody and nothing."""
        if not (self.assigned_to or self.attempts):
            return None
        role = ROLE_WORDS[self.role]
        who = Text(
            en=f"In follow-up by {self.assigned_to or role.en}; tries to reach the patient: {self.tries.en}.",
            zh=f"随访负责人：{self.assigned_to or role.zh}；已尝试联系患者{self.tries.zh}。",
        )
        if self.emergency is None:
            return who
        has = Text(
            en=f"An emergency: the patient has {self.emergency.en}.", zh=f"属于急症：患者有{self.emergency.zh}。"
        )
        return together((who, has))

    @property
    def tries(self) -> Text:
        """How many tries there were to reach the patient, and what came of the last ones."""
        en, zh = f"{self.attempts}", f" {self.attempts} 次"
        if self.unanswered:
            en += f", the last {self.unanswered} without an answer"
            zh += f"，最近 {self.unanswered} 次未联系到"
        if self.unanswered and self.rule == _spanned(_WRONG, TRY_AGAIN[self.priority]):
            en += " (wrong number)"
            zh += "（号码有误）"
        return Text(en=en, zh=zh)

    @property
    def is_reached(self) -> bool:
        """Whether the last try reached the patient, and no other step came since: a new episode, or another time."""
        return self.rule == _spanned(_REACHED, ACT_WITHIN[self.priority])

    @property
    def possible(self) -> Sequence[Outcome]:
        """With which it can be closed now."""
        if self.emergency:
            return (Outcome.EMERGENCY,)
        if self.asks_kept:
            return ()  # the answer closes it
        return tuple(each for each in OUTCOMES_OF_CARE if not (self.lacks_contact and each in _OUTCOMES_OF_CONTACT))

    @property
    def lacks_contact(self) -> bool:
        """Whether no try has come to the patient, of an alert of high priority."""
        contact = self.reached_at or self.declined_at
        return self.alert is not None and self.priority is Priority.HIGH and contact is None

    @property
    def emergency(self) -> Text | None:
        """The symptoms that make it an emergency; None where it is none."""
        return _listed(self.symptoms) if self.asks_symptoms and self.symptoms else None

    @property
    def emergency_rule(self) -> Text | None:
        """What has to be done of it as an emergency, and why; None where it is none."""
        return _emergency_rule(self.symptoms) if self.asks_symptoms and self.symptoms else None

    @property
    def unasked(self) -> Text | None:
        """The symptoms for which the patient is still to be asked; None where there is nothing to ask."""
        return _listed(frozenset(Symptom)) if self.asks_symptoms and self.symptoms is None else None

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have been acted on by now."""
        return self.closed_at is None and self.due_at < now


def asks_symptoms(about: Alert | FollowUp) -> bool:
    """Whether a patient has to be asked for symptoms before this is closed: the pressure was severe."""
    return about.problem == _SEVERE_PROBLEM and about.priority >= Priority.MEDIUM


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A follow-up as it is after a fact."""

    follow_up: FollowUp
    fact: Fact


def is_given(fact: Fact) -> bool:
    """Whether a named person has given a follow-up to somebody else, or to a role: who has it now is to be told."""
    if fact.by is None or fact.by == fact.assigned_to:
        return False
    gives_up = fact.what is What.ATTEMPTED and fact.assigned_to is None
    return gives_up or fact.what in (What.OPENED, What.HANDED_OVER)


def refuse_long_past(due_at: datetime, now: datetime) -> None:
    """Raises IllegalAct where a follow-up would be opened long overdue, by a slip of the pen."""
    if due_at < now - LATEST_ENTERED:
        _refuse(
            "The time by which it is due lies more than a day back. Choose one still to come, or leave it out.",
            "应处理时间已过去一天以上。请选择将来的时间，或留空。",
        )


def refuse_closed(follow_up: FollowUp) -> None:
    """Raises IllegalAct where a follow-up is over."""
    if follow_up.closed_at:
        _refuse(
            f"Follow-up {follow_up.id} was closed by {follow_up.closed_by} at {{moment}}. "
            "Nothing can be done with it any more; open a new one.",
            f"随访 {follow_up.id} 已由 {follow_up.closed_by} 于 {{moment}} 结束，不能再处理；可新建一次随访。",
            follow_up.closed_at,
        )


def opened(act: Open) -> Step:
    """The follow-up that is opened."""
    due_at = act.due_at or act.at + (act.within or ACT_WITHIN[act.priority])
    opening = Opening(**{each.name: getattr(act, each.name) for each in fields(Opening)})
    fact = Fact(
        follow_up=act.follow_up,
        what=What.OPENED,
        at=act.at,
        by=act.by,
        priority=act.priority,
        role=act.role,
        assigned_to=act.assigned_to,
        due_at=due_at,
        rule=_within(due_at - act.at) if act.due_at is None else _AGREED,
        note=act.note,
        opening=opening,
    )
    return Step(follow_up=after(None, fact), fact=fact)


def decide(follow_up: FollowUp | None, deed: Deed) -> tuple[Step, ...]:
    """What comes of a person's deed: the follow-up's next step, and one that opens another where the rule says so.

    Raises IllegalAct where the deed does not fit.
    """
    if follow_up is None or follow_up.id != deed.follow_up:
        _refuse(
            f"There is no follow-up {deed.follow_up}. Look it up in the list of follow-ups.",
            f"没有随访 {deed.follow_up}。请在随访列表中查找。",
        )
    if not deed.by.strip():
        _refuse(
            f"Follow-up {follow_up.id} needs a named person. Give your name.",
            f"随访 {follow_up.id} 须由具名人员处理。请填写姓名。",
        )
    refuse_closed(follow_up)
    match deed:
        case Claim():
            return (_claim(follow_up, deed),)
        case HandOver():
            return (_hand_over(follow_up, deed),)
        case Attempt():
            return _attempt(follow_up, deed)
        case Postpone():
            return (_postpone(follow_up, deed),)
        case Close():
            return (_close(follow_up, deed),)


def after(follow_up: FollowUp | None, fact: Fact) -> FollowUp:
    """The follow-up after one more fact. Raises ValueError for a fact that cannot come next in its life."""
    if follow_up is None:
        if fact.opening is None:
            raise ValueError(f"the first fact of {fact.follow_up} does not open it: {fact.what}")
        follow_up = FollowUp(
            id=fact.follow_up,
            opened_at=fact.at,
            opened_by=fact.by,
            priority=fact.priority,
            role=fact.role,
            assigned_to=fact.assigned_to,
            due_at=fact.due_at,
            rule=fact.rule,
            updated_at=fact.at,
            version=0,
            **{each.name: getattr(fact.opening, each.name) for each in fields(Opening)},
        )
    elif fact.what is What.OPENED or fact.follow_up != follow_up.id:
        raise ValueError(f"{fact.what} of {fact.follow_up} cannot follow in the life of {follow_up.id}")
    later = replace(
        follow_up,
        priority=fact.priority,
        role=fact.role,
        assigned_to=fact.assigned_to,
        due_at=fact.due_at,
        rule=fact.rule,
        updated_at=fact.at,
        version=follow_up.version + 1,
        symptoms=_all_symptoms(_still_known(follow_up, fact), fact.symptoms),
        overdue_at=_overdue_at(follow_up, fact),
    )
    if fact.what is What.ATTEMPTED:
        return _tried(later, fact)
    if fact.what is What.CLOSED:
        ended = replace(later, closed_at=fact.at, closed_by=fact.by, outcome=fact.outcome, reason=fact.reason)
        return replace(ended, closing_note=fact.note)
    return later


def replay(facts: Iterable[Fact]) -> FollowUp:
    """The follow-up that its facts make. Raises ValueError where there are none, or not those of one follow-up."""
    follow_up: FollowUp | None = None
    for fact in facts:
        follow_up = after(follow_up, fact)
    if follow_up is None:
        raise ValueError("there are no facts")
    return follow_up


def asked_to_call(about: Notice, at: datetime, *, programme: str | None = None) -> Open:
    """What a patient opens who has read a message and asks to be called; the same for the same message.

    An answer to the questions of a survey opens another one.
    """
    return Open(
        patient=about.patient,
        why=Why.PATIENT,
        key=f"{PLEASE_CALL} {about.id}",
        because=Text(
            en=f"The patient asks to be called about the message “{about.subject.en}”.",
            zh=f"患者阅读消息“{about.subject.zh}”后请求回电。",
        ),
        at=at,
        role=Role.NURSE,
        priority=max(about.priority, Priority.MEDIUM),
        problem=PLEASE_CALL,
        programme=programme,
    )


def has_written(patient: str, text: str, at: datetime, priority: Priority, *, programme: str | None = None) -> Open:
    """What a patient opens who has written something that somebody has to read. priority: of what is open by then."""
    return Open(
        patient=patient,
        why=Why.PATIENT,
        key=f"{WROTE} {at.isoformat()} {text}",
        because=Text(en=f"The patient has written: “{text}”", zh=f"患者来信：“{text}”"),
        at=at,
        role=Role.NURSE,
        priority=max(priority, Priority.MEDIUM),
        problem=WROTE,
        programme=programme,
    )


def joined(follow_up: FollowUp, wrote: Open, text: str) -> Step:
    """The same, where somebody is to speak with the patient anyhow: as urgent, and due no later."""
    return _sooner(follow_up, wrote, What.PATIENT_WROTE, note=text)


def unreached(follow_up: FollowUp, act: Open) -> Step:
    """What no message says to the patient is to be said by who has the follow-up: as urgent, and due no later."""
    return _sooner(follow_up, act, What.UNREACHED, note=act.note, because=act.because)


def _sooner(follow_up: FollowUp, act: Open, what: What, *, note: str = "", because: Text | None = None) -> Step:
    """because: what it is due for then; not where it was due as soon for something else, and nothing came of that."""
    priority = max(act.priority, follow_up.priority)
    span = act.within or ACT_WITHIN[priority]
    due_at = min(follow_up.due_at, act.at + span)
    rule = follow_up.rule
    if due_at != follow_up.due_at or (because and follow_up.is_reached):
        rule = together((because, _within(span))) if because else _within(span)
    fact = Fact(
        follow_up=follow_up.id,
        what=what,
        at=act.at,
        by=None,
        priority=priority,
        role=follow_up.role,
        assigned_to=follow_up.assigned_to,
        due_at=due_at,
        rule=rule,
        note=note,
    )
    return Step(follow_up=after(follow_up, fact), fact=fact)


# The alert and its follow-up go together.


def of_alert(alert: Alert, act: Act, *, programme: str | None = None, role: Role = Role.NURSE) -> Open:
    """What an acknowledged alert opens, for whoever acknowledged it."""
    return Open(
        patient=alert.patient,
        why=Why.ALERT,
        key=alert.id,
        because=alert.because,
        at=act.at,
        role=role,
        priority=alert.priority,
        problem=alert.problem,
        alert=alert.id,
        programme=programme,
        assigned_to=act.by,
        by=act.by,
        note=act.note,
    )


def follow(alert: Alert, act: Act, follow_up: FollowUp | None, *, programme: str | None = None) -> tuple[Step, ...]:
    """What an act on an alert does to the alert's follow-up (None: there is none); alert: as it is after the act.

    Acknowledging opens one, or takes the one that nobody has; closing closes it with the same outcome, and where
    there was none, one is opened and closed, for every closed alert has one. Raises IllegalAct where the follow-up
    cannot be closed like that.
    """
    if act.kind is ActKind.ACKNOWLEDGE:
        if follow_up is None:
            return (opened(of_alert(alert, act, programme=programme)),)
        free = follow_up.state is State.OPEN
        return decide(follow_up, Claim(follow_up=follow_up.id, by=act.by, at=act.at, note=act.note)) if free else ()
    if act.outcome is None or (follow_up and follow_up.closed_at):
        return ()
    begun = None if follow_up else opened(replace(of_alert(alert, act, programme=programme), note=""))
    standing = begun.follow_up if begun else follow_up
    deed = Close(
        follow_up=of_alert(alert, act).follow_up,
        by=act.by,
        at=act.at,
        outcome=act.outcome,
        reason=act.reason,
        note=act.note,
        symptoms=act.symptoms,
    )
    closed = decide(standing, deed)
    return (begun, *closed) if begun else closed


def worsened(
    alert: Alert, follow_up: FollowUp, at: datetime, because: Text | None = None, *, anew: bool = False
) -> tuple[Step, ...]:
    """What an alert that is told again does to its follow-up: as urgent as the alert, and due sooner, never later.

    because: what it is told for now, where the alert keeps the sentence that gave it its priority. anew: a new
    episode; of what is overdue the time begins anew with it, but not of an emergency: no reading makes it less
    of one.
    """
    if follow_up.closed_at:
        return ()
    priority = max(alert.priority, follow_up.priority)
    span = ACT_WITHIN[priority]
    rule, why = follow_up.emergency_rule or _spanned(_WORSE, span), because or alert.because
    begins_anew = anew and follow_up.is_overdue(at) and follow_up.emergency is None
    fact = Fact(
        follow_up=follow_up.id,
        what=What.WORSENED,
        at=at,
        by=None,
        priority=priority,
        role=follow_up.role,
        assigned_to=follow_up.assigned_to,
        due_at=at + span if begins_anew else min(follow_up.due_at, at + span),
        rule=Text(en=f"{why.en} {rule.en}", zh=f"{why.zh}{rule.zh}"),
    )
    return (Step(follow_up=after(follow_up, fact), fact=fact),)


def overdue(follow_up: FollowUp, now: datetime) -> Step:
    """Note that the time of an open follow-up has passed."""
    fact = Fact(
        follow_up=follow_up.id,
        what=What.OVERDUE,
        at=now,
        by=None,
        priority=follow_up.priority,
        role=follow_up.role,
        assigned_to=follow_up.assigned_to,
        due_at=follow_up.due_at,
        rule=follow_up.rule,
    )
    return Step(follow_up=after(follow_up, fact), fact=fact)


def _overdue_at(before: FollowUp, fact: Fact) -> datetime | None:
    if fact.what is What.OVERDUE:
        return fact.at
    worse = fact.what is What.WORSENED and before.emergency is None  # who is told of an emergency is told on
    anew = worse or fact.what in {What.CLOSED, What.HANDED_OVER} or fact.due_at != before.due_at
    return None if anew else before.overdue_at


def overdue_by_any_rule(facts: Sequence[Fact]) -> set[datetime | None]:
    """When it may have been noted to be overdue: by the rules of today, or those of an older Homeward.

    By those a hand-over and an alert told again did not begin it anew, and whatever made it more urgent did.
    """
    found: set[datetime | None] = {None}
    for before, fact in pairwise(facts):
        if fact.what is What.OVERDUE:
            found = {fact.at}
        elif fact.what is What.CLOSED or fact.due_at != before.due_at:
            found = {None}
        elif fact.what in {What.HANDED_OVER, What.WORSENED} or fact.priority > before.priority:
            found.add(None)
    return found


def closing(steps: Iterable[Step]) -> Act | None:
    """The act that closes the alert of a follow-up which these steps have closed; None where there is none."""
    for step in steps:
        closed, fact = step.follow_up, step.fact
        if fact.what is What.CLOSED and closed.alert and fact.by:
            return Act(
                kind=ActKind.CLOSE,
                alert=closed.alert,
                by=fact.by,
                at=fact.at,
                note=fact.note,
                outcome=fact.outcome,
                reason=fact.reason,
            )
    return None


def acting(steps: Sequence[Step], alert: Alert) -> Act | None:
    """What these steps of its follow-up do to an alert; None where that is nothing, or was done before.

    Closing the follow-up closes it. Who takes the follow-up, or reaches the patient, has acknowledged it; not who has
    tried in vain, for whom the ladder tells next may still be needed.
    """
    if alert.closed_at:
        return None
    if ends := closing(steps):
        return ends
    fact = steps[0].fact
    takes = fact.what is What.CLAIMED or fact.result in {Result.REACHED, Result.DECLINED}
    if not takes or not fact.by or alert.acknowledged_at:
        return None
    return Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=fact.by, at=fact.at, note=fact.note)


# One deed each


def _claim(follow_up: FollowUp, deed: Claim) -> Step:
    if follow_up.assigned_to == deed.by:
        _refuse(
            f"Follow-up {follow_up.id} is yours already. Note a try, hand it over or close it.",
            f"随访 {follow_up.id} 已由您负责。可记录联系、转交或结束。",
        )
    if follow_up.assigned_to:
        _refuse(
            f"{follow_up.assigned_to} has follow-up {follow_up.id}. Have it handed over to you, with what is known.",
            f"随访 {follow_up.id} 由 {follow_up.assigned_to} 负责。请通过转交接手，并写明情况。",
        )
    return _step(follow_up, What.CLAIMED, deed, assigned_to=deed.by)


def _hand_over(follow_up: FollowUp, deed: HandOver) -> Step:
    if deed.role is None and deed.to is None:
        _refuse(
            f"Handing over follow-up {follow_up.id} needs a role or a person to give it to.",
            f"转交随访 {follow_up.id} 须选择角色或人员。",
        )
    if not deed.note.strip():
        _refuse(
            f"Handing over follow-up {follow_up.id} needs a note: what is known, what was tried, what is to be done.",
            f"转交随访 {follow_up.id} 须填写说明：已知情况、已做的联系和接下来要做的事。",
        )
    if deed.to is not None and deed.to == follow_up.assigned_to:
        _refuse(
            f"{deed.to} has follow-up {follow_up.id} already. Name another person or a role.",
            f"随访 {follow_up.id} 已由 {deed.to} 负责。请选择其他人员或角色。",
        )
    return _step(follow_up, What.HANDED_OVER, deed, role=deed.role or follow_up.role, assigned_to=deed.to)


def _attempt(follow_up: FollowUp, deed: Attempt) -> tuple[Step, ...]:
    if deed.result is Result.DECLINED and not deed.note.strip():
        _refuse(
            f"That the patient declined needs a note in follow-up {follow_up.id}: what was offered and said.",
            f"患者拒绝时，须在随访 {follow_up.id} 中说明：提供了什么，患者怎么说。",
        )
    given_up = _is_given_up(follow_up, deed)
    due_at, rule = _next(follow_up, deed)
    is_emergency = _is_emergency(follow_up, _all_symptoms(follow_up.symptoms, deed.symptoms))
    tried = _step(
        follow_up,
        What.ATTEMPTED,
        deed,
        priority=Priority.HIGH if is_emergency else None,
        role=Role.COORDINATOR if given_up else follow_up.role,
        assigned_to=None if given_up else follow_up.assigned_to or deed.by,
        due_at=due_at,
        rule=rule,
        channel=deed.channel,
        result=deed.result,
        symptoms=deed.symptoms,
    )
    return (tried, opened(_wrong_number(follow_up, deed))) if deed.result is Result.WRONG_NUMBER else (tried,)


def _postpone(follow_up: FollowUp, deed: Postpone) -> Step:
    most = PUT_OFF.get(follow_up.priority)
    if _is_emergency(follow_up, follow_up.symptoms):
        found = _listed(follow_up.symptoms or frozenset())
        _refuse(
            f"The patient has {found.en}: follow-up {follow_up.id} is an emergency and cannot be put off. Have the "
            "emergency number (120 in China) called now.",
            f"患者有{found.zh}：随访 {follow_up.id} 属于急症，不能推迟。请立即呼叫急救（中国大陆 120）。",
        )
    if most is None:
        _refuse(
            f"Follow-up {follow_up.id} is of high priority and cannot be put off. Hand it over to who can act.",
            f"随访 {follow_up.id} 优先级高，不能推迟。请转交给能立即处理的人。",
        )
    if not deed.note.strip():
        _refuse(
            f"Putting off follow-up {follow_up.id} needs a note: why, and what was agreed with the patient.",
            f"推迟随访 {follow_up.id} 须填写说明：原因以及与患者的约定。",
        )
    if deed.until <= deed.at:
        _refuse(
            f"Follow-up {follow_up.id} would be put off until a moment that is past. Choose one still to come.",
            f"随访 {follow_up.id} 的推迟时间已过。请选择将来的时间。",
        )
    if deed.until > deed.at + most:
        _refuse(
            f"Follow-up {follow_up.id} can be put off by at most {_span(most).en}: until {{moment}}.",
            f"随访 {follow_up.id} 最多可推迟{_span(most).zh}：不晚于 {{moment}}。",
            deed.at + most,
        )
    return _step(follow_up, What.POSTPONED, deed, due_at=deed.until, rule=_AGREED)


def possible_for(alert: Alert, follow_up: FollowUp | None, *, has_appointment: bool) -> Sequence[Outcome]:
    """With which an alert can be closed now. has_appointment: whether one stands that was made in its follow-up."""
    known = outcomes_of(alert.patient) if follow_up is None else follow_up.possible
    lacks_contact = follow_up is None and alert.priority is Priority.HIGH
    needless = _OUTCOMES_OF_CONTACT if lacks_contact else ()
    return tuple(
        each for each in known if each not in needless and (has_appointment or each is not Outcome.APPOINTMENT)
    )


def _possible_told(follow_up: FollowUp) -> Text:
    """With which it can be closed now, and what the outcome `appointment` needs."""
    others = outcomes_told(each for each in follow_up.possible if each is not Outcome.APPOINTMENT)
    if Outcome.APPOINTMENT not in follow_up.possible:
        return others
    made = outcomes_told([Outcome.APPOINTMENT])
    return Text(
        en=f"{others.en}; {made.en} once one is made in this follow-up",
        zh=f"{others.zh}；在本次随访中预约后，还可选{made.zh}",
    )


def _close(follow_up: FollowUp, deed: Close) -> Step:
    if follow_up.asks_kept and not deed.needless:
        _refuse(
            f"Follow-up {follow_up.id} asks whether an appointment was kept, and the answer closes it: note “kept” "
            "or “not kept” on its page. Until that is known, put it off, or hand it over to who can find out.",
            f"随访 {follow_up.id} 询问患者是否到诊，记录答案后即结束：请在其页面记录“已到诊”或“未到诊”。"
            "暂时无法得知的，请推迟，或转交给能了解情况的人。",
        )
    possible = _possible_told(follow_up)
    if deed.outcome is None:
        _refuse(
            f"Closing follow-up {follow_up.id} needs an outcome: {possible.en}.",
            f"结束随访 {follow_up.id} 须填写处理结果：{possible.zh}。",
        )
    if not deed.note.strip():
        _refuse(
            f"Closing follow-up {follow_up.id} needs a note: what was done, or why nothing was.",
            f"结束随访 {follow_up.id} 须填写说明：做了什么，或为何无需处理。",
        )
    _refuse_unasked(follow_up, deed)
    if deed.outcome not in OUTCOMES_OF_CARE:
        _refuse(
            f"Follow-up {follow_up.id} is about a patient: it cannot be closed with the outcome {deed.outcome}. "
            f"Possible: {possible.en}.",
            f"随访 {follow_up.id} 涉及患者，不能以{outcomes_told([deed.outcome]).zh}作为处理结果结束。"
            f"目前可选：{possible.zh}。",
        )
    if follow_up.lacks_contact and deed.outcome in _OUTCOMES_OF_CONTACT:
        _refuse(
            f"Follow-up {follow_up.id} is about an alert of high priority, and no try has reached the patient: the "
            f"outcome {deed.outcome} needs one. Record the try that reached the patient in the follow-up "
            f"(acknowledge the alert first if nobody has). Possible now: {possible.en}.",
            f"随访 {follow_up.id} 涉及高优先级警报，但没有联系到患者的记录："
            f"处理结果{outcomes_told([deed.outcome]).zh}须先联系到患者。"
            "请先在随访中记录联系到患者的那次联系（警报尚未确认的，请先确认）。"
            f"目前可选：{possible.zh}。",
        )
    what = Text(en=f"follow-up {follow_up.id}", zh=f"随访 {follow_up.id}")
    refuse_reason(what, deed.outcome, deed.reason, takes_one=follow_up.alert is not None)
    return _step(
        follow_up,
        What.CLOSED,
        deed,
        assigned_to=follow_up.assigned_to or deed.by,
        outcome=deed.outcome,
        reason=deed.reason,
        symptoms=deed.symptoms,
    )


def _refuse_unasked(follow_up: FollowUp, deed: Close) -> None:
    """Severe pressure: symptoms are asked for, and any of them leaves one outcome."""
    symptoms = _all_symptoms(follow_up.symptoms, deed.symptoms)
    if deed.outcome is Outcome.EMERGENCY or not follow_up.asks_symptoms:
        return
    if symptoms:
        found = _listed(symptoms)
        _refuse(
            f"The patient has {found.en}: with a severe blood pressure that is an emergency (AHA; public health "
            "service of China). Have the emergency number (120 in China) called at once and close with the outcome "
            "“Emergency services” (emergency).",
            f"患者有{found.zh}：合并重度血压升高属于急症（AHA；国家基本公共卫生服务规范）。"
            "请立即呼叫急救（中国大陆 120），结束时选择“已呼叫急救”（emergency）。",
        )
    never_reached = follow_up.reached_at is None
    if symptoms is None and not (deed.outcome is Outcome.NO_ACTION and never_reached):
        asked = _listed(frozenset(Symptom))
        _refuse(
            f"Follow-up {follow_up.id} is about a severe blood pressure. Ask for {asked.en}; say which of these the "
            "patient has, or that there is none, and close it then.",
            f"随访 {follow_up.id} 涉及重度血压升高。请询问有无{asked.zh}，填写结果（或无症状）后再结束。",
        )


# The next try by rule

_WORSE: Final = Text(en="It was told again: to be acted on within {span}.", zh="再次报警：须在{span}内处理。")
_AS_IT_IS: Final = ""  # for who has it: None is nobody
_AGREED: Final = Text(en="As agreed.", zh="按约定。")
_REACHED: Final = Text(
    en="The patient was reached: write down the outcome within {span}.", zh="已联系到患者：请在{span}内填写处理结果。"
)
_DECLINED: Final = Text(
    en="The patient declined: it may be closed without action within {span}.",
    zh="患者拒绝：可在{span}内以无需处理结束。",
)
_EMERGENCY: Final = Text(
    en="The patient has {found}: have the emergency number (120 in China) called now.",
    zh="患者有{found}：请立即呼叫急救（中国大陆 120）。",
)
_AGAIN: Final = Text(en="Not reached: try again in {span}.", zh="未联系到：请在{span}后再试。")
_OTHER_WAY: Final = Text(
    en="{count} tries in a row reached nobody: another channel, by the coordinator, within {span}.",
    zh="连续 {count} 次未联系到：由协调员在{span}内换一种方式联系。",
)
_WRONG: Final = Text(
    en="The number is wrong: try another channel within {span}; the coordinator finds the right one.",
    zh="号码有误：请在{span}内换一种方式联系；由协调员核实号码。",
)


def _next(follow_up: FollowUp, deed: Attempt) -> tuple[datetime, Text]:
    """When to act again after a try, and why then; of what only asks for an answer as before."""
    if follow_up.asks_kept:
        return follow_up.due_at, follow_up.rule
    settle, again = ACT_WITHIN[follow_up.priority], TRY_AGAIN[follow_up.priority]
    symptoms = _all_symptoms(follow_up.symptoms, deed.symptoms)
    if symptoms and _is_emergency(follow_up, symptoms):
        is_known = symptoms == follow_up.symptoms
        return min(follow_up.due_at, deed.at) if is_known else deed.at, _emergency_rule(symptoms)
    if deed.result is Result.REACHED:
        return deed.at + settle, _spanned(_REACHED, settle)
    if deed.result is Result.DECLINED:
        return deed.at + settle, _spanned(_DECLINED, settle)
    if _is_given_up(follow_up, deed):
        return deed.at + again, _spanned(_OTHER_WAY, again, count=follow_up.unanswered + 1)
    return deed.at + again, _spanned(_WRONG if deed.result is Result.WRONG_NUMBER else _AGAIN, again)


def _is_emergency(follow_up: FollowUp, symptoms: Symptoms | None) -> bool:
    return follow_up.asks_symptoms and bool(symptoms)


def _emergency_rule(symptoms: Symptoms) -> Text:
    found = _listed(symptoms)
    return Text(en=_EMERGENCY.en.format(found=found.en), zh=_EMERGENCY.zh.format(found=found.zh))


def _is_given_up(follow_up: FollowUp, deed: Attempt) -> bool:
    """Whether the coordinator is to find another way."""
    answered = deed.result in {Result.REACHED, Result.DECLINED}
    return not answered and (follow_up.unanswered + 1) % MOST_TRIES == 0


def _tried(follow_up: FollowUp, fact: Fact) -> FollowUp:
    reached = fact.result is Result.REACHED
    declined = fact.result is Result.DECLINED
    return replace(
        follow_up,
        attempts=follow_up.attempts + 1,
        unanswered=0 if reached or declined else follow_up.unanswered + 1,
        reached_at=fact.at if reached else follow_up.reached_at,
        declined_at=fact.at if declined else follow_up.declined_at,
    )


def _wrong_number(follow_up: FollowUp, deed: Attempt) -> Open:
    channel = channel_word(deed.channel)
    return Open(
        patient=follow_up.patient,
        why=Why.STAFF,
        key=f"{CONTACT_DATA} {deed.channel} {deed.at.isoformat()}",
        because=Text(
            en=f"The contact for {channel.en} is wrong, says {deed.by}. Find out the right one.",
            zh=f"{deed.by} 反映{channel.zh}联系方式有误，请核实。",
        ),
        at=deed.at,
        role=Role.COORDINATOR,
        priority=max(follow_up.priority, Priority.MEDIUM),
        problem=CONTACT_DATA,
        programme=follow_up.programme,
        by=deed.by,
        note=deed.note,
    )


def _step(
    follow_up: FollowUp,
    what: What,
    deed: Deed,
    *,
    priority: Priority | None = None,
    role: Role | None = None,
    assigned_to: str | None = _AS_IT_IS,
    due_at: datetime | None = None,
    rule: Text | None = None,
    channel: str | None = None,
    result: Result | None = None,
    outcome: Outcome | None = None,
    reason: Reason | None = None,
    symptoms: Symptoms | None = None,
) -> Step:
    """What is left out stays as it is."""
    fact = Fact(
        follow_up=follow_up.id,
        what=what,
        at=deed.at,
        by=deed.by,
        priority=priority or follow_up.priority,
        role=role or follow_up.role,
        assigned_to=follow_up.assigned_to if assigned_to is _AS_IT_IS else assigned_to,
        due_at=due_at or follow_up.due_at,
        rule=rule or follow_up.rule,
        note=deed.note,
        channel=channel,
        result=result,
        outcome=outcome,
        reason=reason,
        symptoms=symptoms,
    )
    return Step(follow_up=after(follow_up, fact), fact=fact)


def _still_known(follow_up: FollowUp, fact: Fact) -> Symptoms | None:
    """That there were none says nothing of an alert that was told again since; what was found stays."""
    return (follow_up.symptoms or None) if fact.what is What.WORSENED else follow_up.symptoms


def _all_symptoms(known: Symptoms | None, more: Symptoms | None) -> Symptoms | None:
    return known if more is None else (known or frozenset()) | more


def _within(span: timedelta) -> Text:
    return _spanned(Text(en="To be acted on within {span}.", zh="须在{span}内处理。"), span)


def _spanned(form: Text, span: timedelta, **places: object) -> Text:
    said = _span(span)
    return Text(en=form.en.format(span=said.en, **places), zh=form.zh.format(span=said.zh, **places))


def _span(span: timedelta) -> Text:
    minutes = round(span.total_seconds() / 60)
    for one, en, zh in ((1440, "d", "天"), (60, "h", "小时")):
        if minutes % one == 0:
            return Text(en=f"{minutes // one} {en}", zh=f" {minutes // one} {zh}")
    return Text(en=f"{minutes} min", zh=f" {minutes} 分钟")


def _listed(symptoms: Symptoms) -> Text:
    """In the order in which they are asked for."""
    return together(
        (words for symptom, words in SYMPTOM_WORDS.items() if symptom in symptoms), apart=Text(en=", ", zh="、")
    )


def _refuse(en: str, zh: str, moment: datetime | None = None) -> NoReturn:
    raise IllegalAct(Text(en=en, zh=zh), moment)


def follow_up_of(why: Why, patient: str, key: str) -> str:
    """The id of what is opened for a patient, by what it is about."""
    return "f-" + digest(why, patient, key)


def digest(*parts: str) -> str:
    """16 hexadecimal digits that stand for these parts."""
    return sha256("\x1f".join(parts).encode()).hexdigest()[:16]
