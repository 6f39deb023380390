from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import (
    HOUSE,
    REASON_WORDS,
    Act,
    ActKind,
    Alert,
    Audience,
    Finding,
    IllegalAct,
    Notice,
    Outcome,
    Priority,
    Reason,
    Text,
    Verdict,
)
from alerts.machine import NOTHING, Change, FactKind, Heard, hear, hear_findings, title, wake
from tests.alerts.life_table import (
    ANEW,
    ANEW_LOW,
    AS_URGENT,
    BACK,
    CLOSED,
    CLOSED_EARLY,
    DRAWING,
    EMERGENCY,
    EVENTS,
    GONE,
    LATER,
    LOW_STAFF,
    OPEN,
    OTHER_OVER,
    OVER,
    PATIENT,
    PLACES,
    PUT_OFF,
    RAISED,
    SAID,
    SEEN,
    SEEN_BACK,
    SEEN_GONE,
    STATES,
    TWO_RULES,
    WORSE,
    acknowledge,
    after,
    close,
    meet,
    place,
    put_off,
)
from tests.alerts.ward import START, finding, minute


def facts(heard: Heard) -> list[FactKind]:
    return [change.fact.what for change in heard.changes]


def audiences(heard: Heard) -> list[Audience]:
    return [notice.audience for notice in heard.notices]


OP, J, W, E, G, R, S, A, C, Z, ZE = (
    FactKind.OPENED,
    FactKind.JOINED,
    FactKind.WORSENED,
    FactKind.EASED,
    FactKind.CONDITION_GONE,
    FactKind.RELAPSED,
    FactKind.SUPERSEDED,
    FactKind.ACKNOWLEDGED,
    FactKind.CLOSED,
    FactKind.SNOOZED,
    FactKind.SNOOZE_ENDED,
)
ILLEGAL = "illegal"
# Per state, in the order of EVENTS: the facts that are written, or an illegal act.
TABLE: dict[str, list[list[FactKind] | str]] = {
    "none": [[OP], [OP], [OP], [OP], [OP], [OP], [], [], [], [], ILLEGAL, ILLEGAL, ILLEGAL, [OP], ILLEGAL, []],
    "open": [[], [W], [J], [R], [R], [J], [J], [], [G], [], [A], [C], ILLEGAL, [J], [Z], []],
    "two rules": [[], [W], [], [R], [R], [J], [], [], [E], [E], [A], [C], ILLEGAL, [J], [Z], []],
    "seen": [[], [W], [J], [R], [R], [R], [J], [], [G], [], ILLEGAL, [C], ILLEGAL, [J], ILLEGAL, []],
    "gone": [[R], [R], [R], [R], [R], [R], [R], [], [], [], [A], [C], ILLEGAL, [R], ILLEGAL, []],
    "seen and gone": [[R], [R], [R], [R], [R], [R], [R], [], [], [], ILLEGAL, [C], ILLEGAL, [R], ILLEGAL, []],
    "back": [[R], [R], [R], [R], [R], [R], [J], [], [G], [], [A], [C], ILLEGAL, [R], [Z], []],
    "seen and back": [[R], [R], [R], [R], [R], [R], [J], [], [G], [], ILLEGAL, [C], ILLEGAL, [R], ILLEGAL, []],
    "put off": [[], [W], [J], [R], [R], [R], [J], [], [G], [], [A], [C], ILLEGAL, [ZE], ILLEGAL, [ZE]],
    "put off and gone": [[R], [R], [R], [R], [R], [R], [ZE], [], [], [], [A], [C], ILLEGAL, [R], ILLEGAL, [ZE]],
    "closed early": [
        [],
        [S, OP],
        [J],
        [S, OP],
        [S, OP],
        [S, OP],
        [J],
        [],
        [G],
        [],
        ILLEGAL,
        ILLEGAL,
        ILLEGAL,
        [J],
        ILLEGAL,
        [],
    ],
    "closed": [[OP], [OP], [OP], [OP], [OP], [OP], [], [], [], [], ILLEGAL, ILLEGAL, ILLEGAL, [OP], ILLEGAL, []],
}
TOLD = {OP, W, R, G, ZE}


