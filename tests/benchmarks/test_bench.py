"""The benchmark's parts at the smallest size: a load arrives whole at the real house, and figures become a page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import SHORT, Bench, deliver
from benchmarks.follow_up import follow_up
from benchmarks.load import Publisher, Ward, distinct
from benchmarks.machine import BenchError, others_at_work, sync_times
from benchmarks.millions import ten_million
from benchmarks.programs import Homeward
from benchmarks.report import Case, keep, printed, promises, write_page
from ingest.journal import Journal


def test_a_load_arrives_whole_and_what_a_killed_house_acknowledged_is_known(tmp_path: Path) -> None:
    ward = Ward(5)
    messages = ward.one_each() + ward.singles(40) + ward.batches(2, size=10)
    with Homeward(tmp_path / "house", ward.enrolled()) as house:
        done = deliver(house, house.port, messages, tmp_path)
        assert done.durable.keys() == distinct(messages)
        assert done.readings == len(distinct(messages))
        assert done.cpu > 0
        assert all(latency > 0 for latency in done.sent.latencies())

        before = house.tail()
        messages = ward.singles(1000)
        publisher = Publisher(messages, house.prefix, tmp_path)
        publisher.start(house.port, rate=100)
        while house.tail() == before:  # it has no event of its own
            pass
        house.program.kill()
        sent = publisher.finish()
        acknowledged = [message for message, at in zip(messages, sent.acked, strict=True) if at]
        assert len(acknowledged) < 1000
        assert distinct(acknowledged) <= set(house.keys(before))


def test_nothing_in_a_load_is_given_twice_but_what_is_meant_to_be() -> None:
    ward = Ward(10)
    keys = [key for message in ward.singles(2000) + ward.batches(5) for key in message.keys]
    assert 0 < len(keys) - len(set(keys)) < 60
    with pytest.raises(BenchError, match="no past left"):
        ward.batches(1000)


def test_copied_readings_are_readings(tmp_path: Path) -> None:
    ten_million(tmp_path / "journal.db", 60, 3)
    journal = Journal(tmp_path / "journal.db")
    found = [reading for _, reading in journal.since(0, 100)]
    journal.close()
    assert len(found) == 60
    assert len({reading.key for reading in found}) == 60
    assert {reading.patient for reading in found} == {"p000000", "p000001", "p000002"}
    assert all(reading.device_time == reading.taken_at for reading in found)


def test_copied_alerts_are_alerts_and_what_is_due_of_them_is_done(tmp_path: Path) -> None:
    size = replace(SHORT, rounds=1, alerts=(200, 20), due=20)
    case = follow_up(Bench(size, tmp_path, say=lambda _: None))
    programs = {figure.program for figure in case.figures}
    assert programs >= {"Homeward, SQLite"}
    assert len(case.verdicts) == 4 * len(programs)
    assert all(verdict.found is not None for verdict in case.verdicts)


def test_figures_become_text_json_a_page_and_a_chart(tmp_path: Path) -> None:
    case = Case("a", "(a) Something")
    for value in (1.0, 3.0, 2.0):
        case.add("Homeward", "rate", "1/s", value * 1000, "rates")
        case.add("floor <lib>", "rate", "1/s", 1000.0, "rates")
    case.close()
    case.at_least("rate / floor", case.ratio(("Homeward", "rate"), ("floor <lib>", "rate")), 2.5)
    case.at_least("rate / nobody", case.ratio(("Homeward", "rate"), ("nobody", "rate")), 2.5)
    assert re.search(r"MISSED +rate / floor: 2 \(>= 2\.5\)", printed(case))
    assert re.search(r"not measured rate / nobody: - \(>= 2\.5\)", printed(case))
    case.at_most("rate, 1/s", case.value("Homeward", "rate"), 2000)
    assert promises([case]).splitlines() == [
        "1 of 3 promises met",
        "  MISSED       (a) Something: rate / floor",
        "  not measured (a) Something: rate / nobody",
    ]
    page = tmp_path / "page.md"
    for _ in range(2):
        write_page(keep([case], tmp_path / "figures.json"), page, tmp_path / "chart.svg")
    assert page.read_text().count("| Homeward | rate | 2 000 1/s | 1 000 .. 3 000 | 3 |") == 1
    assert "| rate / floor | 2 | >= 2.5 | **missed** |" in page.read_text()
    assert "| rate / nobody | - | >= 2.5 | **not measured** |" in page.read_text()
    assert "floor &lt;lib&gt;" in (tmp_path / "chart.svg").read_text()


def test_the_disk_is_asked(tmp_path: Path) -> None:
    assert all(milliseconds > 0 for milliseconds in sync_times(tmp_path, 3))


def test_a_machine_that_does_other_work_is_judged() -> None:
    assert others_at_work(0.4, 2) is None
    assert "load 5.1 on 2 processors" in str(others_at_work(5.1, 2))
