"""What is told a patient of readings that came together: of each trouble the worst alone. Pure.

A sensor that was out of reach delivers an hour at once, and by it a fast fall, a low ahead, the low and the very low
are found in one second. The phone shows four messages, and the mildest may stand on top. So a patient is told what
there is rather than what was ahead of it or on the way to it, and of that the worst. Staff, and the weekly list, hear
as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from alerts.alert import Audience, Finding, Verdict
from alerts.sensor_rules import FALLING_FAST, LOW_EVENT_1, PREDICTED_LOW, PREDICTED_URGENT_LOW, RISING_FAST
from alerts.spot_rules import METER_HIGH

# By problem: the trouble to which it leads, and how far it is from being there.
_ON_THE_WAY: Final = {
    PREDICTED_LOW.problem: (LOW_EVENT_1.problem, 1),
    FALLING_FAST.problem: (LOW_EVENT_1.problem, 2),
    RISING_FAST.problem: (METER_HIGH.problem, 1),
}


def worst_for_patients(groups: Iterable[Sequence[Finding]]) -> list[Sequence[Finding]]:
    """The groups of one delivery, in their order, without what is not to be told a patient beside worse."""
    groups = list(groups)
    worst: dict[tuple[str, str], Finding] = {}
    for finding in (each for group in groups for each in group if _is_told(each)):
        known = worst.get(_trouble(finding))
        if known is None or _rank(finding) > _rank(known) or _is_newer(finding, known):
            worst[_trouble(finding)] = finding
    there = set[tuple[str, str]]()
    kept: list[Sequence[Finding]] = []
    for group in groups:
        there.update(_trouble(each) for each in group if worst.get(_trouble(each)) is each)
        kept.append([each for each in group if _stays(each, worst, there)])
    return kept


def _stays(finding: Finding, worst: Mapping[tuple[str, str], Finding], there: set[tuple[str, str]]) -> bool:
    if not _is_told(finding) or worst[_trouble(finding)] is finding:
        return True
    is_low = _trouble(finding) in there and worst[_trouble(finding)].rule == LOW_EVENT_1.name
    return is_low and finding.rule == PREDICTED_URGENT_LOW.name


def _is_told(finding: Finding) -> bool:
    return finding.audience is Audience.PATIENT and finding.verdict is Verdict.RAISE


def _trouble(finding: Finding) -> tuple[str, str]:
    problem, _ = _ON_THE_WAY.get(finding.problem, (finding.problem, 0))
    return finding.patient, problem


def _rank(finding: Finding) -> tuple[int, int]:
    """How bad it is: what is there before what is on the way, then by priority."""
    _, away = _ON_THE_WAY.get(finding.problem, (finding.problem, 0))
    return -away, finding.priority


def _is_newer(finding: Finding, known: Finding) -> bool:
    """Whether it is told of the same, as it is later."""
    return finding.rule == known.rule and _rank(finding) == _rank(known)
