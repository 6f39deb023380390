"""Figures, ratios and verdicts: printed, kept as JSON, drawn as SVG, written into docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

_BEGIN, _END = "<!-- written by `make bench` from here -->", "<!-- to here -->"
_WIDTH, _ROW, _LEFT, _RIGHT = 860, 24, 300, 150
_INK, _BAR, _OURS, _RANGE = "#1f2933", "#9fb3c8", "#14587f", "#52606d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured of one program, once a round. chart: the chart it is drawn in, if any."""

    program: str
    what: str
    unit: str
    values: Sequence[float]
    chart: str = ""

    @property
    def median(self) -> float:
        """Of all rounds."""
        return median(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ratio of two figures of one run, or a figure, beside what was promised; None when it was not measured."""

    text: str
    found: float | None
    bound: str
    met: bool

    @property
    def word(self) -> str:
        """What became of the promise."""
        return "not measured" if self.found is None else "met" if self.met else "MISSED"


@dataclass(slots=True)
class Case:
    """One case of the benchmark: its figures, verdicts and what a reader has to know."""

    name: str
    title: str
    machine: Mapping[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _gathered: dict[tuple[str, str], tuple[str, str, list[float]]] = field(default_factory=dict)

    def add(self, program: str, what: str, unit: str, value: float, chart: str = "") -> None:
        """One round's value."""
        self._gathered.setdefault((program, what), (unit, chart, []))[2].append(value)

    def close(self) -> None:
        """No more rounds: make figures of what was added."""
        self.figures = [
            Figure(program=program, what=what, unit=unit, values=tuple(values), chart=chart)
            for (program, what), (unit, chart, values) in self._gathered.items()
        ]

    def value(self, program: str, what: str) -> float | None:
        """A median, None when it was not measured."""
        return next((f.median for f in self.figures if (f.program, f.what) == (program, what)), None)

    def at_most(self, text: str, value: float | None, bound: float) -> None:
        """Promise that a value is not above a bound."""
        met = value is not None and value <= bound
        self.verdicts.append(Verdict(text=text, found=value, bound=f"<= {bound:g}", met=met))

    def at_least(self, text: str, value: float | None, bound: float) -> None:
        """Promise that a value is not below a bound."""
        met = value is not None and value >= bound
        self.verdicts.append(Verdict(text=text, found=value, bound=f">= {bound:g}", met=met))

    def ratio(self, over: tuple[str, str], under: tuple[str, str]) -> float | None:
        """One median over another; None when one was not measured."""
        upper, lower = self.value(*over), self.value(*under)
        return upper / lower if upper is not None and lower else None


def printed(case: Case) -> str:
    """A case as text for a terminal."""
    lines = [f"\n== {case.title}"]
    for figure in case.figures:
        spread = f"[{number(min(figure.values))} .. {number(max(figure.values))}]" if len(figure.values) > 1 else ""
        lines.append(
            f"  {figure.program:<26} {figure.what:<34} {number(figure.median):>10} {figure.unit:<12} {spread}"
        )
    lines += [f"  {v.word:<12} {v.text}: {_found(v.found)} ({v.bound})" for v in case.verdicts]
    return "\n".join([*lines, *(f"  note: {note}" for note in case.notes)])


def promises(cases: Sequence[Case]) -> str:
    """How many were met, and which were not, so that none has to be looked for."""
    told = [(case.title, verdict) for case in cases for verdict in case.verdicts]
    lines = [f"{sum(verdict.met for _, verdict in told)} of {len(told)} promises met"]
    lines += [f"  {verdict.word:<12} {title}: {verdict.text}" for title, verdict in told if not verdict.met]
    return "\n".join(lines)


def _found(value: float | None) -> str:
    return "-" if value is None else number(value)


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def keep(cases: Sequence[Case], path: Path) -> dict[str, Any]:
    """Write cases into a JSON file; cases that did not run this time stay as they were. Gives all of it back."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for case in cases:
        known[case.name] = {
            "title": case.title,
            "machine": dict(case.machine),
            "figures": [asdict(figure) for figure in case.figures],
            "verdicts": [{**asdict(verdict), "word": verdict.word} for verdict in case.verdicts],
            "notes": case.notes,
        }
    known = dict(sorted(known.items()))
    path.write_text(json.dumps(known, indent=1) + "\n")
    return known


def write_page(known: Mapping[str, Any], page: Path, chart: Path) -> None:
    """Bring the part of the page that is ours up to date, and its chart."""
    chart.write_text(drawn(known), encoding="utf-8")
    text = page.read_text(encoding="utf-8") if page.exists() else f"# Performance\n\n{_BEGIN}\n{_END}\n"
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    body = "\n".join(
        [f"![Figures as a chart]({chart.name})", *(line for case in known.values() for line in _section(case))]
    )
    page.write_text(f"{head}{_BEGIN}\n\n{body}\n{_END}{tail}", encoding="utf-8")


def _section(case: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {case['title']}", "")
    yield "; ".join(f"{name.replace('_', ' ')}: {said}" for name, said in case["machine"].items()) + "."
    if case["verdicts"]:
        yield from ("", "| promised | found | bound | |", "|---|---|---|---|")
        for verdict in case["verdicts"]:
            word = "met" if verdict["met"] else f"**{verdict['word'].lower()}**"
            yield f"| {verdict['text']} | {_found(verdict['found'])} | {verdict['bound']} | {word} |"
    yield from ("", "| program | figure | median | min .. max | rounds |", "|---|---|---|---|---|")
    for figure in case["figures"]:
        values = figure["values"]
        middle = f"{number(median(values))} {figure['unit']}"
        spread = f"{number(min(values))} .. {number(max(values))}"
        yield f"| {figure['program']} | {figure['what']} | {middle} | {spread} | {len(values)} |"
    for note in case["notes"]:
        yield from ("", note)


def drawn(known: Mapping[str, Any]) -> str:
    """Bars with their range, one group of bars for each chart of each case."""
    rows: list[str] = []
    y = 10
    for case in known.values():
        for chart in dict.fromkeys(figure["chart"] for figure in case["figures"] if figure["chart"]):
            figures = [figure for figure in case["figures"] if figure["chart"] == chart]
            longest = max(max(figure["values"]) for figure in figures) or 1.0
            rows.append(f'<text x="10" y="{y + 16}" font-weight="bold">{escape(chart)} ({figures[0]["unit"]})</text>')
            y += _ROW
            for figure in figures:
                rows += _bar(figure, y, (_WIDTH - _LEFT - _RIGHT) / longest)
                y += _ROW
            y += _ROW // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" '
        f'font-size="13" fill="{_INK}"><rect width="{_WIDTH}" height="{y}" fill="white"/>'
        + "".join(rows)
        + "</svg>\n"
    )


def _bar(figure: Mapping[str, Any], y: int, scale: float) -> Iterator[str]:
    values = figure["values"]
    length, low, high = (max(1.0, value * scale) for value in (median(values), min(values), max(values)))
    colour = _OURS if figure["program"].startswith("Homeward") else _BAR
    middle = y + _ROW / 2
    yield f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(figure["program"])}</text>'
    yield f'<rect x="{_LEFT}" y="{y + 5}" width="{length:.1f}" height="{_ROW - 10}" fill="{colour}"/>'
    if len(values) > 1:
        yield (
            f'<line x1="{_LEFT + low:.1f}" x2="{_LEFT + high:.1f}" y1="{middle}" y2="{middle}" stroke="{_RANGE}" '
            'stroke-width="2"/>'
        )
    yield f'<text x="{_LEFT + high + 8:.1f}" y="{middle + 4}">{number(median(values))}</text>'
