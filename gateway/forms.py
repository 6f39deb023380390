"""Forms that were refused: why, in the words of the pages, and what was typed, so that it is shown as it was left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from alerts.alert import OUTCOMES_OF_CARE, OUTCOMES_OF_HOUSE, Text, outcomes_told
from alerts.rule import LimitsError
from alerts.rules import RULES
from gateway.language import Language, Sentence, listed
from gateway.words import N_, PARAMETERS

_NUMBER_OF_RULE: Final = re.compile(r"([a-z0-9-]+)\.([a-z0-9_-]+)", re.ASCII)
_NEEDED: Final = N_("this is needed")
_CHOOSE: Final = N_("choose one of the list")
_NUMBER: Final = N_("this is not a number")
_WHOLE: Final = N_("write a whole number")
_DAY: Final = N_("this is not a day; write it as 2026-03-01")
_MOMENT: Final = N_("this is not a moment; write it as 2026-03-01T08:00")
_UNUSABLE: Final = N_("this cannot be used")  # by what no page sends by itself
_ELSEWHERE: Final = N_("What was sent along")  # in the address, or by hand
# What pydantic finds, by its type.
_FLAWS: Final[Mapping[str, str]] = {
    "missing": _NEEDED,
    "string_too_short": _NEEDED,
    "too_short": N_("choose at least one"),
    "string_too_long": N_("at most {max_length} characters"),
    "literal_error": _CHOOSE,
    "enum": _CHOOSE,
    "dict_type": _CHOOSE,
    "json_invalid": _CHOOSE,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "greater_than_equal": N_("use {ge} or more"),
    "less_than_equal": N_("use {le} or less"),
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "timezone_aware": _MOMENT,
}
_ONE_OF: Final = N_("use one of {expected}")
_JSON_OBJECT: Final = N_("send a JSON object")
_ABSOLUTE: Final = N_("write a moment with its offset from UTC, as in 2026-03-01T08:00:00+08:00")
# The same for programs, which are offered no list and name a zone.
_FLAWS_OF_PROGRAMS: Final[Mapping[str, str]] = {
    **_FLAWS,
    "enum": _ONE_OF,
    "literal_error": _ONE_OF,
    "extra_forbidden": N_("nothing is called so here; leave it out, or see how it is spelt"),
    "too_long": N_("at most {max_length} of them"),
    "greater_than": N_("use more than {gt}"),
    "less_than": N_("use less than {lt}"),
    "string_type": N_("write a text in quotes"),
    "int_type": _WHOLE,
    "float_type": _NUMBER,
    "bool_type": N_("write true or false"),
    "bool_parsing": N_("write true or false"),
    "list_type": N_("send a list"),
    "dict_type": _JSON_OBJECT,
    "model_type": _JSON_OBJECT,
    "model_attributes_type": _JSON_OBJECT,
    "json_invalid": N_("this is no JSON: {error}"),
    "date_type": _DAY,
    "datetime_type": _ABSOLUTE,
    "datetime_parsing": _ABSOLUTE,
    "datetime_from_date_parsing": _ABSOLUTE,
    "timezone_aware": _ABSOLUTE,
}
_ACT_AT: Final = re.compile(r"/api/v1/(alerts|follow-ups)/[^/]+/([a-z-]+)")
_OUTCOME_OF_CARE: Final = N_("this is needed: one of {care}")
_OUTCOME: Final = N_("this is needed: one of {care}; about Homeward itself one of {house}")
_WHAT_WAS_DONE: Final = N_("this is needed: what was done, or why nothing was")
# What a program is told that leaves out what an act needs, by the address and the field.
_NEEDED_TO: Final[Mapping[tuple[str, str], str]] = {
    ("alerts/close", "outcome"): _OUTCOME,
    ("alerts/close", "note"): _WHAT_WAS_DONE,
    ("alerts/snooze", "note"): N_("this is needed: why it can wait"),
    ("follow-ups/close", "outcome"): _OUTCOME_OF_CARE,
    ("follow-ups/close", "note"): _WHAT_WAS_DONE,
    ("follow-ups/hand-over", "note"): N_("this is needed: what is known, what was tried, what is to be done"),
    ("follow-ups/postpone", "note"): N_("this is needed: why, and what was agreed with the patient"),
}
_PATTERNS: Final[Mapping[str, str]] = {
    r"\S": _NEEDED,
    r"^[^\s@:]+@[^\s@:]+$": N_("write an e-mail address, as in ward@clinic.example"),
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": N_("write a time as 08:30"),
    r"^[A-Za-z0-9_.:-]{1,64}$": N_("use letters, digits and _ . : - only, at most 64 of them"),
}
_MEMBER: Final = re.compile(r"<\w+\.\w+: ('[^']*')>")  # of an enumeration, as pydantic names it
_TEXTS: Final = ("note", "because")  # fields into which somebody writes what is not to be lost
# The fields as the forms call them.
_FIELDS: Final[Mapping[str, str]] = {
    "address": N_("Address"),
    "author": N_("Your name"),
    "attendee": N_("E-mail address of the patient"),
    "because": N_("Why"),
    "by": N_("Your name"),
    "channel": N_("Channel"),
    "days": N_("Days of 7"),
    "end": N_("End"),
    "entry": N_("Limit"),
    "from": N_("From day"),
    "glucose_unit": N_("Glucose unit"),
    "hours": N_("For how long"),
    "id": N_("Number"),
    "kept": N_("Whether it was kept"),
    "kind": N_("Kind"),
    "language": N_("Language"),
    "link": N_("Reached by"),
    "material": N_("To read"),
    "minutes": N_("Minutes"),
    "model": N_("Model"),
    "name": N_("Name"),
    "note": N_("Note"),
    "organizer": N_("E-mail address of the clinic"),
    "outcome": N_("Outcome"),
    "parameter": N_("Limit"),
    "patient": N_("Patient"),
    "person": N_("Which person"),
    "place": N_("Place"),
    "whom": N_("With whom (empty: who makes it)"),
    "population": N_("Population"),
    "priority": N_("Priority"),
    "programme": N_("Programme"),
    "result": N_("What came of it"),
    "role": N_("Role"),
    "roles": N_("Roles"),
    "rule": N_("Limit"),
    "since": N_("Worn since"),
    "staff": N_("Who"),
    "start": N_("Begin"),
    "substitute": N_("Substitute"),
    "times": N_("Times a day"),
    "to": N_("To day"),
    "until": N_("Until when"),
    "value": N_("New value"),
    "vital": N_("What"),
    "weekdays": N_("Days"),
    "which": N_("Limit"),
    "zone": N_("Time zone"),
}


# Fields of digits, which a Chinese keyboard may write in full width, with its own full stop for the point.
_OF_DIGITS: Final = frozenset({"value", "times", "days", "from", "to", "since", "start", "end", "minutes"})


def half_width(name: str, text: str) -> str:
    """What was typed into a field, where it is a number or a day in the digits and signs of ASCII (NFKC)."""
    return normalize("NFKC", text).replace("。", ".").strip() if name in _OF_DIGITS else text


class Refusal(NamedTuple):
    """A form that was not taken. action: where it was sent; status: of the answer over HTTP."""

    action: str
    fields: Mapping[str, str]
    because: str | Text
    status: int


class Form:
    """A form as a page shows it. which: its hidden fields; typed: what was typed, None where it was not refused."""

    def __init__(self, action: str, which: Mapping[str, str], typed: Mapping[str, str] | None) -> None:
        self.action = action
        self.which = which
        self._typed = typed

    @property
    def refused(self) -> bool:
        """Whether this is the form that was just refused."""
        return self._typed is not None

    def get(self, name: str, usual: object = "") -> str:
        """What stands in a field: what was typed, else what usually does."""
        return str(usual) if self._typed is None else self._typed.get(name, "")


class Forms:
    """The forms of one page, of which at most one was just refused."""

    def __init__(self, refusal: Refusal | None, language: Language) -> None:
        self._refusal = refusal
        said = "" if refusal is None else numbers_named(language.sentence(refusal.because), language)
        # What is quoted in it came from outside: half of a surrogate pair is no text that can be sent.
        self.because = said.encode(errors="replace").decode()
        self.translated = refusal is not None and isinstance(refusal.because, Sentence | Text)
        self.homeless = refusal is not None  # not told beside its form, for it is not there any more

    @property
    def unsaved(self) -> str:
        """The text that was written into a form that is not there any more."""
        if self._refusal is None or not self.homeless:
            return ""
        return next((self._refusal.fields[name] for name in _TEXTS if self._refusal.fields.get(name)), "")

    def __call__(self, action: str, **which: str) -> Form:
        """The form that is sent to an address, of several the one with these hidden fields."""
        refusal = self._refusal
        if (
            refusal is None
            or not self.homeless
            or unquote(action) != refusal.action
            or any(refusal.fields.get(name) != value for name, value in which.items())
        ):
            return Form(action, which, None)
        self.homeless = False
        return Form(action, which, refusal.fields)


def flaws_told(flaws: Sequence[Mapping[str, Any]]) -> str:
    """What pydantic found wrong with a form or a query, in the words of the pages, each only once."""
    return listed(dict.fromkeys(map(_flaw, flaws)))


def flaws_located(flaws: Sequence[Mapping[str, Any]], address: str = "") -> str:
    """What pydantic found wrong with what a program sent to an address, each with the path of its field."""
    return listed(dict.fromkeys(_located(flaw, address) for flaw in flaws))


def _flaw(flaw: Mapping[str, Any]) -> Sentence:
    places, told = _places(flaw), _told(flaw, _FLAWS, _CHOOSE)
    if not places and isinstance(told, Sentence):  # about the whole: it names its fields itself
        return told
    field = _FIELDS.get(places[-1], _ELSEWHERE) if places else _ELSEWHERE
    return Sentence("{field}: {flaw}", field=Sentence(field), flaw=told)


def _located(flaw: Mapping[str, Any], address: str) -> str:
    told: str | Text
    places, told = _places(flaw), _told(flaw, _FLAWS_OF_PROGRAMS, _UNUSABLE)
    if told == _UNUSABLE and flaw["type"] != "string_pattern_mismatch":  # better in English than not at all
        told = flaw["msg"].removeprefix("Value error, ")
    if not places and flaw["type"] == "value_error" and isinstance(told, str):
        return told
    if told == _NEEDED:
        told = _needed(address, places)
    return Sentence("{field}: {flaw}", field=".".join(map(str, places)) or "body", flaw=told)


def _needed(address: str, places: Sequence[Any]) -> Sentence:
    """What is to stand in a field that an act needs."""
    act = _ACT_AT.fullmatch(address)
    form = _NEEDED_TO.get((f"{act[1]}/{act[2]}", str(places[-1]))) if act and places else None
    return Sentence(form or _NEEDED, care=outcomes_told(OUTCOMES_OF_CARE), house=outcomes_told(OUTCOMES_OF_HOUSE))


def _places(flaw: Mapping[str, Any]) -> list[Any]:
    return [part for part in flaw["loc"] if part not in {"body", "query", "path"}]


def _told(flaw: Mapping[str, Any], words: Mapping[str, str], no_match: str) -> Sentence | Text:
    """no_match: what is said of a pattern that has no words of its own."""
    context = dict(flaw.get("ctx", {}))
    error = context.get("error")
    if isinstance(error, LimitsError):
        return error.text
    because = error.args[0] if isinstance(error, ValueError) else None
    if isinstance(because, Sentence):
        return because
    if flaw["type"] == "string_pattern_mismatch":
        return Sentence(_PATTERNS.get(context["pattern"], no_match))
    if "expected" in context:
        context["expected"] = _MEMBER.sub(r"\1", context["expected"]).replace(" or ", ", ")
    return Sentence(words.get(flaw["type"], _UNUSABLE), **context)


def numbers_named(said: str, language: Language) -> str:
    """A sentence about limits with the numbers of rules called as the pages call them, and not as files do."""

    def named(found: re.Match[str]) -> str:
        rule, parameter = RULES.get(found[1]), PARAMETERS.get(found[2])
        if rule is None or parameter is None:
            return found[0]
        form = language.gettext("{parameter} of “{rule}”")
        return form.format(rule=language.text(rule.title), parameter=language.gettext(parameter))

    return _NUMBER_OF_RULE.sub(named, said)
