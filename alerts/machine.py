"""The life of an alert: a finding or an act meets the alert of one patient and problem. Pure.

An alert is *present* while rules hold its condition up (`raising`), *open* until a person closes it: two independent
facts. `hear` is total; the table, by what there is and what comes:

|                 | RAISE for staff              | ... anew             | ... for patient | HOLD | CLEAR             |
|-----------------|------------------------------|----------------------|-----------------|------|-------------------|
| none            | opens                        | opens                | -               | -    | -                 |
| open, present   | joins; a worse one is told   | relapses: told again | joins           | -    | eases, last: gone |
| ... and seen    | ... an emergency: told again | relapses: told again | joins           | -    | eases, last: gone |
| open, gone      | relapses: told again         | relapses: told again | present again   | -    | -                 |
| ... and untold  | relapses: told again         | relapses: told again | joins           | -    | last: gone, quiet |
| closed, present | joins unheard; a worse opens | opens: a new episode | joins unheard   | -    | eases, last: gone |
| closed, gone    | opens: a new episode         | opens: a new episode | -               | -    | -                 |

**Present** means that nothing newer says otherwise. A meter's or a cuff's reading stays the last word until the next
one, however old it grows; that it is old is no recovery, and nobody is told that it is over.

**Anew** is a RAISE that began after the alert's own beginning (`since`, by the readings) and became known after all
that was done with the alert so far (`known_at`, by the house's clock): a low of the next day, or one after a gap.
Nobody can have meant it when acknowledging or closing. An open alert then relapses and is told again; a closed one
hands over to a new alert. Within the quiet time of its rule (`Rule.quiet`, for troubles that last for days) a new
episode that is no worse only joins an open alert, and leaves a closed one as it is.

**Untold** (`untold_since`) is an episode for which the condition came back for the patient alone: staff have not been
told of it. Whatever rule raises it for staff first is told as a relapse, in a quiet time as well; staff hear nothing
of its end where none did. That somebody has acknowledged it changes nothing; who puts it off or closes it knows.

**Seen**: of a relapse, of what is worse, and of an emergency (`Finding.emergency_at`) that came after an alert was
acknowledged, whoever did so could not know. It is told, an emergency in a quiet time as well, and the alert waits for
somebody to acknowledge it anew; who had done so stays in the facts. Until then a further emergency only joins.

An alert closed while its condition is present stays present, and so keeps the same episode from opening another one;
a worse priority opens one all the same, and so does an emergency that came after the closing, in a quiet time as
well: a meter still below 54 mg/dL says that what was done has not helped, and of one that was measured before and
came after it whoever closed could not know. A sensor's low that goes on half an hour after the closing is raised as
such an emergency (`alerts.bed`). What was there, told again or read out twice, is none, nor is what is older than it.
This memory is in the alert itself and survives a restart.

**What an open alert says** follows what happens to it. A relapse begins its since, sentence and evidence anew, and
once somebody has acknowledged the alert its priority as well. What worsens it, joins it or brings it back with at
least its priority gives its own sentence and adds its evidence; what does so with less, or is the patient's own, adds
its evidence only, so that it is told when staff are to hear of it. A newer measurement of what was told late, of
what is an emergency still, or of ketones joins as well (`Finding.renews`): nobody is told, but the card says how it
is now. A closed alert says what it said when it was closed. A finding that changes nothing writes nothing, and every
sentence that was written stays in the facts.

Acts: acknowledging an open alert that nobody has acknowledged, closing an open alert with outcome and note (of a
patient's without an action with a reason as well), putting off an open, present alert that nobody has acknowledged;
all else is an IllegalAct.

**Put off** (snoozed): until a moment, at most `SNOOZE_AT_MOST` ahead, staff are not told of this trouble as it is
now; what is of high priority or an emergency cannot be put off. It ends at its time (`wake`), and the alert is then
told anew if its condition is present; at once when it gets worse, another rule as urgent joins, an emergency comes,
or the condition comes back after it had gone, and each of these is told; and when somebody acknowledges or closes the
alert. A milder rule that joins does not end it.

A RAISE for the patient also writes the patient a notice, whatever the alert's state; of two rules that tell of one
problem at one moment only the worse does. By a rule that says so (`Rule.holds_up`) it does no more: a severe blood
pressure is over though the patient's own is still high. What is for the weekly list is not heard here: it opens no
alert and tells nobody at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

from alerts.alert import (
    HOUSE,
    Act,
    ActKind,
    Alert,
    Audience,
    Finding,
    IllegalAct,
    Notice,
    Priority,
    Text,
    Verdict,
    outcomes_of,
    outcomes_told,
    refuse_reason,
)
from alerts.follow_up import asks_symptoms
from alerts.rule import Rule
from alerts.rules import RULES

# Homeward's own: no longer than such an alert may wait for an act; of low priority until the next day.
SNOOZE_AT_MOST: Final[Mapping[Priority, timedelta]] = {
    Priority.MEDIUM: timedelta(hours=4),
    Priority.LOW: timedelta(hours=24),
}


class FactKind(StrEnum):
    """What can happen in the life of an alert."""

    OPENED = "opened"
    JOINED = "joined"  # another rule, or another episode in its quiet time, holds the condition up as well
    WORSENED = "worsened"
    EASED = "eased"  # one of several rules cleared
    CONDITION_GONE = "condition-gone"
    RELAPSED = "relapsed"
    SUPERSEDED = "superseded"  # closed before its condition had gone; a worse or a new one opened a new alert
    NOTIFIED = "notified"  # written by the book, when a channel first reached staff
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    SNOOZE_ENDED = "snooze-ended"  # at its time, or because something changed
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One dated fact of an alert. by: the person, None where the house did it. because: the finding's sentence.

    until: of being put off.
    """

    alert: str
    what: FactKind
    at: datetime
    by: str | None = None
    because: Text | None = None
    note: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An alert as it is after a fact."""

    alert: Alert
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of it: changes in order, and notices to be written down with them."""

    changes: tuple[Change, ...] = ()
    notices: tuple[Notice, ...] = ()