def test_the_table_is_total() -> None:
    assert TABLE.keys() == STATES.keys()
    assert all(len(row) == len(EVENTS) for row in TABLE.values())


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_state_meets_every_event_as_the_table_says(state: str, event: str) -> None:
    expected = TABLE[state][list(EVENTS).index(event)]
    if expected == ILLEGAL:
        with pytest.raises(IllegalAct) as refused:
            meet(state, event)
        assert str(refused.value).endswith(".")
        return
    heard = meet(state, event)
    assert facts(heard) == expected
    # Staff hears neither of the end of what it has closed or not heard of, nor of what is the patient's own, nor of
    # what is over.
    silent = state in {"closed early", "back", "seen and back"} and expected == [G]
    silent |= event == "raise for patient" and expected != [ZE]
    silent |= (state, event) == ("put off and gone", "time")
    staff = 0 if silent else len(TOLD.intersection(expected))
    assert audiences(heard).count(Audience.STAFF) == staff
    assert audiences(heard).count(Audience.PATIENT) == (event == "raise for patient")
    assert all(notice.subject.zh and notice.subject.en and notice.body.zh for notice in heard.notices)


def test_the_drawing_in_the_docs_is_what_the_machine_does() -> None:
    assert DRAWING.redrawn == DRAWING.text, "docs/alerts.md is out of date: python -m tests.alerts.life_table"
    assert [place(STATES[state]) for state in PLACES] == list(PLACES.values())
    assert EVENTS.keys() - SAID.keys() == {"raise other rule anew", "clear other rule", "close without outcome"}


def refusal(alert: Alert, **changed: object) -> Text:
    with pytest.raises(IllegalAct) as refused:
        hear(alert, replace(put_off(alert), **changed), LATER)  # type: ignore[arg-type]
    return refused.value.text


def test_what_is_of_high_priority_or_an_emergency_is_never_put_off() -> None:
    severe = replace(OPEN, problem="blood-pressure-high")
    emergency = after(hear(OPEN, replace(RAISED, emergency_at=minute(1)), minute(1)))
    later = after(hear(GONE, replace(RAISED, since=minute(80), known_at=minute(80)), minute(80)))
    for alert in (after(hear(OPEN, WORSE, START)), severe, emergency, replace(OPEN, emergency_at=START)):
        said = refusal(alert)
        assert "Acknowledge it and act, or acknowledge it and hand its follow-up over to who can." in said.en
        assert "不能暂缓。请确认后立即处理" in said.zh
    assert after(hear(later, replace(put_off(later), at=minute(81), until=minute(90)), LATER)).snoozed_by == "Dr Li"


@pytest.mark.parametrize(
    ("alert", "changed", "en", "zh"),
    [
        (SEEN, {}, "Put its follow-up off instead, or close it.", "可推迟其随访，或关闭警报。"),
        (PUT_OFF, {}, "is put off until 2026-03-01 19:15 UTC by Dr Li. Acknowledge it to act", "可确认后提前处理"),
        (GONE, {}, "there is nothing to put off. Acknowledge or close it.", "无需暂缓。请确认或关闭。"),
        (OPEN, {"note": " "}, "needs a note, why it can wait", "须说明为何可以等待"),
        (OPEN, {"outcome": Outcome.ADVICE}, "takes no outcome.", "不填处理结果"),
        (OPEN, {"until": None}, "by at most 4 h: until 2026-03-01 23:00 UTC.", "最多可暂缓 4 小时"),
        (OPEN, {"until": LATER}, "2026-03-01 19:00 UTC has passed", "2026-03-01 19:00 UTC 已过去"),
        (OPEN, {"until": minute(60 + 241)}, "by at most 4 h", "最多可暂缓 4 小时"),
        (after(hear(None, LOW_STAFF, START)), {"until": minute(60 + 1441)}, "by at most 24 h", "最多可暂缓 24 小时"),
    ],
)
def test_what_cannot_be_put_off_says_what_is_possible_instead(
    alert: Alert, changed: dict[str, object], en: str, zh: str
) -> None:
    said = refusal(alert, **changed)
    assert en in said.en
    assert zh in said.zh


