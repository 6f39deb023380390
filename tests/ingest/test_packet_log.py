from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.accounts import Forwarded
from ingest.envelope import opened
from ingest.journal import JournalError
from ingest.packet_log import KEPT, PacketLog
from ingest.reading import Packet
from tests.post_on_full_disk import on_a_small_disk

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def packet(number: int, at: datetime = NOW, sender: str = "C4:00") -> Packet:
    return Packet(link="ble", sender=sender, channel="2a18", data=bytes((number,)), received_at=at)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PacketLog]:
    log = PacketLog(tmp_path / "packets.db")
    yield log
    log.close()


def read(log: PacketLog, after: int = 0, limit: int = 1000) -> list[Packet]:
    return [opened("home", payload, NOW) for _, payload in log.since(after, limit)]


def test_packets_come_back_in_order_and_the_cursor_follows(log: PacketLog, tmp_path: Path) -> None:
    log.append([packet(1), packet(2)])
    log.append([packet(3)])
    assert [p.data[0] for p in read(log)] == [1, 2, 3]
    assert log.waiting("hub") == (3, NOW)
    log.advance("hub", 2, NOW, came_from=0)
    assert (log.cursor("hub"), log.cursor("another")) == (2, 0)
    log.close()
    again = PacketLog(tmp_path / "packets.db")
    assert [p.data[0] for p in read(again, again.cursor("hub"))] == [3]
    assert again.waiting("hub")[0] == 1
    again.close()


def test_no_two_packets_of_a_sender_bear_one_stamp(log: PacketLog) -> None:
    log.append([packet(1), packet(2), packet(3, sender="C4:01")])
    log.append([packet(4), packet(5, NOW + timedelta(microseconds=1)), packet(6, NOW - timedelta(days=1))])
    stamps = [(p.sender, p.received_at) for p in read(log)]
    assert len(set(stamps)) == 6
    assert stamps[2] == ("C4:01", NOW)
    assert stamps[5] == ("C4:00", NOW - timedelta(days=1)), "a clock that was set back is followed"


def test_only_what_is_old_and_confirmed_is_forgotten(log: PacketLog) -> None:
    old, young = NOW - KEPT - timedelta(days=1), NOW - timedelta(days=1)
    log.append([packet(1, old), packet(2, old), packet(3, young), packet(4, old)])
    log.advance("hub", 1, NOW, came_from=0)
    assert [p.data[0] for p in read(log)] == [2, 3, 4]
    log.advance("hub", 4, NOW, came_from=1)
    assert [p.data[0] for p in read(log)] == [3, 4], "in its order"
    log.append([packet(5)])
    assert log.forwarded("hub") == Forwarded(packets=5, confirmed=4, waiting=1)
    assert log.forwarded("another") == Forwarded(packets=5, confirmed=2, waiting=3), "what is left for a new hub"
    assert log.make_room("hub", 1000) == 2, "a full disk asks for young ones as well"
    assert [p.data[0] for p in read(log)] == [5]
    assert log.make_room("hub", 1000) == 0
    assert log.forwarded("hub") == Forwarded(packets=5, confirmed=4, waiting=1)
    assert log.start_over("hub") == 1
    log.advance("hub", 5, NOW, came_from=4)
    assert log.cursor("hub") == 0, "it was set back meanwhile"
    log.advance("hub", 5, NOW + KEPT + timedelta(days=1), came_from=0)
    assert log.forwarded("hub") == Forwarded(packets=5, confirmed=5, waiting=0)
    assert log.forwarded("another") == Forwarded(packets=5, confirmed=5, waiting=0), "there is nothing left for it"
    log.append([packet(6), packet(7)])
    assert log.since(0, 1)[0][0] == 6, "a number is never used again"
    log._db.execute("DELETE FROM packets WHERE number=7")
    lost = log.forwarded("hub")
    assert lost.packets != lost.confirmed + lost.waiting, "what nobody has confirmed must be there"


def test_the_accounts_of_an_empty_log_and_of_one_that_is_confirmed(log: PacketLog) -> None:
    assert log.forwarded("hub") == Forwarded(packets=0, confirmed=0, waiting=0)
    log.append([packet(1), packet(2)])
    assert log.forwarded("hub") == Forwarded(packets=2, confirmed=0, waiting=2)
    log.advance("hub", 2, NOW, came_from=0)
    assert log.forwarded("hub") == Forwarded(packets=2, confirmed=2, waiting=0)


def test_a_full_disk_keeps_nothing_of_a_batch(log: PacketLog) -> None:
    log.append([packet(1)])
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count={pages}")
    many = [packet(2)] * 1000
    with pytest.raises(sqlite3.OperationalError, match="full"):
        log.append(many)
    assert len(read(log)) == 1
    log._db.execute("PRAGMA max_page_count=100000")
    log.append(many)
    assert len(read(log, limit=2000)) == 1001


def test_a_file_that_is_none_and_one_of_the_future_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalError, match=r"cannot use .*/a: file is not a database"):
        PacketLog(tmp_path / "a")
    PacketLog(tmp_path / "b").close()
    with closing(sqlite3.connect(tmp_path / "b")) as other:
        other.execute("PRAGMA user_version=9")
    with pytest.raises(JournalError, match="format 9, this Homeward reads 1"):
        PacketLog(tmp_path / "b")
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0


def test_on_a_full_disk_what_the_hub_has_makes_room_and_nothing_else(tmp_path: Path) -> None:
    log = on_a_small_disk(tmp_path, 64, "log", str(tmp_path))
    assert (log.returncode, log.stderr) == (0, "")


def test_a_full_file_makes_room_of_what_the_hub_has(log: PacketLog) -> None:
    log.append([packet(1)] * 1000)
    log.advance("hub", 900, NOW, came_from=0)
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count={pages}")
    log.append([packet(2)] * 500, "hub")
    assert [number for number, _ in log.since(0, 2000)] == list(range(901, 1501))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        log.append([packet(3)] * 1000, "hub")
    assert log.forwarded("hub") == Forwarded(packets=1500, confirmed=900, waiting=600)


def test_a_log_that_had_to_stop_grows_again_when_there_is_a_reserve_again(log: PacketLog, tmp_path: Path) -> None:
    log._give_way("hub")
    assert not (tmp_path / "packets.db-reserve").exists()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        log.append([packet(1)] * 1000)
    PacketLog(tmp_path / "packets.db").close()  # another program, `homeward status` for one, sets it aside
    log.keep_reserve()
    log.append([packet(1)] * 1000)
    assert len(read(log, limit=2000)) == 1000