NOTHING: Final = Heard()

PRIORITY_WORDS: Final = {
    Priority.LOW: Text(en="Low priority", zh="低优先级"),
    Priority.MEDIUM: Text(en="Medium priority", zh="中优先级"),
    Priority.HIGH: Text(en="High priority", zh="高优先级"),
}


def hear(alert: Alert | None, event: Finding | Act, now: datetime) -> Heard:
    """The alert of a (patient, problem) meets an event; alert is the newest one, closed ones included, or None.

    Raises IllegalAct when an act does not fit, ValueError when the finding is about another patient or problem.
    """
    if isinstance(event, Act):
        return Heard(changes=(_act(alert, event),))
    if alert and (alert.patient, alert.problem) != (event.patient, event.problem):
        raise ValueError(f"a finding on {event.problem} of {event.patient} does not belong to alert {alert.id}")
    if event.verdict is Verdict.CLEAR:
        return _clear(alert, event, now) if alert and event.rule in alert.raising else NOTHING
    if event.verdict is Verdict.HOLD or event.audience is Audience.WEEKLY:
        return NOTHING
    return (
        _raise_patient(alert, event, now) if event.audience is Audience.PATIENT else _raise_staff(alert, event, now)
    )


def wake(alert: Alert, now: datetime) -> Heard:
    """What comes of an alert's being put off when its time has come; nothing before, or where it is not."""
    if alert.snoozed_until is None or now < alert.snoozed_until:
        return NOTHING
    if alert.raising:
        return _told_again(replace(alert, updated_at=now), now)
    return Heard(changes=(_change(replace(_awake(alert), updated_at=now), FactKind.SNOOZE_ENDED, now),))


def hear_findings(standing: Mapping[tuple[str, str], Alert], findings: Iterable[Finding], now: datetime) -> Heard:
    """Findings of one moment meet the alerts that stand, by (patient, problem) as `Book.standing` gives them.

    The worst is heard first and what is over last, so that one moment tells one trouble once. What is for staff is
    heard before what is for the patient, who may bring an alert back of which they then would not hear. Of what is
    over the worst is heard last, for the end is told under its name.
    """
    alerts = dict(standing)
    changes: list[Change] = []
    notices: list[Notice] = []
    asked: dict[tuple[str, str], str] = {}  # by which rule a patient is told of a problem
    for finding in sorted(findings, key=_turn):
        trouble = finding.patient, finding.problem
        heard = hear(alerts.get(trouble), finding, now)
        for change in heard.changes:
            alerts[change.alert.patient, change.alert.problem] = change.alert
        changes += heard.changes
        told = [each for each in heard.notices if each.audience is Audience.PATIENT]
        if not told or asked.setdefault(trouble, finding.rule) == finding.rule:
            notices += heard.notices
        else:
            notices.append(withheld(finding, now))
    return Heard(changes=tuple(changes), notices=tuple(notices))