def test_what_was_put_off_is_told_anew_at_its_time_and_not_before() -> None:
    assert wake(PUT_OFF, minute(75) - timedelta(microseconds=1)) == NOTHING
    heard = wake(PUT_OFF, minute(75))
    assert heard.notices[0].subject.en == "Medium priority, put off no longer: Very low glucose"
    assert heard.notices[0].subject.zh == "中优先级，暂缓已结束：血糖严重偏低"
    assert (after(heard).snoozed_until, after(heard).snoozed_by) == (None, None)
    assert wake(after(heard), minute(200)) == NOTHING


def test_an_opened_alert_carries_the_finding_and_an_id_that_a_replay_gives_again() -> None:
    heard = hear(None, RAISED, LATER)
    alert = after(heard)
    assert (alert.patient, alert.problem, alert.priority) == ("p-1", "glucose-low", Priority.MEDIUM)
    assert (alert.since, alert.opened_at, alert.raising) == (START, LATER, frozenset({"low-event-2"}))
    assert alert.id.startswith("a-")
    assert len(alert.id) == 18
    assert hear(None, RAISED, LATER) == heard
    assert heard.notices[0].subject.en == "Medium priority: Very low glucose"
    assert heard.notices[0].subject.zh == "中优先级：血糖严重偏低"


def test_a_worse_priority_is_told_again_and_the_same_is_not() -> None:
    worse = hear(OPEN, WORSE, LATER)
    assert worse.notices[0].subject.en == "High priority now: Very low glucose"
    assert after(worse).priority is Priority.HIGH
    assert hear(after(worse), WORSE, LATER) == NOTHING
    assert hear(after(worse), RAISED, LATER) == NOTHING


def test_an_alert_that_becomes_worse_twice_at_one_moment_is_told_twice() -> None:
    mild = after(hear(None, LOW_STAFF, START))
    first = hear(mild, RAISED, LATER)
    second = hear(after(first), WORSE, LATER)
    assert len({notice.id for heard in (first, second) for notice in heard.notices}) == 2


def test_very_low_over_while_low_holds_keeps_the_condition() -> None:
    eased = after(hear(TWO_RULES, OVER, LATER))
    assert eased.condition_gone_at is None
    assert eased.raising == {"low-event-1"}
    gone = hear(eased, OTHER_OVER, minute(70))
    assert after(gone).condition_gone_at == minute(70)
    assert gone.notices[0].subject.zh == "状况已解除：低血糖"


def test_a_relapse_before_closing_is_the_same_alert() -> None:
    heard = hear(SEEN_GONE, RAISED, minute(90))
    assert after(heard).id == OPEN.id
    assert after(heard).condition_gone_at is None
    assert heard.notices[0].id != hear(None, RAISED, START).notices[0].id


def test_closing_while_the_condition_is_present_does_not_reopen_every_minute() -> None:
    alert = CLOSED_EARLY
    for count in range(100, 200):
        assert hear(alert, RAISED, minute(count)) == NOTHING
    over = after(hear(alert, OVER, minute(200)))
    assert over.condition_gone_at == minute(200)
    new = hear(over, RAISED, minute(300))
    assert facts(new) == [FactKind.OPENED]
    assert after(new).id != alert.id


def test_a_worse_condition_after_an_early_close_opens_a_new_alert_that_takes_the_rules_over() -> None:
    old, new = hear(CLOSED_EARLY, WORSE, minute(90)).changes
    assert (old.alert.id, old.alert.raising, old.fact.note) == (OPEN.id, frozenset(), new.alert.id)
    assert new.alert.raising == {"low-event-2"}
    assert new.alert.closed_at is None


