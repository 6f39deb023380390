"""Findings at the moments at which they are made, of what had arrived by then and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.alert import Audience
from alerts.rules import parse_book
from gateway.replay.disturb import disturb
from gateway.replay.report import write_rows
from gateway.replay.run import AFTERWARDS
from gateway.replay.table import Table, read_table
from ingest.vital import Unit
from tests.replay.histories import (
    LOW,
    LOWS,
    NO_DATA,
    SEVERE,
    VERY_LOW,
    at,
    glucose_lines,
    low_at,
    outcome,
    said,
    table,
)

_PRESSURE = "subject,time,systolic,diastolic"


def test_an_event_is_told_once_when_its_third_reading_comes(tmp_path: Path) -> None:
    found = outcome(table(tmp_path, glucose_lines(LOWS)), only=[VERY_LOW])
    assert said(found.told) == [("p-1", "08:40", VERY_LOW, "patient")]
    (told,) = found.told
    assert "49 mg/dL" in told.finding.because.en
    assert not found.items
    ((lasted, end),) = found.lasted
    assert (lasted, end) == (told, None)  # nobody but the patient was told, so nobody hears of the end
    assert (found.subjects, found.readings, found.repeats, found.refused) == (1, len(LOWS), 0, [])
    assert found.days == pytest.approx(17 * 5 / 1440)


def test_a_new_event_is_told_again(tmp_path: Path) -> None:
    found = outcome(table(tmp_path, glucose_lines((*LOWS, *LOWS))), only=[VERY_LOW])
    assert [row[1] for row in said(found.told)] == ["08:40", "10:10"]
    assert len(found.lasted) == 2


def test_what_lasts_comes_to_the_doctors_queue_and_leaves_it_when_it_is_over(tmp_path: Path) -> None:
    # The second day of a sensor. Below 54 from 09:05 on, 30 min at 09:35; 80 at 09:55, 10:00 and 10:05 end it.
    day = [100 + n % 5 for n in range(301)]
    found = outcome(table(tmp_path, glucose_lines((*day, *[50] * 10, *[80] * 6))), only=[VERY_LOW])
    assert said(found.told) == [("p-1", "09:15", VERY_LOW, "patient"), ("p-1", "09:35", VERY_LOW, "staff")]
    assert found.items == found.told[1:]
    ((lasted, end),) = found.lasted
    assert (lasted, f"{end:%H:%M}") == (found.told[0], "10:05")


def test_the_order_of_the_file_and_its_repeats_change_nothing(tmp_path: Path) -> None:
    lines = glucose_lines(LOWS)
    found = outcome(table(tmp_path, [*reversed(lines), *lines[3:9]]))
    assert found.told == outcome(table(tmp_path, lines)).told
    assert (found.readings, found.repeats) == (len(lines), 6)


def test_what_admission_refuses_is_listed_with_its_line(tmp_path: Path) -> None:
    lines = [f"p-1,{at(0)},100", f"p-1,{at(5)},5", f"p-1,{at(10)},101", f"p-1,{at(10)},300"]
    found = outcome(table(tmp_path, lines))
    assert [line for line, _ in found.refused] == [3]  # another value for the moment of line 4 is a revision
    assert "outside the possible 10 to 1000" in found.refused[0].because


def test_values_are_compared_in_the_unit_of_the_file(tmp_path: Path) -> None:
    lines = glucose_lines((5.0, 3.9, 3.9, 3.9, 5.0))
    assert not outcome(table(tmp_path, lines, unit=Unit.MMOL_L)).told
    assert len(outcome(table(tmp_path, glucose_lines((90, 69, 69, 69, 90)))).told) == 1


def test_words_are_beyond_every_limit(tmp_path: Path) -> None:
    found = outcome(table(tmp_path, glucose_lines((90, "Low", "LO", "low", 90))), only=[VERY_LOW])
    assert [row[1] for row in said(found.told)] == ["08:15"]


def test_subjects_do_not_touch_each_other(tmp_path: Path) -> None:
    other = glucose_lines([100] * 40, subject="p-2", every=3)
    found = outcome(table(tmp_path, [*other, *glucose_lines(LOWS)]))
    assert [told for told in found.told if told.finding.patient == "p-1"] == outcome(
        table(tmp_path, glucose_lines(LOWS))
    ).told


def test_silence_is_told_when_it_is_long_enough_and_not_after_the_data(tmp_path: Path) -> None:
    found = outcome(table(tmp_path, [f"p-1,{at(0)},100", f"p-1,{at(4400)},100"]), only=[NO_DATA])
    assert said(found.told) == [("p-1", "14:00", NO_DATA, "patient"), ("p-1", "08:00", NO_DATA, "staff")]


def test_a_week_is_reviewed_in_the_night_after_it_by_the_subjects_clock(tmp_path: Path) -> None:
    # From Sunday 08:00 in Shanghai on, two of each three hours above the range; the first whole week ends on 8 March.
    zone = ZoneInfo("Asia/Shanghai")
    values = [200 + n % 3 if n % 12 < 8 else 120 + n % 3 for n in range(4 * 24 * 9)]
    found = outcome(table(tmp_path, glucose_lines(values, every=15), zone=zone), only=["week-tir"])
    (told,) = found.told
    assert f"{told.at.astimezone(zone):%Y-%m-%d}" == "2026-03-09"
    assert 3 <= told.at.astimezone(zone).hour < 5
    assert (told.finding.audience, found.items) == (Audience.WEEKLY, [])
    assert "33.3 % in the week from 2026-03-02 to 2026-03-08" in told.finding.because.en


def test_a_severe_pressure_waits_for_the_second_one(tmp_path: Path) -> None:
    alone = outcome(table(tmp_path, [f"p-1,{at(0)},185,112"], _PRESSURE), only=[SEVERE])
    assert [(audience, when) for _, when, _, audience in said(alone.told)] == [
        ("patient", "08:00"),
        ("staff", "08:15"),
    ]
    below = outcome(table(tmp_path, [f"p-1,{at(0)},185,112", f"p-1,{at(4)},150,90"], _PRESSURE), only=[SEVERE])
    assert [(audience, when) for _, when, _, audience in said(below.told)] == [("patient", "08:00")]
    # At the very moment at which the wait ends it has come.
    last = outcome(table(tmp_path, [f"p-1,{at(0)},185,112", f"p-1,{at(15)},150,90"], _PRESSURE), only=[SEVERE])
    assert not last.items


def test_limits_are_those_given(tmp_path: Path) -> None:
    rows = table(tmp_path, glucose_lines((100, 84, 84, 84, 100)))
    assert not outcome(rows).told
    assert [row[2] for row in said(outcome(rows, low_at(85)).told)] == [LOW]


def test_limits_may_be_one_patients_and_are_tried_whenever_they_begin(tmp_path: Path) -> None:
    entry = {"value": 85, "unit": "mg/dL", "from": "2030-01-01", "author": "Dr Lin"}
    rules = parse_book({"patient": {"p-2": {LOW: {"limit": entry}}}})
    values = (100, 84, 84, 84, 100)
    rows = table(tmp_path, [*glucose_lines(values), *glucose_lines(values, subject="p-2")])
    assert [row[:3:2] for row in said(outcome(rows, rules).told)] == [("p-2", LOW)]


@given(
    values=st.lists(st.integers(40, 90) | st.integers(40, 400), min_size=4, max_size=60),
    seed=st.text("ab", max_size=4),
    part=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found_by_a_moment_does_not_hang_on_what_comes_later(
    tmp_path: Path, values: list[int], seed: str, part: float
) -> None:
    """The rows that have arrived by a moment give the findings up to that moment, whatever follows."""
    whole = table(tmp_path, glucose_lines(values, every=7))
    rows = disturb(whole.rows["p-1"], seed)
    if not rows:
        return
    cut = rows[int(part * (len(rows) - 1))].received_at
    known = [row for row in rows if row.received_at <= cut]
    told = outcome(replace(whole, rows={"p-1": rows})).told
    assert [each for each in told if each.at <= cut] == [
        each for each in outcome(replace(whole, rows={"p-1": known})).told if each.at <= cut
    ]


@given(values=st.lists(st.integers(40, 120), min_size=4, max_size=60), seed=st.text("ab", max_size=4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_delivered_can_be_replayed_from_its_file(tmp_path: Path, values: list[int], seed: str) -> None:
    whole = table(tmp_path, glucose_lines(values))
    rows = disturb(whole.rows["p-1"], seed)
    if not rows:
        return
    delivered: Table = replace(whole, rows={"p-1": rows})
    write_rows(tmp_path / "delivered.csv", delivered)
    assert outcome(read_table(tmp_path / "delivered.csv")).told == outcome(delivered).told


def test_the_clock_runs_on_after_the_last_reading_but_not_for_long() -> None:
    assert timedelta(minutes=15) < AFTERWARDS < timedelta(hours=6)


def test_the_patient_is_told_as_well_where_staff_hear_in_the_same_step(tmp_path: Path) -> None:
    for value in (38, "Low"):
        found = outcome(table(tmp_path, glucose_lines((value,)), meter=True))
        lows = [row for row in said(found.told) if row[2] == "meter-very-low"]
        assert sorted(row[3] for row in lows) == ["patient", "staff"]
        assert len(found.items) == 1


def test_what_comes_together_tells_the_patient_the_worst(tmp_path: Path) -> None:
    values = [*[95 + n % 2 for n in range(300)], 110, 95, 80, 66, 50, 48, 45, 43]
    came = at(5 * len(values) - 5)
    lines = [f"{line},{came if n >= 300 else line.split(',')[1]}" for n, line in enumerate(glucose_lines(values))]
    found = outcome(table(tmp_path, lines, "subject,time,glucose,received"))
    assert [row[2] for row in said(found.told) if row[3] == "patient"] == [VERY_LOW]