def withheld(finding: Finding, now: datetime) -> Notice:
    """What a patient is not told because worse is told at the same moment.

    It is written down for nobody at once, so that it is not told later, when the moment is over, or after a restart.
    """
    return replace(_to_patient(finding, now), audience=Audience.WEEKLY)


def _turn(finding: Finding) -> tuple[bool, bool, int]:
    if finding.verdict is Verdict.CLEAR:
        return True, finding.audience is not Audience.PATIENT, finding.priority
    return False, finding.audience is Audience.PATIENT, -finding.priority


def _raise_patient(alert: Alert | None, finding: Finding, now: datetime) -> Heard:
    changes: tuple[Change, ...] = ()
    if not RULES[finding.rule].holds_up:
        pass  # what staff were told of has an end of its own
    elif alert and alert.raising:
        changes = (_join(alert, finding, now),) if finding.rule not in alert.raising else ()
    elif alert and not alert.closed_at:
        back = _return(alert, finding, now)
        if alert.snoozed_until:
            again = _told_again(back.alert, now)
            return replace(again, notices=(*again.notices, _to_patient(finding, now)))
        changes = (back,)
    return Heard(changes=changes, notices=(_to_patient(finding, now),))


def _raise_staff(alert: Alert | None, finding: Finding, now: datetime) -> Heard:
    if alert is None or (alert.closed_at and not alert.raising):
        return _open(finding, now, frozenset({finding.rule}))
    if alert.closed_at:
        return _raise_closed(alert, finding, now)
    anew = _is_anew(alert, finding)
    if not alert.raising or alert.untold_since or (anew and not _is_quiet(alert, finding)):
        return _relapse(alert, finding, now)
    if _has_come_since(alert.acknowledged_at or alert.snoozed_at, finding):
        return _tell_again(alert, finding, now)
    if finding.priority > alert.priority:
        return _worsen(alert, finding, now)
    if alert.snoozed_until and finding.priority == alert.priority and finding.rule not in alert.raising:
        return _told(_with(alert, finding, now), FactKind.SNOOZE_ENDED, finding, now)
    # Of an emergency it has to be known that it came: the alert cannot be put off any more.
    joins = (
        anew or finding.rule not in alert.raising or _renews(alert, finding) or _is_first_emergency(alert, finding)
    )
    return Heard(changes=(_join(alert, finding, now),)) if joins else NOTHING


def _is_anew(alert: Alert, finding: Finding) -> bool:
    return finding.since > alert.since and finding.known_at > alert.updated_at


def _is_quiet(alert: Alert, finding: Finding) -> bool:
    moments = (alert.opened_at, alert.since, alert.acknowledged_at, alert.closed_at)
    return finding.known_at < max(filter(None, moments)) + RULES[finding.rule].quiet


def _renews(alert: Alert, finding: Finding) -> bool:
    return finding.renews and not set(finding.evidence) <= set(alert.evidence)


def _is_first_emergency(alert: Alert, finding: Finding) -> bool:
    return finding.emergency_at is not None and alert.emergency_at is None and alert.acknowledged_at is None


def _has_come_since(dealt_with: datetime | None, finding: Finding) -> bool:
    """Whether an emergency came after somebody had dealt with the alert."""
    return bool(finding.emergency_at and dealt_with and finding.emergency_at > dealt_with)


def _raise_closed(alert: Alert, finding: Finding, now: datetime) -> Heard:
    """The alert was closed while its condition was present."""
    anew = (_is_anew(alert, finding) and not _is_quiet(alert, finding)) or _has_come_since(alert.closed_at, finding)
    if not anew and finding.priority <= alert.priority:
        return NOTHING if finding.rule in alert.raising else Heard(changes=(_join(alert, finding, now),))
    handed_over = replace(alert, raising=frozenset(), updated_at=now)
    opened = _open(finding, now, alert.raising | {finding.rule})
    superseded = _change(handed_over, FactKind.SUPERSEDED, now, note=opened.changes[0].alert.id)
    return Heard(changes=(superseded, *opened.changes), notices=opened.notices)


