"""What no sentence may say, whatever the reading: treatment is a clinician's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import alerts
from alerts.alert import OUTCOME_WORDS, Outcome
from alerts.rules import RULES

# A sentence that names one of these would tell of a change of medicine. The hormone's name alone is in no sentence.
_MEDICINE = ("insulin", "dose", "medicine", "medication", "drug", "tablet", "inject", "胰岛素", "剂量", "药", "注射")

# These name what a clinician has changed, and when to measure; the others tell what was found.
_OF_CARE = {"care_plan.py", "survey.py"}


def sentences() -> Iterator[str]:
    """All that stands in a `Text` of the detectors."""
    for path in Path(alerts.__file__).parent.glob("*.py"):
        if path.name in _OF_CARE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Text":
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def test_no_sentence_tells_of_a_change_of_medicine() -> None:
    done = OUTCOME_WORDS[Outcome.MEDICATION_CHANGED]  # what a clinician writes down to have done
    said = [each for each in sentences() if each not in (done.en, done.zh)]
    assert len(said) > 500
    assert [each for each in said for word in _MEDICINE if word in each.lower()] == []


def test_a_very_low_glucose_has_one_name_and_not_that_of_a_low_in_which_others_must_help() -> None:
    titles = [rule.title for rule in RULES.values()]
    very_low = [title.zh for title in titles if "Very low glucose" in title.en]
    assert len(very_low) == 4
    assert [title for title in very_low if "严重偏低" not in title] == []
    assert [title.zh for title in titles if "严重低血糖" in title.zh] == []
