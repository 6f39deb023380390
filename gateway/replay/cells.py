"""What people and spreadsheets write into the cells of a history, in English and Chinese, and what it means."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Final

from gateway.language import Sentence
from ingest.reading import Flag
from ingest.vital import Unit

NO_FLAGS: Final[frozenset[Flag]] = frozenset()
WORD_OF: Final = {Flag.BELOW_RANGE: "Low", Flag.ABOVE_RANGE: "High"}
_BELOW, _ABOVE = frozenset({Flag.BELOW_RANGE}), frozenset({Flag.ABOVE_RANGE})
_BEYOND: Final = {
    **dict.fromkeys(("low", "lo", "低", "过低"), _BELOW),
    **dict.fromkeys(("high", "hi", "高", "过高"), _ABOVE),
}
# "<2.2" and ">27.8" are LO and HI where a device's range may end there (meters 20 to 50 and 400 to 630 mg/dL).
_BOUND: Final = re.compile(r"([<>])=?\s*(\d+(?:\.\d+)?)", re.ASCII)
_ENDS: Final = {Unit.MG_DL: (50.0, 400.0), Unit.MMOL_L: (2.8, 22.2)}
_WITH_UNIT: Final = re.compile(r"(.*?[\d低高iow])\s*(mg/dl|mmol/l|mmhg|kpa)", re.IGNORECASE)
_HEADER_UNIT: Final = re.compile(r"(.+?)\s*[(\[]\s*(.+?)\s*[)\]]")
_UNITS: Final = {str(unit).lower(): unit for unit in (Unit.MG_DL, Unit.MMOL_L, Unit.MMHG, Unit.KPA)}
_NARROW: Final = str.maketrans("＜＞≤≥（）：／．０１２３４５６７８９", "<><>():/.0123456789", "“”‘’\"'")
# What a laboratory adds to a value beyond its reference range: it says nothing that the number does not.
_MARK: Final = re.compile(r"^[↑↓]+\s*(?=\d)|(?<=\w)(?:\s*[↑↓]+|\s+[HL](?!\w))", re.IGNORECASE)
_COLUMNS: Final = {
    "subject": ("patient", "患者", "姓名", "患者姓名", "病人", "病人姓名"),
    "number": (
        *("mrn", "patient id", "patient_id", "patientid", "患者id", "病人id", "患者编号", "病人编号"),
        *("病案号", "病历号", "住院号", "门诊号", "登记号"),
    ),
    "code": ("编号",),
    "time": ("时间", "测量时间", "检测时间", "采集时间", "日期时间"),
    "date": ("日期", "测量日期", "检测日期"),
    "glucose": ("血糖", "血糖值", "葡萄糖", "指尖血糖", "动态血糖", "传感器血糖"),
    "systolic": ("收缩压", "高压"),
    "diastolic": ("舒张压", "低压"),
    "pressure": ("血压", "血压值", "bp", "blood pressure", "blood_pressure"),
    "pulse": ("脉搏", "脉率", "心率"),
    "ketone": ("血酮", "血酮值"),
    "received": ("接收时间", "上传时间"),
    "meal": ("餐别", "时段", "进餐", "用餐"),
    "flags": ("标记",),
}
# By what a subject is known, the surest first: two patients may have one name.
WHOSE: Final = ("number", "code", "subject")
_COLUMN_OF: Final = {alias: name for name, aliases in _COLUMNS.items() for alias in aliases}
MEALS: Final = ("before-meal", "after-meal", "fasting", "casual", "bedtime")
_TABLE: Final = r"(?:[早午中晚]?餐|[早午中晚]?饭)"
_LATER: Final = r"(?:(?:半|[\d.]+|[一两二三])个?(?:小时|h|分钟|min))?"
_MEALS_WRITTEN: Final = (
    (re.compile(f"{_TABLE}前{_LATER}"), "before-meal"),
    (re.compile(f"{_TABLE}后{_LATER}"), "after-meal"),
    (re.compile("(?:早晨|清晨|晨起)?空腹"), "fasting"),
    (re.compile("随机"), "casual"),
    (re.compile("晚?睡前"), "bedtime"),
    # There is no goal of the night: it is judged as at any other time.
    (re.compile(r"(?:凌晨|夜间|半夜)(?:[\d:]+|[一二三四])?(?:点|时)?|\d点"), "casual"),
)
# The flags as the pages call them in Chinese, and what else is written for them.
_FLAG_OF: Final = {
    "高于设备测量范围": Flag.ABOVE_RANGE,
    "低于设备测量范围": Flag.BELOW_RANGE,
    "电量低": Flag.BATTERY_LOW,
    "传感器故障": Flag.SENSOR_MALFUNCTION,
    "血量不足": Flag.SAMPLE_INSUFFICIENT,
    **dict.fromkeys(("试纸错误", "试纸异常"), Flag.STRIP_ERROR),
    **dict.fromkeys(("温度过低或过高", "温度异常"), Flag.TEMPERATURE_ERROR),
    "时钟故障": Flag.TIME_FAULT,
    "质控液": Flag.CONTROL_SOLUTION,
    "测量时移动": Flag.BODY_MOVEMENT,
    "袖带过松": Flag.CUFF_LOOSE,
    **dict.fromkeys(("脉搏不规则", "心律不齐"), Flag.IRREGULAR_PULSE),
    "脉搏高于范围": Flag.PULSE_ABOVE_RANGE,
    "脉搏低于范围": Flag.PULSE_BELOW_RANGE,
    "体位不正确": Flag.IMPROPER_POSITION,
    "传感器使用期已结束": Flag.SESSION_STOPPED,
    "需要校准": Flag.CALIBRATION_NEEDED,
    "餐别未知": Flag.MEAL_UNKNOWN,
}
_APART: Final = re.compile(r"[\s,，、;；]+")
_SIGNS: Final = str.maketrans({"年": "-", "月": "-", "日": " ", "时": ":", "点": ":", "分": ":", "秒": " "})
_WRITTEN: Final = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[T ]+(上午|下午|am|pm)? *(\d{1,2})(:\d\d.*?) *(am|pm)?",
    re.ASCII | re.IGNORECASE,
)
# Days since the end of 1899, as spreadsheets count them: of the years 2000 to 2099, and with a time of day, so that
# nothing else is taken for one.
_SERIAL: Final = re.compile(r"(\d{5})\.\d+", re.ASCII)
_SERIALS: Final = range(36526, 73051)
_DAY_0: Final = datetime(1899, 12, 30)  # noqa: DTZ001  the clock that it was read on is known later


def column(name: str) -> tuple[str, Unit | None]:
    """What a column is called here, and the unit that its name says."""
    plain = name.strip().lower().translate(_NARROW)
    unit = None
    if said := _HEADER_UNIT.fullmatch(plain):
        unit = _UNITS.get(said[2])
        plain = said[1] if unit or said[1] in _COLUMN_OF else plain
    return _COLUMN_OF.get(plain, plain), unit


def meal(text: str) -> str:
    """The word of docs/payload.md for a meal; one that is not known stays as it is."""
    plain = text.lower().replace(" ", "-").replace("_", "-")
    if plain in MEALS:
        return plain
    written = "".join(text.lower().translate(_NARROW).split()).removesuffix("血糖")
    return next((meal for pattern, meal in _MEALS_WRITTEN if pattern.fullmatch(written)), text)


def flags(text: str) -> frozenset[Flag]:
    """The flags of a reading, apart by blanks or commas. Raises ValueError with a Sentence."""
    return frozenset(map(_flag, filter(None, _APART.split(text))))


def _flag(name: str) -> Flag:
    try:
        return _FLAG_OF.get(name) or Flag(name.lower())
    except ValueError:
        said = Sentence("there is no flag {name!r}; the flags are {flags}", name=name, flags=", ".join(Flag))
        raise ValueError(said) from None


def pressures(text: str) -> tuple[str, str]:
    """The systolic and the diastolic of one cell, such as 120/80. Raises ValueError with a Sentence."""
    upper, slash, lower = text.partition("/")
    if not (upper and slash and lower):
        raise ValueError(
            Sentence("{name} {text!r} is not written as 120/80", name=Sentence("pressure"), text=text)
            if text
            else Sentence("no {name}", name=Sentence("pressure"))
        )
    return upper.strip(), lower.strip()


def split_unit(text: str) -> tuple[str, Unit | None]:
    """A value without quotation marks and a laboratory's mark, and the unit that is written behind it."""
    plain = _MARK.sub("", text.translate(_NARROW).strip())
    said = _WITH_UNIT.fullmatch(plain)
    return (said[1].strip(), _UNITS[said[2].lower()]) if said else (plain, None)


