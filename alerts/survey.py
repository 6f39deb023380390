"""What the patient is asked after a follow-up, what is given to read, and a word of encouragement. Pure.

One survey for a follow-up at which the patient was reached, at most one a week for each patient. A poor answer (score
1 or 2, not solved, or "call me again") opens a follow-up for the role that had the first one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from alerts.alert import IllegalAct, Priority, Text
from alerts.care_plan import Condition
from alerts.follow_up import FollowUp, Open, Why, digest

VALID: Final = timedelta(days=14)
APART: Final = timedelta(days=7)
POOR: Final = 2  # and below
LONGEST_TEXT: Final = 2000
CALL_AGAIN: Final = "call-again"
_EMPTY: Final = Text(
    en="Nothing is answered yet. Please answer at least one question, then send it.",
    zh="您还没有回答任何问题。请至少回答一个问题后再提交。",
)
SURVEY_ID: Final = "s-"  # how the id of a survey begins, and that of the notice with its link
EDUCATION_ID: Final = "e-"  # how the id of what is given to read begins, and that of the notice with its link


class Question(StrEnum):
    """What is asked; each is a field of `Answer`."""

    HELPFUL = "helpful"
    SOLVED = "solved"
    SCORE = "score"
    TEXT = "text"
    CALL_AGAIN = "call_again"


QUESTIONS: Final[Mapping[Question, Text]] = {
    Question.HELPFUL: Text(en="Was our call helpful?", zh="这次随访对您有帮助吗？"),
    Question.SOLVED: Text(en="Is the problem solved?", zh="问题解决了吗？"),
    Question.SCORE: Text(en="How was it, from 1 (poor) to 5 (very good)?", zh="请打分：1（差）到 5（很好）"),
    Question.TEXT: Text(en="Is there anything you want to tell us?", zh="您还有什么想告诉我们的吗？"),
    Question.CALL_AGAIN: Text(en="Shall we call you again?", zh="需要我们再给您打电话吗？"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the patient said. score: 1 (poor) to 5; what was left out is None. Raises ValueError for another score."""

    helpful: bool | None = None
    solved: bool | None = None
    score: int | None = None
    text: str = ""
    call_again: bool | None = None

    def __post_init__(self) -> None:
        if self.score is not None and not 1 <= self.score <= 5:
            raise ValueError(f"the score is {self.score}; give one from 1 to 5")

    @property
    def poor(self) -> bool:
        """Whether somebody has to see to it."""
        return bool(self.call_again) or self.solved is False or (self.score is not None and self.score <= POOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The questions to one patient after one follow-up (moments aware UTC).

    id: "s-" and 16 hexadecimal digits. sent_at: when its link went out; it can be answered until expires_at.
    answered_by: who wrote down what the patient answered by telephone; None: the patient.
    """

    id: str
    follow_up: str
    patient: str
    made_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    answered_at: datetime | None = None
    answer: Answer | None = None
    answered_by: str | None = None


def survey_of(follow_up: FollowUp, last_made_at: datetime | None) -> Survey | None:
    """The survey after a closed follow-up; None where the patient was not reached, or was asked within the week."""
    at = follow_up.closed_at
    if at is None or follow_up.reached_at is None or (last_made_at and at - last_made_at < APART):
        return None
    return Survey(
        id=SURVEY_ID + digest(follow_up.id),
        follow_up=follow_up.id,
        patient=follow_up.patient,
        made_at=at,
        expires_at=at + VALID,
    )


def answered(survey: Survey, answer: Answer, at: datetime, by: str | None = None) -> Survey:
    """The survey with its answer. Raises IllegalAct for a second answer, for an empty one, and for one too late.

    by: as `Survey.answered_by`.
    """
    if because := refusal(survey, at, by):
        raise IllegalAct(because)
    said = replace(answer, text=answer.text.strip()[:LONGEST_TEXT])
    if said == Answer():  # it would use the questions up
        raise IllegalAct(_EMPTY)
    return replace(survey, answer=said, answered_at=at, answered_by=by)


def refusal(survey: Survey, at: datetime, by: str | None = None) -> Text | None:
    """Why a survey cannot be answered at a moment; None where it can. by: as `Survey.answered_by`."""
    if by is not None and survey.answered_at:
        first = survey.answered_by
        return Text(
            en=f"The answer is there already: {first or 'the patient'} has given it. What else the patient says goes "
            "into a follow-up.",
            zh=f"该问卷已有回答（由{first or '患者本人'}填写）。患者另有诉说的，请记入随访。",
        )
    if by is not None and at >= survey.expires_at:
        return Text(
            en="The time for these questions is over: nothing is to be asked any more. What the patient says goes "
            "into a follow-up.",
            zh="问卷已过期，无需再询问。患者有诉说的，请记入随访。",
        )
    if survey.answered_at:
        return Text(
            en="You have answered already, thank you. Call the clinic if there is more to say.",
            zh="您已经回答过了，谢谢。如还有需要，请致电诊所。",
        )
    if at >= survey.expires_at:
        return Text(
            en="These questions can no longer be answered. Call the clinic if you need anything.",
            zh="问卷已过期。如有需要，请致电诊所。",
        )
    return None


def call_again(survey: Survey, follow_up: FollowUp) -> Open | None:
    """What a poor answer opens, for the role that had the follow-up; None for any other answer."""
    answer = survey.answer
    if answer is None or survey.answered_at is None or not answer.poor:
        return None
    return Open(
        patient=survey.patient,
        why=Why.PATIENT,
        key=survey.id,
        because=_said(answer),
        at=survey.answered_at,
        role=follow_up.role,
        priority=Priority.MEDIUM if answer.call_again else Priority.LOW,
        problem=CALL_AGAIN,
        programme=follow_up.programme,
    )


def _said(answer: Answer) -> Text:
    en, zh = [], []
    if answer.call_again:
        en, zh = ["asks to be called again"], ["请求再次致电"]
    if answer.solved is False:
        en, zh = [*en, "says that it is not solved"], [*zh, "表示问题未解决"]
    if answer.score is not None:
        en, zh = [*en, f"gave {answer.score} of 5"], [*zh, f"评分 {answer.score}/5"]
    quote = answer.text
    return Text(
        en=f"The patient {', '.join(en)}." + (f" In the patient's words: “{quote}”." if quote else ""),
        zh=f"患者{'，'.join(zh)}。" + (f"患者原话：“{quote}”。" if quote else ""),
    )


# To read


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Something short to read, with its source."""

    id: str
    condition: Condition
    title: Text
    body: Text
    source: Text


MATERIALS: Final[Mapping[str, Material]] = {
    each.id: each
    for each in (
        Material(
            id="measure-pressure",
            condition=Condition.HYPERTENSION,
            title=Text(en="Measuring at home", zh="在家测血压"),
            body=Text(
                en="Measure twice, 1 minute apart, in the morning (6 to 9, before your tablets) and in the evening "
                "(18 to 21), for 7 days. When it is stable and at goal, 1 day a week is enough.",
                zh="早上（6-9 点，服药前）和晚上（18-21 点）各测两次，间隔 1 分钟，连续 7 天。"
                "血压稳定且达标后，每周测 1 天即可。",
            ),
            source=Text(en="CHEP; Chinese guidance on home measurement", zh="CHEP；中国家庭血压监测指导"),
        ),
        Material(
            id="severe-pressure",
            condition=Condition.HYPERTENSION,
            title=Text(en="Above 180/120: what to do", zh="血压高于 180/120 怎么办"),
            body=Text(
                en="Sit down, wait at least 1 minute and measure again. If it is still high, call your clinic. With "
                "chest or back pain, breathlessness, numbness or weakness, or a change of vision or speech, call the "
                "emergency number (120 in China) at once.",
                zh="坐下休息至少 1 分钟后再测。如仍高，请联系诊所。如有胸痛、背痛、呼吸困难、麻木或无力、"
                "视力或言语改变，请立即拨打急救电话（中国大陆 120）。",
            ),
            source=Text(en="American Heart Association", zh="美国心脏协会（AHA）"),
        ),
        Material(
            id="glucose-goals",
            condition=Condition.DIABETES,
            title=Text(en="What the numbers mean", zh="看懂血糖数值"),
            body=Text(
                en="Usual goals: 4.4 to 7.0 mmol/L fasting and below 10.0 mmol/L otherwise. Below 3.9 mmol/L is low. "
                "Your doctor may have set other goals for you; yours count.",
                zh="一般目标：空腹 4.4-7.0 mmol/L，非空腹低于 10.0 mmol/L；低于 3.9 mmol/L 为低血糖。"
                "如医生为您设定了其他目标，以医生的为准。",
            ),
            source=Text(en="Chinese Diabetes Society 2020, 2024", zh="中华医学会糖尿病学分会 2020、2024"),
        ),
    )
}


def materials(condition: Condition) -> tuple[Material, ...]:
    """What there is to read about a condition."""
    return tuple(each for each in MATERIALS.values() if each.condition is condition)


def materials_for(conditions: Collection[Condition]) -> dict[Condition, tuple[Material, ...]]:
    """All that there is to read, by condition; those that a patient has come first."""
    return {each: materials(each) for each in sorted(Condition, key=lambda each: each not in conditions)}


def encouragement(days: int, goal: int = 7) -> Text:
    """A sentence about on how many of the last 7 days the patient has measured, never a reproach.

    goal: on how many that was agreed. Raises ValueError beyond 0 to 7.
    """
    if not 0 <= days <= 7:
        raise ValueError(f"{days} of 7 days; give 0 to 7")
    if days == 7:
        return Text(
            en="You have measured on all of the last 7 days. Very well done!",
            zh="最近 7 天您每天都测了，做得非常好！",
        )
    if days >= goal:
        return Text(
            en=f"You have measured on {days} of the last 7 days: you have reached your goal. Very well done!",
            zh=f"最近 7 天您测了 {days} 天，已达到目标，做得非常好！",
        )
    if days >= max(1, goal - 2):
        return Text(
            en=f"You have measured on {days} of the last 7 days. Well done, keep going!",
            zh=f"最近 7 天您测了 {days} 天，做得很好，请继续保持！",
        )
    if days:
        return Text(
            en=f"You have measured on {days} of the last 7 days. Every reading helps; one more day would be good.",
            zh=f"最近 7 天您测了 {days} 天。每次测量都有帮助，再多测一天就更好了。",
        )
    return Text(
        en="We have no measurement of the last 7 days. A single one today is a good start; call us if we can help.",
        zh="最近 7 天没有测量记录。今天测一次就是好的开始；需要帮助请联系我们。",
    )
