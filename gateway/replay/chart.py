"""A page of charts: each subject's trace, fortnight by fortnight, and below it how long each rule found something.

One file that needs nothing else: the script that draws is that of the installed plotly package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, time, timedelta
from html import escape
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import plotly
import plotly.graph_objects as go

from alerts.alert import Audience, Finding, Text
from alerts.machine import PRIORITY_WORDS
from alerts.rule import Limits
from alerts.rules import RULES, RuleBook
from gateway.charts import Span, glucose_figure, pressure_figure
from gateway.language import Language
from gateway.replay.run import Lasted, Outcome, Told, limits_tried
from gateway.replay.table import Row, Table
from ingest.reading import Reading, TimeBasis, to_us
from ingest.series import Series
from ingest.vital import COMPONENTS, Unit, Vital, canonical

FORTNIGHT: Final = timedelta(days=14)
_DAY: Final = timedelta(days=1)
MOST: Final = 24
_SCRIPT: Final = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# The last is drawn on top.
_COLOURS: Final = {Audience.WEEKLY: "#6a2c91", Audience.PATIENT: "#c77700", Audience.STAFF: "#b3261e"}
_AUDIENCES: Final = {
    Audience.STAFF: Text(en="told to staff", zh="已通知医护"),
    Audience.PATIENT: Text(en="told to the patient", zh="已通知患者"),
    Audience.WEEKLY: Text(en="for the weekly list", zh="列入每周清单"),
}
_BAR: Final = "#b9c7d3"
_LANE: Final = 0.05  # of the height of the figure
_BETWEEN: Final = 0.08
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
h2 { margin: 2.5rem 0 0; font-size: 1.1rem } td { padding: .1rem .8rem .1rem 0; vertical-align: top }
"""


class _Page(NamedTuple):
    """One subject's fortnight."""

    subject: str
    span: Span
    rows: Sequence[Row]


def write_chart(path: Path, table: Table, outcome: Outcome, rules: RuleBook, language: Language) -> list[str]:
    """Write the page; what there is to say about it. At most MOST fortnights are drawn, the first ones."""
    pages = [page for subject, rows in table.rows.items() for page in _pages(subject, rows, table)]
    left_out = (
        Text(
            en=f"The chart shows the first {MOST} of {len(pages)} fortnights; "
            "--subject NAME chooses whose are drawn.",
            zh=f"图中仅显示 {len(pages)} 段（每段 14 天）中的前 {MOST} 段；用 --subject NAME 选择对象。",
        )
        if len(pages) > MOST
        else Text(en="", zh="")
    )
    title = Text(en="Replay", zh="回放")
    parts = [_figure(page, table, outcome, limits_tried(rules, page.subject), language) for page in pages[:MOST]]
    path.write_text(
        f"<!doctype html><html lang={language.html}><meta charset=utf-8><title>Homeward replay</title>"
        f"<style>{_STYLE}</style>"
        f"<script>{_SCRIPT.read_text(encoding='utf-8')}</script><h1>{language.text(title)}</h1>"
        f"<p>{escape(language.text(left_out))}</p>"
        f"{''.join(parts)}</html>\n",
        encoding="utf-8",
    )
    return [language.text(left_out)] if left_out.en else []