def test_an_onset_that_was_known_before_the_act_is_no_new_episode() -> None:
    known = finding(since=minute(50), known_at=minute(55))
    assert hear(SEEN, known, minute(90)) == NOTHING
    assert hear(CLOSED_EARLY, known, minute(90)) == NOTHING
    read_out_late = replace(known, known_at=minute(61))
    assert facts(hear(SEEN, read_out_late, minute(90))) == [FactKind.RELAPSED]
    assert facts(hear(CLOSED_EARLY, read_out_late, minute(90))) == [FactKind.SUPERSEDED, FactKind.OPENED]


@pytest.mark.parametrize("rule", ["low-event-2", "bp-low"])  # the latter keeps quiet for a week
def test_an_emergency_that_was_measured_after_the_closing_opens_an_alert_in_whatever_episode(rule: str) -> None:
    raised = finding(rule)
    opened = after(hear(None, raised, START))
    closed = after(hear(opened, close(opened), LATER))
    known, measured = (replace(raised, emergency_at=minute(at)) for at in (60, 61))
    assert hear(closed, known, minute(90)) == NOTHING
    heard = hear(closed, measured, minute(90))
    assert facts(heard) == [FactKind.SUPERSEDED, FactKind.OPENED]
    assert after(heard).since == START
    assert hear(after(heard), measured, minute(91)) == NOTHING
    again = after(hear(after(heard), replace(close(after(heard)), at=minute(92)), minute(92)))
    assert hear(again, measured, minute(93)) == NOTHING


@pytest.mark.parametrize("rule", ["low-event-2", "bp-low"])  # the latter keeps quiet for a week
def test_an_emergency_that_came_after_the_acknowledgement_is_told_once_until_somebody_has_seen_it(rule: str) -> None:
    raised = finding(rule)
    opened = after(hear(None, raised, START))
    seen = after(hear(opened, acknowledge(opened), LATER))
    known, measured, further = (replace(raised, emergency_at=minute(at)) for at in (60, 61, 92))
    assert hear(seen, known, minute(90)) == NOTHING
    heard = hear(seen, measured, minute(90))
    assert (facts(heard), audiences(heard)) == ([FactKind.RELAPSED], [Audience.STAFF])
    again = after(heard)
    assert (again.id, again.since, again.acknowledged_at, again.acknowledged_by) == (opened.id, START, None, None)
    assert hear(again, measured, minute(91)) == hear(again, further, minute(92)) == NOTHING
    seen = after(hear(again, replace(acknowledge(again), at=minute(93)), minute(93)))
    assert hear(seen, further, minute(94)) == NOTHING


def test_an_emergency_says_itself_and_leaves_what_is_worse_as_urgent_as_it_is() -> None:
    worst = after(hear(OPEN, WORSE, START))
    seen = after(hear(worst, acknowledge(worst), LATER))
    again = hear(seen, replace(EMERGENCY, rule="meter-very-low"), minute(90))
    assert after(again).priority is Priority.HIGH
    assert after(again).raising == {"low-event-2", "meter-very-low"}
    assert [each.subject.en for each in again.notices] == ["High priority, again: Very low glucose on the meter"]


def test_a_patient_is_told_of_one_trouble_at_one_moment_by_the_worse_rule_alone() -> None:
    milder = replace(PATIENT, rule="low-event-1")
    worse = finding("low-event-2", audience=Audience.PATIENT)
    heard = hear_findings({}, [milder, worse], START)
    assert [(each.subject.en, each.audience) for each in heard.notices] == [
        ("For you: Very low glucose", Audience.PATIENT),
        ("For you: Low glucose", Audience.WEEKLY),  # written down, so that it is not told later, and told nobody
    ]
    # Two devices of which one rule tells, and another patient, are troubles of their own.
    several = [replace(milder, since=minute(1)), replace(milder, patient="p-2"), milder]
    assert len(hear_findings({}, several, START).notices) == 3


def test_one_new_episode_is_told_once_and_begins_since_sentence_and_evidence_anew() -> None:
    heard = hear(SEEN, replace(ANEW, evidence=("r-9",)), minute(90))
    alert = after(heard)
    assert (alert.since, alert.evidence, alert.because) == (minute(80), ("r-9",), ANEW.because)
    assert alert.opened_at == START
    assert [notice.subject.en for notice in heard.notices] == ["Medium priority, again: Very low glucose"]
    assert hear(alert, ANEW, minute(91)) == NOTHING
    assert facts(hear(alert, ANEW_LOW, minute(91))) == [FactKind.JOINED]


