"""Two rule files on the same readings, side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from gateway.language import Language, Sentence
from gateway.replay.report import AUDIENCES, ITEMS, amount, padded
from gateway.replay.run import Outcome, Told
from gateway.replay.table import Clock

# Two findings of one rule on one subject for one audience that are no further apart are the same one, moved.
_MOVED: Final = timedelta(hours=1)
_SHOWN: Final = 40
_HEAD: Final = (
    (Sentence("rule"), 28),
    (Sentence("audience"), 9),
    ("A", -8),
    ("B", -8),
    (Sentence("A per day"), -10),
    (Sentence("B per day"), -10),
)
_Kind = tuple[str, str, str]


class Difference(NamedTuple):
    """A finding that the two do not have alike: in both at different moments, or None where it is missing."""

    left: Told | None
    right: Told | None


def comparison(
    outcomes: tuple[Outcome, Outcome], names: tuple[str, str], clock: Clock, bad: int, say: Language
) -> Iterator[str]:
    """The lines of the comparison: findings by rule and audience, then those that differ; bad: as in `summary`."""
    left, right = outcomes
    yield f"A: {names[0]}"
    yield f"B: {names[1]}"
    yield amount(left, bad)
    head = [padded(say.sentence(each), width) for each, width in _HEAD]
    yield " ".join(head)
    counts = [Counter((each.finding.rule, each.finding.audience) for each in one.told) for one in outcomes]
    for rule, audience in sorted(counts[0] | counts[1]):
        name = f"{rule:<28} {padded(say.sentence(AUDIENCES[audience]), 9)}"
        yield _line(name, [count[rule, audience] for count in counts], left.days)
    yield _line(padded(say.sentence(ITEMS), 38), [len(one.items) for one in outcomes], left.days)
    found = differences(left.told, right.told)
    yield Sentence("{count} findings differ.", count=len(found))
    for each in found[:_SHOWN]:
        yield _difference(each, clock, say)
    if len(found) > _SHOWN:
        yield Sentence("... and {more} more; --findings lists all of A and of B.", more=len(found) - _SHOWN)


def differences(left: Sequence[Told], right: Sequence[Told]) -> list[Difference]:
    """What differs, by time; left and right are in the order of time."""
    kinds: defaultdict[_Kind, tuple[list[Told], list[Told]]] = defaultdict(lambda: ([], []))
    for side, all_told in enumerate((left, right)):
        for told in all_told:
            kinds[told.finding.patient, told.finding.rule, told.finding.audience][side].append(told)
    found = [each for sides in kinds.values() for each in _unlike(*sides)]
    return sorted(found, key=_moment)


def _unlike(left: Sequence[Told], right: Sequence[Told]) -> Iterator[Difference]:
    """Walk along both; what is not met within _MOVED stands alone."""
    i = j = 0
    while i < len(left) or j < len(right):
        if j == len(right) or (i < len(left) and right[j].at - left[i].at > _MOVED):
            yield Difference(left[i], None)
            i += 1
        elif i == len(left) or left[i].at - right[j].at > _MOVED:
            yield Difference(None, right[j])
            j += 1
        else:
            if left[i].at != right[j].at:
                yield Difference(left[i], right[j])
            i, j = i + 1, j + 1


def _moment(each: Difference) -> datetime:
    return min(told.at for told in each if told)


def _line(name: str, counts: Sequence[int], days: float) -> str:
    rates = [f"{count / days:.3f}" if days else "-" for count in counts]
    return f"{name} {counts[0]:>8} {counts[1]:>8} {rates[0]:>10} {rates[1]:>10}"


def _difference(each: Difference, clock: Clock, say: Language) -> str:
    one = each.left or each.right
    assert one is not None  # noqa: S101  a difference has a side
    finding = one.finding
    if each.left and each.right:
        minutes = (each.right.at - each.left.at) / timedelta(minutes=1)
        if minutes > 0:
            what = Sentence("B {minutes:.0f} min later", minutes=minutes)
        else:
            what = Sentence("B {minutes:.0f} min earlier", minutes=-minutes)
    else:
        what = Sentence("A only") if each.left else Sentence("B only")
    audience = say.sentence(AUDIENCES[finding.audience])
    return f"{finding.patient}  {clock.shows(one.at)}  {finding.rule}, {audience}  {say.sentence(what)}"
