from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from alerts.rules import DEFAULTS, parse_limits
from gateway.charts import Span, glucose_figure, pressure_figure
from ingest.reading import Flag, to_us
from ingest.series import Series
from ingest.vital import Unit, Vital
from tests.gateway.small_house import reading

START = datetime(2026, 3, 3, tzinfo=UTC)
SHANGHAI = Span(start=START, end=START + timedelta(days=1), zone=ZoneInfo("Asia/Shanghai"))
NOTHING = Series(taken_us=np.array([], np.int64), values=np.empty((0, 1)))


def sensor(minutes: list[float], mg_dl: float = 100.0) -> Series:
    taken = [to_us(START + timedelta(minutes=minute)) for minute in minutes]
    return Series(taken_us=np.array(taken, np.int64), values=np.full((len(taken), 1), mg_dl))


def glucose(series: Series, unit: Unit = Unit.MG_DL, span: Span = SHANGHAI, **given):
    limits = given.get("limits", DEFAULTS)
    return glucose_figure(series, given.get("meter", NOTHING), given.get("off_scale", ()), limits, unit, span, str)


def lines(figure) -> list[float]:
    return sorted(shape.y0 for shape in figure.layout.shapes if shape.type == "line")


@pytest.mark.parametrize(
    ("minutes", "holes"),
    [
        ([0, 5, 10, 15, 20], 0),
        ([0, 5, 15, 20], 0),  # one sample missed
        ([0, 5, 10, 40, 45, 50], 1),
        ([0, 15, 30, 45, 60], 0),  # a sensor that stores every 15 minutes
        ([0, 15, 30, 75, 90], 1),
        ([0, 1, 2, 19, 20], 0),
        ([0, 1, 2, 25, 26, 50], 2),
        ([7], 0),
        ([], 0),
    ],
)
def test_the_sensor_line_is_never_drawn_across_a_silence(minutes, holes) -> None:
    drawn = glucose(sensor(minutes)).data[0]
    assert drawn.connectgaps is False
    assert int(np.isnan(drawn.y).sum()) == holes
    assert len(drawn.x) == len(minutes) + holes
    assert list(drawn.x) == sorted(drawn.x)


def test_moments_are_on_the_patients_clock_and_the_hover_says_which_clock() -> None:
    drawn = glucose(sensor([0])).data[0]
    assert drawn.x[0] == datetime(2026, 3, 3, 8, 0)
    assert drawn.customdata[0] == "2026-03-03 08:00 UTC+8"


def test_an_hour_that_comes_twice_is_told_apart_by_its_offset() -> None:
    autumn = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    span = Span(start=autumn, end=autumn + timedelta(hours=3), zone=ZoneInfo("Europe/Berlin"))
    taken = np.array([to_us(autumn), to_us(autumn + timedelta(hours=1))], np.int64)
    drawn = glucose(Series(taken_us=taken, values=np.full((2, 1), 90.0)), span=span).data[0]
    stamps = [stamp for stamp, value in zip(drawn.customdata, drawn.y, strict=True) if not np.isnan(value)]
    assert stamps == ["2026-10-25 02:30 UTC+2", "2026-10-25 02:30 UTC+1"]


def test_values_and_limits_stand_in_the_patients_unit_and_its_own_round_numbers() -> None:
    drawn = glucose(sensor([0], 70.26), Unit.MMOL_L)
    assert drawn.data[0].y[0] == 3.9
    assert lines(drawn) == [3.0, 3.9, 10.0, 13.9]
    assert "mmol/L" in drawn.layout.yaxis.title.text
    assert lines(glucose(sensor([0]))) == [54, 70, 180, 250]


def test_the_patients_own_limit_is_drawn() -> None:
    own = parse_limits({"low-event-1": {"limit": {"value": 4.4, "unit": "mmol/L"}}})
    assert 4.4 in lines(glucose(sensor([0]), Unit.MMOL_L, limits=own))


def test_hi_and_lo_are_shown_though_they_have_no_number() -> None:
    above = reading(Vital.CGM, START, None, flags=frozenset({Flag.ABOVE_RANGE}))
    below = reading(Vital.CGM, START + timedelta(hours=1), None, flags=frozenset({Flag.BELOW_RANGE}))
    drawn = glucose(sensor([0]), off_scale=[above, below])
    shown = {trace.name[:2]: trace for trace in drawn.data}
    assert shown["HI"].y[0] > 250
    assert shown["LO"].y[0] < 54
    assert shown["HI"].marker.symbol != shown["LO"].marker.symbol


def test_a_value_above_the_usual_scale_is_inside_the_picture() -> None:
    drawn = glucose(sensor([0], 590.0))
    assert drawn.layout.yaxis.range[1] > 590


def test_blood_pressure_is_a_bar_from_diastolic_to_systolic_with_the_pulse_below() -> None:
    taken = np.array([to_us(START), to_us(START + timedelta(hours=12))], np.int64)
    values = np.array([[138.0, 86.0, np.nan, 70.0], [186.0, 112.0, np.nan, np.nan]])
    drawn = pressure_figure(Series(taken_us=taken, values=values), DEFAULTS, SHANGHAI, str)
    bars, pulse = drawn.data
    assert list(bars.base) == [86, 112]
    assert list(bars.base + bars.y) == [138, 186]
    assert bars.customdata[1][1] == "186/112"
    assert (pulse.y[0], np.isnan(pulse.y[1]), pulse.yaxis) == (70, True, "y2")
    assert lines(drawn) == [85, 110, 135, 180]


@pytest.mark.parametrize("empty", [True, False])
def test_figures_are_json_that_a_browser_reads(empty) -> None:
    pressure = Series(taken_us=np.array([], np.int64), values=np.empty((0, 4)))
    for figure in (
        glucose(NOTHING if empty else sensor([0, 5, 60])),
        pressure_figure(pressure, DEFAULTS, SHANGHAI, str),
    ):
        text = figure.to_json()
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