def test_a_new_episode_and_a_worse_severity_wait_for_somebody_to_acknowledge_them_anew() -> None:
    again = after(hear(SEEN_GONE, RAISED, minute(90)))
    worse = after(hear(SEEN, WORSE, minute(90)))
    for alert in (after(hear(SEEN, ANEW, minute(90))), again, worse):
        assert (alert.acknowledged_at, alert.acknowledged_by, alert.acknowledged_note) == (None, None, None)
        act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Nurse Wu", at=minute(95))
        assert after(hear(alert, act, minute(95))).acknowledged_by == "Nurse Wu"
    # What only joins, or is the same still, was meant by whoever acknowledged it.
    assert after(hear(SEEN, replace(LOW_STAFF, evidence=("r-2",)), minute(90))).acknowledged_by == "Dr Li"


def test_the_first_very_low_value_after_a_milder_low_is_worse_and_not_there_again() -> None:
    mild = after(hear(None, finding("low-extended"), START))
    heard = hear(mild, finding("low-event-2", since=minute(80)), minute(90))
    assert facts(heard) == [FactKind.RELAPSED]
    assert [notice.subject.en for notice in heard.notices] == ["Medium priority now: Very low glucose"]


def test_a_trouble_that_lasts_for_days_keeps_its_quiet_time() -> None:
    high = finding("bp-low")
    opened = after(hear(None, high, START))
    next_day = replace(high, since=minute(1440), known_at=minute(1442))
    joined = hear(opened, next_day, minute(1442))
    assert (facts(joined), joined.notices) == ([FactKind.JOINED], ())
    assert (after(joined).since, after(joined).because) == (START, next_day.because)
    closed = after(hear(after(joined), close(opened), LATER))
    next_week = replace(high, since=minute(8 * 1440), known_at=minute(8 * 1440))
    assert hear(closed, replace(high, since=minute(1500), known_at=minute(1500)), minute(1500)) == NOTHING
    assert facts(hear(closed, next_week, minute(8 * 1440))) == [FactKind.SUPERSEDED, FactKind.OPENED]
    assert facts(hear(after(joined), next_week, minute(8 * 1440))) == [FactKind.RELAPSED]


def test_an_open_alert_says_what_joined_it_last_unless_that_is_less_urgent() -> None:
    lesser = after(hear(OPEN, replace(LOW_STAFF, evidence=("r-2",)), LATER))
    assert (lesser.because, lesser.evidence) == (RAISED.because, ("r-1", "r-2"))
    equal = finding("low-event-1", priority=Priority.MEDIUM, evidence=("r-2",))
    assert after(hear(OPEN, equal, LATER)).because == equal.because
    unheard = after(hear(CLOSED_EARLY, equal, LATER))
    assert (unheard.because, unheard.evidence) == (CLOSED_EARLY.because, CLOSED_EARLY.evidence)


def test_a_milder_low_that_brings_an_alert_back_does_not_speak_for_the_worse_one() -> None:
    worst = after(hear(OPEN, WORSE, LATER))
    gone = after(hear(worst, OVER, minute(70)))
    milder = finding("low-event-1", audience=Audience.PATIENT, since=minute(80), known_at=minute(85))
    back = after(hear(gone, milder, minute(85)))
    assert (back.priority, back.because, back.condition_gone_at) == (Priority.HIGH, WORSE.because, None)


@pytest.mark.parametrize("alert", [BACK, SEEN_BACK, after(hear(BACK, acknowledge(BACK), LATER))])
def test_an_episode_that_began_for_the_patient_alone_is_told_to_staff_by_the_first_staff_rule_and_once(
    alert: Alert,
) -> None:
    joined = after(hear(alert, PATIENT, minute(75)))
    for raised in (RAISED, LOW_STAFF, AS_URGENT, finding("low-extended", since=minute(65), known_at=minute(90))):
        heard = hear(joined, raised, minute(90))
        assert (facts(heard), audiences(heard)) == ([FactKind.RELAPSED], [Audience.STAFF])
        assert after(heard).untold_since is None
        assert hear(after(heard), raised, minute(91)) == NOTHING
        assert hear(after(heard), LOW_STAFF, minute(92)).notices == ()


