"""How well alerts end: what a period of them, and of what people did about them, adds up to. Pure.

Alerts count by the moment at which they were opened, surveys by that at which they were made, follow-ups by that at
which they were opened. What had not happened by `as_of` is still open, and says so: a time of which some are open is
estimated as Kaplan and Meier did (10.1080/01621459.1958.10501452), where an open one has waited at least so long, and
a median that more than half have not reached is None. What ended without it (an alert closed although nobody was
contacted) is counted apart.

The budget beside which a clinic may read its figures is Homeward's own proposal; no standard has one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from math import fsum
from typing import Final

from alerts.alert import FALSE_ALARMS, OUTCOMES_OF_CARE, REASON_WORDS, Outcome, Priority, Reason, Text, together
from alerts.rule import DAYS, HOURS, MIN, OWN, Comparison, Parameter, Rule
from alerts.rules import RULES

# Homeward's own: alerts of a patient-day, and the share of closed ones in which somebody did something.
MOST_PER_DAY: Final = 0.10
LEAST_ACTED_ON: Final = 0.60
BUDGET: Final = OWN
# From so many closed alerts of a rule on something is said about it.
RELAX_FROM: Final = 10
RELAX_SHARE: Final = 0.60
TIGHTEN_FROM: Final = 5
TIGHTEN_SHARE: Final = 0.20
# What was not done because of the patient's way, and not of the rule, speaks for no change of it.
_SAYS_NOTHING: Final = frozenset({Reason.NOT_REACHED, Reason.DECLINED})
# What no number of a rule would change.
_TO_MEND: Final = frozenset({Reason.DEVICE_FAULT, Reason.WRONG_ENTRY})
_UNSAID: Final = Text(en="not said (closed before it was asked for)", zh="未填写（旧记录）")
# Which number of a rule decides most how often staff hear of it, in the order in which one is looked for.
_LEVERS: Final = (
    "staff-after", "unrecovered", "staff-systolic", "staff-days", "call", "hold", "limit", "systolic", "high", "days",
    "readings", "count", "staff-after-cgm_glucose", "sensor-share",
)  # fmt: skip
_TIMES: Final = frozenset({MIN, HOURS, DAYS})
# S(t) is a product of fractions: what is 0.5 may come out a little above.
_NEARLY: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert of the period (moments aware UTC). rule: the one that opened it, None where that is not known.

    reason: why nothing was done; None also where that was not asked for yet. acknowledged_at: when somebody first
    did, whoever had to do it again later. worsened: it became more urgent. steps: how many steps of its ladder after
    the first were taken, because nobody had answered.
    """

    id: str
    patient: str
    problem: str
    priority: Priority
    opened_at: datetime
    programme: str | None = None
    rule: str | None = None
    notified_at: datetime | None = None
    acknowledged_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    note: str = ""
    worsened: bool = False
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpRow:
    """A follow-up. role: who has it, or had it last. in_period: it was opened in the period, not only its alert."""

    id: str
    role: str
    programme: str | None = None
    alert: str | None = None
    in_period: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """A try to reach a patient. result: as in `alerts.follow_up.Result`."""

    follow_up: str
    at: datetime
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRow:
    """A survey after a follow-up, and what the patient said: score 1 (poor) to 5; None where nothing was said."""

    made_at: datetime
    role: str
    programme: str | None = None
    answered: bool = False
    helpful: bool | None = None
    solved: bool | None = None
    score: int | None = None
    call_again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredRow:
    """A patient of the register. days: of the period, on the patient's clock, on which readings were taken."""

    patient: str
    days: int
    programme: str | None = None


