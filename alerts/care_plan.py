"""When a patient is to be followed up next, by condition and control, and why then. Pure.

Control is what the last weekly review said: of blood pressure, of a sensor's week, or of a meter's. The intervals are
data with their sources (`Interval`); the first rule that fits counts:

| rule | next after |
|---|---|
| set for the patient by a named person | what was set |
| medication changed at the last follow-up, not controlled | 2 weeks |
| medication changed, controlled or not known | 4 weeks |
| sensor, unstable | 1 week |
| emergency at the last follow-up | 2 weeks |
| sensor, stable | 4 weeks |
| not controlled, for the first time | 2 weeks |
| not controlled at two follow-ups in a row | 2 weeks, and referral |
| controlled | 13 weeks |
| not known | 4 weeks |

An **alert of high priority** that was closed with something done (not `no-action`) makes the next one due 1 week
after it for diabetes, 2 weeks for high blood pressure, where a rule above would be later and nobody has set it. That
holds, whatever a review says, until a follow-up of the plan that was opened since, or any after that time, is closed.

The interval counts from the last follow-up, or from the review by which it got worse; one that got better makes the
next one later, never sooner. A follow-up is opened a quarter of the interval ahead, at most a week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final

from alerts.alert import Finding, Outcome, Priority, Text, Verdict
from alerts.follow_up import FollowUp, Open, Why
from alerts.review import Review
from alerts.review_rules import WEEK_CV, WEEK_NOCTURNAL_LOWS, WEEK_TAR, WEEK_TBR, WEEK_TIR
from alerts.rule import OWN
from alerts.spot_rules import BP_NOT_AT_GOAL, METER_REPEATED_HIGH, METER_REPEATED_LOW
from alerts.team import Role

_WEEK: Final = timedelta(weeks=1)
_LEAD: Final = _WEEK
_CHINA: Final = Text(en="China, basic public health service", zh="国家基本公共卫生服务规范")
_AHA: Final = Text(en="AHA: monthly until controlled", zh="AHA：达标前每月随访")
_TIDE: Final = Text(en="TIDE: weekly review", zh="TIDE：每周回顾")


class Condition(StrEnum):
    """What a plan is for."""

    DIABETES = "diabetes"
    HYPERTENSION = "hypertension"


CONDITION_WORDS: Final[Mapping[Condition, Text]] = {
    Condition.DIABETES: Text(en="Diabetes", zh="糖尿病"),
    Condition.HYPERTENSION: Text(en="High blood pressure", zh="高血压"),
}


class Control(StrEnum):
    """What the last review says of a condition."""

    CONTROLLED = "controlled"
    NOT_CONTROLLED = "not-controlled"
    UNKNOWN = "unknown"


class Interval(Enum):
    """How long until the next follow-up, in which words, and whose rule it is."""

    EMERGENCY = (2 * _WEEK, Text(en="emergency at the last follow-up", zh="上次随访为急症"), _CHINA)
    CHANGED = (2 * _WEEK, Text(en="medication changed, not controlled", zh="已调整用药，未达标"), _CHINA)
    CHANGED_WELL = (4 * _WEEK, Text(en="medication changed", zh="已调整用药"), _AHA)
    ALARM = (_WEEK, Text(en="an alert of high priority", zh="发生高优先级警报"), _TIDE)
    ALARM_PRESSURE = (2 * _WEEK, ALARM[1], _CHINA)
    UNSTABLE = (_WEEK, Text(en="the sensor's week is unstable", zh="传感器数据显示血糖不稳定"), _TIDE)
    STABLE = (4 * _WEEK, Text(en="the sensor's week is stable", zh="传感器数据显示血糖稳定"), OWN)
    MISSED = (2 * _WEEK, Text(en="not controlled", zh="未达标"), _CHINA)
    REFER = (
        2 * _WEEK,
        Text(en="not controlled at two follow-ups in a row: refer the patient", zh="连续两次随访未达标：建议转诊"),
        _CHINA,
    )
    CONTROLLED = (13 * _WEEK, Text(en="controlled", zh="已达标"), _CHINA)
    UNKNOWN = (4 * _WEEK, Text(en="too little is known of the control", zh="数据不足，控制情况未知"), OWN)

    def __init__(self, after: timedelta, said: Text, source: Text) -> None:
        self.after = after
        self.said = said
        self.source = source


_SENSOR_RULES: Final = frozenset(each.name for each in (WEEK_TIR, WEEK_TBR, WEEK_TAR, WEEK_CV, WEEK_NOCTURNAL_LOWS))
_METER_RULES: Final = frozenset((METER_REPEATED_HIGH.name, METER_REPEATED_LOW.name))
_PROBLEMS: Final[Mapping[str, Condition]] = {
    "glucose": Condition.DIABETES,
    "ketone": Condition.DIABETES,
    "week": Condition.DIABETES,
    "blood-pressure": Condition.HYPERTENSION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CarePlan:
    """How often one condition of a patient is followed up (moments aware UTC).

    role: who does it. every: as set by `author`; None: by rule. control, told: what the last review said, and its
    sentence, None before the first; sensor: whether a sensor said it. missed: follow-ups in a row at which it was not
    controlled. outcome: of the last follow-up. alarmed_at, alarm: when the first alert of high priority since was
    closed, and its sentence. since: from when the interval counts. due_at, because: when the next
    is due and why. follow_up: the one that is open for it. version: how often it was written.
    """

    patient: str
    condition: Condition
    role: Role
    author: str
    entered_at: datetime
    since: datetime
    due_at: datetime
    because: Text
    every: timedelta | None = None
    control: Control = Control.UNKNOWN
    told: Text | None = None
    sensor: bool = False
    judged_at: datetime | None = None
    missed: int = 0
    outcome: Outcome | None = None
    alarmed_at: datetime | None = None
    alarm: Text | None = None
    follow_up: str | None = None
    version: int = 0

    @property
    def problem(self) -> str:
        """The problem of the follow-ups it opens."""
        return f"plan-{self.condition}"

    @property
    def interval(self) -> Interval | None:
        """The rule that gives the time of the next one; None where it was set for the patient."""
        return None if self.every else _next(self)[0]

    @property
    def open_at(self) -> datetime:
        """When its next follow-up is opened, a little ahead."""
        return self.due_at - min(_LEAD, (self.every or _next(self)[0].after) / 4)


def planned(
    patient: str,
    condition: Condition,
    *,
    role: Role,
    author: str,
    now: datetime,
    every: timedelta | None = None,
    before: CarePlan | None = None,
    review: Review | None = None,
    recent: Iterable[FollowUp] = (),
) -> CarePlan:
    """The plan that a named person sets, with what is known: the plan before it, or the newest review and alerts."""
    if before:
        return _dated(replace(before, role=role, author=author, entered_at=now, every=every))
    nothing = Text(en="", zh="")
    new = CarePlan(
        patient=patient,
        condition=condition,
        role=role,
        author=author,
        entered_at=now,
        every=every,
        since=now,
        due_at=now,
        because=nothing,
    )
    alarms = (each for each in recent if each.closed_at and now < each.closed_at + _alarm_rule(new).after)
    for follow_up in sorted(alarms, key=lambda each: each.closed_at or now):
        new = _alarmed(new, follow_up)
    return judged(_dated(new), review) if review else _dated(new)


def judged(plan: CarePlan, review: Review) -> CarePlan:
    """The plan after a weekly review; as it was where the review is no newer than the last, or cannot tell."""
    if plan.judged_at and review.made_at <= plan.judged_at:
        return plan
    findings = [finding for finding in review.findings if _is_about(plan.condition, finding)]
    known = [finding for finding in findings if finding.verdict is not Verdict.HOLD]
    if not known:
        return replace(plan, judged_at=review.made_at)
    # Of what was found the first raised one says why; the rules stand in the order of their weight.
    raised = next((finding for finding in known if finding.verdict is Verdict.RAISE), None)
    control = Control.NOT_CONTROLLED if raised else Control.CONTROLLED
    got_worse = raised is not None and plan.control is not Control.NOT_CONTROLLED
    return _dated(
        replace(
            plan,
            control=control,
            told=(raised or known[0]).because,
            sensor=(raised or known[0]).rule in _SENSOR_RULES,
            judged_at=review.made_at,
            since=max(plan.since, review.made_at) if got_worse else plan.since,
        )
    )


def followed(plan: CarePlan, follow_up: FollowUp) -> CarePlan:
    """The plan after a follow-up was closed.

    Its own counts as a visit; of another one about the same condition only what it changed, an emergency, or that its
    alert was of high priority.
    """
    if follow_up.closed_at is None:
        return plan
    own = follow_up.problem == plan.problem
    told = follow_up.outcome in {Outcome.MEDICATION_CHANGED, Outcome.EMERGENCY}
    plan = _alarmed(plan, follow_up)
    if not own and not (told and condition_of(follow_up.problem) in {plan.condition, None}):
        return _dated(plan)
    missed = plan.missed
    if own:
        missed = plan.missed + 1 if plan.control is Control.NOT_CONTROLLED else 0
        if _answers_alarm(plan, follow_up):
            plan = replace(plan, alarmed_at=None, alarm=None)
    return _dated(
        replace(
            plan,
            since=follow_up.closed_at,
            missed=missed,
            outcome=follow_up.outcome,
            follow_up=None if own else plan.follow_up,
        )
    )


def opening(plan: CarePlan, now: datetime, programme: str | None = None) -> Open | None:
    """What opens the plan's next follow-up; None while there is time, or while one is open."""
    if plan.follow_up or now < plan.open_at:
        return None
    return Open(
        patient=plan.patient,
        why=Why.PLAN,
        key=f"{plan.condition} {plan.due_at.isoformat()}",
        because=plan.because,
        at=now,
        role=plan.role,
        priority=Priority.LOW,
        problem=plan.problem,
        programme=programme,
        due_at=max(plan.due_at, now),
    )