def test_a_quiet_time_hides_no_episode_that_began_for_the_patient_alone() -> None:
    raised = finding("bp-low")  # keeps quiet for a week
    gone = after(hear(after(hear(None, raised, START)), finding("bp-low", Verdict.CLEAR), minute(30)))
    again = replace(raised, since=LATER, known_at=LATER)
    back = after(hear(gone, replace(again, audience=Audience.PATIENT), LATER))
    assert facts(hear(back, again, minute(75))) == facts(hear(gone, again, minute(75))) == [FactKind.RELAPSED]


def test_staff_hear_of_the_end_of_an_episode_of_which_they_were_told_and_of_no_other() -> None:
    unheard = hear(BACK, OVER, minute(70))
    assert (facts(unheard), unheard.notices) == ([FactKind.CONDITION_GONE], ())
    assert (after(unheard).condition_gone_at, after(unheard).untold_since) == (minute(70), None)
    told = after(hear(BACK, RAISED, minute(65)))
    known = after(hear(BACK, put_off(BACK), LATER))  # whoever puts it off knows of it
    patients_too = after(hear(OPEN, PATIENT, minute(5)))
    eased = after(hear(patients_too, OVER, minute(30)))
    for alert, over in ((told, OVER), (known, OVER), (eased, OTHER_OVER)):
        heard = hear(alert, over, minute(70))
        assert (facts(heard), audiences(heard)) == ([FactKind.CONDITION_GONE], [Audience.STAFF])


def test_what_is_the_patients_own_makes_no_alert_more_urgent_before_staff_are_told() -> None:
    mild = after(hear(None, LOW_STAFF, START))
    asked = after(hear(mild, finding(audience=Audience.PATIENT), minute(5)))
    assert (asked.priority, asked.because, len(asked.raising)) == (Priority.LOW, LOW_STAFF.because, 2)
    assert facts(hear(asked, RAISED, minute(20))) == [FactKind.WORSENED]


def test_a_relapse_is_as_urgent_as_it_is_once_the_worst_was_seen() -> None:
    worst = after(hear(OPEN, WORSE, LATER))
    unseen = after(hear(worst, OVER, minute(70)))
    seen = after(hear(after(hear(worst, acknowledge(worst), minute(65))), OVER, minute(70)))
    again = [after(hear(alert, ANEW, minute(90))) for alert in (unseen, seen)]
    assert [alert.priority for alert in again] == [Priority.HIGH, Priority.MEDIUM]
    assert {alert.because for alert in again} == {ANEW.because}


def test_the_same_request_to_the_patient_is_the_same_notice() -> None:
    first, again = (hear(None, PATIENT, minute(count)).notices[0] for count in (1, 2))
    assert first.id == again.id
    assert first.alert is None
    other = hear(None, replace(PATIENT, since=LATER), minute(90)).notices[0]
    assert other.id != first.id


def test_an_illegal_act_says_who_and_when_and_what_is_possible() -> None:
    def refusal(alert: Alert | None, act: Act) -> str:
        with pytest.raises(IllegalAct) as refused:
            hear(alert, act, LATER)
        return str(refused.value)

    assert refusal(SEEN, acknowledge(SEEN, by="Nurse Wu")) == (
        f"Alert {OPEN.id} was acknowledged by Dr Li at 2026-03-01 19:00 UTC. It can be closed."
    )
    assert "was closed by Dr Li at 2026-03-01 19:00 UTC" in refusal(CLOSED, close(CLOSED))
    assert "needs an outcome: advice, medication-changed" in refusal(OPEN, close(OPEN, outcome=None))
    assert "needs a note" in refusal(OPEN, close(OPEN, note=" "))
    assert "needs a named person" in refusal(OPEN, acknowledge(OPEN, by=" "))
    assert "takes no outcome" in refusal(OPEN, acknowledge(OPEN, outcome=Outcome.ADVICE))
    assert "There is no alert" in refusal(None, acknowledge(OPEN))


