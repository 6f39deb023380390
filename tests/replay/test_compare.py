"""Two rule files side by side."""

from __future__ import annotations

from pathlib import Path

from gateway.language import Language
from gateway.replay.compare import comparison, differences
from tests.replay.histories import LOW, glucose_lines, low_at, outcome, table


def test_what_differs_is_told_and_what_has_only_moved_is_told_as_such(tmp_path: Path) -> None:
    # A: below 70 from 08:15; B: below 85 from 08:10. Another dip to 80 is B's alone.
    values = (100, 95, 80, 65, 64, 63, 90, 95, 100, *[100] * 12, 80, 79, 78, 100, 100, 100)
    rows = table(tmp_path, glucose_lines(values))
    left = outcome(rows, only=[LOW])
    right = outcome(rows, low_at(85), only=[LOW])
    found = differences(left.told, right.told)
    assert [(bool(each.left), bool(each.right)) for each in found] == [(True, True), (False, True)]
    lines = list(comparison((left, right), ("defaults", "clinic.toml"), rows.clock, 0, Language("en")))
    assert any(line.startswith(f"{LOW} ") and line.split()[2:4] == ["1", "2"] for line in lines)
    assert lines[-3:] == [
        "2 findings differ.",
        "p-1  2026-03-01 08:25:00  low-event-1, patient  B 5 min earlier",
        "p-1  2026-03-01 09:55:00  low-event-1, patient  B only",
    ]


def test_the_same_rules_differ_in_nothing(tmp_path: Path) -> None:
    rows = table(tmp_path, glucose_lines((100, 60, 60, 60, 100)))
    assert differences(outcome(rows).told, outcome(rows).told) == []
