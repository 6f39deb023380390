"""When a patient is followed up next, and why then."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from alerts.alert import Audience, Finding, Outcome, Priority, Reason, Text, Verdict
from alerts.care_plan import CarePlan, Condition, Control, Interval, condition_of, followed, judged, opening, planned
from alerts.follow_up import FollowUp, Result, Why, opened
from alerts.review import Review
from alerts.team import Role
from tests.alerts.test_follow_up import closed, opens, tried
from tests.alerts.ward import START

WEEK = timedelta(weeks=1)
RULES = {Condition.HYPERTENSION: "bp-not-at-goal", Condition.DIABETES: "meter-repeated-high"}


def plan(condition: Condition = Condition.HYPERTENSION, **more: object) -> CarePlan:
    return planned("p-1", condition, role=Role.NURSE, author="Dr Li", now=START, **more)  # type: ignore[arg-type]


def said(rule: str, verdict: Verdict) -> Finding:
    return Finding(
        patient="p-1",
        rule=rule,
        problem="x",
        verdict=verdict,
        priority=Priority.LOW,
        audience=Audience.WEEKLY,
        because=Text(en=f"{rule} {verdict}.", zh=f"{rule} {verdict}。"),
        since=START,
        known_at=START,
    )


def review(at: datetime, *findings: Finding) -> Review:
    return Review(patient="p-1", monday=date(2026, 2, 23), made_at=at, week=None, before=None, findings=findings)


def week(count: float) -> datetime:
    return START + count * WEEK


def visited(standing: CarePlan, at: datetime, outcome: Outcome = Outcome.ADVICE) -> CarePlan:
    """The plan's own follow-up was opened and closed."""
    act = opens(problem=standing.problem)
    done = replace(closed(opened(act).follow_up, outcome), closed_at=at)
    return followed(replace(standing, follow_up=done.id), done)


def other(problem: str | None, outcome: Outcome, at: datetime) -> FollowUp:
    ended = closed(opened(opens(problem=problem)).follow_up, outcome, symptoms=frozenset())
    return replace(ended, closed_at=at)


def test_what_nobody_knows_is_looked_at_within_a_month() -> None:
    found = plan()
    assert (found.interval, found.due_at, found.control) == (Interval.UNKNOWN, week(4), Control.UNKNOWN)
    assert found.because == Text(
        en="High blood pressure, too little is known of the control: follow-up after 28 d "
        "(Homeward default, to be confirmed by the clinic).",
        zh="高血压，数据不足，控制情况未知：28 天后随访（Homeward 默认值，由医疗机构确认）。",
    )


def test_controlled_is_three_months_and_not_controlled_two_weeks_and_then_a_referral() -> None:
    rule = RULES[Condition.HYPERTENSION]
    well = judged(plan(), review(week(1), said(rule, Verdict.CLEAR)))
    assert (well.interval, well.due_at) == (Interval.CONTROLLED, week(13))
    worse = judged(well, review(week(5), said(rule, Verdict.RAISE)))
    assert (worse.interval, worse.due_at) == (Interval.MISSED, week(7)), "two weeks from when it got worse"
    assert worse.because.en == (
        "High blood pressure, not controlled: follow-up after 14 d (China, basic public health service). "
        "bp-not-at-goal raise."
    )
    still = judged(worse, review(week(6), said(rule, Verdict.RAISE)))
    assert still.due_at == week(7), "the same said again gives no more time"
    first = visited(still, week(7))
    assert (first.interval, first.due_at, first.missed) == (Interval.MISSED, week(9), 1)
    second = visited(first, week(9))
    assert (second.interval, second.due_at, second.missed) == (Interval.REFER, week(11), 2)
    assert "连续两次随访未达标：建议转诊" in second.because.zh
    better = judged(second, review(week(10), said(rule, Verdict.CLEAR)))
    assert (better.interval, better.due_at) == (Interval.CONTROLLED, week(22))
    assert visited(better, week(22)).missed == 0


def test_a_sensor_that_is_unstable_is_looked_at_weekly_and_monthly_when_it_is_stable() -> None:
    unstable = judged(
        plan(Condition.DIABETES), review(week(1), said("week-tir", Verdict.CLEAR), said("week-cv", Verdict.RAISE))
    )
    assert (unstable.interval, unstable.due_at) == (Interval.UNSTABLE, week(2))
    assert unstable.told == Text(en="week-cv raise.", zh="week-cv raise。")
    stable = judged(unstable, review(week(2), said("week-tir", Verdict.CLEAR)))
    assert (stable.interval, stable.due_at) == (Interval.STABLE, week(5))
    meter = judged(plan(Condition.DIABETES), review(week(1), said("meter-repeated-high", Verdict.RAISE)))
    assert meter.interval is Interval.MISSED