def test_a_patients_alert_is_closed_without_an_action_for_a_reason_of_a_list_and_no_other_is() -> None:
    in_vain, of_house = close(OPEN, outcome=Outcome.NO_ACTION), replace(OPEN, patient=HOUSE)
    closed = after(hear(OPEN, replace(in_vain, reason=Reason.FALSE_READING), LATER))
    assert (closed.outcome, closed.reason) == (Outcome.NO_ACTION, Reason.FALSE_READING)
    assert after(hear(of_house, in_vain, LATER)).reason is None
    with pytest.raises(IllegalAct) as unsaid:
        hear(OPEN, in_vain, LATER)
    for reason, words in REASON_WORDS.items():
        assert f"{words.en} ({reason})" in unsaid.value.text.en
        assert f"{words.zh}（{reason}）" in unsaid.value.text.zh
    for alert, act in ((OPEN, close(OPEN)), (of_house, in_vain)):
        with pytest.raises(IllegalAct, match="takes no reason: only no-action of a patient's alert does") as needless:
            hear(alert, replace(act, reason=Reason.OTHER), LATER)
        assert "仅患者警报的无需处理（no-action）需要" in needless.value.text.zh


def test_a_finding_about_something_else_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="p-2"):
        hear(OPEN, finding(patient="p-2"), LATER)


def test_one_moment_tells_one_trouble_once() -> None:
    heard = hear_findings({}, [LOW_STAFF, RAISED], START)
    assert facts(heard) == [FactKind.OPENED, FactKind.JOINED]
    assert [notice.priority for notice in heard.notices] == [Priority.MEDIUM]


def test_staff_are_told_of_what_comes_back_also_where_the_patient_is_told_of_it() -> None:
    again = replace(RAISED, since=minute(80), known_at=minute(80))
    heard = hear_findings({("p-1", "glucose-low"): GONE}, [replace(again, audience=Audience.PATIENT), again], LATER)
    assert facts(heard) == [FactKind.RELAPSED]
    assert audiences(heard) == [Audience.STAFF, Audience.PATIENT]


def test_what_rises_is_heard_before_what_is_over() -> None:
    heard = hear_findings({("p-1", "glucose-low"): OPEN}, [OVER, LOW_STAFF], LATER)
    assert facts(heard) == [FactKind.JOINED, FactKind.EASED]
    assert after(heard).condition_gone_at is None


def test_the_end_is_told_under_the_name_of_the_worst_that_is_over() -> None:
    over = [OVER, replace(OTHER_OVER, priority=Priority.LOW)]
    for order in (over, over[::-1]):
        heard = hear_findings({("p-1", "glucose-low"): TWO_RULES}, order, LATER)
        assert facts(heard) == [FactKind.EASED, FactKind.CONDITION_GONE]
        assert [notice.subject.en for notice in heard.notices] == ["Condition over: Very low glucose"]


ANEW_NOW = START - timedelta(days=1)  # stands for the moment of the step
RULE_OF = st.sampled_from(["low-event-1", "low-event-2"])
STEP = st.one_of(
    st.builds(
        finding,
        RULE_OF,
        st.sampled_from(Verdict),
        priority=st.sampled_from(Priority),
        audience=st.sampled_from(Audience),
        since=st.sampled_from([START, ANEW_NOW]),
    ),
    st.sampled_from(["acknowledge", "close", "close without outcome", "close without note"]),
)