def condition_of(problem: str | None) -> Condition | None:
    """Which condition a problem is about; None where it may be any."""
    return next((found for prefix, found in _PROBLEMS.items() if (problem or "").startswith(prefix)), None)


def _rule(plan: CarePlan) -> Interval:
    missed = plan.control is Control.NOT_CONTROLLED
    if plan.outcome is Outcome.MEDICATION_CHANGED:
        return Interval.CHANGED if missed else Interval.CHANGED_WELL
    if plan.sensor and missed:
        return Interval.UNSTABLE
    if plan.outcome is Outcome.EMERGENCY:
        return Interval.EMERGENCY
    if plan.sensor:
        return Interval.STABLE
    if missed:
        return Interval.REFER if plan.missed > 1 else Interval.MISSED
    return Interval.CONTROLLED if plan.control is Control.CONTROLLED else Interval.UNKNOWN


def _alarm_rule(plan: CarePlan) -> Interval:
    return Interval.ALARM if plan.condition is Condition.DIABETES else Interval.ALARM_PRESSURE


def _alarmed(plan: CarePlan, follow_up: FollowUp) -> CarePlan:
    """The plan that knows of an alert of high priority; of several the first, for no later one gives more time."""
    is_alarm = follow_up.alert is not None and follow_up.priority is Priority.HIGH
    is_about = condition_of(follow_up.problem) is plan.condition
    if plan.alarmed_at or not is_alarm or not is_about or follow_up.outcome is Outcome.NO_ACTION:
        return plan
    return replace(plan, alarmed_at=follow_up.closed_at, alarm=follow_up.because)


