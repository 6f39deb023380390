"""What a patient is asked after a follow-up, and what a poor answer does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.alert import IllegalAct, Priority, Text
from alerts.care_plan import Condition
from alerts.follow_up import FollowUp, Result, Why, opened
from alerts.survey import (
    MATERIALS,
    QUESTIONS,
    Answer,
    Question,
    Survey,
    answered,
    call_again,
    encouragement,
    materials,
    survey_of,
)
from alerts.team import Role
from tests.alerts.test_follow_up import closed, new, taken, tried
from tests.alerts.ward import START, minute

DAY = timedelta(days=1)


def ended(**changed: object) -> FollowUp:
    return closed(tried(taken(**changed), Result.REACHED)[0].follow_up)


def survey() -> Survey:
    made = survey_of(ended(), None)
    assert made is not None
    return made


def test_who_was_reached_is_asked_once_a_week_at_most() -> None:
    made = survey()
    assert (made.patient, made.follow_up, made.made_at) == ("p-1", ended().id, minute(20))
    assert made.expires_at == minute(20) + 14 * DAY
    assert survey_of(closed(new()), None) is None, "nobody was reached"
    assert survey_of(taken(), None) is None, "it is not closed"
    assert survey_of(ended(), minute(20) - 7 * DAY + timedelta(seconds=1)) is None
    assert survey_of(ended(), minute(20) - 7 * DAY) == made


@pytest.mark.parametrize(
    ("answer", "poor"),
    [
        (Answer(call_again=False), False),
        (Answer(helpful=False), False),
        (Answer(score=3, solved=True), False),
        (Answer(score=2), True),
        (Answer(score=5, solved=False), True),
        (Answer(score=5, call_again=True), True),
    ],
)
def test_a_poor_answer_opens_a_follow_up(answer: Answer, poor: bool) -> None:
    done = answered(survey(), answer, START + DAY)
    assert answer.poor is poor
    assert (call_again(done, ended()) is not None) is poor


def test_it_goes_to_the_role_that_had_the_first_one_with_the_patient_s_words() -> None:
    said = Answer(solved=False, score=2, text="  Still dizzy ", call_again=True)
    act = call_again(answered(survey(), said, START + DAY), ended(role=Role.DIETITIAN, programme="bp"))
    assert act is not None
    found = opened(act).follow_up
    assert (found.why, found.role, found.programme, found.priority) == (
        Why.PATIENT,
        Role.DIETITIAN,
        "bp",
        Priority.MEDIUM,
    )
    assert found.due_at == START + DAY + timedelta(hours=4)
    assert found.because == Text(
        en="The patient asks to be called again, says that it is not solved, gave 2 of 5. "
        "In the patient's words: “Still dizzy”.",
        zh="患者请求再次致电，表示问题未解决，评分 2/5。患者原话：“Still dizzy”。",
    )
    assert call_again(survey(), ended()) is None, "nobody has answered"


def test_it_is_answered_once_and_in_time() -> None:
    done = answered(survey(), Answer(score=4), START + DAY)
    assert (done.answer, done.answered_at) == (Answer(score=4), START + DAY)
    with pytest.raises(IllegalAct, match="answered already"):
        answered(done, Answer(score=1), START + DAY)
    answered(survey(), Answer(score=3), survey().expires_at - timedelta(seconds=1))
    with pytest.raises(IllegalAct, match="no longer be answered"):
        answered(survey(), Answer(), survey().expires_at)
    for score in (0, 6):
        with pytest.raises(ValueError, match=f"the score is {score}; give one from 1 to 5"):
            Answer(score=score)


@pytest.mark.parametrize(("first", "en", "zh"), [(None, "the patient", "患者本人"), ("王丽", "王丽", "王丽")])
def test_who_notes_an_answer_by_telephone_is_told_why_not_as_one_of_the_staff(
    first: str | None, en: str, zh: str
) -> None:
    done = answered(survey(), Answer(score=4), START + DAY, first)
    with pytest.raises(IllegalAct) as refused:
        answered(done, Answer(score=1), START + DAY, "王丽")
    assert refused.value.text == Text(
        en=f"The answer is there already: {en} has given it. What else the patient says goes into a follow-up.",
        zh=f"该问卷已有回答（由{zh}填写）。患者另有诉说的，请记入随访。",
    )
    with pytest.raises(IllegalAct, match="nothing is to be asked any more"):
        answered(survey(), Answer(score=3), survey().expires_at, "王丽")


@pytest.mark.parametrize("nothing", [Answer(), Answer(text=" \n")])
def test_an_empty_answer_is_refused_with_what_to_do(nothing: Answer) -> None:
    with pytest.raises(IllegalAct, match="Please answer at least one question"):
        answered(survey(), nothing, START + DAY)


def test_every_word_is_there_in_both_languages() -> None:
    assert set(QUESTIONS) == set(Question)
    texts = [*QUESTIONS.values()]
    for each in MATERIALS.values():
        texts += [each.title, each.body, each.source]
    texts += [encouragement(days, goal) for days in range(8) for goal in range(1, 8)]
    assert all(text.en and text.zh and text.en != text.zh for text in texts)
    assert set(Answer.__dataclass_fields__) == {each.value for each in Question}


def test_there_is_something_to_read_for_each_condition() -> None:
    for condition in Condition:
        found = materials(condition)
        assert found
        assert {each.condition for each in found} == {condition}
    assert all(name == each.id for name, each in MATERIALS.items())


def test_encouragement_counts_the_days() -> None:
    assert "all of the last 7 days" in encouragement(7).en
    assert "on 5 of the last 7 days" in encouragement(5).en
    assert encouragement(1).zh == "最近 7 天您测了 1 天。每次测量都有帮助，再多测一天就更好了。"
    assert "no measurement" in encouragement(0).en
    assert "on 2 of the last 7 days: you have reached your goal" in encouragement(2, 2).en
    assert "已达到目标" in encouragement(6, 5).zh
    assert "keep going" in encouragement(3, 5).en
    for days in (-1, 8):
        with pytest.raises(ValueError, match="give 0 to 7"):
            encouragement(days)