def _open(finding: Finding, now: datetime, raising: frozenset[str]) -> Heard:
    alert = Alert(
        id="a-" + _digest(finding.patient, finding.problem, now.isoformat()),
        patient=finding.patient,
        problem=finding.problem,
        priority=finding.priority,
        because=finding.because,
        evidence=finding.evidence,
        raising=raising,
        since=finding.since,
        opened_at=now,
        updated_at=now,
        emergency_at=finding.emergency_at,
    )
    return _told(alert, FactKind.OPENED, finding, now)


def _worsen(alert: Alert, finding: Finding, now: datetime) -> Heard:
    return _told(_unseen(_with(alert, finding, now)), FactKind.WORSENED, finding, now)


def _relapse(alert: Alert, finding: Finding, now: datetime) -> Heard:
    again = replace(
        _unseen(_with(alert, finding, now)),
        since=finding.since,
        evidence=finding.evidence,
        condition_gone_at=None,
        emergency_at=finding.emergency_at,
    )
    if alert.acknowledged_at:
        # Somebody has seen the worst of it; what comes now is as urgent as it is.
        again = replace(again, priority=finding.priority)
    return _told(again, FactKind.RELAPSED, finding, now, headline=_headline(alert, finding))


def _tell_again(alert: Alert, finding: Finding, now: datetime) -> Heard:
    """The trouble goes on, with an emergency of which whoever acknowledged it could not know."""
    again = _unseen(_with(alert, finding, now))
    return _told(again, FactKind.RELAPSED, finding, now, headline=_headline(alert, finding))


def _unseen(alert: Alert) -> Alert:
    return replace(alert, acknowledged_at=None, acknowledged_by=None, acknowledged_note=None)


def _awake(alert: Alert) -> Alert:
    return replace(alert, snoozed_at=None, snoozed_until=None, snoozed_by=None, snoozed_note=None)


def _headline(alert: Alert, finding: Finding) -> FactKind:
    """What is worse than anything before is not there again."""
    return FactKind.WORSENED if finding.priority > alert.priority else FactKind.RELAPSED


def _return(alert: Alert, finding: Finding, now: datetime) -> Change:
    """Nobody is told, but nobody may read that it is over either; `since` stays, so staff still hears of more."""
    back = replace(_joined(alert, finding, now), condition_gone_at=None, untold_since=now)
    return _change(back, FactKind.RELAPSED, now, because=finding.because)


def _join(alert: Alert, finding: Finding, now: datetime) -> Change:
    joined = _joined(alert, finding, now)
    if alert.closed_at:
        joined = replace(alert, raising=joined.raising, updated_at=now)
    return _change(joined, FactKind.JOINED, now, because=finding.because)


def _joined(alert: Alert, finding: Finding, now: datetime) -> Alert:
    """A priority and the sentence that gave it stay together; it is the one of which staff were told."""
    joined = _with(alert, finding, now)
    if finding.audience is Audience.PATIENT:
        return replace(joined, because=alert.because, priority=alert.priority)
    return replace(joined, because=alert.because) if finding.priority < alert.priority else joined


def _with(alert: Alert, finding: Finding, now: datetime) -> Alert:
    return replace(
        alert,
        priority=max(alert.priority, finding.priority),
        because=finding.because,
        evidence=tuple(dict.fromkeys((*alert.evidence, *finding.evidence))),
        raising=alert.raising | {finding.rule},
        updated_at=now,
        emergency_at=max(filter(None, (alert.emergency_at, finding.emergency_at)), default=None),
    )


def _clear(alert: Alert, finding: Finding, now: datetime) -> Heard:
    left = alert.raising - {finding.rule}
    eased = replace(alert, raising=left, updated_at=now)
    if left:
        return Heard(changes=(_change(eased, FactKind.EASED, now, because=finding.because),))
    gone = replace(eased, condition_gone_at=now, untold_since=None)
    if alert.closed_at or alert.untold_since:
        return Heard(changes=(_change(gone, FactKind.CONDITION_GONE, now, because=finding.because),))
    return _told(gone, FactKind.CONDITION_GONE, finding, now)


