"""A patient's charts as Plotly figures: glucose with its range, blood pressure with its limits.

Figures hold only what is drawn: moments on the patient's clock, values in the patient's unit. The script that draws
them is served from the installed plotly package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from alerts.alert import minute_on
from alerts.rule import Limits
from ingest.reading import Flag, Reading, from_us
from ingest.series import Series
from ingest.vital import MG_DL_PER_MMOL_L, Unit

Say = Callable[[str], str]

# A line is drawn across one missing sample, never across a silence: longer than this and than 2.5 usual intervals.
_BRIDGED: Final = timedelta(minutes=20)
_USUAL_INTERVALS: Final = 2.5

_INK, _GRID, _LINE, _POINT = "#1f2933", "#e4e9ee", "#14587f", "#6a2c91"
_GOOD, _LOW, _HIGH, _WORST = "rgba(46,125,80,0.10)", "#b3261e", "#8a5a00", "#b3261e"
_RULE_WIDTH: Final = 1.2


_CEILING: Final = {Unit.MG_DL: 300.0, Unit.MMOL_L: 16.7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time that a chart shows, on the patient's clock."""

    start: datetime
    end: datetime
    zone: tzinfo

    def local(self, moment: datetime) -> datetime:
        """The patient's wall clock at a moment. Charts know no zones, so the offset is taken off."""
        return moment.astimezone(self.zone).replace(tzinfo=None)


def glucose_figure(
    sensor: Series, meter: Series, off_scale: Sequence[Reading], limits: Limits, unit: Unit, span: Span, say: Say
) -> go.Figure:
    """Sensor line (silences stay open), meter points, HI and LO as arrows at the edge, the patient's own limits.

    off_scale: readings of either vital without a number, flagged ABOVE_RANGE or BELOW_RANGE. unit: mg/dL or mmol/L.
    """
    very_low, low, high, very_high = (
        limits.value(rule, "limit", unit) for rule in ("low-event-2", "low-event-1", "high-event-1", "high-event-2")
    )
    figure = go.Figure()
    factor = 1.0 if unit is Unit.MG_DL else 1 / MG_DL_PER_MMOL_L
    digits = 0 if unit is Unit.MG_DL else 1
    top = _CEILING[unit]
    for series, name, style in (
        (_with_gaps(sensor), say("Sensor (CGM)"), {"mode": "lines+markers", "line": {"color": _LINE, "width": 2}}),
        (meter, say("Meter (finger)"), {"mode": "markers"}),
    ):
        values = np.round(series.values[:, 0] * factor, digits)
        top = max(top, float(np.nanmax(values, initial=0.0)) * 1.05)
        mark = {"size": 3, "color": _LINE} if "line" in style else {"size": 11, "color": _POINT, "symbol": "diamond"}
        figure.add_scatter(
            x=_clock(series.taken_us, span),
            y=values,
            name=name,
            marker=mark,
            connectgaps=False,
            customdata=_stamps(series.taken_us, span),
            hovertemplate=f"%{{customdata}}<br><b>%{{y}} {unit}</b><extra>{name}</extra>",
            **style,
        )
    _add_off_scale(figure, off_scale, top, span, say)
    figure.add_hrect(low, high, fillcolor=_GOOD, line_width=0, layer="below")
    for limit, colour, dash in (
        (very_low, _WORST, "solid"),
        (low, _LOW, "dash"),
        (high, _HIGH, "dash"),
        (very_high, _WORST, "solid"),
    ):
        _rule(figure, limit, colour, dash, f"{limit:.{digits}f}")
    _lay_out(figure, span)
    figure.update_yaxes(title_text=f"{say('Glucose')} ({unit})", range=[0, top])
    return figure


