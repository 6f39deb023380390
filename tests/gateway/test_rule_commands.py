"""`homeward rules` as people use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alerts.rules import RULES
from gateway.cli import main


def _rules(*arguments: object) -> int:
    return main(["rules", *map(str, arguments)])


def _file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding=encoding)
    return path


def test_every_mistake_is_said_with_whose_it_is_and_in_toml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = _file(
        tmp_path,
        'regoin = "china"\nclinic.low-event-1.limit = 4\n[patient.p-1]\nprogramme = "gdm"\n'
        '[patient.p-1.low-event-2]\nlimit = { value = 3, unit = "mg/dL" }\n',
    )
    assert _rules("check", wrong) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith(f"{wrong}: ") for line in said)
    assert "regoin: there is no such key" in said[0]
    assert "patient.p-1: there is no programme 'gdm'" in said[1]
    assert "patient.p-1.low-event-2.limit: 3 mg/dL is not safe" in said[2]
    assert "clinic.low-event-1.limit: a number without a unit is refused. Write it as { value = 70, unit" in said[3]


@pytest.mark.parametrize(
    "contradiction",
    [
        (
            '[clinic.low-event-1]\nclear = { value = 126, unit = "mg/dL" }\n'
            '[clinic.high-event-1]\nlimit = { value = 120, unit = "mg/dL" }\n'
        ),
        (
            '[clinic.low-event-2]\nstaff-after = { value = 90, unit = "min" }\n'
            '[clinic.low-extended]\nhold = { value = 60, unit = "min" }\nstaff-after = { value = 60, unit = "min" }\n'
        ),
        '[clinic.high-extended]\nhold = { value = 90, unit = "min" }\nstaff-after = { value = 60, unit = "min" }\n',
        (
            '[clinic.meter-low]\nclear = { value = 126, unit = "mg/dL" }\n'
            '[clinic.meter-high]\nbefore-meal = { value = 90, unit = "mg/dL" }\n'
        ),
        (
            '[clinic.bp-low]\nclear-diastolic = { value = 80, unit = "mmHg" }\n'
            '[clinic.bp-session-high]\ndiastolic = { value = 70, unit = "mmHg" }\n'
        ),
    ],
)
def test_what_cannot_hold_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contradiction: str
) -> None:
    assert _rules("check", _file(tmp_path, contradiction)) == 2
    assert "Change one of the two." in capsys.readouterr().err


def test_a_contradiction_says_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[patient.p-1.low-event-2]\nlimit = { value = 70, unit = "mg/dL" }\n[patient.p-1.low-event-1]\n'
    assert _rules("check", _file(tmp_path, text + 'limit = { value = 65, unit = "mg/dL" }\n')) == 2
    assert "patient.p-1: low-event-2.limit is 70 mg/dL" in capsys.readouterr().err


def test_a_file_of_a_windows_editor_with_days_as_people_write_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[clinic.low-event-1]\nlimit = { value = 72, unit = "mg/dL", from = "2026/3/1", author = "Dr Li" }\n'
    assert _rules("check", _file(tmp_path, text, "utf-8-sig")) == 0
    assert (
        "low-event-1.limit (Low glucose, limit) 72 mg/dL (usually 70) from 2026-03-01 Dr Li"
        in capsys.readouterr().out
    )
    assert _rules("check", tmp_path / "rules.toml", "--lang", "zh") == 0
    said = capsys.readouterr().out
    assert "可以使用: 国际指南, 成人" in said
    assert "72 mg/dL (默认 70) 自 2026-03-01 起 Dr Li" in said


def test_show_says_what_each_number_means_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    for rule in RULES:
        assert _rules("show", rule) == 0
    assert "staff-after (staff are told after): 30 min (15 to 120)" in capsys.readouterr().out
    assert _rules("show", "low-event-2", "--lang", "zh") == 0
    said = capsys.readouterr().out
    assert "首先通知：患者；中优先级" in said
    assert "30 min (15 至 120)" in said
    assert not any(word in said for word in ("about", "first to", "older", "pregnancy"))


def test_whoever_reads_the_first_line_only_sees_no_traceback(tmp_path: Path) -> None:
    lines = '[clinic.low-event-1]\nlimit = { value = 72, unit = "mg/dL" }\n'
    path = str(_file(tmp_path, lines))
    run = f"import sys; from gateway.cli import main; sys.exit(main(['rules', 'check', {path!r}]))"
    reader = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.close()
    assert reader.stderr.read() == b""
    reader.stderr.close()
    assert reader.wait() == 141