def test_a_review_that_cannot_tell_or_is_old_or_is_about_something_else_changes_nothing() -> None:
    rule = RULES[Condition.HYPERTENSION]
    before = judged(plan(), review(week(2), said(rule, Verdict.CLEAR)))
    for findings in ((said(rule, Verdict.HOLD),), (said("week-tir", Verdict.RAISE),), ()):
        now = judged(before, review(week(3), *findings))
        assert replace(now, judged_at=before.judged_at) == before
    assert judged(before, review(week(2), said(rule, Verdict.RAISE))) == before


@pytest.mark.parametrize(
    ("verdict", "interval", "weeks"),
    [
        (Verdict.RAISE, Interval.CHANGED, 2),
        (Verdict.CLEAR, Interval.CHANGED_WELL, 4),
        (None, Interval.CHANGED_WELL, 4),
    ],
)
def test_changed_medication_is_looked_at_again_after_two_to_four_weeks(
    verdict: Verdict | None, interval: Interval, weeks: int
) -> None:
    standing = plan()
    if verdict:
        standing = judged(standing, review(week(1), said("bp-not-at-goal", verdict)))
    # It was changed because of an alert, not at the plan's own follow-up.
    changed = followed(standing, other("blood-pressure-high", Outcome.MEDICATION_CHANGED, week(2)))
    assert (changed.interval, changed.due_at) == (interval, week(2 + weeks))
    assert changed.missed == standing.missed
    assert visited(changed, week(6)).interval not in {Interval.CHANGED, Interval.CHANGED_WELL}


def test_an_emergency_is_looked_at_after_two_weeks_and_other_troubles_leave_the_plan_alone() -> None:
    standing = plan()
    assert followed(standing, other("blood-pressure-high", Outcome.EMERGENCY, week(1))).due_at == week(3)
    assert followed(standing, other("glucose-low", Outcome.MEDICATION_CHANGED, week(1))) == standing
    assert followed(standing, other("blood-pressure-high", Outcome.ADVICE, week(1))) == standing
    assert followed(standing, opened(opens()).follow_up) == standing, "it is not closed"
    assert followed(standing, other(None, Outcome.MEDICATION_CHANGED, week(1))).due_at == week(5)


def alarm(at: datetime, problem: str = "glucose-low", outcome: Outcome = Outcome.ADVICE) -> FollowUp:
    act = opens(Priority.HIGH, problem=problem, alert="a-1", because=Text(en="1.9 mmol/L.", zh="1.9 mmol/L。"))
    reached = tried(opened(act).follow_up, Result.REACHED)[0].follow_up
    reason = Reason.TREATED_BEFORE if outcome is Outcome.NO_ACTION else None
    return replace(closed(reached, outcome, symptoms=frozenset(), reason=reason), closed_at=at)


@pytest.mark.parametrize(
    ("condition", "problem", "weeks"),
    [(Condition.DIABETES, "glucose-low", 1), (Condition.HYPERTENSION, "blood-pressure-high", 2)],
)
def test_an_alert_of_high_priority_makes_the_next_one_early_whatever_a_review_says(
    condition: Condition, problem: str, weeks: int
) -> None:
    rule = RULES[condition]
    alarmed = followed(plan(condition), alarm(week(1), problem))
    assert (alarmed.interval, alarmed.due_at) in {
        (Interval.ALARM, week(1 + weeks)),
        (Interval.ALARM_PRESSURE, week(1 + weeks)),
    }
    assert f"an alert of high priority: follow-up after {7 * weeks} d (" in alarmed.because.en
    assert alarmed.because.en.endswith("1.9 mmol/L.")
    assert f"发生高优先级警报：{7 * weeks} 天后随访（" in alarmed.because.zh
    assert alarmed.open_at == week(1 + weeks * 3 / 4)
    well = judged(alarmed, review(week(1.5), said(rule, Verdict.CLEAR)))
    assert (well.due_at, well.control) == (week(1 + weeks), Control.CONTROLLED)
    assert followed(well, alarm(week(1.6), problem)).due_at == week(1 + weeks), "no later one gives more time"
    assert planned("p-1", condition, role=Role.NURSE, author="x", now=week(1.7), before=well).due_at == well.due_at

    act = opening(well, well.open_at)
    assert act is not None
    visit = replace(closed(opened(act).follow_up), closed_at=week(1 + weeks))
    after = followed(replace(well, follow_up=visit.id), visit)
    assert (after.interval, after.due_at) == (Interval.CONTROLLED, week(14 + weeks)), "it was looked at"