def _act(alert: Alert | None, act: Act) -> Change:
    if alert is None or alert.id != act.alert:
        raise IllegalAct(
            Text(
                en=f"There is no alert {act.alert}. Look it up in the list of alerts.",
                zh=f"没有警报 {act.alert}。请在警报列表中查找。",
            )
        )
    if not act.by.strip():
        raise IllegalAct(
            Text(
                en=f"Alert {alert.id} needs a named person. Give your name.",
                zh=f"警报 {alert.id} 须由具名人员处理。请填写姓名。",
            )
        )
    if alert.closed_at:
        raise IllegalAct(
            Text(
                en=f"Alert {alert.id} was closed by {alert.closed_by} at {{moment}}. "
                "Nothing can be done with it any more; a new episode opens a new alert.",
                zh=f"警报 {alert.id} 已由 {alert.closed_by} 于 {{moment}} 关闭，不能再处理；新的发作会产生新的警报。",
            ),
            alert.closed_at,
        )
    return _BY_KIND[act.kind](alert, act)


def _acknowledge(alert: Alert, act: Act) -> Change:
    if act.outcome is not None:
        raise IllegalAct(
            Text(
                en=f"Acknowledging alert {alert.id} takes no outcome. Close it to give one.",
                zh=f"确认警报 {alert.id} 时不填处理结果。请在关闭时填写。",
            )
        )
    if alert.acknowledged_at:
        raise IllegalAct(
            Text(
                en=f"Alert {alert.id} was acknowledged by {alert.acknowledged_by} at {{moment}}. It can be closed.",
                zh=f"警报 {alert.id} 已由 {alert.acknowledged_by} 于 {{moment}} 确认，可以关闭。",
            ),
            alert.acknowledged_at,
        )
    seen = replace(
        _awake(alert),
        acknowledged_at=act.at,
        acknowledged_by=act.by,
        acknowledged_note=act.note or None,
        updated_at=act.at,
    )
    return _change(seen, FactKind.ACKNOWLEDGED, act.at, by=act.by, note=act.note)


def _close(alert: Alert, act: Act) -> Change:
    possible = outcomes_of(alert.patient)
    told = outcomes_told(possible)
    if act.outcome is None:
        raise IllegalAct(
            Text(
                en=f"Closing alert {alert.id} needs an outcome: {told.en}.",
                zh=f"关闭警报 {alert.id} 须填写处理结果：{told.zh}。",
            )
        )
    if act.outcome not in possible:
        about = (
            Text(en="Homeward itself, and no patient", zh="本系统自身，与患者无关")
            if alert.patient == HOUSE
            else Text(en="a patient", zh="患者")
        )
        raise IllegalAct(
            Text(
                en=f"Alert {alert.id} is about {about.en}: it cannot be closed with the outcome {act.outcome}. "
                f"Possible: {told.en}.",
                zh=f"警报 {alert.id} 涉及{about.zh}，不能以{outcomes_told([act.outcome]).zh}作为处理结果关闭。"
                f"可选：{told.zh}。",
            )
        )
    if not act.note.strip():
        raise IllegalAct(
            Text(
                en=f"Closing alert {alert.id} needs a note: what was done, or why nothing was.",
                zh=f"关闭警报 {alert.id} 须填写说明：做了什么，或为何无需处理。",
            )
        )
    what = Text(en=f"alert {alert.id}", zh=f"警报 {alert.id}")
    refuse_reason(what, act.outcome, act.reason, takes_one=alert.patient != HOUSE)
    closed = replace(
        _awake(alert),
        untold_since=None,
        closed_at=act.at,
        closed_by=act.by,
        outcome=act.outcome,
        reason=act.reason,
        closing_note=act.note,
        updated_at=act.at,
    )
    because = f"{act.outcome} ({act.reason})" if act.reason else act.outcome
    return _change(closed, FactKind.CLOSED, act.at, by=act.by, note=f"{because}: {act.note}")