def pressure_figure(series: Series, limits: Limits, span: Span, say: Say) -> go.Figure:
    """A bar from diastolic to systolic for each reading, the pulse as points below on their own scale."""
    figure = go.Figure()
    systolic, diastolic, pulse = series.values[:, 0], series.values[:, 1], series.values[:, 3]
    clock, stamps = _clock(series.taken_us, span), _stamps(series.taken_us, span)
    width_ms = (span.end - span.start).total_seconds() * 1000 / 120
    figure.add_bar(
        x=clock,
        y=systolic - diastolic,
        base=diastolic,
        width=width_ms,
        name=say("Systolic to diastolic"),
        marker={"color": "rgba(20,88,127,0.75)", "line": {"color": _LINE, "width": 1}},
        customdata=[[stamp, f"{s:.0f}/{d:.0f}"] for stamp, s, d in zip(stamps, systolic, diastolic, strict=True)],
        hovertemplate="%{customdata[0]}<br><b>%{customdata[1]} mmHg</b><extra></extra>",
    )
    figure.add_scatter(
        x=clock,
        y=pulse,
        name=say("Pulse"),
        mode="markers",
        yaxis="y2",
        marker={"size": 8, "color": _POINT, "symbol": "circle-open", "line": {"width": 2}},
        customdata=stamps,
        hovertemplate="%{customdata}<br><b>%{y:.0f} 1/min</b><extra></extra>",
    )
    for rule, colour, dash in (("bp-session-high", _HIGH, "dash"), ("bp-severe", _WORST, "solid")):
        for side in ("systolic", "diastolic"):
            limit = limits.value(rule, side, Unit.MMHG)
            _rule(figure, limit, colour, dash, f"{limit:g}")
    _lay_out(figure, span)
    top = max(200.0, float(np.nanmax(systolic, initial=0.0)) + 10)
    figure.update_layout(
        yaxis={"title": {"text": f"{say('Blood pressure')} (mmHg)"}, "range": [40, top], "domain": [0.32, 1]},
        yaxis2={"title": {"text": f"{say('Pulse')} (1/min)"}, "range": [30, 150], "domain": [0, 0.22], "anchor": "x"},
    )
    figure.update_xaxes(anchor="y2")
    return figure


def _add_off_scale(figure: go.Figure, readings: Sequence[Reading], top: float, span: Span, say: Say) -> None:
    for flag, word, symbol, height in (
        (Flag.ABOVE_RANGE, say("HI: above what the device can measure"), "triangle-up", top * 0.97),
        (Flag.BELOW_RANGE, say("LO: below what the device can measure"), "triangle-down", top * 0.03),
    ):
        shown = [reading for reading in readings if flag in reading.flags]
        if shown:
            figure.add_scatter(
                x=[span.local(reading.taken_at) for reading in shown],
                y=[height] * len(shown),
                name=word,
                mode="markers",
                marker={"size": 13, "color": _WORST, "symbol": symbol},
                customdata=[_stamp(reading.taken_at, span) for reading in shown],
                hovertemplate=f"%{{customdata}}<br><b>{word}</b><extra></extra>",
            )


def _with_gaps(series: Series) -> Series:
    """The series with an empty point in each silence, so that no line is drawn across it."""
    if len(series.taken_us) < 2:
        return series
    steps = np.diff(series.taken_us)
    limit = max(_BRIDGED / timedelta(microseconds=1), _USUAL_INTERVALS * float(np.median(steps)))
    after = np.flatnonzero(steps > limit) + 1
    return Series(
        taken_us=np.insert(series.taken_us, after, series.taken_us[after] - 1),
        values=np.insert(series.values, after, np.nan, axis=0),
    )


def _clock(taken_us: NDArray[np.int64], span: Span) -> list[datetime]:
    return [span.local(from_us(int(us))) for us in taken_us]


def _stamps(taken_us: NDArray[np.int64], span: Span) -> list[str]:
    return [_stamp(from_us(int(us)), span) for us in taken_us]


def _stamp(moment: datetime, span: Span) -> str:
    return minute_on(moment.astimezone(span.zone))


def _rule(figure: go.Figure, limit: float, colour: str, dash: str, label: str) -> None:
    line = {"color": colour, "width": _RULE_WIDTH, "dash": dash}
    figure.add_shape(type="line", xref="paper", x0=0, x1=1, yref="y", y0=limit, y1=limit, line=line, layer="between")
    figure.add_annotation(
        text=label,
        font={"size": 12, "color": colour},
        showarrow=False,
        xref="paper",
        x=1,
        xanchor="left",
        yref="y",
        y=limit,
    )


def _lay_out(figure: go.Figure, span: Span) -> None:
    axis: dict[str, Any] = {"gridcolor": _GRID, "zeroline": False, "fixedrange": True, "linecolor": _GRID}
    figure.update_layout(
        template="none",
        font={"family": "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif", "size": 14},
        font_color=_INK,
        margin={"l": 56, "r": 40, "t": 12, "b": 56},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        showlegend=True,
        dragmode=False,
        barmode="overlay",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        yaxis=axis,
        yaxis2=axis,
    )
    figure.update_xaxes(
        **axis,
        type="date",
        range=[span.local(span.start), span.local(span.end + (span.end - span.start) / 50)],
        # Numbers only: month names would need a script for each language.
        tickformatstops=[
            {"dtickrange": [None, 43_200_000], "value": "%H:%M\n%m-%d"},
            {"dtickrange": [43_200_000, None], "value": "%m-%d"},
        ],
    )