class Clinic:
    """A model beside the machine: every alert that was ever written, and what must hold of them."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.written: list[Change] = []
        self.notices: dict[str, Notice] = {}
        self.now: datetime = START

    @property
    def newest(self) -> Alert | None:
        return max(self.alerts.values(), key=lambda alert: alert.opened_at, default=None)

    def step(self, step: Finding | str) -> None:
        self.now += timedelta(minutes=1)
        before = self.newest
        if isinstance(step, Finding) and step.since == ANEW_NOW:
            step = replace(step, since=self.now, known_at=self.now)
        try:
            heard = hear(before, self._event(step, before), self.now)
        except IllegalAct:
            return
        for change in heard.changes:
            old = self.alerts.get(change.alert.id)
            assert (old is None) == (change.fact.what is FactKind.OPENED)
            assert old is None or old.closed_at is None or old.closed_at == change.alert.closed_at
            self.alerts[change.alert.id] = change.alert
        self.written += heard.changes
        self.notices |= {notice.id: notice for notice in heard.notices}
        self._hold(before, step)

    def _event(self, step: Finding | str, alert: Alert | None) -> Finding | Act:
        if isinstance(step, Finding):
            return step
        act = Act(
            kind=ActKind.ACKNOWLEDGE if step == "acknowledge" else ActKind.CLOSE,
            alert=alert.id if alert else "a-0",
            by="Dr Li",
            at=self.now,
            note="" if step == "close without note" else "seen",
        )
        return replace(act, outcome=Outcome.ADVICE) if step in {"close", "close without note"} else act

    def _hold(self, before: Alert | None, step: Finding | str) -> None:
        standing = [alert for alert in self.alerts.values() if alert.closed_at is None or alert.raising]
        assert len(standing) <= 1
        for alert in self.alerts.values():
            assert (alert.closed_at is None) == (alert.outcome is None) == (alert.closing_note is None)
            assert (alert.acknowledged_at is None) == (alert.acknowledged_by is None)
            assert alert.closed_at or bool(alert.raising) == (alert.condition_gone_at is None)
        opened = {change.alert.id for change in self.written if change.fact.what is FactKind.OPENED}
        assert opened == self.alerts.keys() == {notice.alert for notice in self.notices.values() if notice.alert}
        if isinstance(step, Finding) and step.verdict is Verdict.RAISE and step.audience is Audience.STAFF:
            after_it = self.newest
            assert after_it is not None
            assert step.rule in after_it.raising
            assert after_it.priority >= step.priority
            # Whoever acknowledged or closed what was before: a new episode is on the worklist, and staff were told.
            if step.since == self.now:
                assert after_it.closed_at is None
                told = [each.alert for each in self.notices.values() if each.written_at == self.now]
                assert after_it.id in told


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_no_alert_is_lost_and_none_is_closed_without_outcome(steps: list[Finding | str]) -> None:
    clinic = Clinic()
    for step in steps:
        clinic.step(step)


@pytest.mark.parametrize(
    ("rule", "limit", "evidence", "name"),
    [
        ("meter-very-low", "as set for this patient", ("glucose/x/m",), "指尖血糖严重偏低"),
        ("low-critical", "as set for this patient", ("cgm_glucose/x/c", "glucose/x/m"), "血糖低至危急值"),
        ("low-event-2", "Battelino 2019, level 2; CDS 2024", ("cgm_glucose/x/c",), "血糖严重偏低"),
        ("low-prolonged", "Danne 2017, prolonged low", ("cgm_glucose/x/c",), "血糖长时间严重偏低"),
    ],
)
def test_what_is_over_is_called_as_it_was_while_it_lasted(
    rule: str, limit: str, evidence: tuple[str, ...], name: str
) -> None:
    raised = finding(rule, priority=Priority.HIGH, evidence=evidence)
    raised = replace(raised, because=Text(en=f"So low. Limit: {limit}. Sugar.", zh="很低。"))
    lasting = after(hear(None, raised, START))
    over = after(hear(lasting, replace(raised, verdict=Verdict.CLEAR), LATER))
    assert (title(lasting).zh, title(over).zh) == (name, name)


def test_a_channel_of_which_all_is_over_is_called_by_the_trouble_and_not_by_its_key() -> None:
    raised = replace(finding("channel-dead", evidence=()), problem="channel-dead:sms")
    over = after(hear(after(hear(None, raised, START)), replace(raised, verdict=Verdict.CLEAR), LATER))
    assert title(over).en == "A channel does not deliver"