def _snooze(alert: Alert, act: Act) -> Change:
    until = _snooze_until(alert, act)
    put_off = replace(
        alert,
        untold_since=None,
        snoozed_at=act.at,
        snoozed_until=until,
        snoozed_by=act.by,
        snoozed_note=act.note,
        updated_at=act.at,
    )
    fact = Fact(alert=alert.id, what=FactKind.SNOOZED, at=act.at, by=act.by, note=act.note, until=until)
    return Change(alert=put_off, fact=fact)


def _snooze_until(alert: Alert, act: Act) -> datetime:
    """Until when it is put off. Raises IllegalAct where it cannot be, or not for so long."""
    most, moment = snooze_at_most(alert), None
    if most is None:
        why = _grave(alert)
        said = Text(
            en=f"Alert {alert.id} {why.en} and cannot be put off. Acknowledge it and act, or acknowledge it and hand "
            "its follow-up over to who can.",
            zh=f"警报 {alert.id} {why.zh}，不能暂缓。请确认后立即处理，或确认后将随访转交给能处理的人。",
        )
    elif alert.acknowledged_at:
        moment = alert.acknowledged_at
        said = Text(
            en=f"Alert {alert.id} was acknowledged by {alert.acknowledged_by} at {{moment}}. "
            "Put its follow-up off instead, or close it.",
            zh=f"警报 {alert.id} 已由 {alert.acknowledged_by} 于 {{moment}} 确认。可推迟其随访，或关闭警报。",
        )
    elif alert.snoozed_until:
        moment = alert.snoozed_until
        said = Text(
            en=f"Alert {alert.id} is put off until {{moment}} by {alert.snoozed_by}. "
            "Acknowledge it to act sooner, or close it.",
            zh=f"警报 {alert.id} 已由 {alert.snoozed_by} 暂缓至 {{moment}}。可确认后提前处理，或关闭。",
        )
    elif not alert.raising:
        said = Text(
            en=f"The condition of alert {alert.id} is over: there is nothing to put off. Acknowledge or close it.",
            zh=f"警报 {alert.id} 的状况已解除，无需暂缓。请确认或关闭。",
        )
    elif act.outcome is not None or not act.note.strip():
        said = Text(
            en=f"Putting off alert {alert.id} needs a note, why it can wait, and takes no outcome.",
            zh=f"暂缓警报 {alert.id} 须说明为何可以等待，不填处理结果。",
        )
    elif act.until is not None and act.until <= act.at:
        moment = act.until
        said = Text(
            en=f"{{moment}} has passed: alert {alert.id} can be put off until a time still to come.",
            zh=f"{{moment}} 已过去：警报 {alert.id} 只能暂缓至将来的时间。",
        )
    elif act.until is None or act.until > act.at + most:
        moment = act.at + most
        hours = most // timedelta(hours=1)
        said = Text(
            en=f"Alert {alert.id} can be put off by at most {hours} h: until {{moment}}.",
            zh=f"警报 {alert.id} 最多可暂缓 {hours} 小时：不晚于 {{moment}}。",
        )
    else:
        return act.until
    raise IllegalAct(said, moment)


def _grave(alert: Alert) -> Text:
    """Why an alert cannot be put off."""
    if alert.priority is Priority.HIGH:
        return Text(en="is of high priority", zh="优先级高")
    if alert.emergency_at is not None:
        return Text(en="is an emergency", zh="属于急症")
    return Text(
        en="is about a severe blood pressure, of which the patient has to be asked for symptoms,",
        zh="涉及重度血压升高，须先询问患者有无症状",
    )


def snooze_at_most(alert: Alert) -> timedelta | None:
    """For how long an alert can be put off; None where its priority or an emergency forbids it."""
    grave = alert.emergency_at is not None or asks_symptoms(alert)
    return None if grave else SNOOZE_AT_MOST.get(alert.priority)


_BY_KIND: Final[Mapping[ActKind, Callable[[Alert, Act], Change]]] = {
    ActKind.ACKNOWLEDGE: _acknowledge,
    ActKind.SNOOZE: _snooze,
    ActKind.CLOSE: _close,
}


def _change(
    alert: Alert, what: FactKind, at: datetime, *, because: Text | None = None, by: str | None = None, note: str = ""
) -> Change:
    return Change(alert=alert, fact=Fact(alert=alert.id, what=what, at=at, by=by, because=because, note=note))


