"""How far a follower of the journal has come, which need not be one place: what is new goes before what is old.

Pure. The sequence numbers of the journal have no gaps, so what is confirmed is a few stretches of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

Stretch: TypeAlias = tuple[int, int]
"""(after, last): the sequence numbers beyond `after`, up to and with `last`."""

STRETCHES: Final = 64  # that are remembered beyond the first gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a follower has confirmed: everything up to `upto`, and the stretches `ahead` of it.

    ahead is in order, and neither do two of its stretches touch nor the first one `upto`.
    """

    upto: int = 0
    ahead: tuple[Stretch, ...] = ()

    @property
    def head(self) -> int:
        """The highest number that is confirmed."""
        return self.ahead[-1][1] if self.ahead else self.upto

    @property
    def gaps(self) -> tuple[Stretch, ...]:
        """What is not confirmed below the head, oldest first."""
        return tuple((before[1], after[0]) for before, after in pairwise(self._stretches()))

    def confirmed(self, dropped: int) -> int:
        """How many numbers are confirmed. dropped: up to here nothing is left to be sent."""
        return dropped + sum(_beyond(dropped, stretch) for stretch in self._stretches())

    def confirming(self, stretch: Stretch) -> Progress:
        """Progress with this stretch confirmed as well.

        Of more than STRETCHES the shortest but the last is forgotten, which then is sent again.
        """
        (_, upto), *ahead = _joined([*self._stretches(), stretch])
        if len(ahead) > STRETCHES:
            ahead.remove(min(ahead[:-1], key=lambda one: one[1] - one[0]))
        return Progress(upto=upto, ahead=tuple(ahead))

    def _stretches(self) -> list[Stretch]:
        return [(0, self.upto), *self.ahead]


def next_stretch(progress: Progress, tail: int, *, batch: int, backlog: int) -> Stretch | None:
    """What to send next, at most `batch` numbers; None when everything up to `tail` is confirmed.

    First what is new, from the head on. Where more than `backlog` waits there, the newest `batch` go first, and what
    they leave behind is a gap. Gaps are filled while nothing new waits, the oldest first.
    """
    head = progress.head
    if tail - head > backlog:
        return tail - batch, tail
    if tail > head:
        return head, min(tail, head + batch)
    for after, last in progress.gaps:
        return after, min(last, after + batch)
    return None


def _joined(stretches: list[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for after, last in sorted(stretches):
        if joined and after <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((after, last))
    return joined


def _beyond(place: int, stretch: Stretch) -> int:
    after, last = stretch
    return max(0, last - max(after, place))
