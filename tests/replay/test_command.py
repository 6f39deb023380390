"""`homeward replay` as people and scripts use it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.replay import report
from tests.conftest import RECORDED
from tests.replay.histories import LOW, LOWS, VERY_LOW, at, file, glucose_lines


def _replay(*arguments: object) -> int:
    return main(["replay", *map(str, arguments)])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_findings_are_rows_on_the_clock_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, bad = file(tmp_path, [*glucose_lines(LOWS), "p-1,soon,80"]), tmp_path / "out.csv", tmp_path / "bad.csv"
    assert _replay(data, "--findings", out, "--only", VERY_LOW, "--bad-rows", bad, "--zone", "Asia/Shanghai") == 0
    (row,) = _rows(out)
    assert list(row) == ["subject", "time", "rule", "severity", "audience", "because"]
    assert list(row.values())[:5] == ["p-1", "2026-03-01 08:40:00", VERY_LOW, "medium", "patient"]
    assert "below 54 mg/dL" in row["because"]
    said = capsys.readouterr()
    assert "each is what a clock in Asia/Shanghai showed" in said.out
    assert f"{VERY_LOW:<28} patient           1" in said.out
    assert "line 20: 'soon' is no time" in said.err
    assert (
        "1 subjects, 18 readings, 0.1 patient-days with data; 0 rows were repeated, 1 could not be used" in said.out
    )
    assert "100 %, 18 of 18 readings" in said.err
    assert [(row["line"], row["because"][:6]) for row in _rows(bad)] == [("20", "'soon'")]


def test_times_with_an_offset_are_answered_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = file(tmp_path, [f"{line.replace(',2026-03-01 ', ',2026-03-01T').rsplit(',', 1)[0]}+08:00,50"
                                for line in glucose_lines(LOWS[:4])]), tmp_path / "out.csv"  # fmt: skip
    assert _replay(data, "--findings", out, "--only", VERY_LOW) == 0
    assert [row["time"] for row in _rows(out)] == ["2026-03-01 00:10:00+00:00"]
    assert "days and nights are those of UTC" in capsys.readouterr().out


def test_rules_of_a_clinic_are_tried_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic, data = tmp_path / "clinic.toml", file(tmp_path, glucose_lines((100, 80, 80, 80, 100)))
    clinic.write_text(f'[clinic.{LOW}]\nlimit = {{ value = 85, unit = "mg/dL" }}\n')
    assert _replay(data, "--rules", clinic, "--findings", tmp_path / "out.csv") == 0
    assert [row["rule"] for row in _rows(tmp_path / "out.csv")] == [LOW]
    capsys.readouterr()
    assert _replay(data, "--compare", clinic) == 0
    assert "B only" in capsys.readouterr().out


def test_a_disturbance_is_repeatable_and_written_down(tmp_path: Path) -> None:
    data = file(tmp_path, glucose_lines(LOWS * 20))
    for n in (1, 2):
        assert _replay(data, "--disturb", 7, "--disturbed", tmp_path / f"{n}.csv", "--findings", tmp_path / "a") == 0
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()
    assert _replay(tmp_path / "1.csv", "--findings", tmp_path / "b") == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_a_chart_stands_alone_and_takes_no_markup_from_the_data(tmp_path: Path) -> None:
    lines = glucose_lines((*LOWS, "Low", "High"), subject="<script>p</script>")
    chart = tmp_path / "chart.html"
    assert _replay(file(tmp_path, lines), "--chart", chart) == 0
    page = chart.read_text(encoding="utf-8")
    assert "<script>p</script>" not in page
    assert "&lt;script&gt;p&lt;/script&gt;, 2026-03-01 to 2026-03-01" in page
    assert "below 54 mg/dL" in page
    assert "<script src" not in page


def test_a_chart_of_pressures(tmp_path: Path) -> None:
    data = file(tmp_path, [f"p-1,{at(0)},185,112", f"p-1,{at(3)},186,114"], "subject,time,systolic,diastolic")
    assert _replay(data, "--chart", tmp_path / "chart.html") == 0
    assert "185/112 mmHg" in (tmp_path / "chart.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "glucose-lo"], "there is no rule glucose-lo; the rules are"),
        (["--subject", "p-2"], "has no subject p-2"),
        (["--rules", "nowhere.toml"], "nowhere.toml: it cannot be read"),
        (["--unit", "mmHg"], "in mg/dL or mmol/L, not in mmHg"),
        (["--findings", "/nowhere/out.csv"], "/nowhere/out.csv cannot be written"),
        (["--chart", "."], ". cannot be written: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert _replay(file(tmp_path, glucose_lines(LOWS)), *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--findings", "--chart", "--bad-rows", "--disturbed"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    data = file(tmp_path, glucose_lines(LOWS))
    for path, said in (
        (tmp_path / "nowhere" / "out", "cannot be written: No such file or directory"),
        (data / "out", "cannot be written: Not a directory"),
        (data, "is the file that is read, or is named twice"),
    ):
        assert _replay(data, option, path, "--disturb", 1) == 2
        told = capsys.readouterr()
        assert f"{path} {said}" in told.err
        assert (told.out, "readings" in told.err) == ("", False)  # nothing was replayed


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = file(tmp_path, glucose_lines(LOWS)), tmp_path / "out.csv"
    out.write_text("of yesterday\n")

    def breaks(_: object, told: object) -> Iterator[tuple[str, ...]]:
        yield from ()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(report, "_write_csv", lambda path, header, rows: path.write_text("half") and list(breaks(0, 0)))
        assert _replay(data, "--findings", out) == 2
    assert out.read_text() == "of yesterday\n"
    assert _replay(data, "--findings", out) == 0
    assert out.read_text().startswith("subject,time,rule")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data.csv", "out.csv"]


def test_findings_may_go_to_standard_output(tmp_path: Path) -> None:
    data = file(tmp_path, glucose_lines(LOWS))
    command = (sys.executable, "-m", "gateway.cli", "replay", data, "--findings", "/dev/stdout")
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "subject,time,rule,severity,audience,because\n" in said.stdout


def test_ketones_beside_glucose_are_judged_and_do_not_stand_in_for_the_sensor(tmp_path: Path) -> None:
    lines = [f"{line}," for line in glucose_lines([200] * 4)]
    lines += [f"p-1,{at(17)},,0.4", f"p-1,{at(60)},,3.4", f"p-1,{at(370)},,0.2"]
    data = file(tmp_path, lines, "subject,time,glucose,ketone")
    out, again, chart = (tmp_path / name for name in ("out.csv", "again.csv", "chart.html"))
    assert _replay(data, "--findings", out, "--chart", chart) == 0
    told = {row["rule"]: row for row in _rows(out)}
    assert (told["ketone"]["time"], "3.4 mmol/L" in told["ketone"]["because"]) == ("2026-03-01 09:00:00", True)
    assert told["no-data"]["time"] == "2026-03-01 14:15:00"  # of the sensor, whatever came of ketone
    assert "3.4 mmol/L" in chart.read_text(encoding="utf-8")
    assert _replay(data, "--disturb", 3, "--disturbed", again) == 0
    assert {(row["glucose"], row["ketone"]) for row in _rows(again)} <= {
        ("200", ""),
        ("", "0.4"),
        ("", "3.4"),
        ("", "0.2"),
    }
    assert _replay(again) == 0


def test_findings_and_chart_may_be_in_chinese(tmp_path: Path) -> None:
    out, chart = tmp_path / "out.csv", tmp_path / "chart.html"
    data = file(tmp_path, glucose_lines(LOWS))
    assert _replay(data, "--only", VERY_LOW, "--findings", out, "--chart", chart, "--lang", "zh") == 0
    assert _rows(out)[0]["because"].startswith("动态血糖自 2026-03-01 08:30 起低于 54 mg/dL")
    page = chart.read_text(encoding="utf-8")
    assert "<html lang=zh-CN>" in page
    assert "1 项发现" in page


def test_a_file_without_rows_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, chart = tmp_path / "out.csv", tmp_path / "chart.html"
    assert _replay(file(tmp_path, []), "--findings", out, "--chart", chart, "--disturb", 1) == 0
    assert _rows(out) == []
    assert "0 readings" in capsys.readouterr().out


def test_a_file_of_which_no_row_can_be_used_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = file(tmp_path, glucose_lines((5.6, 7.1, 2.9))), tmp_path / "out.csv"
    assert _replay(data, "--findings", out) == 2
    said = capsys.readouterr().err
    assert "Nearly all values look like mmol/L, and were taken as mg/dL: if so, say --unit mmol/L." in said
    assert "None of the 3 rows could be used" in said
    assert not out.exists()
    assert _replay(data, "--unit", "mmol/L") == 0


def test_unsafe_rules_are_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(f"[clinic.{LOW}]\nlimit = 85\n")
    assert _replay(file(tmp_path, []), "--rules", rules) == 2
    assert "a number without a unit is refused" in capsys.readouterr().err


@pytest.mark.recorded
def test_the_scorer_of_the_traces_reads_the_findings(tmp_path: Path) -> None:
    data, out = RECORDED / "cgm-shanghai-t1dm" / "cgm.csv", tmp_path / "out.csv"
    assert _replay(data, "--only", VERY_LOW, "--findings", out) == 0
    score: list[str | Path] = [
        sys.executable,
        RECORDED.parent / "eval_hypo.py",
        data,
        out,
        "--level",
        "54",
        "--json",
        tmp_path / "score.json",
    ]
    subprocess.run(score, check=True, capture_output=True)
    total = json.loads((tmp_path / "score.json").read_text())["total"]
    assert total["events"] > 10
    assert total["detected15"] == total["events"]
    assert total["false"] == 0


def test_all_that_is_said_may_be_in_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    data = file(tmp_path, [*glucose_lines(LOWS), "p-1,soon,80"])
    assert _replay(data, "--lang", "zh", "--bad-rows", bad, "--chart", tmp_path / "chart.html") == 0
    said = capsys.readouterr()
    assert "均为对象自己的时钟所示" in said.out
    assert "限值：Homeward 默认值，地区 international，人群 adult" in said.out
    assert "医生待办项" in said.out
    assert "第 20 行：'soon' 不是时间" in said.err
    assert "18 个读数中的 18 个" in said.err
    assert _rows(bad)[0]["because"].startswith("'soon' 不是时间")
    page = (tmp_path / "chart.html").read_text(encoding="utf-8")
    assert json.dumps("血糖严重偏低")[1:-1] in page  # the lane has the title of its rule
    assert f'"{VERY_LOW}"' not in page
    assert _replay(tmp_path / "nothing.csv", "--lang", "zh") == 2
    assert "无法读取" in capsys.readouterr().err


def test_whose_limits_are_replayed_is_said_and_a_region_has_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = file(tmp_path, [f"p-1,{at(0)},300"]), tmp_path / "out.csv"
    rules = {}
    for region in ("international", "china"):
        assert _replay(data, "--meter", "--region", region, "--findings", out) == 0
        assert f"Homeward's defaults of the region {region} for the population adult" in capsys.readouterr().out
        rules[region] = {row["rule"] for row in _rows(out)}
    assert "meter-referral" in rules["china"] - rules["international"]
    clinic = tmp_path / "clinic.toml"
    clinic.write_text('region = "china"\n')
    assert _replay(data, "--region", "china", "--rules", clinic) == 2
    assert "says itself what its region is" in capsys.readouterr().err


def test_a_comparison_writes_the_findings_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic, data = tmp_path / "clinic.toml", file(tmp_path, glucose_lines((100, 80, 80, 80, 100)))
    clinic.write_text(f'[clinic.{LOW}]\nlimit = {{ value = 85, unit = "mg/dL" }}\n')
    assert _replay(data, "--compare", clinic, "--findings", tmp_path / "out.csv") == 0
    assert [len(_rows(tmp_path / name)) for name in ("out.csv", "out.B.csv")] == [0, 1]
    said = capsys.readouterr().out
    assert f"Findings of A are in {tmp_path / 'out.csv'}, those of B in {tmp_path / 'out.B.csv'}." in said
    assert f"Limits: {clinic}, region international" in said


def test_sentences_name_nobody_a_device_and_no_zone_where_none_is_known(tmp_path: Path) -> None:
    day = [100 + n % 5 for n in range(301)]
    lines = [*glucose_lines([*day, *[50] * 10], subject="张三"), f"张三,{at(60 * 24 * 4)},100"]
    out = tmp_path / "out.csv"
    assert _replay(file(tmp_path, lines), "--findings", out) == 0
    staff = [row["because"] for row in _rows(out) if row["audience"] == "staff"]
    assert all(said.endswith(" Times are those of the patient's own clock.") for said in staff)
    (silent,) = [row["because"] for row in _rows(out) if (row["rule"], row["audience"]) == ("no-data", "staff")]
    assert silent.startswith("Sensor glucose: nothing from the device since 2026-03-02 09:50 (12 h; staff are told ")
    assert "张三" not in silent


def test_a_rule_that_is_asked_for_alone_speaks_also_where_a_patient_would_be_told_of_worse(tmp_path: Path) -> None:
    lows = glucose_lines((*[120] * 8, 100, 50, 48, 46), every=15)
    data, out = file(tmp_path, lows), tmp_path / "out.csv"
    assert _replay(data, "--findings", out) == 0
    assert next(row["rule"] for row in _rows(out) if row["audience"] == "patient") == VERY_LOW
    assert LOW not in {row["rule"] for row in _rows(out)}
    assert _replay(data, "--findings", out, "--only", LOW) == 0
    assert [(row["time"], row["rule"]) for row in _rows(out)] == [("2026-03-01 10:15:00", LOW)]


def test_two_of_one_name_are_two_where_the_file_has_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"王芳,1001,{at(0)},5.6", f"王芳,1002,{at(0)},16.2"]
    data = file(tmp_path, lines, "姓名,住院号,时间,血糖(mmol/L)")
    assert _replay(data, "--meter") == 0
    assert "Whose a reading is, the column 住院号 says alone, and not 姓名." in (said := capsys.readouterr().out)
    assert "2 subjects, 2 readings" in said
    assert _replay(data, "--meter", "--lang", "zh") == 0
    assert "读数属于谁，仅以 住院号 列为准，不看 姓名。" in capsys.readouterr().out


def test_why_a_row_is_not_used_is_said_in_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    wrong = [
        f"a,{at(0)},62,",
        f"a,{at(5)},5.6,质控液",
        f"a,{at(10)},HI,低于设备测量范围",
        f"a,{at(15)},,",
        f"a,{at(20)},5.5,",
    ]
    data = file(tmp_path, wrong, "患者,时间,血糖(mmol/L),标记")
    assert _replay(data, "--lang", "zh", "--bad-rows", bad) == 0
    assert [row["because"] for row in _rows(bad)] == [
        "血糖 62 mmol/L (1116.97 mg/dL) 超出可能范围 0.6 至 55.5 mmol/L（10 至 1000 mg/dL）",
        "质控液测试，与患者无关",
        "同时标为高于和低于测量范围，无法采信",
        "缺少 血糖",
    ]
    data = file(
        tmp_path,
        [f"a,{at(0)},80/120", f"a,{at(5)},300/80", f"a,{at(10)},高/80", f"a,{at(15)},120/80"],
        "患者,时间,血压",
    )
    assert _replay(data, "--lang", "zh", "--bad-rows", bad) == 0
    assert [row["because"] for row in _rows(bad)] == [
        "收缩压 80 mmHg 不高于舒张压 120 mmHg",
        "收缩压 300 mmHg 超出可能范围 50 至 260 mmHg",
        "收缩压 '高' 不是数值",
    ]
    assert _replay(data, "--bad-rows", bad) == 0
    assert "systolic 300 mmHg is outside the possible 50 to 260 mmHg" in (said := capsys.readouterr().err)
    assert "line 2: systolic 80 mmHg is not above diastolic 120 mmHg" in said


def test_a_unit_that_nobody_has_said_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = file(tmp_path, glucose_lines((12.1, 18.3, 5.6)))
    assert _replay(data, "--meter", "--region", "china") == 0
    assert (
        "say --unit mmol/L. Neither the file nor --unit says in which unit they are: 12.1 in line 2 was taken as "
        "12.1 mg/dL, which is 0.67 mmol/L, and what is found may be false. Which unit is it?"
    ) in capsys.readouterr().err
    assert _replay(data, "--meter", "--region", "china", "--lang", "zh") == 0
    assert (
        "请加 --unit mmol/L。文件和 --unit 均未说明单位：第 2 行的 12.1 被当作 12.1 mg/dL（即 0.67 mmol/L）"
        in capsys.readouterr().err
    )
    assert _replay(data, "--meter", "--unit", "mg/dL") == 0
    assert "if so, say --unit mmol/L.\n" in (said := capsys.readouterr().err)
    assert "Neither the file" not in said
    assert _replay(data, "--meter", "--unit", "mmol/L") == 0
    assert "--unit" not in capsys.readouterr().err


def test_the_region_that_was_chosen_is_not_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = file(tmp_path, glucose_lines((100,)))
    assert _replay(data, "--region", "china", "--lang", "zh") == 0
    assert "地区 china，人群 adult；用 --rules FILE 回放其他限值。" in capsys.readouterr().out
    assert _replay(data, "--region", "china") == 0
    assert "for the population adult; --rules FILE replays others." in (said := capsys.readouterr().out)
    assert "--region" not in said
    assert _replay(data) == 0
    assert "--region china and --rules FILE replay others." in capsys.readouterr().out