# Notices

OVER: Final = Text(en="Condition over: {title}", zh="状况已解除：{title}")
_HEADLINES: Final = {
    FactKind.OPENED: Text(en="{priority}: {title}", zh="{priority}：{title}"),
    FactKind.WORSENED: Text(en="{priority} now: {title}", zh="升级为{priority}：{title}"),
    FactKind.RELAPSED: Text(en="{priority}, again: {title}", zh="{priority}，再次出现：{title}"),
    FactKind.SNOOZE_ENDED: Text(en="{priority}, put off no longer: {title}", zh="{priority}，暂缓已结束：{title}"),
    FactKind.CONDITION_GONE: OVER,
}
_TO_PATIENT: Final = Text(en="For you: {title}", zh="请注意：{title}")


def title(alert: Alert) -> Text:
    """The name of the most urgent rule that holds the alert up; once it is over, of the one that it told of.

    That is known by the kind of its readings, and by the limit that its sentence names; else it is one as urgent.
    """
    problem, _, _ = alert.problem.partition(":")
    measured = {key.partition("/")[0] for key in alert.evidence}
    raising = [RULES[name] for name in sorted(alert.raising) if name in RULES]
    of_problem = [rule for rule in RULES.values() if rule.problem == problem]
    own = [rule for rule in of_problem if not measured.isdisjoint(rule.vitals)] or of_problem
    about = raising or [rule for rule in own if _names_limit(alert.because, rule)] or own
    worst = max(about, key=lambda rule: (rule.priority == alert.priority, rule.priority), default=None)
    return worst.title if worst else Text(en=problem, zh=problem)


def _names_limit(because: Text, rule: Rule) -> bool:
    return any(f"Limit: {each.source.en}." in because.en for each in rule.parameters)


def for_patient(title: Text) -> Text:
    """The subject under which a patient reads what a rule of this name says."""
    return Text(en=_TO_PATIENT.en.format(title=title.en), zh=_TO_PATIENT.zh.format(title=title.zh))


def _told(
    alert: Alert, what: FactKind, finding: Finding, now: datetime, *, headline: FactKind | None = None
) -> Heard:
    """A change of which staff are told, by default under its own headline.

    Those told of an opening are told of the end by the same way.
    """
    return _announced(alert, what, now, _HEADLINES[headline or what], RULES[finding.rule].title, finding.because)


def _told_again(alert: Alert, now: datetime) -> Heard:
    """Put off no longer, as it is."""
    what = FactKind.SNOOZE_ENDED
    return _announced(alert, what, now, _HEADLINES[what], title(alert), alert.because)


def _announced(alert: Alert, what: FactKind, now: datetime, form: Text, title: Text, because: Text) -> Heard:
    """What is told is put off no longer, and is untold no longer, but for the end of the condition."""
    if what is not FactKind.CONDITION_GONE:
        alert = replace(_awake(alert), untold_since=None)
    priority = PRIORITY_WORDS[alert.priority]
    notice = Notice(
        # An alert may become worse twice at one moment, by a sensor and then by a meter.
        id="n-" + _digest(alert.id, what, now.isoformat(), alert.priority.name),
        alert=alert.id,
        patient=alert.patient,
        audience=Audience.STAFF,
        priority=alert.priority,
        subject=Text(
            en=form.en.format(priority=priority.en, title=title.en),
            zh=form.zh.format(priority=priority.zh, title=title.zh),
        ),
        body=because,
        written_at=now,
    )
    return Heard(changes=(_change(alert, what, now, because=because),), notices=(notice,))


def _to_patient(finding: Finding, now: datetime) -> Notice:
    """One notice for one onset: the same finding, heard again, writes the same notice."""
    return Notice(
        id="n-" + _digest(finding.patient, finding.rule, finding.since.isoformat()),
        alert=None,
        patient=finding.patient,
        audience=Audience.PATIENT,
        priority=finding.priority,
        subject=for_patient(RULES[finding.rule].title),
        body=finding.because,
        written_at=now,
    )


def _digest(*parts: str) -> str:
    return sha256("\x1f".join(parts).encode()).hexdigest()[:16]