def measured(name: str, text: str, unit: Unit) -> tuple[frozenset[Flag], tuple[float | None, ...]]:
    """A glucose or ketone: (flags, numbers). Raises ValueError with a Sentence."""
    plain = text.lower().translate(_NARROW)
    if beyond := _BEYOND.get(plain):
        return beyond, (None,)
    if bound := _BOUND.fullmatch(plain):
        sign, limit = bound[1], float(bound[2])
        lowest, highest = _ENDS[unit]
        if name == "glucose" and (limit <= lowest if sign == "<" else limit >= highest):
            return _BELOW if sign == "<" else _ABOVE, (None,)
        raise ValueError(
            Sentence("{name} {text!r} is no number, and no end of a device's range", name=Sentence(name), text=text)
        )
    return NO_FLAGS, (number(name, text),)


def number(name: str, text: str) -> float:
    """A finite number. Raises ValueError with a Sentence."""
    if not text:
        raise ValueError(Sentence("no {name}", name=Sentence(name)))
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(Sentence("{name} {text!r} is no number", name=Sentence(name), text=text))
    return found


def is_serial(text: str) -> bool:
    """Whether a time is the number by which a spreadsheet keeps it."""
    said = _SERIAL.fullmatch(text)
    return said is not None and int(said[1]) in _SERIALS


def moment(text: str) -> datetime:
    """A time, aware if it has an offset from UTC. Raises ValueError."""
    if is_serial(text):
        return _DAY_0 + timedelta(seconds=round(float(text) * 86400))
    return datetime.fromisoformat(_iso(text))


def _iso(text: str) -> str:
    if (text[4:5], text[7:8], text[13:14]) == ("-", "-", ":") and text[-1:].lower() != "m":
        return text  # the usual case, at once
    written = _WRITTEN.fullmatch(text.translate(_NARROW).translate(_SIGNS).rstrip(": "))
    if written is None:
        return text
    year, month, day, before, hour, rest, after = written.groups()
    if half := (before or after):
        if not 1 <= int(hour) <= 12 and not (half == "上午" and hour.strip("0") == ""):
            return text
        hour = str(int(hour) % 12 + 12 * (half.lower() in {"下午", "pm"}))
    return f"{year}-{month:0>2}-{day:0>2} {hour:0>2}{rest.rstrip(': ')}"