class Measure(StrEnum):
    """What control is measured by."""

    TIR = "tir"  # % of the sensor's readings
    SYSTOLIC = "systolic"  # mmHg, home mean
    DIASTOLIC = "diastolic"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """A patient's 14 days before the first alert of the period and after the last closing; None: not enough data.

    too_early: those after are not over yet.
    """

    patient: str
    measure: Measure
    before: float | None
    after: float | None
    too_early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRows:
    """All that a report is made of. start <= opened_at < end; as_of: until when it is known what happened."""

    start: datetime
    end: datetime
    as_of: datetime
    zone: tzinfo
    alerts: Collection[AlertRow] = ()
    follow_ups: Collection[FollowUpRow] = ()
    attempts: Collection[AttemptRow] = ()
    surveys: Collection[SurveyRow] = ()
    monitored: Collection[MonitoredRow] = ()
    controls: Collection[ControlRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long something took since the opening. n: so often it happened; open: so often it may yet happen.

    without: so often the alert ended without it. median, p90: None where too many are still open to tell, or n is 0.
    """

    n: int
    open: int
    without: int
    median: timedelta | None
    p90: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the alerts of a group add up to.

    patient_days: days with readings, None where days belong to no group. acted_on: closed with another outcome than
    no action. false_alarms: closed with a reason of FALSE_ALARMS. unanswered: nobody has acknowledged or closed them
    yet. escalated: a later step of the ladder was taken; worsened: became more urgent. acknowledge: closing is an
    answer too.
    """

    alerts: int
    patient_days: int | None
    closed: int
    acted_on: int
    false_alarms: int
    outcomes: Mapping[Outcome, int]
    unanswered: int
    unanswered_high: int
    escalated: int
    worsened: int
    notify: Times
    acknowledge: Times
    contact: Times
    close: Times

    @property
    def per_patient_day(self) -> float | None:
        """Alerts of a day on which a patient measured."""
        return self.alerts / self.patient_days if self.patient_days else None

    @property
    def acted_on_share(self) -> float | None:
        """Of the closed ones, 0 to 1."""
        return self.acted_on / self.closed if self.closed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What it took to reach patients, in the follow-ups of the period. reached: attempts that did."""

    follow_ups: int
    attempts: int
    reached: int
    results: Mapping[str, int]

    @property
    def per_reach(self) -> float | None:
        """Attempts for each that reached the patient."""
        return self.attempts / self.reached if self.reached else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Satisfaction:
    """What patients said. monday: of the week in which they were asked, on the clinic's clock; None: all of them.

    Shares are of those who answered that question; None where nobody did.
    """

    monday: date | None
    programme: str | None
    role: str | None
    asked: int
    answered: int
    score: float | None
    helpful: float | None
    solved: float | None
    call_again: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """How patients stood before and after, each counted once. n: those with enough data of both.

    before, after, change: means over those. insufficient: without enough data of one of both. too_early: the 14 days
    after are not over.
    """

    measure: Measure
    n: int
    insufficient: int
    too_early: int
    before: float | None
    after: float | None
    change: float | None


# The commonest first; None where it was not asked for.
Reasons = tuple[tuple[Reason | None, int], ...]


class Verb(StrEnum):
    """What to do about a rule."""

    TIGHTEN = "tighten"
    RELAX = "relax"
    LOOK = "look"  # at each of its alerts, before anything is changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do about a rule, and on what that rests. parameter: the number to try, None where it has none."""

    verb: Verb
    parameter: str | None
    because: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFigures:
    """What the alerts that a rule opened came to. rule None: it is not known which. reasons: why nothing was done.

    false_alarms: closed with a reason of FALSE_ALARMS.
    """

    rule: str | None
    alerts: int
    closed: int
    no_action: int
    false_alarms: int
    emergencies: int
    escalated: int
    worsened: int
    reasons: Reasons
    advice: Advice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The report. by_programme, by_role: None are those without one. reasons: of closing without an action.

    notes: of those whose reason is another one than the list has, or was not asked for.
    """

    start: datetime
    end: datetime
    as_of: datetime
    total: Figures
    by_programme: Mapping[str | None, Figures]
    by_role: Mapping[str | None, Figures]
    reasons: Reasons
    notes: tuple[tuple[str, int], ...]
    reach: Reach
    satisfaction: tuple[Satisfaction, ...]
    satisfaction_total: Satisfaction
    control: tuple[Control, ...]
    rules: tuple[RuleFigures, ...]


def quality(rows: QualityRows) -> Quality:
    """The report of a period; the order of the rows does not matter."""
    contacts = _contacts(rows)
    roles = {each.alert: each.role for each in sorted(rows.follow_ups, key=lambda each: each.id) if each.alert}
    days: Counter[str | None] = Counter()
    for patient in rows.monitored:
        days[patient.programme] += patient.days

    def figures(alerts: Sequence[AlertRow], patient_days: int | None) -> Figures:
        return _figures(alerts, patient_days, contacts, rows.as_of)

    programmes = _grouped(rows.alerts, lambda alert: alert.programme)
    teams = _grouped(rows.alerts, lambda alert: roles.get(alert.id))
    return Quality(
        start=rows.start,
        end=rows.end,
        as_of=rows.as_of,
        total=figures(list(rows.alerts), days.total()),
        by_programme={
            name: figures(programmes.get(name, []), days[name]) for name in _in_order({*programmes, *days})
        },
        by_role={name: figures(teams[name], None) for name in _in_order(teams)},
        reasons=_reasons(rows.alerts),
        notes=_notes(rows.alerts),
        reach=_reach(rows),
        satisfaction=_satisfaction(rows),
        satisfaction_total=_said(rows.surveys, None, None, None),
        control=tuple(_control(measure, rows.controls) for measure in Measure),
        rules=_rules(rows.alerts),
    )


def _in_order(names: Iterable[str | None]) -> list[str | None]:
    return sorted(names, key=lambda name: (name is None, name or ""))


def _grouped(
    alerts: Iterable[AlertRow], key: Callable[[AlertRow], str | None]
) -> Mapping[str | None, list[AlertRow]]:
    found: defaultdict[str | None, list[AlertRow]] = defaultdict(list)
    for alert in alerts:
        found[key(alert)].append(alert)
    return found


# Times


def _figures(
    alerts: Sequence[AlertRow], patient_days: int | None, contacts: Mapping[str, datetime], as_of: datetime
) -> Figures:
    closed = [alert for alert in alerts if alert.closed_at]
    unanswered = [alert for alert in alerts if not alert.closed_at and not alert.acknowledged_at]
    outcomes = Counter(alert.outcome for alert in closed)

    def times(moment: Callable[[AlertRow], datetime | None]) -> Times:
        return _times(alerts, moment, as_of)

    return Figures(
        alerts=len(alerts),
        patient_days=patient_days,
        closed=len(closed),
        acted_on=len(closed) - outcomes[Outcome.NO_ACTION],
        false_alarms=_false_alarms(closed),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES_OF_CARE},
        unanswered=len(unanswered),
        unanswered_high=sum(alert.priority is Priority.HIGH for alert in unanswered),
        escalated=sum(alert.steps > 0 for alert in alerts),
        worsened=sum(alert.worsened for alert in alerts),
        notify=times(lambda alert: alert.notified_at),
        acknowledge=times(lambda alert: alert.acknowledged_at or alert.closed_at),
        contact=times(lambda alert: contacts.get(alert.id)),
        close=times(lambda alert: alert.closed_at),
    )


def _times(alerts: Iterable[AlertRow], moment: Callable[[AlertRow], datetime | None], as_of: datetime) -> Times:
    took: list[timedelta] = []
    waits: list[timedelta] = []
    without = 0
    for alert in alerts:
        if (at := moment(alert)) is not None:
            took.append(at - alert.opened_at)
        elif alert.closed_at is not None:
            without += 1
        else:
            waits.append(as_of - alert.opened_at)
    median, p90 = _reached_by(took, waits, (0.5, 0.9))
    return Times(n=len(took), open=len(waits), without=without, median=median, p90=p90)


def _reached_by(
    took: Iterable[timedelta], waits: Iterable[timedelta], shares: tuple[float, float]
) -> tuple[timedelta | None, timedelta | None]:
    """After how long these shares have happened, by the product-limit estimate; of one moment what happened first."""
    spans = sorted([(span, False) for span in took] + [(span, True) for span in waits])
    found: list[timedelta | None] = [None, None]
    left = 1.0
    for place, (span, waits_still) in enumerate(spans):
        if waits_still:
            continue
        left *= 1 - 1 / (len(spans) - place)
        for which, share in enumerate(shares):
            if found[which] is None and left <= 1 - share + _NEARLY:
                found[which] = span
    return found[0], found[1]


def _contacts(rows: QualityRows) -> Mapping[str, datetime]:
    """When the patient of an alert was first reached."""
    alerts = {each.id: each.alert for each in rows.follow_ups}
    found: dict[str, datetime] = {}
    for attempt in rows.attempts:
        alert = alerts.get(attempt.follow_up)
        if alert and attempt.result == REACHED:
            found[alert] = min(attempt.at, found.get(alert, attempt.at))
    return found


# What people did, and what patients said

REACHED: Final = "reached"  # `alerts.follow_up.Result`


def _reach(rows: QualityRows) -> Reach:
    ours = {each.id for each in rows.follow_ups if each.in_period}
    results = Counter(attempt.result for attempt in rows.attempts if attempt.follow_up in ours)
    return Reach(
        follow_ups=len(ours),
        attempts=results.total(),
        reached=results[REACHED],
        results=dict(sorted(results.items())),
    )


def _satisfaction(rows: QualityRows) -> tuple[Satisfaction, ...]:
    groups: defaultdict[tuple[date, str | None, str], list[SurveyRow]] = defaultdict(list)
    for survey in rows.surveys:
        day = survey.made_at.astimezone(rows.zone).date()
        groups[day - timedelta(days=day.weekday()), survey.programme, survey.role].append(survey)
    order = sorted(groups, key=lambda key: (key[0], key[1] is None, key[1] or "", key[2]))
    return tuple(_said(groups[key], *key) for key in order)


def _said(
    surveys: Collection[SurveyRow], monday: date | None, programme: str | None, role: str | None
) -> Satisfaction:
    said = [survey for survey in surveys if survey.answered]
    return Satisfaction(
        monday=monday,
        programme=programme,
        role=role,
        asked=len(surveys),
        answered=len(said),
        score=_mean([each.score for each in said if each.score is not None]),
        helpful=_mean([each.helpful for each in said if each.helpful is not None]),
        solved=_mean([each.solved for each in said if each.solved is not None]),
        call_again=sum(each.call_again for each in said),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None


def _control(measure: Measure, rows: Iterable[ControlRow]) -> Control:
    ours = [row for row in rows if row.measure is measure]
    over = [row for row in ours if not row.too_early]
    both = [(row.before, row.after) for row in over if row.before is not None and row.after is not None]
    return Control(
        measure=measure,
        n=len(both),
        insufficient=len(over) - len(both),
        too_early=len(ours) - len(over),
        before=_mean([before for before, _ in both]),
        after=_mean([after for _, after in both]),
        change=_mean([after - before for before, after in both]),
    )


# Rules


def reason_words(reason: Reason | None) -> Text:
    """A reason, or that there is none, in words."""
    return REASON_WORDS[reason] if reason else _UNSAID


def _false_alarms(alerts: Iterable[AlertRow]) -> int:
    return sum(alert.reason in FALSE_ALARMS for alert in alerts)


def _reasons(alerts: Iterable[AlertRow]) -> Reasons:
    """Why nothing was done, the commonest first, those of one number in the order of the list."""
    order = [*Reason, None]
    counts = Counter(alert.reason for alert in alerts if alert.outcome is Outcome.NO_ACTION)
    return tuple(sorted(counts.items(), key=lambda each: (-each[1], order.index(each[0]))))


def _notes(alerts: Iterable[AlertRow]) -> tuple[tuple[str, int], ...]:
    """What no reason of the list says, the commonest first, as written; upper case and blanks make no other note."""
    written: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for alert in alerts:
        if alert.outcome is Outcome.NO_ACTION and alert.reason in {Reason.OTHER, None}:
            note = " ".join(alert.note.split())
            written[note.casefold()][note] += 1
    counts = [(min(notes, key=lambda note: (-notes[note], note)), notes.total()) for notes in written.values()]
    return tuple(sorted(counts, key=lambda each: (-each[1], each[0])))


def _rules(alerts: Iterable[AlertRow]) -> tuple[RuleFigures, ...]:
    found = [_rule_figures(name, of_rule) for name, of_rule in _grouped(alerts, lambda alert: alert.rule).items()]
    return tuple(sorted(found, key=lambda each: (-each.alerts, each.rule is None, each.rule or "")))


def _rule_figures(name: str | None, alerts: Sequence[AlertRow]) -> RuleFigures:
    closed = [alert for alert in alerts if alert.closed_at]
    outcomes = Counter(alert.outcome for alert in closed)
    rule = RULES.get(name) if name else None
    return RuleFigures(
        rule=name,
        alerts=len(alerts),
        closed=len(closed),
        no_action=outcomes[Outcome.NO_ACTION],
        false_alarms=_false_alarms(closed),
        emergencies=outcomes[Outcome.EMERGENCY],
        escalated=sum(alert.steps > 0 for alert in alerts),
        worsened=sum(alert.worsened for alert in alerts),
        reasons=_reasons(closed),
        advice=_advice(rule, closed) if rule else None,
    )


def _advice(rule: Rule, closed: Sequence[AlertRow]) -> Advice | None:
    """What its closed alerts speak for. Where they speak for both, what is safer: to hear of it earlier.

    That one had to be passed on says nothing of the rule: who was told in time did not answer. Nor does a patient who
    was not reached or declined, and what was false did not become worse.
    """
    emergencies = sum(alert.outcome is Outcome.EMERGENCY for alert in closed)
    true = [alert for alert in closed if alert.reason not in FALSE_ALARMS]
    worse = sum(alert.outcome is not Outcome.EMERGENCY and alert.worsened for alert in true)
    in_vain = [alert for alert in closed if alert.outcome is Outcome.NO_ACTION and alert.reason not in _SAYS_NOTHING]
    n = len(closed)
    if n >= TIGHTEN_FROM and emergencies + worse >= TIGHTEN_SHARE * n:
        return _tighten(rule, n, emergencies, worse)
    if n >= RELAX_FROM and len(in_vain) >= RELAX_SHARE * n:
        urgent = sum(alert.priority is Priority.HIGH for alert in closed)
        return _relax(rule, n, in_vain, urgent)
    return None


def _tighten(rule: Rule, n: int, emergencies: int, worse: int) -> Advice:
    lever = _lever(rule)
    try_it = _try(lever, laxer=False, comparison=rule.comparison)
    return Advice(
        verb=Verb.TIGHTEN,
        parameter=lever[0].name if lever else None,
        because=Text(
            en=f"Of {n} closed alerts {emergencies} ended as an emergency and {worse} more became worse. "
            f"Hear of it earlier: {try_it.en}",
            zh=f"{n} 条已关闭的警报中，{emergencies} 条以急救结束，另有 {worse} 条加重。应更早得知：{try_it.zh}",
        ),
    )


def _relax(rule: Rule, n: int, in_vain: Sequence[AlertRow], urgent: int) -> Advice:
    lever = _lever(rule)
    k, false = len(in_vain), _false_alarms(in_vain)
    why, times = _most_often(in_vain)
    evidence = Text(
        en=f"Of {n} closed alerts {k} ({100 * k / n:.0f} %) needed no action, {false} of them false alarms, most "
        f"often because: {why.en} ({times}).",
        zh=f"{n} 条已关闭的警报中，{k} 条（{100 * k / n:.0f}%）无需处理，其中误报 {false} 条，"
        f"最常见原因：{why.zh}（{times} 条）。",
    )
    to_mend = sum(alert.reason in _TO_MEND for alert in in_vain)
    if 2 * to_mend > k:
        said = Text(
            en=f"{to_mend} of them came from devices or entries: see to those first, for no number of the rule would "
            "help.",
            zh=f"其中 {to_mend} 条源于设备或录入问题：请先解决这些问题，调整规则数值无济于事。",
        )
        return Advice(verb=Verb.LOOK, parameter=None, because=together((evidence, said)))
    if urgent:
        said = Text(
            en=f"{urgent} of them were of high priority: look at each before a number is changed.",
            zh=f"其中 {urgent} 条为高优先级：更改数值前请逐条核查。",
        )
        return Advice(verb=Verb.LOOK, parameter=None, because=together((evidence, said)))
    try_it = _try(lever, laxer=True, comparison=rule.comparison)
    return Advice(
        verb=Verb.RELAX,
        parameter=lever[0].name if lever else None,
        because=Text(
            en=f"{evidence.en} Hear of it less often: {try_it.en}", zh=f"{evidence.zh}可减少提醒：{try_it.zh}"
        ),
    )


def _most_often(in_vain: Sequence[AlertRow]) -> tuple[Text, int]:
    """The commonest reason, and how often; with the commonest note where the list has no word for it."""
    reason, times = _reasons(in_vain)[0]
    if reason not in {Reason.OTHER, None}:
        return reason_words(reason), times
    note = Text(en=(said := _notes(in_vain)[0][0]), zh=said)
    return together((reason_words(reason), note), Text(en=": ", zh="：")), times


def _lever(rule: Rule) -> tuple[Parameter, ...]:
    """The number to try, in each of its units."""
    by_name: defaultdict[str, list[Parameter]] = defaultdict(list)
    for parameter in rule.parameters:
        by_name[parameter.name].append(parameter)
    return next((tuple(by_name[name]) for name in _LEVERS if name in by_name), ())


def _try(lever: Sequence[Parameter], *, laxer: bool, comparison: Comparison) -> Text:
    if not lever:
        return Text(
            en="the rule has no number for it; talk over the notes with those who closed them.",
            zh="该规则没有可调的数值；请与关闭警报的人员讨论备注。",
        )
    higher = laxer is (lever[0].unit in _TIMES or comparison in {Comparison.ABOVE, Comparison.AT_LEAST})
    name = lever[0].name
    default = " / ".join(f"{each.default:g} {each.unit}" for each in lever)
    allowed = " / ".join(f"{each.lower:g}-{each.upper:g} {each.unit}" for each in lever)
    return Text(
        en=f"write a {'higher' if higher else 'lower'} {name} (default {default}, allowed {allowed}) in a rule file "
        "and see first what it changes on your own history: homeward replay HISTORY.csv --compare RULES.toml",
        zh=f"在规则文件中将 {name} 设{'高' if higher else '低'}一些（默认 {default}，允许 {allowed}），"
        "并先用本院历史数据查看影响：homeward replay HISTORY.csv --compare RULES.toml",
    )
