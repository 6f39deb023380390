"""What a follower has confirmed, and what it sends next: nothing is forgotten, whatever fails in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.progress import STRETCHES, Progress, Stretch, next_stretch

BATCH, BACKLOG = 3, 7
STRETCH = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda begin: (begin[0], begin[0] + begin[1]))


def numbers(*stretches: Stretch) -> set[int]:
    return {number for after, last in stretches for number in range(after + 1, last + 1)}


def confirmed(progress: Progress) -> set[int]:
    return numbers((0, progress.upto), *progress.ahead)


@given(st.lists(STRETCH, max_size=STRETCHES), st.integers(0, 80))
def test_it_is_the_set_of_what_was_confirmed(stretches: list[Stretch], dropped: int) -> None:
    progress, meant = Progress(), set[int]()
    for stretch in stretches:
        progress = progress.confirming(stretch)
        meant |= numbers(stretch)
        assert confirmed(progress) == meant
        assert progress.head == max(meant)
        assert numbers(*progress.gaps) == set(range(1, progress.head + 1)) - meant
        assert progress.upto + 1 not in meant
        bounds = [progress.upto, *(end for stretch in progress.ahead for end in stretch)]
        assert bounds == sorted(set(bounds)), "stretches touch"
        assert progress.confirmed(dropped) == len(meant | numbers((0, dropped)))


def test_of_too_many_stretches_the_shortest_is_sent_again_and_never_the_newest() -> None:
    progress = Progress()
    for at in range(STRETCHES):
        progress = progress.confirming((10 * at + 4, 10 * at + 9))
    progress = progress.confirming((9_998, 10_000))
    assert progress.head == 10_000
    assert len(progress.ahead) == STRETCHES
    assert (4, 9) not in progress.ahead
    assert progress.upto == 0


@pytest.mark.parametrize(
    ("progress", "tail", "expected"),
    [
        (Progress(), 0, None),
        (Progress(), 2, (0, 2)),
        (Progress(), BACKLOG, (0, BATCH)),
        (Progress(), BACKLOG + 1, (BACKLOG + 1 - BATCH, BACKLOG + 1)),
        (Progress(upto=2, ahead=((8, 9),)), 10, (9, 10)),
        (Progress(upto=2, ahead=((8, 9),)), 9, (2, 5)),
        (Progress(upto=5, ahead=((6, 9), (11, 12))), 12, (5, 6)),
        (Progress(upto=12), 12, None),
    ],
)
def test_what_is_sent_next(progress: Progress, tail: int, expected: Stretch | None) -> None:
    assert next_stretch(progress, tail, batch=BATCH, backlog=BACKLOG) == expected


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["send", "send", "send", "crash before the store has it", "crash after", "start over"])
        | st.integers(1, 20),
        max_size=60,
    )
)
def test_every_number_is_confirmed_in_the_end_whatever_fails(events: list[str | int]) -> None:
    progress, tail, stored, repeats, failures = Progress(), 0, set[int](), 0, 0
    for event in [*events, *["send"] * 600]:
        stretch = next_stretch(progress, tail, batch=BATCH, backlog=BACKLOG)
        match event:
            case int(new):
                tail += new
            case "start over":
                progress, stored = Progress(), set[int]()  # the store was emptied
            case _ if stretch is None:
                assert progress == Progress(upto=tail)
            case "crash before the store has it":
                pass
            case said:
                after, last = stretch
                assert 0 < last - after <= BATCH
                repeats += len(stored & numbers(stretch))
                stored |= numbers(stretch)
                if said == "crash after":
                    failures += 1
                else:
                    progress = progress.confirming(stretch)
        assert confirmed(progress) <= stored, "confirmed, but never stored"
        assert progress.head <= tail
    assert progress == Progress(upto=tail)
    assert stored == numbers((0, tail))
    assert repeats <= failures * BATCH, "a crash repeats a batch at most"
