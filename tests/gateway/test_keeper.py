"""Housekeeping: what may go, and what never goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.keeper import CLOCK, CLOSED, LITTLE, Keeper
from gateway.steady import EVEN
from ingest.accounts import Forwarded, balance
from ingest.journal import Journal, LetterState
from ingest.packet_log import PacketLog
from ingest.progress import Progress
from ingest.reading import DecodeError, Packet
from tests.ingest.test_journal import PACKET, START, append, reading, stored
from tests.real_house import HandClock

NOW = START + timedelta(days=100)
COUNT = 3000


@dataclass(frozen=True)
class Disk:
    used: int
    free: int


def of_a_terabyte(full: float) -> Disk:
    return Disk(round(full * 1e12), round((1 - full) * 1e12))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A reading every hour for 125 days, up to NOW and beyond."""
    opened = Journal(tmp_path / "journal.db")
    append(opened, *(reading(hour * 60.0, raw=b"x" * 100) for hour in range(COUNT)))
    yield opened
    opened.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose clock has gone evenly for long."""
    said = {"seen": f"{NOW}", "even_since": f"{NOW - EVEN}", "step_s": 0}
    (tmp_path / CLOCK).write_text(json.dumps(said), encoding="ascii")
    return tmp_path


class Keepers:
    """Makes keepers of one journal and one data directory, with a clock that is moved by hand."""

    def __init__(self, journal: Journal, data: Path) -> None:
        self.journal, self.data, self.clock = journal, data, HandClock(NOW)

    def __call__(self, confirmed: dict[str, int], *, full: float = 0.1, keep: timedelta | None = None) -> Keeper:
        disk = of_a_terabyte(full)
        followers, clock = follow(confirmed), self.clock
        return Keeper(
            self.journal,
            lambda: followers,
            data=self.data,
            keep=keep,
            now=clock.now,
            elapsed=clock.elapsed,
            disk=lambda _: disk,
        )


@pytest.fixture
def keeper(journal: Journal, data: Path) -> Keepers:
    return Keepers(journal, data)


def follow(confirmed: dict[str, int]) -> dict[str, Progress]:
    return {name: Progress(upto=upto) for name, upto in confirmed.items()}


async def test_without_a_wish_nothing_goes(journal: Journal, keeper: Keepers) -> None:
    await keeper({"watch": COUNT, "influxdb": COUNT}).look()
    assert len(stored(journal)) == COUNT


async def test_what_is_too_old_goes_when_every_follower_has_it(journal: Journal, keeper: Keepers) -> None:
    keep = timedelta(days=90)
    await keeper({"watch": COUNT, "influxdb": 7}, keep=keep).look()
    assert len(stored(journal)) == COUNT - 7
    confirmed = {"watch": COUNT, "influxdb": COUNT}
    await keeper(confirmed, keep=keep).look()
    assert min(one.received_at for one in stored(journal)) >= NOW - keep
    assert len(stored(journal)) == COUNT - 240
    assert balance(journal.accounts(follow(confirmed))) == []


KEEP = timedelta(days=90)
ALL = {"watch": COUNT, "influxdb": COUNT}


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_ahead_drops_nothing_before_a_day_has_passed(
    journal: Journal, keeper: Keepers, restarted: bool
) -> None:
    clock, keeping = keeper.clock, keeper(ALL, keep=KEEP)
    await keeping.look()
    kept = stored(journal)
    clock.set(NOW + timedelta(days=60))
    if restarted:
        keeping = keeper(ALL, keep=KEEP)
    await keeping.look()
    assert not keeping.ok
    went = 1440 - 24 * restarted  # hours; a hub may have been away for a day
    assert f"the clock went forward by {went} h and says 2026-08-09 08:00 UTC now: set it right" in keeping.detail()
    clock.advance(timedelta(hours=23))
    again = keeper(ALL, keep=KEEP)
    for one in (keeping, again):
        await one.look()
        assert not one.ok
    assert stored(journal) == kept
    clock.set(NOW + timedelta(hours=23))  # somebody has seen it
    await keeping.look()
    assert "the clock went back by 1440 h" in keeping.detail()
    assert stored(journal) == kept
    clock.advance(EVEN)
    await keeping.look()
    assert keeping.ok
    assert len(stored(journal)) == len(kept) - 47


async def test_a_full_disk_is_no_reason_to_believe_a_clock_that_was_set(journal: Journal, keeper: Keepers) -> None:
    keeper.clock.set(NOW - timedelta(days=3))
    keeping = keeper(ALL, full=0.99)
    await keeping.look()
    assert len(stored(journal)) == COUNT
    assert "the clock went back by 72 h" in keeping.detail()
    keeper.clock.advance(EVEN)
    await keeping.look()
    assert "the clock" not in keeping.detail()
    assert len(stored(journal)) < COUNT


async def test_a_clock_of_which_nothing_is_known_drops_nothing_and_is_no_trouble(
    journal: Journal, keeper: Keepers
) -> None:
    (keeper.data / CLOCK).write_text("{", encoding="ascii")
    keeping = keeper(ALL, keep=KEEP)
    await keeping.look()
    assert keeping.ok
    assert len(stored(journal)) == COUNT
    for _ in range(24):
        keeper.clock.advance(timedelta(hours=1))
        await keeping.look()
    assert len(stored(journal)) < COUNT


async def test_a_hub_that_was_away_for_a_night_and_a_small_step_cost_no_wait(
    journal: Journal, keeper: Keepers
) -> None:
    keeper.clock.set(NOW + timedelta(hours=12))
    keeping = keeper(ALL, keep=KEEP)
    await keeping.look()
    assert len(stored(journal)) == COUNT - 252
    keeper.clock.set(NOW + timedelta(hours=13))
    await keeping.look()
    assert len(stored(journal)) == COUNT - 253


async def test_with_no_room_to_write_down_how_the_clock_goes_the_rest_is_looked_after(
    journal: Journal, keeper: Keepers
) -> None:
    (keeper.data / CLOCK).with_suffix(".new").mkdir()
    await keeper(ALL, keep=KEEP).look()
    assert len(stored(journal)) == COUNT - 240


def set_aside(journal: Journal, count: int, *, discarded: int) -> None:
    """Letters of 20 kB, the first of them discarded."""
    for number in range(count):
        packet = replace(PACKET, data=number.to_bytes(2) * 10_000, received_at=NOW)
        append(journal, DecodeError("invalid", "junk"), packet=packet)
    for letter in journal.letters(limit=-1)[::-1][:discarded]:
        journal.discard(letter.id, "junk")


async def test_letters_that_wait_no_more_go_after_a_time(journal: Journal, keeper: Keepers) -> None:
    set_aside(journal, 20, discarded=15)
    keeping = keeper({"watch": COUNT})
    await keeping.look()
    keeper.clock.advance(CLOSED)
    await keeping.look()
    assert len(journal.letters(LetterState.DISCARDED)) == 15
    keeper.clock.advance(EVEN)
    await keeping.look()
    assert journal.letters(LetterState.DISCARDED) == []
    assert len(journal.letters()) == 5


async def test_for_want_of_room_letters_that_wait_no_more_go_first(journal: Journal, keeper: Keepers) -> None:
    set_aside(journal, 200, discarded=150)
    await keeper({"watch": COUNT}, full=0.95).look()
    size = journal.size()
    assert size.spare >= 0.1 * size.octets
    assert len(journal.letters(limit=-1)) == 50
    assert len(stored(journal)) == COUNT


async def test_a_full_disk_makes_room_in_the_file_and_keeps_the_last_month(journal: Journal, keeper: Keepers) -> None:
    confirmed = {"watch": COUNT, "influxdb": COUNT}
    tight = keeper(confirmed, full=0.92)
    await tight.look()
    size = journal.size()
    assert size.spare >= 0.1 * size.octets
    kept = len(stored(journal))
    assert COUNT / 2 < kept < COUNT
    assert "make room" in tight.detail()
    for _ in range(3):
        await tight.look()
    assert len(stored(journal)) == kept  # the room is there: it is not taken twice
    assert balance(journal.accounts(follow(confirmed))) == []


async def test_for_want_of_room_nothing_goes_that_nobody_else_has(journal: Journal, keeper: Keepers) -> None:
    alone = keeper({"watch": COUNT}, full=0.99)
    await alone.look()
    behind = keeper({"watch": COUNT, "influxdb": 0}, full=0.99)
    await behind.look()
    assert len(stored(journal)) == COUNT
    assert "nothing else keeps these readings" in alone.detail()


async def test_a_full_home_post_forgets_what_the_hub_has_and_nothing_else(
    journal: Journal, keeper: Keepers, tmp_path: Path
) -> None:
    log = PacketLog(tmp_path / "packets.db")
    log.append([Packet(link="ble", sender="m", channel="2a18", data=bytes(200), received_at=NOW)] * COUNT)
    tight = keeper({"watch": COUNT}, full=0.92)
    tight.keep_room_in(log, "hub")
    await tight.look()
    assert len(log.since(0, COUNT)) == COUNT, "the hub has nothing yet"
    assert "what it has not yet is kept" in tight.detail()
    assert not tight.ok
    log.advance("hub", COUNT - 10, NOW, came_from=0)
    await tight.look()
    octets, spare = log.size()
    assert spare >= 0.1 * octets
    assert COUNT / 2 < len(log.since(0, COUNT)) < COUNT, "no more than it takes"
    log._db.execute("VACUUM")
    for _ in range(20):
        await tight.look()
        log._db.execute("VACUUM")
    assert [number for number, _ in log.since(0, COUNT)] == list(range(COUNT - 9, COUNT + 1))
    assert log.forwarded("hub") == Forwarded(packets=COUNT, confirmed=COUNT - 10, waiting=10)
    # Its own readings may go from a full disk as well: the hub has them, or the log.
    assert len(stored(journal)) < COUNT
    log.close()


async def test_a_disk_that_is_filling_is_told_days_before(journal: Journal, data: Path) -> None:
    disk, clock = of_a_terabyte(0.4), HandClock(NOW)
    watched = Keeper(
        journal,
        lambda: follow({"watch": COUNT}),
        data=data,
        keep=None,
        now=clock.now,
        elapsed=clock.elapsed,
        disk=lambda _: disk,
    )
    for used, ok in ((0.4, True), (0.44, True), (0.48, True), (0.52, True), (0.65, False)):
        disk = of_a_terabyte(used)
        await watched.look()
        assert watched.ok == ok
        clock.advance(timedelta(days=1))
    assert "it will be full in 5.6 days: make room" in watched.detail()
    for _ in range(9):  # and now it fills no more
        await watched.look()
        clock.advance(timedelta(days=1))
    assert watched.ok
    assert "it will be full" not in watched.detail()


async def test_a_small_disk_is_full_before_its_ninth_tenth(journal: Journal, data: Path) -> None:
    disk, clock = Disk(500_000_000, LITTLE), HandClock(NOW)
    small = Keeper(
        journal,
        lambda: follow({"watch": COUNT}),
        data=data,
        keep=None,
        now=clock.now,
        elapsed=clock.elapsed,
        disk=lambda _: disk,
    )
    small.measure()
    assert small.ok
    disk = Disk(500_000_000 + 1, LITTLE - 1)
    small.measure()
    assert not small.ok
    assert "65% full, 268.4 MB are free" in small.detail()
    assert "make room" in small.detail()


async def test_the_write_ahead_log_is_part_of_what_the_journal_takes(journal: Journal, keeper: Keepers) -> None:
    roomy = keeper({"watch": COUNT})
    roomy.measure()
    size = roomy.size
    assert size.wal > size.octets
    said = f"the journal takes {size.octets / 1e6:.1f} MB and its write-ahead log {size.wal / 1e6:.1f} MB"
    assert said in roomy.detail()
    journal.checkpoint()
    roomy.measure()
    assert "write-ahead log" not in roomy.detail()


async def test_the_log_is_emptied_when_nothing_comes(journal: Journal, keeper: Keepers) -> None:
    quiet = keeper({"watch": COUNT}, full=0.75)
    await quiet.look()
    assert quiet.size.wal > 0
    await quiet.look()
    assert quiet.size.wal == 0
    assert "set `keep_days`" in quiet.detail()