def test_a_visit_that_was_open_before_the_alarm_does_not_answer_it_unless_it_comes_after_its_time() -> None:
    alarmed = followed(plan(Condition.DIABETES), alarm(week(4)))
    visit = replace(closed(opened(opens(problem=alarmed.problem)).follow_up), closed_at=week(4.5))
    assert followed(alarmed, visit).due_at == week(5)
    assert followed(alarmed, replace(visit, closed_at=week(5))).due_at == week(9)


def test_a_rule_that_is_sooner_stays_and_medication_changed_or_an_emergency_gives_no_more_time() -> None:
    early = followed(replace(plan(Condition.DIABETES), since=week(-3)), alarm(week(0.5)))
    assert (early.interval, early.due_at) == (Interval.UNKNOWN, week(1))
    assert followed(plan(Condition.DIABETES, every=3 * WEEK), alarm(week(1))).due_at == week(3), "set by a person"
    sooner = judged(plan(Condition.DIABETES), review(week(1), said("week-tir", Verdict.RAISE)))
    assert (followed(sooner, alarm(week(1.5))).interval, sooner.due_at) == (Interval.UNSTABLE, week(2))
    for outcome in (Outcome.MEDICATION_CHANGED, Outcome.EMERGENCY):
        assert followed(plan(Condition.DIABETES), alarm(week(1), outcome=outcome)).due_at == week(2)


def test_no_action_another_condition_or_a_milder_alert_do_not_make_it_early() -> None:
    standing, milder = plan(Condition.DIABETES), replace(alarm(week(1)), priority=Priority.MEDIUM)
    for each in (alarm(week(1), outcome=Outcome.NO_ACTION), alarm(week(1), "blood-pressure-high"), milder):
        assert followed(standing, each) == standing


def test_a_plan_that_is_set_after_an_alert_of_high_priority_counts_it() -> None:
    past = [alarm(week(-0.5)), alarm(week(-0.2)), alarm(week(-5))]
    found = plan(Condition.DIABETES, recent=past)
    assert (found.interval, found.due_at) == (Interval.ALARM, week(0.5))
    assert plan(Condition.DIABETES, recent=past[2:]).due_at == week(4)


def test_what_a_named_person_has_set_counts_before_every_rule() -> None:
    found = plan(every=timedelta(days=10))
    assert (found.interval, found.due_at) == (None, START + timedelta(days=10))
    assert found.because == Text(
        en="High blood pressure: every 10 d, set by Dr Li.", zh="高血压：每 10 天一次，由Dr Li设定。"
    )
    assert visited(found, week(2), Outcome.MEDICATION_CHANGED).due_at == week(2) + timedelta(days=10)
    again = planned(
        "p-1", Condition.HYPERTENSION, role=Role.DOCTOR, author="Dr Wu", now=week(1), before=visited(found, week(1))
    )
    assert (again.interval, again.due_at, again.role) == (Interval.UNKNOWN, week(5), Role.DOCTOR)
    known = review(week(0), said("bp-not-at-goal", Verdict.CLEAR))
    assert plan(review=known).interval is Interval.CONTROLLED


def test_a_due_date_opens_one_follow_up_a_little_ahead() -> None:
    standing = plan()
    assert standing.open_at == week(3)
    assert opening(standing, week(3) - timedelta(seconds=1)) is None
    act = opening(standing, week(3), "bp")
    assert act is not None
    found = opened(act).follow_up
    assert (found.why, found.due_at, found.role, found.programme) == (Why.PLAN, week(4), Role.NURSE, "bp")
    assert found.because == standing.because
    assert opening(replace(standing, follow_up=act.follow_up), week(9)) is None, "it is open"
    late = opening(standing, week(9))
    assert late is not None
    assert late.due_at == week(9), "found after a long rest: due now, and not long overdue"
    weekly = plan(every=timedelta(days=4))
    assert weekly.due_at - weekly.open_at == timedelta(days=1)


def test_every_interval_has_words_and_a_source_in_both_languages() -> None:
    for each in Interval:
        assert each.after > timedelta()
        for text in (each.said, each.source):
            assert text.en
            assert text.zh
    assert condition_of("ketone") is Condition.DIABETES
    assert condition_of("no-data") is None
