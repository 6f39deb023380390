"""The quality report of a small week, with every figure worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import OUTCOMES_OF_CARE, Outcome, Priority, Reason
from alerts.quality import (
    AlertRow,
    AttemptRow,
    ControlRow,
    FollowUpRow,
    Measure,
    MonitoredRow,
    QualityRows,
    SurveyRow,
    Times,
    Verb,
    quality,
)
from alerts.rules import RULES

START = datetime(2026, 3, 1, 16, tzinfo=UTC)  # midnight in Shanghai, a Monday
MIN = timedelta(minutes=1)
AS_OF = START + 1000 * MIN


def alert(name: str, opened: int, **changed: Any) -> AlertRow:
    """opened, and all other moments: minutes after the start."""
    moments = {key: START + changed.pop(key) * MIN for key in list(changed) if key.endswith("_at")}
    plain = AlertRow(
        id=name,
        patient="p-1",
        problem="glucose-low",
        priority=Priority.MEDIUM,
        opened_at=START + opened * MIN,
        programme="dm",
        rule="low-event-2",
    )
    return replace(plain, **moments, **changed)


def ended(outcome: Outcome, note: str = "done", reason: Reason | None = Reason.FALSE_READING) -> dict[str, Any]:
    return {"outcome": outcome, "note": note, "reason": reason if outcome is Outcome.NO_ACTION else None}


WEEK = QualityRows(
    start=START,
    end=START + timedelta(days=7),
    as_of=AS_OF,
    zone=ZoneInfo("Asia/Shanghai"),
    alerts=[
        # told after 1 min, answered after 5, reached after 12, closed after 60
        alert("a-1", 0, notified_at=1, acknowledged_at=5, closed_at=60, **ended(Outcome.ADVICE), worsened=True),
        # told after 3, answered after 20 (closed without being acknowledged), not reached
        alert("a-2", 100, notified_at=103, closed_at=120, **ended(Outcome.NO_ACTION, "Sensor  error")),
        # told after 2, answered after 40, reached after 100, closed after 200; passed on once
        alert(
            "a-3",
            200,
            patient="p-2",
            programme="bp",
            problem="blood-pressure-high",
            rule="bp-severe",
            notified_at=202,
            acknowledged_at=240,
            closed_at=400,
            steps=1,
            **ended(Outcome.EMERGENCY),
        ),
        # told after 10, and nobody has answered for 500 min
        alert("a-4", 500, patient="p-3", programme=None, priority=Priority.HIGH, notified_at=510, rule=None),
    ],
    follow_ups=[
        FollowUpRow(id="f-1", role="nurse", programme="dm", alert="a-1"),
        FollowUpRow(id="f-3", role="doctor", programme="bp", alert="a-3"),
        FollowUpRow(id="f-9", role="nurse", programme="dm"),
        FollowUpRow(id="f-0", role="nurse", programme="dm", alert="a-2", in_period=False),
    ],
    attempts=[
        AttemptRow(follow_up="f-1", at=START + 8 * MIN, result="no-answer"),
        AttemptRow(follow_up="f-1", at=START + 12 * MIN, result="reached"),
        AttemptRow(follow_up="f-1", at=START + 30 * MIN, result="reached"),
        AttemptRow(follow_up="f-3", at=START + 300 * MIN, result="reached"),
        AttemptRow(follow_up="f-9", at=START + 50 * MIN, result="busy"),
        AttemptRow(follow_up="f-0", at=START + 110 * MIN, result="no-answer"),
    ],
    surveys=[
        SurveyRow(made_at=START, role="nurse", programme="dm", answered=True, helpful=True, solved=True, score=5),
        SurveyRow(made_at=START + timedelta(days=6), role="nurse", programme="dm", answered=True, score=2,
                  helpful=False, call_again=True),
        SurveyRow(made_at=START + timedelta(days=6, hours=23, minutes=59), role="nurse", programme="dm"),
        SurveyRow(made_at=START - MIN, role="doctor", answered=True, solved=False, score=3),
    ],
    monitored=[
        MonitoredRow(patient="p-1", programme="dm", days=7),
        MonitoredRow(patient="p-2", programme="bp", days=3),
        MonitoredRow(patient="p-4", programme="quiet", days=6),
    ],
    controls=[
        ControlRow(patient="p-1", measure=Measure.TIR, before=60.0, after=70.0),
        ControlRow(patient="p-2", measure=Measure.TIR, before=50.0, after=45.0),
        ControlRow(patient="p-3", measure=Measure.TIR, before=None, after=80.0),
        ControlRow(patient="p-4", measure=Measure.TIR, before=20.0, after=90.0, too_early=True),
        ControlRow(patient="p-2", measure=Measure.SYSTOLIC, before=150.0, after=138.0),
    ],
)  # fmt: skip


def test_what_the_week_adds_up_to() -> None:
    made = quality(WEEK).total
    assert (made.alerts, made.patient_days, made.per_patient_day) == (4, 16, 0.25)
    assert (made.closed, made.acted_on, made.acted_on_share) == (3, 2, pytest.approx(2 / 3))
    assert {name: n for name, n in made.outcomes.items() if n} == {"advice": 1, "emergency": 1, "no-action": 1}
    assert (made.unanswered, made.unanswered_high) == (1, 1)
    assert (made.escalated, made.worsened) == (1, 1)


def test_times_are_estimated_with_those_that_still_wait() -> None:
    made = quality(WEEK).total
    # 1, 2, 3 and 10 min, none open: half have happened at the second, nine tenths at the last.
    assert made.notify == Times(n=4, open=0, without=0, median=2 * MIN, p90=10 * MIN)
    # 5, 20, 40, and one that waits for 500: 3/4, 2/4, 1/4 are left, and nine tenths are never reached.
    assert made.acknowledge == Times(n=3, open=1, without=0, median=20 * MIN, p90=None)
    # 12 and 100; one waits for 500; one was closed without it. 2/3, then 1/3 are left.
    assert made.contact == Times(n=2, open=1, without=1, median=100 * MIN, p90=None)
    # 20, 60, 200, and one that waits for 500.
    assert made.close == Times(n=3, open=1, without=0, median=60 * MIN, p90=None)


def test_what_waits_for_less_than_others_took_leaves_fewer_to_reckon_with() -> None:
    """Kaplan-Meier: 10 happens with 4 at risk, 15 is censored, 20 happens with 2 at risk: 3/4, then 3/8 are left."""
    rows = replace(
        WEEK,
        as_of=START + 100 * MIN,
        alerts=[
            alert("a", 0, notified_at=10),
            alert("b", 85),
            alert("c", 0, notified_at=20),
            alert("d", 0, notified_at=40),
        ],
    )
    assert quality(rows).total.notify == Times(n=3, open=1, without=0, median=20 * MIN, p90=40 * MIN)


def test_more_than_half_waiting_have_no_median() -> None:
    rows = replace(WEEK, alerts=[alert("a", 0, notified_at=3), alert("b", 0), alert("c", 0)])
    assert quality(rows).total.notify == Times(n=1, open=2, without=0, median=None, p90=None)


def test_programmes_count_by_their_own_days_and_teams_by_who_had_the_follow_up() -> None:
    made = quality(WEEK)
    assert {
        name: (each.alerts, each.patient_days, each.per_patient_day) for name, each in made.by_programme.items()
    } == {
        "bp": (1, 3, pytest.approx(1 / 3)),
        "dm": (2, 7, pytest.approx(2 / 7)),
        "quiet": (0, 6, 0.0),
        None: (1, 0, None),
    }
    assert list(made.by_programme) == ["bp", "dm", "quiet", None]
    assert {name: (each.alerts, each.closed, each.patient_days) for name, each in made.by_role.items()} == {
        "doctor": (1, 1, None),
        "nurse": (2, 2, None),
        None: (1, 0, None),
    }


def test_attempts_for_each_that_reached_the_patient() -> None:
    made = quality(WEEK).reach
    assert (made.follow_ups, made.attempts, made.reached) == (3, 5, 3)  # f-0 belongs to another period
    assert made.per_reach == pytest.approx(5 / 3)
    assert made.results == {"busy": 1, "no-answer": 1, "reached": 3}
    assert quality(replace(WEEK, attempts=[])).reach.per_reach is None


def test_satisfaction_goes_by_the_week_on_the_clinics_clock_programme_and_team() -> None:
    made = quality(WEEK)
    assert [(each.monday, each.programme, each.role, each.asked, each.answered) for each in made.satisfaction] == [
        (date(2026, 2, 23), None, "doctor", 1, 1),  # a minute before Monday
        (date(2026, 3, 2), "dm", "nurse", 3, 2),
    ]
    doctor, nurse = made.satisfaction
    assert (doctor.score, doctor.helpful, doctor.solved, doctor.call_again) == (3.0, None, 0.0, 0)
    assert (nurse.score, nurse.helpful, nurse.solved, nurse.call_again) == (3.5, 0.5, 1.0, 1)
    total = made.satisfaction_total
    assert (total.asked, total.answered, total.score, total.solved) == (4, 3, pytest.approx(10 / 3), 0.5)


def test_control_counts_whom_it_knows_enough_of() -> None:
    tir, systolic, diastolic = quality(WEEK).control
    assert (tir.measure, tir.n, tir.insufficient, tir.too_early) == (Measure.TIR, 2, 1, 1)
    assert (tir.before, tir.after, tir.change) == (55.0, 57.5, 2.5)
    assert (systolic.n, systolic.before, systolic.after, systolic.change) == (1, 150.0, 138.0, -12.0)
    assert (diastolic.n, diastolic.change) == (0, None)


def closed(
    n: int, outcome: Outcome, note: str = "done", reason: Reason | None = Reason.FALSE_READING, **changed: Any
) -> list[AlertRow]:
    how = ended(outcome, note, reason)
    return [alert(f"{note}-{outcome}-{reason}-{i}", i, closed_at=i + 5, **how, **changed) for i in range(n)]


def in_vain(n: int, reason: Reason | None, note: str = "done", **changed: Any) -> list[AlertRow]:
    return closed(n, Outcome.NO_ACTION, note, reason, **changed)


def test_reasons_are_counted_by_their_list_whatever_the_note_and_notes_where_it_has_no_word() -> None:
    rows = in_vain(2, Reason.FALSE_READING, "Sensor error") + in_vain(1, Reason.FALSE_READING, "lay on it")
    rows += in_vain(1, Reason.ACCEPTED, "walked") + closed(4, Outcome.ADVICE, "sensor error")
    rows += in_vain(1, Reason.OTHER, "Test") + in_vain(2, None, " test ") + in_vain(1, Reason.DEVICE_FAULT, "Test")
    made = quality(replace(WEEK, alerts=rows))
    assert made.reasons == (
        (Reason.FALSE_READING, 3),
        (None, 2),
        (Reason.DEVICE_FAULT, 1),
        (Reason.ACCEPTED, 1),
        (Reason.OTHER, 1),
    )
    assert made.notes == (("test", 3),)
    assert (made.total.false_alarms, [(each.false_alarms, each.reasons) for each in made.rules]) == (
        4,
        [(4, made.reasons)],
    )


def test_whom_nobody_reached_speaks_against_no_rule_and_what_is_to_be_mended_for_no_number() -> None:
    helped = closed(4, Outcome.ADVICE)
    assert advice_on(*in_vain(6, Reason.ACCEPTED), *helped).verb is Verb.RELAX
    assert advice_on(*in_vain(5, Reason.ACCEPTED), *in_vain(1, Reason.NOT_REACHED), *helped) is None
    assert advice_on(*in_vain(5, Reason.ACCEPTED), *in_vain(1, Reason.DECLINED), *helped) is None
    advice = advice_on(*in_vain(3, Reason.DEVICE_FAULT), *in_vain(1, Reason.WRONG_ENTRY), *in_vain(3, None), *helped)
    assert (advice.verb, advice.parameter) == (Verb.LOOK, None)
    assert advice.because.en == (
        "Of 11 closed alerts 7 (64 %) needed no action, 4 of them false alarms, most often because: fault of the "
        "device or cuff (3). 4 of them came from devices or entries: see to those first, for no number of the rule "
        "would help."
    )
    assert advice.because.zh == (
        "11 条已关闭的警报中，7 条（64%）无需处理，其中误报 4 条，最常见原因：设备或袖带故障（3 条）。"
        "其中 4 条源于设备或录入问题：请先解决这些问题，调整规则数值无济于事。"
    )
    noted = advice_on(*in_vain(3, Reason.OTHER, "walked"), *in_vain(7, None, "slept")).because
    assert "because: not said (closed before it was asked for): slept (7)." in noted.en
    assert "最常见原因：未填写（旧记录）：slept（7 条）。" in noted.zh


def test_what_was_false_did_not_become_worse() -> None:
    false = in_vain(2, Reason.FALSE_READING, worsened=True)
    true = in_vain(2, Reason.TREATED_BEFORE, worsened=True)
    helped = closed(4, Outcome.ADVICE)
    assert advice_on(*false, *helped) is None
    assert advice_on(*true, *helped).verb is Verb.TIGHTEN


def advice_on(*alerts: AlertRow) -> Any:
    (found,) = quality(replace(WEEK, alerts=alerts)).rules
    return found.advice


def test_a_rule_that_is_mostly_closed_without_an_action_is_to_be_relaxed() -> None:
    false, helped = in_vain(6, Reason.FALSE_READING), closed(4, Outcome.ADVICE)
    advice = advice_on(*false, *helped)
    assert (advice.verb, advice.parameter) == (Verb.RELAX, "staff-after")
    assert advice.because.en == (
        "Of 10 closed alerts 6 (60 %) needed no action, 6 of them false alarms, most often because: false reading "
        "(pressure on the sensor, interference) (6). Hear of it less often: "
        "write a higher staff-after (default 30 min, allowed 15-120 min) in a rule file and see first what it "
        "changes on your own history: homeward replay HISTORY.csv --compare RULES.toml"
    )
    assert advice.because.zh == (
        "10 条已关闭的警报中，6 条（60%）无需处理，其中误报 6 条，"
        "最常见原因：读数不实（传感器受压、受干扰）（6 条）。可减少提醒：在规则文件中将 "
        "staff-after 设高一些（默认 30 min，允许 15-120 min），并先用本院历史数据查看影响："
        "homeward replay HISTORY.csv --compare RULES.toml"
    )
    assert advice_on(*false, *helped[:3]) is None  # 9 closed ones are too few
    assert advice_on(*false[:5], *helped, helped[0]) is None  # half of them are too few
    assert advice_on(*false, *helped, alert("open", 0)).verb is Verb.RELAX  # an open one says nothing yet


def test_what_ends_as_an_emergency_or_becomes_worse_is_to_be_heard_of_earlier() -> None:
    advice = advice_on(
        *closed(1, Outcome.EMERGENCY),
        *closed(1, Outcome.ADVICE, "late", worsened=True),
        *closed(8, Outcome.NO_ACTION),
    )
    assert (advice.verb, advice.parameter) == (Verb.TIGHTEN, "staff-after")
    assert advice.because.en.startswith(
        "Of 10 closed alerts 1 ended as an emergency and 1 more became worse. Hear of it "
        "earlier: write a lower staff-after"
    )
    assert advice.because.zh.startswith(
        "10 条已关闭的警报中，1 条以急救结束，另有 1 条加重。应更早得知：在规则文件中将 staff-after 设低一些"
    )
    assert advice_on(*closed(1, Outcome.EMERGENCY), *closed(5, Outcome.ADVICE)) is None  # a sixth
    assert advice_on(*closed(4, Outcome.EMERGENCY)) is None  # four are too few
    assert advice_on(*closed(9, Outcome.ADVICE, steps=1)) is None  # told in time, and not answered


def test_alerts_of_high_priority_are_looked_at_one_by_one_before_a_number_is_changed() -> None:
    advice = advice_on(*closed(11, Outcome.NO_ACTION), *closed(1, Outcome.NO_ACTION, "x", priority=Priority.HIGH))
    assert (advice.verb, advice.parameter) == (Verb.LOOK, None)
    assert advice.because.en.endswith("1 of them were of high priority: look at each before a number is changed.")
    assert advice.because.zh.endswith("其中 1 条为高优先级：更改数值前请逐条核查。")


@pytest.mark.parametrize(
    ("rule", "parameter", "says"),
    [
        ("meter-very-low", "unrecovered", "higher unrecovered (default 30 min, allowed 15-120 min)"),
        ("meter-low", "limit", "lower limit (default 70 mg/dL / 3.9 mmol/L, allowed"),
        ("bp-severe", "systolic", "higher systolic (default 180 mmHg, allowed 150-200 mmHg)"),
        ("bp-low", "systolic", "lower systolic (default 90 mmHg, allowed 80-110 mmHg)"),
        ("late-data", None, "the rule has no number for it"),
    ],
)
def test_which_number_is_named_and_in_which_direction(rule: str, parameter: str | None, says: str) -> None:
    advice = advice_on(*closed(10, Outcome.NO_ACTION, rule=rule))
    assert (advice.verb, advice.parameter) == (Verb.RELAX, parameter)
    assert says in advice.because.en


def test_every_rule_has_advice_in_both_languages_that_names_a_number_of_its_own() -> None:
    for rule in RULES.values():
        advice = advice_on(*closed(10, Outcome.EMERGENCY, rule=rule.name))
        assert advice.parameter in {None, *(each.name for each in rule.parameters)}
        assert advice.because.en
        assert advice.because.zh


def test_nothing_at_all_is_a_report_too() -> None:
    made = quality(QualityRows(start=START, end=AS_OF, as_of=AS_OF, zone=UTC))
    assert (made.total.alerts, made.total.per_patient_day, made.total.acted_on_share) == (0, None, None)
    assert made.total.close == Times(n=0, open=0, without=0, median=None, p90=None)
    assert (made.rules, made.satisfaction, made.reasons, made.satisfaction_total.score) == ((), (), (), None)


_moments = st.none() | st.integers(0, 900)


@st.composite
def _alert_rows(draw: Callable[..., Any]) -> list[AlertRow]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        opened = draw(st.integers(0, 900))
        later = {
            key: after
            for key in ("notified_at", "acknowledged_at", "closed_at")
            if (after := draw(_moments)) is not None
        }
        found.append(
            alert(
                f"a-{number}",
                opened,
                **{key: opened + after for key, after in later.items()},
                patient=draw(st.sampled_from(["p-1", "p-2"])),
                programme=draw(st.sampled_from([None, "dm", "bp"])),
                rule=draw(st.sampled_from([None, "low-event-2", "bp-severe"])),
                outcome=draw(st.sampled_from(OUTCOMES_OF_CARE)) if "closed_at" in later else None,
                note=draw(st.sampled_from(["a", "A ", "b"])),
                worsened=draw(st.booleans()),
                steps=draw(st.integers(0, 2)),
            )
        )
    return found


@settings(max_examples=50, deadline=None)
@given(
    alerts=_alert_rows(),
    scores=st.lists(st.none() | st.integers(1, 5), max_size=8),
    before=st.lists(st.none() | st.floats(0, 100), max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_the_rows_does_not_matter(
    alerts: list[AlertRow], scores: list[int | None], before: list[float | None], order: random.Random
) -> None:
    rows = replace(
        WEEK,
        alerts=alerts,
        surveys=[SurveyRow(made_at=START, role="nurse", answered=True, score=score) for score in scores],
        controls=[
            ControlRow(patient=f"p-{i}", measure=Measure.TIR, before=each, after=50.1)
            for i, each in enumerate(before)
        ],
    )

    def shuffled(each: Any) -> list[Any]:
        return order.sample(list(each), len(each))

    names = ("alerts", "follow_ups", "attempts", "surveys", "monitored", "controls")
    assert quality(replace(rows, **{name: shuffled(getattr(rows, name)) for name in names})) == quality(rows)


@settings(max_examples=50, deadline=None)
@given(alerts=_alert_rows())
def test_every_alert_is_counted_once_wherever_it_is_counted(alerts: list[AlertRow]) -> None:
    made = quality(replace(WEEK, alerts=alerts))
    for groups in (made.by_programme.values(), made.by_role.values(), made.rules):
        assert sum(each.alerts for each in groups) == len(alerts)
        assert sum(each.closed for each in groups) == made.total.closed
    for times in (made.total.notify, made.total.acknowledge, made.total.contact, made.total.close):
        assert times.n + times.open + times.without == len(alerts)
        assert times.median is None or times.p90 is None or times.median <= times.p90
    assert made.total.closed == sum(made.total.outcomes.values())