def _answers_alarm(plan: CarePlan, visit: FollowUp) -> bool:
    """Whether a follow-up of the plan that is closed came of the alarm, or after the time that it gave."""
    if plan.alarmed_at is None or visit.closed_at is None:
        return False
    return visit.opened_at >= plan.alarmed_at or visit.closed_at >= plan.alarmed_at + _alarm_rule(plan).after


def _next(plan: CarePlan) -> tuple[Interval, datetime]:
    """The rule that gives the next day, and that day."""
    rule, alarm = _rule(plan), _alarm_rule(plan)
    due_at = plan.since + rule.after
    if plan.alarmed_at and (alarmed := plan.alarmed_at + alarm.after) < due_at:
        return alarm, alarmed
    return rule, due_at


def _dated(plan: CarePlan) -> CarePlan:
    """The plan with its next day and the reason."""
    words = CONDITION_WORDS[plan.condition]
    if plan.every:
        days = plan.every.days
        because = Text(
            en=f"{words.en}: every {days} d, set by {plan.author}.",
            zh=f"{words.zh}：每 {days} 天一次，由{plan.author}设定。",
        )
        return replace(plan, due_at=plan.since + plan.every, because=because)
    rule, due_at = _next(plan)
    days = rule.after.days
    told = (plan.alarm if rule is _alarm_rule(plan) else plan.told) or Text(en="", zh="")
    because = Text(
        en=f"{words.en}, {rule.said.en}: follow-up after {days} d ({rule.source.en}). {told.en}".strip(),
        zh=f"{words.zh}，{rule.said.zh}：{days} 天后随访（{rule.source.zh}）。{told.zh}",
    )
    return replace(plan, due_at=due_at, because=because)


def _is_about(condition: Condition, finding: Finding) -> bool:
    if condition is Condition.HYPERTENSION:
        return finding.rule == BP_NOT_AT_GOAL.name
    return finding.rule in _SENSOR_RULES or finding.rule in _METER_RULES
