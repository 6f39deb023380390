"""`homeward rules` as people use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

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
    said = capsys.readouterr().out
    assert "  low-event-1.limit  72 mg/dL  usually 70  Low glucose, limit  from 2026-03-01  Dr Li\n" in said
    assert _rules("check", tmp_path / "rules.toml", "--lang", "zh") == 0
    said = capsys.readouterr().out
    assert "可以使用: 国际指南, 成人" in said
    assert "72 mg/dL  默认 70  低血糖, 界限  自 2026-03-01 起  Dr Li" in said


FOR_SOME: Final = """
region = "china"
[clinic.low-event-1]
limit = { value = 72, unit = "mg/dL", author = "李医生", to = 2026-03-31 }
hold = { value = 20, unit = "min", author = "Dr Wu", from = 2126-03-01 }
[programme.gdm.low-event-1]
limit = { value = 66, unit = "mg/dL" }
[patient.p-1]
population = "pregnancy"
programme = "gdm"
[patient.p-1.low-event-1]
limit = { value = 65, unit = "mg/dL" }
"""


def test_what_changes_for_whom_and_what_does_not_hold_now_is_said_in_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _rules("check", _file(tmp_path, FOR_SOME)) == 0
    said = capsys.readouterr().out
    sections = dict(part.split("\n", 1) for part in said.split("\n\n")[1:])
    assert list(sections) == [
        "guidelines of China, other defaults",
        "pregnancy, other defaults: p-1",
        "[clinic]",
        "[programme.gdm]: p-1",
        "[patient.p-1]: pregnancy, gdm",
    ]
    rows = {title: [re.split(r" {2,}", row.strip()) for row in body.splitlines()] for title, body in sections.items()}
    assert ["low-event-1.limit", "63 mg/dL", "usually 70", "Low glucose, limit"] in rows[
        "pregnancy, other defaults: p-1"
    ]
    assert rows["[clinic]"] == [
        [
            "low-event-1.limit",
            "72 mg/dL",
            "usually 70",
            "Low glucose, limit",
            "to 2026-03-31 (has expired)",
            "李医生",
        ],
        [
            "low-event-1.hold",
            "20 min",
            "usually 15",
            "Low glucose, has to last",
            "from 2126-03-01 (has not begun)",
            "Dr Wu",
        ],
    ]
    assert rows["[programme.gdm]: p-1"] == [["low-event-1.limit", "66 mg/dL", "usually 70", "Low glucose, limit"]]
    assert rows["[patient.p-1]: pregnancy, gdm"][0][:3] == ["low-event-1.limit", "65 mg/dL", "usually 66"]
    numbers = [line.index("usually ") for line in said.splitlines() if "usually " in line]
    assert len(set(numbers)) == 1


LAXER: Final = """
[clinic.bp-severe]
systolic = { value = 190, unit = "mmHg", author = "Dr Li", from = 2126-03-01 }
[clinic.low-event-2]
staff-after = { value = 60, unit = "min" }
[older.low-event-2]
staff-after = { value = 20, unit = "min" }
[programme.gdm.bp-severe]
systolic = { value = 170, unit = "mmHg" }
"""


def test_what_a_file_leaves_as_it_is_for_a_population_is_said_with_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _rules("check", _file(tmp_path, LAXER)) == 0
    said = capsys.readouterr().out
    sections = dict(part.split("\n", 1) for part in said.split("\n\n")[1:])
    rows = {title: [re.split(r" {2,}", row.strip()) for row in body.splitlines()] for title, body in sections.items()}
    assert {
        title: [row[:3] for row in body] for title, body in rows.items() if "kept" in title or "old" in title
    } == {
        "older, or at high risk, kept: [clinic] would have it watched less closely; [older] may": [
            ["low-event-2.staff-after", "20 min", "not 60"]
        ],
        "pregnancy, kept: [clinic] would have it watched less closely; [pregnancy] may": [
            ["bp-severe.systolic", "160 mmHg", "not 190"],
            ["low-event-2.staff-after", "15 min", "not 60"],
        ],
        "[older]": [["low-event-2.staff-after", "20 min", "usually 15"]],
        "pregnancy, kept: [programme.gdm] would have it watched less closely; [pregnancy] may": [
            ["bp-severe.systolic", "160 mmHg", "not 170"]
        ],
    }
    assert rows["pregnancy, kept: [clinic] would have it watched less closely; [pregnancy] may"][0][4:] == [
        "from 2126-03-01 (has not begun)",
        "Dr Li",
    ]
    assert _rules("check", _file(tmp_path, LAXER), "--lang", "zh") == 0
    assert "妊娠，保持不变：[clinic] 会放宽其监测；如需更改请写入 [pregnancy]" in capsys.readouterr().out


def test_a_population_for_which_a_file_contradicts_itself_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = '[clinic.low-event-2]\nlimit = { value = 64, unit = "mg/dL" }\n'
    assert _rules("check", _file(tmp_path, lines)) == 0
    assert (
        "\npregnancy: low-event-2.limit is 64 mg/dL, above low-event-1.limit with 63 mg/dL. Change one of the two. "
        "Whoever belongs there gets the defaults alone.\n"
    ) in capsys.readouterr().out


def test_columns_stand_below_each_other_in_chinese_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _rules("check", _file(tmp_path, FOR_SOME), "--lang", "zh") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "(已过期)" in line or "(尚未开始)" in line]
    authors = {sum(1 + (ord(char) > 0x2E80) for char in re.split("李医生|Dr Wu", line)[0]) for line in lines}
    assert (len(lines), len(authors)) == (2, 1)


def test_show_says_what_each_number_means_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    for rule in RULES:
        assert _rules("show", rule) == 0
    said = capsys.readouterr().out
    assert "staff-after (from the onset, staff are told after): 30 min (15 to 120)" in said
    assert "does not hold for it; one of [older], [pregnancy] does." in said
    assert _rules("show", "low-event-2", "--lang", "zh") == 0
    said = capsys.readouterr().out
    assert "首先通知：患者；中优先级" in said
    assert "30 min (15 至 120)" in said
    said = re.sub(r"\[.*?\]", "", said)  # the keys of a rule file
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
