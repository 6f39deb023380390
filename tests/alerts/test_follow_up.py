"""The life of a follow-up: what each deed does in each state, when the next try is, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alerts.alert import Act, ActKind, IllegalAct, Outcome, Priority, Reason, Text
from alerts.follow_up import (
    ACT_WITHIN,
    CONTACT_DATA,
    MOST_TRIES,
    TRY_AGAIN,
    Attempt,
    Claim,
    Close,
    Deed,
    Fact,
    FollowUp,
    HandOver,
    Open,
    Postpone,
    Result,
    State,
    Step,
    Symptom,
    What,
    Why,
    closing,
    decide,
    follow,
    opened,
    replay,
    worsened,
)
from alerts.machine import hear
from alerts.team import Role
from tests.alerts.care_table import DRAWING
from tests.alerts.ward import START, finding, minute

BECAUSE = Text(en="Asked to be called", zh="请求致电")
NURSE, DOCTOR = "Nurse Chen", "Dr Li"


def opens(priority: Priority = Priority.MEDIUM, **changed: object) -> Open:
    plain = Open(
        patient="p-1",
        why=Why.STAFF,
        key="k",
        because=BECAUSE,
        at=START,
        role=Role.NURSE,
        priority=priority,
        by=DOCTOR,
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def new(priority: Priority = Priority.MEDIUM, **changed: object) -> FollowUp:
    return opened(opens(priority, **changed)).follow_up


def taken(**changed: object) -> FollowUp:
    return new(assigned_to=NURSE, **changed)


def tried(follow_up: FollowUp, result: Result = Result.NO_ANSWER, at: float = 10, **more: object) -> tuple[Step, ...]:
    deed = Attempt(
        follow_up=follow_up.id,
        by=NURSE,
        at=minute(at),
        channel="telephone",
        result=result,
        **more,  # type: ignore[arg-type]
    )
    return decide(follow_up, deed)


def closed(follow_up: FollowUp, outcome: Outcome = Outcome.ADVICE, at: float = 20, **more: object) -> FollowUp:
    deed = Close(follow_up=follow_up.id, by=NURSE, at=minute(at), outcome=outcome, note="done", **more)  # type: ignore[arg-type]
    return decide(follow_up, deed)[0].follow_up


def deeds(follow_up: str) -> Mapping[str, Deed]:
    return {
        "claim": Claim(follow_up=follow_up, by="Dr Wu", at=minute(5)),
        "to a role": HandOver(follow_up=follow_up, by=DOCTOR, at=minute(5), note="n", role=Role.DIETITIAN),
        "to a person": HandOver(follow_up=follow_up, by=DOCTOR, at=minute(5), note="n", to="Dr Wu"),
        "attempt": Attempt(
            follow_up=follow_up, by="Dr Wu", at=minute(5), channel="telephone", result=Result.NO_ANSWER
        ),
        "postpone": Postpone(follow_up=follow_up, by=DOCTOR, at=minute(5), until=minute(60), note="asleep"),
        "close": Close(follow_up=follow_up, by=DOCTOR, at=minute(5), outcome=Outcome.ADVICE, note="n"),
    }


# The docstring's table, whole: what comes of each deed in each state, and who has it then; None: it is refused.
TABLE: Mapping[State, Mapping[str, tuple[State, str | None] | None]] = {
    State.OPEN: {
        "claim": (State.IN_PROGRESS, "Dr Wu"),
        "to a role": (State.OPEN, None),
        "to a person": (State.IN_PROGRESS, "Dr Wu"),
        "attempt": (State.IN_PROGRESS, "Dr Wu"),
        "postpone": (State.OPEN, None),
        "close": (State.CLOSED, DOCTOR),
    },
    State.IN_PROGRESS: {
        "claim": None,
        "to a role": (State.OPEN, None),
        "to a person": (State.IN_PROGRESS, "Dr Wu"),
        "attempt": (State.IN_PROGRESS, NURSE),
        "postpone": (State.IN_PROGRESS, NURSE),
        "close": (State.CLOSED, NURSE),
    },
    State.CLOSED: dict.fromkeys(deeds("f-1")),
}
STANDING = {State.OPEN: new(), State.IN_PROGRESS: taken(), State.CLOSED: closed(new())}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", deeds("f-1"))
def test_the_table_of_states_and_deeds_is_total(state: State, kind: str) -> None:
    before = STANDING[state]
    wanted, deed = TABLE[state][kind], deeds(before.id)[kind]
    if wanted is None:
        with pytest.raises(IllegalAct) as refused:
            decide(before, deed)
        assert refused.value.text.en
        assert refused.value.text.zh
    else:
        step = decide(before, deed)[0]
        assert (step.follow_up.state, step.follow_up.assigned_to) == wanted
        assert (step.fact.by, step.fact.at) == (deed.by, minute(5))


def test_the_drawing_in_the_docs_is_what_becomes_of_a_follow_up() -> None:
    assert DRAWING.redrawn == DRAWING.text, "docs/follow_up.md is out of date: python -m tests.alerts.care_table"


@pytest.mark.parametrize("kind", deeds("f-1"))
def test_what_there_is_not_and_who_has_no_name_is_refused(kind: str) -> None:
    with pytest.raises(IllegalAct, match="There is no follow-up f-1"):
        decide(None, deeds("f-1")[kind])
    with pytest.raises(IllegalAct, match="There is no follow-up f-1"):
        decide(new(), deeds("f-1")[kind])
    with pytest.raises(IllegalAct, match="needs a named person"):
        decide(new(), replace(deeds(new().id)[kind], by="  "))


def test_what_is_opened_has_a_role_and_is_due_by_its_priority() -> None:
    for priority, span in ACT_WITHIN.items():
        found = new(priority)
        assert (found.state, found.role, found.due_at) == (State.OPEN, Role.NURSE, START + span)
    assert new(Priority.HIGH).rule == Text(en="To be acted on within 30 min.", zh="须在 30 分钟内处理。")
    assert new(Priority.LOW).rule.zh == "须在 2 天内处理。"
    agreed = new(due_at=minute(90))
    assert (agreed.due_at, agreed.rule.en) == (minute(90), "As agreed.")
    assert not agreed.is_overdue(minute(90))
    assert agreed.is_overdue(minute(91))
    assert not closed(agreed).is_overdue(minute(91))


def test_one_thing_has_one_follow_up() -> None:
    assert opens().follow_up == opens(at=minute(7)).follow_up
    assert len({opens().follow_up, opens(key="other").follow_up, opens(patient="p-2").follow_up}) == 3
    assert opens().follow_up.startswith("f-")


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("result", [Result.NO_ANSWER, Result.BUSY, Result.UNREACHABLE, Result.MESSAGE_LEFT])
def test_who_was_not_reached_is_tried_again_and_the_third_time_in_another_way(
    priority: Priority, result: Result
) -> None:
    standing = new(priority)
    for count in range(1, MOST_TRIES):
        standing = tried(standing, result, at=count)[0].follow_up
        assert standing.due_at == minute(count) + TRY_AGAIN[priority]
        assert standing.rule.en.startswith("Not reached: try again in ")
        assert (standing.attempts, standing.unanswered, standing.assigned_to) == (count, count, NURSE)
    standing = tried(standing, result, at=9)[0].follow_up
    assert (standing.role, standing.assigned_to, standing.state) == (Role.COORDINATOR, None, State.OPEN)
    assert standing.rule.en.startswith(
        "3 tries in a row reached nobody: another channel, by the coordinator, within "
    )
    assert standing.rule.zh.startswith("连续 3 次未联系到：由协调员在")
    assert standing.due_at == minute(9) + TRY_AGAIN[priority]


def test_an_answer_between_begins_the_count_anew() -> None:
    standing = taken()
    for result in (Result.NO_ANSWER, Result.BUSY, Result.REACHED, Result.NO_ANSWER, Result.BUSY):
        (step,) = tried(standing, result)
        standing = step.follow_up
    assert (standing.attempts, standing.unanswered, standing.assigned_to) == (5, 2, NURSE)
    assert standing.reached_at == minute(10)


def test_a_wrong_number_is_a_task_for_the_coordinator_and_keeps_nobody_from_trying_otherwise() -> None:
    step, task = tried(taken(priority=Priority.HIGH), Result.WRONG_NUMBER, note="a shop answered")
    assert (step.follow_up.assigned_to, step.follow_up.due_at) == (NURSE, minute(10) + TRY_AGAIN[Priority.HIGH])
    assert step.follow_up.rule.en.startswith("The number is wrong: try another channel within 15 min")
    found = task.follow_up
    assert (found.why, found.problem, found.role, found.state) == (
        Why.STAFF,
        CONTACT_DATA,
        Role.COORDINATOR,
        State.OPEN,
    )
    assert found.because.en == "The contact for telephone is wrong, says Nurse Chen. Find out the right one."
    assert found.because.zh == "Nurse Chen 反映电话联系方式有误，请核实。"
    assert task.fact.note == "a shop answered"


def test_who_declines_is_left_alone_with_a_note() -> None:
    with pytest.raises(IllegalAct, match="needs a note"):
        tried(taken(), Result.DECLINED)
    standing = tried(taken(), Result.DECLINED, note="does not want calls")[0].follow_up
    assert (standing.declined_at, standing.unanswered) == (minute(10), 0)
    assert standing.rule.en == "The patient declined: it may be closed without action within 4 h."
    assert closed(standing, Outcome.NO_ACTION).outcome is Outcome.NO_ACTION


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (HandOver(follow_up="", by=DOCTOR, at=minute(1), note="n"), "a role or a person"),
        (HandOver(follow_up="", by=DOCTOR, at=minute(1), note=" ", to="Dr Wu"), "needs a note"),
        (HandOver(follow_up="", by=DOCTOR, at=minute(1), note="n", to=NURSE), "Nurse Chen has follow-up .* already"),
        (Claim(follow_up="", by=NURSE, at=minute(1)), "is yours already"),
        (Claim(follow_up="", by=DOCTOR, at=minute(1)), "Nurse Chen has follow-up .* Have it handed over"),
        (Postpone(follow_up="", by=NURSE, at=minute(1), until=minute(2), note=""), "needs a note"),
        (Postpone(follow_up="", by=NURSE, at=minute(1), until=minute(1), note="n"), "a moment that is past"),
        (Postpone(follow_up="", by=NURSE, at=minute(1), until=minute(1442), note="n"), "most 1 d: until 2026-03-02"),
        (Close(follow_up="", by=NURSE, at=minute(1), outcome=None, note="n"), "needs an outcome: advice, "),
        (
            Close(follow_up="", by=NURSE, at=minute(1), outcome=Outcome.MENDED, note="n"),
            "is about a patient: it cannot be closed with the outcome mended. Possible: advice, ",
        ),
        (Close(follow_up="", by=NURSE, at=minute(1), outcome=Outcome.ADVICE, note=" "), "needs a note"),
    ],
)
def test_what_is_missing_is_said(deed: Deed, said: str) -> None:
    standing = taken()
    with pytest.raises(IllegalAct, match=said):
        decide(standing, replace(deed, follow_up=standing.id))


def test_what_is_urgent_is_handed_over_and_not_put_off() -> None:
    standing = taken(priority=Priority.HIGH)
    with pytest.raises(IllegalAct, match=r"cannot be put off\. Hand it over"):
        decide(standing, Postpone(follow_up=standing.id, by=NURSE, at=minute(1), until=minute(2), note="n"))


def test_to_a_person_in_a_role_with_the_context() -> None:
    standing = taken()
    deed = HandOver(
        follow_up=standing.id, by=NURSE, at=minute(1), note="skips supper", role=Role.DIETITIAN, to="Ms Sun"
    )
    (step,) = decide(standing, deed)
    assert (step.follow_up.role, step.follow_up.assigned_to) == (Role.DIETITIAN, "Ms Sun")
    assert (step.fact.note, step.fact.what) == ("skips supper", What.HANDED_OVER)
    assert step.follow_up.due_at == standing.due_at, "nobody gains time by handing over"


# Symptoms


def severe(**changed: object) -> FollowUp:
    return taken(problem="blood-pressure-high", priority=Priority.MEDIUM, **changed)


PAIN = frozenset({Symptom.CHEST_PAIN, Symptom.SPEECH})


def test_a_severe_pressure_with_symptoms_leaves_one_outcome() -> None:
    for outcome in set(Outcome) - {Outcome.EMERGENCY}:
        with pytest.raises(IllegalAct, match=r"chest pain, change of speech: with a severe .* is an emergency") as no:
            closed(severe(), outcome, symptoms=PAIN)
        assert "胸痛、言语不清" in no.value.text.zh
    found = closed(severe(), Outcome.EMERGENCY, symptoms=PAIN)
    assert (found.outcome, found.symptoms) == (Outcome.EMERGENCY, PAIN)


def test_symptoms_found_at_a_call_are_urgent_now_and_not_forgotten() -> None:
    standing = tried(severe(), Result.REACHED, symptoms=PAIN)[0].follow_up
    assert standing.due_at == minute(10)
    assert standing.rule == Text(
        en="The patient has chest pain, change of speech: have the emergency number (120 in China) called now.",
        zh="患者有胸痛、言语不清：请立即呼叫急救（中国大陆 120）。",
    )
    with pytest.raises(IllegalAct, match="is an emergency"):
        closed(standing, Outcome.ADVICE, symptoms=frozenset())
    with pytest.raises(IllegalAct, match=r"chest pain, change of speech: .* is an emergency and cannot be put off"):
        decide(standing, Postpone(follow_up=standing.id, by=NURSE, at=minute(11), until=minute(20), note="n"))
    assert closed(standing, Outcome.EMERGENCY).closed_at == minute(20)


def test_symptoms_have_to_be_asked_for_where_somebody_could_be_asked() -> None:
    with pytest.raises(IllegalAct, match="Ask for chest pain, back pain, breathlessness"):
        closed(severe(), Outcome.ADVICE)
    asked = tried(severe(), Result.REACHED, symptoms=frozenset())[0].follow_up
    assert closed(asked, Outcome.ADVICE).symptoms == frozenset()
    assert closed(severe(), Outcome.NO_ACTION).symptoms is None, "nobody was reached; the note says why"
    reached = tried(severe(), Result.REACHED)[0].follow_up
    with pytest.raises(IllegalAct, match="Ask for"):
        closed(reached, Outcome.NO_ACTION)
    assert closed(reached, Outcome.EMERGENCY).outcome is Outcome.EMERGENCY
    mild = taken(problem="blood-pressure-high", priority=Priority.LOW)
    assert closed(mild, Outcome.ADVICE).symptoms is None
    assert closed(taken(problem="glucose-low"), Outcome.ADVICE, symptoms=PAIN).outcome is Outcome.ADVICE


def test_nothing_is_done_about_an_alert_for_a_reason_and_about_all_else_with_a_note() -> None:
    of_an_alert = taken(alert="a-1", why=Why.ALERT)
    ended = closed(of_an_alert, Outcome.NO_ACTION, reason=Reason.NOT_REACHED)
    assert (ended.outcome, ended.reason) == (Outcome.NO_ACTION, Reason.NOT_REACHED)
    with pytest.raises(IllegalAct, match=r"Closing follow-up .* needs a reason: false reading .*\(false-reading\)"):
        closed(of_an_alert, Outcome.NO_ACTION)
    for follow_up, outcome in ((taken(), Outcome.NO_ACTION), (of_an_alert, Outcome.ADVICE)):
        with pytest.raises(IllegalAct, match="takes no reason"):
            closed(follow_up, outcome, reason=Reason.OTHER)


# The alert


def test_acknowledging_opens_one_and_closing_closes_it_with_the_same_outcome() -> None:
    alert = hear(None, finding(priority=Priority.HIGH), START).changes[0].alert
    seen = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=DOCTOR, at=minute(3), note="calling")
    (step,) = follow(alert, seen, None, programme="t1d")
    found = step.follow_up
    assert (found.alert, found.why, found.assigned_to, found.opened_by) == (alert.id, Why.ALERT, DOCTOR, DOCTOR)
    assert (found.priority, found.due_at, found.programme) == (Priority.HIGH, minute(33), "t1d")
    assert found.because == alert.because
    found = tried(found, Result.REACHED)[0].follow_up
    ended = Act(kind=ActKind.CLOSE, alert=alert.id, by=NURSE, at=minute(19), note="ate", outcome=Outcome.ADVICE)
    (end,) = follow(alert, ended, found)
    assert (end.follow_up.outcome, end.follow_up.closed_by, end.follow_up.closing_note) == (
        Outcome.ADVICE,
        NURSE,
        "ate",
    )
    assert closing([end]) == ended
    assert closing([step]) is None
    assert follow(alert, ended, end.follow_up) == ()
    assert closing([Step(follow_up=closed(new()), fact=end.fact)]) is None, "it has no alert"


@pytest.mark.parametrize("outcome", [Outcome.ADVICE, Outcome.MEDICATION_CHANGED])
def test_an_outcome_that_claims_a_contact_needs_one_where_the_alert_is_of_high_priority(outcome: Outcome) -> None:
    untried = taken(priority=Priority.HIGH, alert="a-1", problem="glucose-low")
    in_vain = tried(tried(untried, Result.NO_ANSWER)[0].follow_up, Result.MESSAGE_LEFT, 11)[0].follow_up
    for standing in (untried, in_vain):
        assert standing.possible == (Outcome.APPOINTMENT, Outcome.EMERGENCY, Outcome.NO_ACTION)
        with pytest.raises(IllegalAct, match=f"no try has reached the patient: the outcome {outcome} needs") as no:
            closed(standing, outcome)
        assert f"（{outcome}）须先联系到患者" in no.value.text.zh
        for other in standing.possible:
            reason = Reason.NOT_REACHED if other is Outcome.NO_ACTION else None
            assert closed(standing, other, reason=reason).outcome is other
    for result in (Result.REACHED, Result.DECLINED):
        (spoken, *_) = tried(in_vain, result, 12, note="well again")
        assert closed(spoken.follow_up, outcome).outcome is outcome
    for milder in (taken(priority=Priority.MEDIUM, alert="a-1"), taken(priority=Priority.HIGH)):
        assert closed(milder, outcome).outcome is outcome


def test_an_alert_that_is_closed_at_once_has_a_follow_up_too() -> None:
    alert = hear(None, finding(), START).changes[0].alert
    act = Act(kind=ActKind.CLOSE, alert=alert.id, by=NURSE, at=minute(9), note="ate", outcome=Outcome.ADVICE)
    steps = follow(alert, act, None)
    assert [step.fact.what for step in steps] == [What.OPENED, What.CLOSED]
    assert replay(step.fact for step in steps) == steps[-1].follow_up
    severe_one = replace(alert, problem="blood-pressure-high", priority=Priority.MEDIUM)
    with pytest.raises(IllegalAct, match="Ask for chest pain"):
        follow(severe_one, act, None)


def test_one_that_nobody_has_goes_to_who_acknowledges() -> None:
    alert = hear(None, finding(), START).changes[0].alert
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by=DOCTOR, at=minute(3))
    free = new(alert=alert.id)
    assert follow(alert, act, free)[0].follow_up.assigned_to == DOCTOR
    assert follow(alert, act, taken(alert=alert.id)) == ()


def test_an_alert_that_got_worse_makes_its_follow_up_more_urgent_and_never_later() -> None:
    alert = hear(None, finding(priority=Priority.HIGH), START).changes[0].alert
    standing = taken(priority=Priority.LOW, problem="blood-pressure-high")
    assert not standing.asks_symptoms
    (step,) = worsened(alert, standing, minute(10))
    assert (step.follow_up.priority, step.follow_up.due_at) == (Priority.HIGH, minute(40))
    assert step.follow_up.assigned_to == NURSE
    assert step.follow_up.asks_symptoms
    assert step.follow_up.rule.en.endswith("It was told again: to be acted on within 30 min.")
    soon = taken(due_at=minute(12))
    assert worsened(alert, soon, minute(10))[0].follow_up.due_at == minute(12)
    assert worsened(alert, closed(new()), minute(10)) == ()


def test_that_there_were_no_symptoms_says_nothing_of_an_alert_that_is_told_again() -> None:
    alert = hear(None, finding(priority=Priority.HIGH), START).changes[0].alert
    about = taken(priority=Priority.HIGH, problem="blood-pressure-high")
    for found, left in ((frozenset[Symptom](), None), (frozenset({Symptom.VISION}), frozenset({Symptom.VISION}))):
        tried = Attempt(
            follow_up=about.id, by=NURSE, at=minute(5), channel="telephone", result=Result.REACHED, symptoms=found
        )
        reached = decide(about, tried)[0].follow_up
        assert reached.symptoms == found
        again = worsened(alert, reached, minute(10))[0].follow_up
        assert again.symptoms == left
        close = Close(follow_up=about.id, by=NURSE, at=minute(12), outcome=Outcome.ADVICE, note="rest")
        with pytest.raises(IllegalAct, match="Ask for chest pain" if left is None else "change of vision"):
            decide(again, close)
        if left is None:
            assert decide(again, replace(close, symptoms=found))[0].follow_up.state is State.CLOSED


def test_a_new_episode_gives_what_is_overdue_a_new_time_and_nothing_else() -> None:
    alert = hear(None, finding(priority=Priority.HIGH), START).changes[0].alert
    late = taken(priority=Priority.HIGH, due_at=minute(9))
    assert worsened(alert, late, minute(10))[0].follow_up.due_at == minute(9)
    assert worsened(alert, late, minute(10), anew=True)[0].follow_up.due_at == minute(40)
    in_time = taken(priority=Priority.HIGH, due_at=minute(12))
    assert worsened(alert, in_time, minute(10), anew=True)[0].follow_up.due_at == minute(12)


# Replay


def test_facts_that_do_not_belong_together_are_refused() -> None:
    first, second = opened(opens()).fact, tried(new())[0].fact
    with pytest.raises(ValueError, match="does not open it"):
        replay([second])
    with pytest.raises(ValueError, match="cannot follow"):
        replay([first, first])
    with pytest.raises(ValueError, match="cannot follow"):
        replay([first, replace(second, follow_up="f-2")])
    with pytest.raises(ValueError, match="no facts"):
        replay([])


PEOPLE = st.sampled_from([NURSE, DOCTOR, "Dr Wu"])
NOTES = st.sampled_from(["", "note"])
SYMPTOMS = st.none() | st.frozensets(st.sampled_from(Symptom), max_size=2)


class Life(RuleBasedStateMachine):
    """Anything that people do to follow-ups, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = START
        self.standing: dict[str, FollowUp] = {}
        self.facts: dict[str, list[Fact]] = {}

    def _take(self, *steps: Step) -> None:
        for step in steps:
            if step.fact.what is What.OPENED and step.follow_up.id in self.standing:
                continue  # the book leaves it as it is
            self.standing[step.follow_up.id] = step.follow_up
            self.facts.setdefault(step.follow_up.id, []).append(step.fact)

    def _do(self, data: st.DataObject, deed: Deed) -> None:
        before = self.standing[deed.follow_up]
        try:
            steps = decide(before, deed)
        except IllegalAct:
            return
        assert before.state is not State.CLOSED, "what is closed stays closed"
        self._take(*steps)

    def _one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.standing)))

    @rule(minutes=st.integers(0, 2000))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(
        priority=st.sampled_from(Priority),
        role=st.sampled_from(Role),
        problem=st.sampled_from(["glucose-low", "blood-pressure-high", None]),
        person=st.none() | PEOPLE,
    )
    def open(self, priority: Priority, role: Role, problem: str | None, person: str | None) -> None:
        act = opens(
            priority, key=str(len(self.standing)), role=role, problem=problem, assigned_to=person, at=self.now
        )
        if act.follow_up not in self.standing:
            self._take(opened(act))

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), by=PEOPLE)
    def claim(self, data: st.DataObject, by: str) -> None:
        self._do(data, Claim(follow_up=self._one(data), by=by, at=self.now))

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), by=PEOPLE, role=st.none() | st.sampled_from(Role), to=st.none() | PEOPLE, note=NOTES)
    def hand_over(self, data: st.DataObject, by: str, role: Role | None, to: str | None, note: str) -> None:
        self._do(data, HandOver(follow_up=self._one(data), by=by, at=self.now, note=note, role=role, to=to))

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), by=PEOPLE, result=st.sampled_from(Result), note=NOTES, symptoms=SYMPTOMS)
    def attempt(
        self, data: st.DataObject, by: str, result: Result, note: str, symptoms: frozenset[Symptom] | None
    ) -> None:
        deed = Attempt(
            follow_up=self._one(data),
            by=by,
            at=self.now,
            channel="telephone",
            result=result,
            note=note,
            symptoms=symptoms,
        )
        self._do(data, deed)

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), by=PEOPLE, minutes=st.integers(-10, 50_000), note=NOTES)
    def postpone(self, data: st.DataObject, by: str, minutes: int, note: str) -> None:
        until = self.now + timedelta(minutes=minutes)
        self._do(data, Postpone(follow_up=self._one(data), by=by, at=self.now, until=until, note=note))

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), by=PEOPLE, outcome=st.none() | st.sampled_from(Outcome), note=NOTES, symptoms=SYMPTOMS)
    def close(
        self,
        data: st.DataObject,
        by: str,
        outcome: Outcome | None,
        note: str,
        symptoms: frozenset[Symptom] | None,
    ) -> None:
        deed = Close(follow_up=self._one(data), by=by, at=self.now, outcome=outcome, note=note, symptoms=symptoms)
        self._do(data, deed)

    @precondition(lambda self: self.standing)
    @rule(data=st.data(), priority=st.sampled_from(Priority), anew=st.booleans())
    def worsen(self, data: st.DataObject, priority: Priority, anew: bool) -> None:
        alert = hear(None, finding(priority=priority), self.now).changes[0].alert
        self._take(*worsened(alert, self.standing[self._one(data)], self.now, anew=anew))

    @invariant()
    def none_is_closed_without_an_outcome_a_person_and_a_note(self) -> None:
        for each in self.standing.values():
            is_closed = each.state is State.CLOSED
            assert (each.closed_at, each.closed_by, each.outcome) == (None, None, None) or is_closed
            if is_closed:
                assert each.outcome
                assert each.closed_by
                assert each.closing_note
                assert each.outcome is Outcome.EMERGENCY or not (each.asks_symptoms and each.symptoms)

    @invariant()
    def each_open_one_has_a_role_and_is_due_before_long(self) -> None:
        for each in self.standing.values():
            if each.state is not State.CLOSED:
                assert each.role in Role
                assert each.due_at <= each.updated_at + timedelta(days=31)
                assert each.rule.en
                assert each.rule.zh

    @invariant()
    def the_facts_make_what_stands(self) -> None:
        for name, facts in self.facts.items():
            assert replay(facts) == self.standing[name]
            assert self.standing[name].version == len(facts)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
