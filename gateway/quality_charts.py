"""The charts of the quality report as Plotly figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import plotly.graph_objects as go

from alerts.alert import OUTCOME_WORDS, Outcome
from alerts.quality import Measure, Quality, Satisfaction
from gateway.language import Language
from gateway.quality_words import MEASURES, ROLES, TIMES, title_of

_INK, _GRID, _SOFT = "#1f2933", "#e4e9ee", "#9fb3c2"
_MAIN, _SECOND, _WARM = "#14587f", "#2e7d50", "#b5731a"
_MOST_RULES: Final = 12
_HOUR: Final = 60  # minutes
_TICKS: Final = (1, 5, 15, _HOUR, 4 * _HOUR, 24 * _HOUR, 7 * 24 * _HOUR)
_UNIT: Final = {Measure.TIR: "%", Measure.SYSTOLIC: "mmHg", Measure.DIASTOLIC: "mmHg"}


def times_figure(made: Quality, language: Language) -> go.Figure:
    """How long people took: median and 90th percentile, in minutes on a scale of powers of ten."""
    steps = list(TIMES)
    names = [language.gettext(TIMES[step]) for step in steps]
    figure = go.Figure()
    for which, name, colour in (
        ("median", language.gettext("Median"), _MAIN),
        ("p90", language.gettext("90th percentile"), _SOFT),
    ):
        spans: list[timedelta | None] = [getattr(getattr(made.total, step), which) for step in steps]
        figure.add_bar(
            y=names,
            x=[None if span is None else max(1.0, span / timedelta(minutes=1)) for span in spans],
            name=name,
            orientation="h",
            marker={"color": colour},
            text=["" if span is None else language.duration(span) for span in spans],
            textposition="auto",
            hovertemplate="%{y}<br><b>%{text}</b><extra>" + name + "</extra>",
        )
    _lay_out(figure)
    figure.update_layout(barmode="group", yaxis={"autorange": "reversed"})
    figure.update_xaxes(
        type="log",
        tickvals=list(_TICKS),
        ticktext=[language.duration(timedelta(minutes=each)) for each in _TICKS],
        range=[0, 4.5],
    )
    return figure


def outcomes_figure(made: Quality, language: Language) -> go.Figure:
    """How the closed alerts ended."""
    outcomes = list(made.total.outcomes)
    figure = go.Figure()
    figure.add_bar(
        y=[language.text(OUTCOME_WORDS[each]) for each in outcomes],
        x=[made.total.outcomes[each] for each in outcomes],
        orientation="h",
        marker={"color": [_SOFT if each is Outcome.NO_ACTION else _MAIN for each in outcomes]},
        name=language.gettext("Alerts"),
        hovertemplate="%{y}<br><b>%{x}</b><extra></extra>",
        showlegend=False,
    )
    _lay_out(figure)
    figure.update_layout(yaxis={"autorange": "reversed"})
    figure.update_xaxes(title_text=language.gettext("Alerts"), rangemode="tozero")
    return figure


def rules_figure(made: Quality, language: Language) -> go.Figure:
    """What the alerts of the rules with most of them came to."""
    shown = made.rules[:_MOST_RULES]
    titles = [
        language.text(title) if (title := title_of(each.rule)) else each.rule or language.gettext("not known")
        for each in shown
    ]
    figure = go.Figure()
    for name, counts, colour in (
        (language.gettext("Acted on"), [each.closed - each.no_action for each in shown], _MAIN),
        (language.gettext("No action needed"), [each.no_action for each in shown], _SOFT),
        (language.gettext("Still open"), [each.alerts - each.closed for each in shown], _WARM),
    ):
        figure.add_bar(
            y=titles,
            x=counts,
            name=name,
            orientation="h",
            marker={"color": colour},
            hovertemplate="%{y}<br><b>%{x}</b><extra>" + name + "</extra>",
        )
    _lay_out(figure)
    figure.update_layout(barmode="stack", yaxis={"autorange": "reversed"})
    figure.update_xaxes(title_text=language.gettext("Alerts"), rangemode="tozero")
    return figure


def satisfaction_figure(made: Quality, language: Language) -> go.Figure:
    """The mean score of each week, by programme and team."""
    lines: defaultdict[tuple[str, str], list[Satisfaction]] = defaultdict(list)
    for each in made.satisfaction:
        if each.score is not None:
            lines[each.programme or "", each.role or ""].append(each)
    figure = go.Figure()
    for (programme, role), weeks in sorted(lines.items()):
        team = language.gettext(ROLES[role]) if role in ROLES else role
        name = " · ".join(filter(None, (programme, team)))
        figure.add_scatter(
            x=[each.monday for each in weeks],
            y=[each.score for each in weeks],
            name=name,
            mode="lines+markers",
            customdata=[each.answered for each in weeks],
            hovertemplate="%{x|%Y-%m-%d}<br><b>%{y:.1f}</b> (n = %{customdata})<extra>" + name + "</extra>",
        )
    _lay_out(figure)
    figure.update_layout(yaxis={"range": [0.8, 5.2], "dtick": 1, "title": {"text": language.gettext("Score, mean")}})
    figure.update_xaxes(type="date", tickformat="%m-%d")
    return figure


def control_figure(made: Quality, language: Language) -> go.Figure:
    """How patients stood before and after, of those with enough data of both."""
    known = [each for each in made.control if each.n]
    names = [f"{language.gettext(MEASURES[each.measure])} ({_UNIT[each.measure]}), n = {each.n}" for each in known]
    figure = go.Figure()
    for name, values, colour in (
        (language.gettext("Before"), [each.before for each in known], _SOFT),
        (language.gettext("After"), [each.after for each in known], _SECOND),
    ):
        figure.add_bar(
            x=names,
            y=[None if value is None else round(value, 1) for value in values],
            name=name,
            marker={"color": colour},
            text=["" if value is None else f"{value:.1f}" for value in values],
            hovertemplate="%{x}<br><b>%{y}</b><extra>" + name + "</extra>",
        )
    _lay_out(figure)
    figure.update_layout(barmode="group")
    figure.update_yaxes(rangemode="tozero")
    return figure


FIGURES: Final[Mapping[str, Callable[[Quality, Language], go.Figure]]] = {
    "times": times_figure,
    "outcomes": outcomes_figure,
    "rules": rules_figure,
    "satisfaction": satisfaction_figure,
    "control": control_figure,
}


def drawn(made: Quality) -> Sequence[str]:
    """Which of the figures have something to show."""
    known = {
        "times": made.total.alerts,
        "outcomes": made.total.closed,
        "rules": made.rules,
        "satisfaction": any(each.score is not None for each in made.satisfaction),
        "control": any(each.n for each in made.control),
    }
    return [name for name in FIGURES if known[name]]


def _lay_out(figure: go.Figure) -> None:
    axis: dict[str, Any] = {"gridcolor": _GRID, "zeroline": False, "fixedrange": True, "automargin": True}
    figure.update_layout(
        template="none",
        font={"family": "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif", "size": 14},
        font_color=_INK,
        margin={"l": 24, "r": 24, "t": 12, "b": 48},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
