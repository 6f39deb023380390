"""Files as clinics have them: what is read, and what is listed with its reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.language import Language
from gateway.replay.report import doubts
from gateway.replay.table import ReplayError, read_table
from gateway.words import FLAGS
from ingest.reading import Flag
from ingest.vital import Unit, Vital
from tests.replay.histories import file, glucose_lines, table

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_row_is_a_reading_of_a_subject(tmp_path: Path) -> None:
    found = table(tmp_path, ["p-1,2026-03-01 08:00:00,5.6"], unit=Unit.MMOL_L)
    (row,) = found.rows["p-1"]
    assert (found.vital, found.unit) == (Vital.CGM, Unit.MMOL_L)
    assert (row.line, row.taken_at, row.sent) == (2, datetime(2026, 3, 1, 8, tzinfo=UTC), (5.6,))
    assert row.received_at == row.taken_at
    assert not found.clock.offsets


def test_columns_are_known_by_name_and_what_is_not_read_is_named(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        ["7,81,x,2026-03-01T08:00,before-meal,battery-low"],
        " Time ,Glucose,Room,SUBJECT,meal,flags".replace("Time", "subject").replace("SUBJECT", "time"),
        meter=True,
    )
    (row,) = found.rows["7"]
    assert (found.vital, row.sent, row.context, row.flags) == (
        Vital.GLUCOSE,
        (81.0,),
        {"meal": "before-meal"},
        {Flag.BATTERY_LOW},
    )
    assert found.unused == ["room"]


@pytest.mark.parametrize(
    ("word", "flag"), [("Low", Flag.BELOW_RANGE), ("HI", Flag.ABOVE_RANGE), ("high", Flag.ABOVE_RANGE)]
)
def test_words_are_values_beyond_the_range(tmp_path: Path, word: str, flag: Flag) -> None:
    (row,) = table(tmp_path, [f"p-1,2026-03-01 08:00,{word}"]).rows["p-1"]
    assert (row.sent, row.flags) == ((None,), {flag})


def test_a_pressure_may_come_without_a_pulse(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        ["a,2026-03-01 08:00,150,95,70", "a,2026-03-01 08:01,148,94,"],
        "subject,time,systolic,diastolic,pulse",
    )
    assert [row.sent for row in found.rows["a"]] == [(150, 95, None, 70), (148, 94, None, None)]
    assert found.unit is Unit.MMHG


def test_times_may_have_an_offset_and_a_zone_says_whose_clock_it_was(tmp_path: Path) -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    lines = ["p-1,2026-03-01 08:00,100", "p-1,2026-03-01T08:05+08:00,100", "p-1,2026-03-01T00:10Z,100"]
    found = table(tmp_path, lines, zone=shanghai)
    assert [row.taken_at.minute for row in found.rows["p-1"]] == [0, 5, 10]
    assert {row.taken_at.hour for row in found.rows["p-1"]} == {0}
    assert found.clock.offsets
    assert found.clock.shows(found.rows["p-1"][0].taken_at) == "2026-03-01 08:00:00+08:00"


def test_one_time_with_an_offset_among_others_moves_none_of_them(tmp_path: Path) -> None:
    lines = ["p-1,2026-03-01 08:00,100", "p-1,2026-03-01T08:05+08:00,100", "p-1,2026-03-01 08:10,100"]
    with pytest.raises(
        ReplayError, match="in line 3 has an offset from UTC and that in line 2 has none: say with --zone"
    ):
        table(tmp_path, lines)
    found = table(tmp_path, lines, zone=ZoneInfo("Asia/Shanghai"))
    assert [f"{row.taken_at:%H:%M}" for row in found.rows["p-1"]] == ["00:00", "00:05", "00:10"]
    assert any(
        "have an offset (the first in line 3) and some have none (line 2)" in each for each in doubts(found, NOW)
    )
    bad = table(tmp_path, [lines[0], "p-1,2026-03-01T08:05+08:00,x", lines[2]])  # of a row that is not used
    assert (bad.clock.offsets, bad.mixed) == (False, None)


def test_a_line_with_glucose_and_ketone_is_two_readings(tmp_path: Path) -> None:
    header = "subject,time,glucose,ketone,flags"
    lines = ["a,2026-03-01 08:00,16.2,Hi,", "a,2026-03-01 09:00,,0.4,battery-low", "a,2026-03-01 10:00,,,"]
    found = table(tmp_path, lines, header, unit=Unit.MMOL_L, meter=True)
    assert [(row.line, row.sent, row.ketone) for row in found.rows["a"]] == [
        (2, (16.2,), False),
        (2, (None,), True),
        (3, (0.4,), True),
    ]
    assert [row.flags for row in found.rows["a"]] == [set(), {Flag.ABOVE_RANGE}, {Flag.BATTERY_LOW}]
    assert [each.because for each in found.bad] == ["no glucose"]
    assert table(tmp_path, ["a,2026-03-01 08:00,150,95,1"], "subject,time,systolic,diastolic,ketone").unused == [
        "ketone"
    ]


@pytest.mark.parametrize(
    ("line", "because"),
    [
        ("p-1,yesterday,100", "'yesterday' is no time"),
        ("p-1,0001-01-01T00:00+14:00,100", "is no time"),
        ("p-1,2026-03-01 08:00,", "no glucose"),
        ("p-1,2026-03-01 08:00,5;6", "glucose '5;6' is no number"),
        ("p-1,2026-03-01 08:00,nan", "glucose 'nan' is no number"),
        (",2026-03-01 08:00,100", "no subject"),
        ("p-1,2026-03-01 08:00", "2 cells where the first line has 3"),
        ("p-1,2026-03-01 08:00,100,7", "4 cells where the first line has 3"),
        ("p-1,2026-03-01 08:00,1" + "0" * 200_000, "no line of a CSV file"),
    ],
)
def test_a_bad_row_is_listed_with_its_line_and_the_others_are_read(tmp_path: Path, line: str, because: str) -> None:
    found = table(tmp_path, ["p-1,2026-03-01 07:55,99", "", line, "p-1,2026-03-01 08:05,101"])
    assert [row.line for row in found.rows["p-1"]] == [2, 5]
    ((number, reason),) = found.bad
    assert number == 4
    assert because in reason


@pytest.mark.parametrize(
    "header", ["", "subject,time", "time,glucose", "subject,time,systolic", "subject,time,diastolic,pulse"]
)
def test_without_the_columns_nothing_is_read(tmp_path: Path, header: str) -> None:
    with pytest.raises(ReplayError, match="the first line must name the columns"):
        table(tmp_path, [], header)


def test_a_unit_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="in mg/dL or mmol/L, not in mmHg"):
        table(tmp_path, [], unit=Unit.MMHG)


def test_a_file_in_gb18030_is_read_and_says_so(tmp_path: Path) -> None:
    path = file(tmp_path, [])
    path.write_bytes("subject,time,glucose\n王芳,2026-03-01 08:00,100\n".encode("gb18030"))
    found = read_table(path)
    assert list(found.rows) == ["王芳"]
    assert found.encoding == "gb18030"
    path.write_bytes(b"subject,time,glucose\nM\xfc,2026-03-01 08:00,100\n")
    with pytest.raises(ReplayError, match="neither UTF-8 nor GB 18030"):
        read_table(path)


def test_columns_apart_by_semicolons_are_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="apart by semicolons: save it with commas"):
        table(tmp_path, ["p-1;2026-03-01 08:00;100"], "subject;time;glucose")


@pytest.mark.parametrize("time", ["2026/03/01 08:05", "2026/3/1 8:05:00", "2026-3-1 8:05"])
def test_times_as_spreadsheets_write_them(tmp_path: Path, time: str) -> None:
    (row,) = table(tmp_path, [f"p-1,{time},100"]).rows["p-1"]
    assert row.taken_at == datetime(2026, 3, 1, 8, 5, tzinfo=UTC)


def test_an_hour_that_the_clock_showed_twice_or_never_is_doubtful(tmp_path: Path) -> None:
    lines = [f"p-1,{time},100" for time in ("2026-03-29 02:30", "2026-10-25 01:30", "2026-10-25 02:30")]
    assert table(tmp_path, lines, zone=ZoneInfo("Europe/Berlin")).doubtful == [2, 4]
    assert (
        table(tmp_path, [f"{lines[2].replace(',100', '+01:00,100')}"], zone=ZoneInfo("Europe/Berlin")).doubtful == []
    )


@pytest.mark.parametrize(
    ("values", "unit", "likely"),
    [
        ((5.6, 12.0), None, Unit.MMOL_L),
        ((5.6, 120), None, None),
        ((100, 45), Unit.MMOL_L, Unit.MG_DL),
        ((5.6, 12.0), Unit.MMOL_L, None),
        ((*[5.6] * 19, 120), None, Unit.MMOL_L),
        ((*[5.6] * 18, 120), None, None),
        ((*[120] * 19, 5.6), Unit.MMOL_L, Unit.MG_DL),
    ],
)
def test_values_that_look_like_another_unit(tmp_path: Path, values, unit, likely) -> None:
    assert table(tmp_path, glucose_lines(values), unit=unit).likely_unit() is likely


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot be read"):
        read_table(tmp_path / "nothing.csv")


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_octets_are_rows_or_bad_rows(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    path = file(tmp_path_factory.mktemp("any"), [])
    with path.open("ab") as more:
        more.write(octets)
    try:
        found = read_table(path)
    except ReplayError as error:
        assert "is neither UTF-8 nor GB 18030" in str(error)  # noqa: PT017  most octets are one of both
        return
    assert all(because for _, because in found.bad)
    assert len(found) + len(found.bad) <= octets.count(b"\n") + octets.count(b"\r") + 1


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("2020年12月30日 13:00", (2020, 12, 30, 13, 0)),
        ("2020年12月30日13时05分", (2020, 12, 30, 13, 5)),
        ("2020/12/30 上午 8:00", (2020, 12, 30, 8, 0)),
        ("2020/12/30 下午1:05", (2020, 12, 30, 13, 5)),
        ("2020/12/30 上午 12:10", (2020, 12, 30, 0, 10)),
        ("2020-12-30 8:05 PM", (2020, 12, 30, 20, 5)),
        ("２０２０／１２／３０ １３：００", (2020, 12, 30, 13, 0)),
    ],
)
def test_times_as_chinese_spreadsheets_write_them(tmp_path: Path, written: str, taken: tuple[int, ...]) -> None:
    found = table(tmp_path, [f"张三,{written},100"])
    assert [row.taken_at for row in found.rows["张三"]] == [datetime(*taken, tzinfo=UTC)]  # type: ignore[misc, arg-type]
    assert not list(doubts(found, NOW))


@pytest.mark.parametrize("written", ["2020/12/30 下午 13:00", "12/30/2020 8:00", "44000", "20201.5"])
def test_what_may_be_more_than_one_time_is_none(tmp_path: Path, written: str) -> None:
    ((_, because),) = table(tmp_path, [f"p-1,{written},100"]).bad
    assert "is no time" in because


def test_the_number_of_a_spreadsheet_is_a_time_and_that_is_said(tmp_path: Path) -> None:
    found = table(tmp_path, ["p-1,44000.01,100"])
    assert found.rows["p-1"][0].taken_at == datetime(2020, 6, 18, 0, 14, 24, tzinfo=UTC)
    (said,) = doubts(found, NOW)
    assert "as days since the end of 1899" in said


def test_columns_have_chinese_names_with_units(tmp_path: Path) -> None:
    found = table(tmp_path, ["张三,2020-12-30,8:05,5.6,早餐前"], "姓名,日期,时间,血糖（mmol/L）,餐别", meter=True)
    (row,) = found.rows["张三"]
    assert (found.unit, row.sent, row.context) == (Unit.MMOL_L, (5.6,), {"meal": "before-meal"})
    assert row.taken_at == datetime(2020, 12, 30, 8, 5, tzinfo=UTC)
    pressure = table(tmp_path, ["a,2020-12-30 8:05,150,95,70"], "患者,日期,收缩压,舒张压,脉搏(次/分)")
    assert (pressure.vital, pressure.rows["a"][0].sent) == (Vital.BLOOD_PRESSURE, (150, 95, None, 70))
    with pytest.raises(ReplayError, match="says that values are in mmol/L, not in mg/dL"):
        table(tmp_path, [], "患者,时间,血糖(mmol/L)", unit=Unit.MG_DL)


@pytest.mark.parametrize(
    ("written", "flag"),
    [
        ("低", Flag.BELOW_RANGE),
        ("<2.2", Flag.BELOW_RANGE),
        ("LO mmol/L", Flag.BELOW_RANGE),
        ("＞27.8", Flag.ABOVE_RANGE),
        ("高", Flag.ABOVE_RANGE),
    ],
)
def test_an_end_of_the_range_is_a_word(tmp_path: Path, written: str, flag: Flag) -> None:
    (row,) = table(tmp_path, [f"p-1,2026-03-01 08:00,{written}"], unit=Unit.MMOL_L).rows["p-1"]
    assert (row.sent, row.flags) == ((None,), {flag})


def test_a_bound_within_the_range_is_no_end_of_it(tmp_path: Path) -> None:
    found = table(tmp_path, ["p-1,2026-03-01 08:00,<5.6", "p-1,2026-03-01 08:05,>9"], unit=Unit.MMOL_L)
    assert ["no end of a device's range" in because for _, because in found.bad] == [True, True]


def test_a_value_may_say_its_unit_but_not_another_one_than_the_file(tmp_path: Path) -> None:
    found = table(tmp_path, ["p-1,2026-03-01 08:00,2.1 mmol/L", "p-1,2026-03-01 08:05,98 mg/dl"])
    assert (found.unit, [row.sent for row in found.rows["p-1"]]) == (Unit.MMOL_L, [(2.1,)])
    assert [because for _, because in found.bad] == ["glucose is in mg/dL, not in mmol/L"]


def test_a_meal_that_is_not_known_is_said(tmp_path: Path) -> None:
    lines = [f"p-1,2026-03-01 0{n}:00,100,{meal}" for n, meal in enumerate(("加餐", "Before-Meal", "空腹", "加餐"))]
    found = table(tmp_path, lines, "subject,time,glucose,meal", meter=True)
    assert [row.context["meal"] for row in found.rows["p-1"]] == ["加餐", "before-meal", "fasting", "加餐"]
    (said,) = doubts(found, NOW)
    assert "no meal '加餐'; the readings (2, the first in line 2)" in said


def test_a_time_that_is_still_to_come_is_said(tmp_path: Path) -> None:
    (said,) = doubts(table(tmp_path, ["p-1,2026-03-01 08:00,100", "p-1,2035-03-01 08:00,100"]), NOW)
    assert "later than today: 1, the first in line 3" in said


@pytest.mark.parametrize(
    "number", ["住院号", "病案号", "患者ID", "门诊号", "病历号", "MRN", "Patient ID", "编号", "患者编号"]
)
def test_a_number_beside_a_name_is_the_subject(tmp_path: Path, number: str) -> None:
    for header, lines in (
        (f"姓名,{number},时间,血糖", ["王芳,007,2026-03-01 08:00,100", "王芳,008,2026-03-01 08:00,50"]),
        (f"{number},姓名,时间,血糖", ["007,王芳,2026-03-01 08:00,100", "008,王芳,2026-03-01 08:00,50"]),
    ):
        found = table(tmp_path, [*lines, lines[0].replace("007", "")], header)
        assert {name: [row.sent for row in rows] for name, rows in found.rows.items()} == {
            "007": [(100.0,)],
            "008": [(50.0,)],
        }
        assert (found.whose, found.unused) == ([number.lower(), "姓名"], ["姓名"])
        assert [because for _, because in found.bad] == [f"no {number.lower()}"]
    assert list(table(tmp_path, ["1,王芳,007,2026-03-01 08:00,100"], "编号,姓名,住院号,时间,血糖").rows) == ["007"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("31.2↑", 31.2), ("2.1↓", 2.1), ("2.1 ↓↓", 2.1), ("↑31.2", 31.2), ("31.2 H", 31.2), ("2.1 l", 2.1)),
        *(("31.2↑ mmol/L", 31.2), ("31.2 mmol/L ↑", 31.2), ("“5.6”", 5.6)),
        *(("“>33.3”", Flag.ABOVE_RANGE), ("≥33.3 H", Flag.ABOVE_RANGE), ("‘LO’↓", Flag.BELOW_RANGE)),
        *(("HI", Flag.ABOVE_RANGE), ("L", None), ("↑", None)),
    ],
)
def test_the_mark_of_a_laboratory_and_quotation_marks_are_no_part_of_a_value(
    tmp_path: Path, written: str, value: float | Flag | None
) -> None:
    found = table(tmp_path, [f"p-1,2026-03-01 08:00,{written}"], unit=Unit.MMOL_L)
    read = [next(iter(row.flags), row.sent[0]) for row in found.rows.get("p-1", ())]
    assert read == ([] if value is None else [value])
    assert len(found.bad) == (value is None)


def test_the_numbers_of_a_pressure_may_have_a_mark(tmp_path: Path) -> None:
    found = table(tmp_path, ["a,2026-03-01 08:00,192↑,121 H,48 L"], "subject,time,systolic,diastolic,pulse")
    assert [row.sent for row in found.rows["a"]] == [(192, 121, None, 48)]


@pytest.mark.parametrize(
    ("written", "meal"),
    [
        *((word, "after-meal") for word in ("早餐后2h", "早餐后2小时", "午餐后 2h", "晚餐后２h")),
        *((word, "after-meal") for word in ("餐后两小时", "餐后1h血糖", "晚饭后", "餐后半小时", "餐后120min")),
        *((word, "before-meal") for word in ("早餐前", "中餐前", "午餐前30分钟", "饭前")),
        *((word, "fasting") for word in ("空腹", "空腹血糖", "晨起空腹", "fasting")),
        *(
            (word, "casual")
            for word in ("随机", "随机血糖", "凌晨3点", "夜间3点", "凌晨", "夜间", "凌晨 3:00", "3点")
        ),
        *((word, "bedtime") for word in ("睡前", "晚睡前")),
        *((word, word) for word in ("加餐", "加餐后", "餐", "2小时", "3")),
    ],
)
def test_meals_as_hospitals_write_them(tmp_path: Path, written: str, meal: str) -> None:
    (row,) = table(tmp_path, [f"p-1,2026-03-01 08:00,100,{written}"], "subject,time,glucose,时段").rows["p-1"]
    assert row.context == {"meal": meal}


def test_a_pressure_may_stand_in_one_cell(tmp_path: Path) -> None:
    lines = [
        "王芳,2026-03-01 08:00,192/121,72",
        "王芳,2026-03-01 08:05,188／118 mmHg,",
        "王芳,2026-03-01 08:10,190↑ / 120,70",
    ]
    found = table(
        tmp_path, [*lines, "王芳,2026-03-01 08:15,192,", "王芳,2026-03-01 08:20,/80,"], "病人,测量时间,血压,脉搏"
    )
    assert [row.sent for row in found.rows["王芳"]] == [
        (192, 121, None, 72),
        (188, 118, None, None),
        (190, 120, None, 70),
    ]
    assert [because for _, because in found.bad] == [
        "pressure '192' is not written as 120/80",
        "pressure '/80' is not written as 120/80",
    ]
    kilopascals = table(tmp_path, ["a,2026-03-01 08:00,25.6/16.1"], "患者,时间,血压(kPa)")
    assert (kilopascals.unit, kilopascals.rows["a"][0].sent) == (Unit.KPA, (25.6, 16.1, None, None))
    both = table(tmp_path, ["a,2026-03-01 08:00,1/1,150,95"], "患者,时间,血压,收缩压,舒张压")
    assert (both.rows["a"][0].sent, both.unused) == ((150, 95, None, None), ["血压"])


@pytest.mark.parametrize("header", ["subject,time,glucose,systolic,diastolic", "姓名,时间,血糖,血压"])
def test_glucose_and_pressure_in_one_file_are_the_reason_of_its_refusal(tmp_path: Path, header: str) -> None:
    with pytest.raises(
        ReplayError, match="has glucose and blood pressure, and a replay takes one of them: save it"
    ) as no:
        table(tmp_path, [], header)
    assert "同时有血糖和血压" in Language("zh_CN").sentence(no.value.args[0])


def test_columns_apart_by_tabs_are_shown_so_that_they_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"it says 姓名 \| 时间 \| 血糖\. Its columns are apart by tabs"):
        table(tmp_path, ["王芳\t2026-03-01 08:00\t100"], "姓名\t时间\t血糖")


@pytest.mark.parametrize("flag", list(Flag))
def test_a_flag_has_the_name_that_the_page_gives_it_in_chinese(tmp_path: Path, flag: Flag) -> None:
    name = Language("zh_CN").gettext(FLAGS[flag])
    lines = [f"p-1,2026-03-01 08:00,100,{name}", f"p-1,2026-03-01 08:05,100,{name}、battery-low"]
    found = table(tmp_path, lines, "subject,time,glucose,标记")
    assert [row.flags for row in found.rows["p-1"]] == [{flag}, {flag, Flag.BATTERY_LOW}]


def test_a_flag_that_is_not_known_is_listed_with_those_that_are(tmp_path: Path) -> None:
    lines = ["p-1,2026-03-01 08:00,100,试纸异常", "p-1,2026-03-01 08:05,100,复查"]
    found = table(tmp_path, lines, "subject,time,glucose,flags")
    assert [row.flags for row in found.rows["p-1"]] == [{Flag.STRIP_ERROR}]
    ((line, because),) = found.bad
    assert (line, "there is no flag '复查'; the flags are above-range" in because) == (3, True)
    assert "如 电量低、试纸错误" in Language("zh_CN").sentence(because)