def _pages(subject: str, rows: Sequence[Row], table: Table) -> Iterator[_Page]:
    """Fortnights with readings, from midnight to midnight on the subject's clock; a repeated row is drawn once."""
    zone = table.clock.zone
    once = {row.taken_at: row for row in reversed(rows) if not row.ketone}
    by_time = sorted(once.values(), key=attrgetter("taken_at"))
    if not by_time:
        return
    first = datetime.combine(by_time[0].taken_at.astimezone(zone).date(), time(), zone)
    for number, group in groupby(by_time, lambda row: (row.taken_at - first) // FORTNIGHT):
        start, drawn = first + number * FORTNIGHT, list(group)
        days = (drawn[-1].taken_at - start) // _DAY + 1
        yield _Page(subject, Span(start=start, end=start + days * _DAY, zone=zone), drawn)


def _figure(page: _Page, table: Table, outcome: Outcome, limits: Limits, language: Language) -> str:
    figure, span = _trace(page, table, limits, language.gettext), page.span
    lasted = [each for each in outcome.lasted if each.told.finding.patient == page.subject and _overlaps(each, span)]
    told = [
        each for each in outcome.told if each.finding.patient == page.subject and span.start <= each.at < span.end
    ]
    _add_lanes(figure, lasted, told, span, language)
    start, end = (span.local(page.rows[n].taken_at) for n in (0, -1))
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
    days = Text(en=f"{start:%Y-%m-%d} to {end:%Y-%m-%d}", zh=f"{start:%Y-%m-%d} 至 {end:%Y-%m-%d}")
    return f"<h2>{escape(page.subject)}, {language.text(days)}</h2>{drawn}{_list(told, span, language)}"


def _trace(page: _Page, table: Table, limits: Limits, say: Callable[[str], str]) -> go.Figure:
    width = len(COMPONENTS[table.vital])
    values = [canonical(table.vital, row.sent, table.unit) for row in page.rows]
    series = Series(
        taken_us=np.array([to_us(row.taken_at) for row in page.rows], dtype=np.int64),
        values=np.array(values, dtype=np.float64).reshape(len(values), width),
    )
    if table.vital is Vital.BLOOD_PRESSURE:
        return pressure_figure(series, limits, page.span, say)
    none = Series(taken_us=np.empty(0, dtype=np.int64), values=np.empty((0, width)))
    sensor, meter = (series, none) if table.vital is Vital.CGM else (none, series)
    unit = Unit.MG_DL if table.unit is Unit.MG_DL else Unit.MMOL_L
    return glucose_figure(sensor, meter, _off_scale(page, table), limits, unit, page.span, say)


def _off_scale(page: _Page, table: Table) -> list[Reading]:
    return [
        Reading(
            patient=page.subject,
            device=page.subject,
            vital=table.vital,
            values=row.sent,
            sent=row.sent,
            unit=table.unit,
            taken_at=row.taken_at,
            time_basis=TimeBasis.DEVICE,
            received_at=row.received_at,
            flags=row.flags,
        )
        for row in page.rows
        if row.sent[0] is None
    ]


def _overlaps(each: Lasted, span: Span) -> bool:
    return each.told.finding.since < span.end and (each.end or each.told.at) >= span.start


def _add_lanes(
    figure: go.Figure, lasted: Sequence[Lasted], told: Sequence[Told], span: Span, language: Language
) -> None:
    """Below the trace a lane for each rule: a bar from the onset to the end if known, marks where it was told."""
    bars: list[tuple[datetime | None, str | None]] = []
    for each in lasted:
        finding = each.told.finding
        start = max(finding.since, span.start)
        end = max(start, min(each.end or each.told.at, span.end))
        lane = _lane(finding, language)
        bars += [(span.local(start), lane), (span.local(end), lane), (None, None)]
    figure.add_scatter(
        x=[moment for moment, _ in bars],
        y=[lane for _, lane in bars],
        mode="lines",
        line={"color": _BAR, "width": 9},
        yaxis="y3",
        showlegend=False,
        hoverinfo="skip",
    )
    for audience, colour in _COLOURS.items():
        mine = [each for each in told if each.finding.audience is audience]
        figure.add_scatter(
            x=[span.local(each.at) for each in mine],
            y=[_lane(each.finding, language) for each in mine],
            name=language.text(_AUDIENCES[audience]),
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": "triangle-down", "line": {"color": "white", "width": 1}},
            yaxis="y3",
            customdata=[_wrapped(language.text(each.finding.because)) for each in mine],
            hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{customdata}<extra></extra>",
        )
    findings = [*(each.told.finding for each in lasted), *(each.finding for each in told)]
    lanes = [_lane(each, language) for each in {one.rule: one for one in sorted(findings, key=_by_rule)}.values()]
    height = _LANE * max(1, len(lanes))
    _squeeze(figure, height + _BETWEEN)
    figure.update_layout(
        yaxis3={"domain": [0, height], "type": "category", "categoryarray": lanes, "anchor": "x", "fixedrange": True},
        height=420 + 26 * len(lanes),
        margin={"l": 240},
        dragmode="zoom",
    )
    figure.update_xaxes(anchor="y3", fixedrange=False)


def _lane(finding: Finding, language: Language) -> str:
    """A rule as people call it."""
    return language.text(RULES[finding.rule].title)


def _by_rule(finding: Finding) -> tuple[int, str]:
    """The worst on top, and what belongs together beside each other."""
    return RULES[finding.rule].priority, RULES[finding.rule].problem


def _squeeze(figure: go.Figure, bottom: float) -> None:
    """Move the axes of the trace up, into what the lanes leave free."""
    for name in ("yaxis", "yaxis2"):
        axis = figure.layout[name]
        low, high = axis.domain or (0.0, 1.0)
        axis.domain = (bottom + low * (1 - bottom), bottom + high * (1 - bottom))


def _wrapped(text: str) -> str:
    """Broken into lines that a box beside the pointer can hold; what came from outside is no markup."""
    lines = [""]
    for word in escape(text).split(" "):
        if len(lines[-1]) + len(word) > 90:
            lines.append("")
        lines[-1] += f"{word} "
    return "<br>".join(lines)


def _list(told: Sequence[Told], span: Span, language: Language) -> str:
    if not told:
        return f"<p>{language.text(Text(en='No findings.', zh='无发现。'))}</p>"
    rows = "".join(
        f"<tr><td>{span.local(at):%m-%d %H:%M}<td>{escape(_lane(finding, language))}"
        f"<td>{language.text(PRIORITY_WORDS[finding.priority])}<td>{language.text(_AUDIENCES[finding.audience])}<td>{escape(language.text(finding.because))}"
        for at, finding in told
    )
    count = language.text(Text(en=f"{len(told)} findings", zh=f"{len(told)} 项发现"))
    return f"<details><summary>{count}</summary><table>{rows}</table></details>"
