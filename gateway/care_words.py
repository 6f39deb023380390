"""What is done about a patient, in the words of the pages. English here; other languages in `locale/`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

from alerts.follow_up import SYMPTOM_WORDS, Fact, Result, What, Why, channel_word
from alerts.team import ROLE_WORDS
from gateway.language import Language, Sentence
from gateway.words import N_, outcome_word

WHYS: Final[Mapping[Why, str]] = {
    Why.ALERT: N_("An alert"),
    Why.PLAN: N_("The plan of care"),
    Why.PATIENT: N_("The patient asked for it"),
    Why.STAFF: N_("Staff wanted it"),
}
RESULTS: Final[Mapping[Result, str]] = {
    Result.REACHED: N_("reached"),
    Result.NO_ANSWER: N_("no answer"),
    Result.BUSY: N_("busy"),
    Result.WRONG_NUMBER: N_("wrong number"),
    Result.DECLINED: N_("declined"),
    Result.UNREACHABLE: N_("unreachable"),
    Result.MESSAGE_LEFT: N_("message left"),
}
_OPENED: Final[Mapping[Why, str]] = {
    Why.ALERT: N_("{name} acknowledged the alert and has the follow-up."),
    Why.PLAN: N_("The plan of care opened it."),
    Why.PATIENT: N_("The patient asked for it."),
    Why.STAFF: N_("{name} opened it."),
}
# By the house, before anybody has acknowledged the alert: no message reaches the patient.
_TO_BE_REACHED: Final = N_("Homeward opened it: somebody is to reach the patient.")
_MORE_URGENT: Final = N_("The alert was told again: it became more urgent.")
_ASKED_FOR: Final = N_("{name} opened it, for the patient asked for it.")
DONE: Final[Mapping[What, str]] = {
    What.WORSENED: N_("The alert was told again."),
    What.PATIENT_WROTE: N_("The patient has written."),
    What.UNREACHED: N_("What is to be said to the patient reaches the patient by no message."),
    What.CLAIMED: N_("{name} took it."),
    What.HANDED_OVER: N_("{name} handed it over to: {whom}."),
    What.ATTEMPTED: N_("{name} tried to reach the patient by {channel}: {result}."),
    What.POSTPONED: N_("{name} put it off until {moment}."),
    What.CLOSED: N_("{name} closed it: {outcome}."),
    What.OVERDUE: N_("The time had passed, and nobody had acted."),
}


def told(fact: Fact, before: Fact | None, *, zone: tzinfo, language: Language) -> str:
    """A dated fact of a follow-up as a sentence with the names of who did it, moments on the clock of a zone.

    before: the fact before it, None for the first.
    """
    form = DONE.get(fact.what, "")
    if fact.what is What.WORSENED and before and fact.priority > before.priority:
        form = _MORE_URGENT
    if fact.opening is not None:
        why = fact.opening.why
        form = _ASKED_FOR if why is Why.PATIENT and fact.by else _OPENED[why]
        if why is Why.ALERT and not fact.by:
            form = _TO_BE_REACHED
    said = Sentence(
        form,
        name=fact.by or "",
        whom=holder(fact.assigned_to, language.text(ROLE_WORDS[fact.role])),
        channel=language.text(channel_word(fact.channel or "")),
        result=Sentence(RESULTS[fact.result]) if fact.result else "",
        moment=language.moment(fact.due_at, zone),
        outcome=outcome_word(language, fact.outcome, fact.reason) if fact.outcome else "",
    )
    return language.sentence(said)


def holder(person: str | None, role: str) -> str:
    """Who has it: a person and the role, or a role of which nobody has taken it yet."""
    return Sentence("{person} ({role})", person=person, role=role) if person else role


def symptoms_told(fact: Fact, language: Language) -> str:
    """What was found when the patient was asked for symptoms; "" where nobody asked."""
    if fact.symptoms is None:
        return ""
    if not fact.symptoms:
        return language.gettext("Asked for symptoms: none.")
    apart = "、" if language.code == "zh_CN" else ", "
    found = apart.join(language.text(words) for each, words in SYMPTOM_WORDS.items() if each in fact.symptoms)
    return language.gettext("Symptoms: {found}.").format(found=found)
