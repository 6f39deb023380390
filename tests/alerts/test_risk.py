"""The place in the list: points that add up, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import risk as points
from alerts.alert import Alert, Priority, Text
from alerts.risk import Risk, Standing, ranked, risk
from alerts.week import Figures, Pressure

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
GOOD = Figures(
    readings=672,
    wear=100.0,
    tir=85.0,
    tbr=1.0,
    tbr_2=0.0,
    tar=14.0,
    tar_2=1.0,
    mean=140.0,
    cv=30.0,
    gmi=6.7,
    lbgi=0.4,
    hbgi=3.0,
    gri=15.0,
)
CALM = Standing(patient="p-1", day=date(2026, 3, 9), made_at=NOW, week=GOOD, before=GOOD, sensor=1.0)


def alert(priority: Priority = Priority.MEDIUM, minutes: int = 20, **changed: object) -> Alert:
    opened = NOW - timedelta(minutes=minutes)
    plain = Alert(
        id="a-1",
        patient="p-1",
        problem="glucose-low",
        priority=priority,
        because=Text(en="Low for 20 min.", zh="低血糖 20 分钟。"),
        evidence=(),
        raising=frozenset({"low"}),
        since=opened,
        opened_at=opened,
        updated_at=opened,
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


def told(standing: Standing | None, *alerts: Alert) -> dict[str, int]:
    return {reason.name: reason.points for reason in risk("p-1", standing, alerts, NOW).reasons}


def week(**changed: float) -> Standing:
    return replace(CALM, week=replace(GOOD, **changed))  # type: ignore[arg-type]


def test_whom_nothing_is_known_of_and_who_is_well_have_no_points() -> None:
    assert risk("p-1", None, (), NOW) == Risk(patient="p-1")
    assert told(CALM) == {}
    assert told(replace(CALM, week=None, before=None, sensor=0.0)) == {}


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (week(lbgi=1.1), {"lbgi": 2}),
        (week(lbgi=1.09), {}),
        (week(lbgi=2.5), {"lbgi": 8, "lbgi-rising": 4}),
        (week(lbgi=5.0, wear=69.9), {"lbgi": 15, "little-data": 6}),
        (week(lbgi=5.0, wear=39.9), {"little-data": 6}),
        (week(hbgi=4.5), {"hbgi": 4}),
        (week(hbgi=9.0), {"hbgi": 8}),
        (week(gri=20.0), {"gri": 2}),
        (week(gri=59.9), {"gri": 5}),
        (week(gri=80.0), {"gri": 12}),
        (week(tir=80.0), {"tir-falling": 4}),
        (week(tir=80.1), {}),
        (week(tir=75.0), {"tir-falling": 8}),
        (week(tir=70.0), {"tir-falling": 12}),
        (replace(week(tir=60.0), before=replace(GOOD, wear=69.0)), {}),
        (replace(CALM, week=None), {"no-data": 8}),
        (replace(CALM, week=None, sensor=0.9), {}),
        (replace(week(wear=28.1), sensor=0.4), {}),
        (replace(week(wear=27.9), sensor=0.4), {"little-data": 6}),
        (replace(CALM, night_lows=True), {"nocturnal-lows": 6}),
        (replace(CALM, pressure=Pressure(134.9, 84.9, 8)), {}),
        (replace(CALM, pressure=Pressure(135.0, 80.0, 8)), {"pressure": 5}),
        (replace(CALM, pressure=Pressure(135.0, 80.0, 7)), {}),
        (replace(CALM, pressure=Pressure(130.0, 90.0, 14)), {"pressure": 10}),
        (
            replace(CALM, pressure=Pressure(128.0, 80.0, 14), pressure_before=Pressure(118.0, 80.0, 8)),
            {"pressure-rising": 8},
        ),
        (replace(CALM, pressure=Pressure(128.0, 80.0, 14), pressure_before=Pressure(118.1, 73.1, 8)), {}),
        (replace(CALM, pressure=Pressure(128.0, 80.0, 14), pressure_before=Pressure(110.0, 70.0, 7)), {}),
    ],
)
def test_each_figure_has_its_points(standing: Standing, expected: dict[str, int]) -> None:
    assert told(standing) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (alert(Priority.HIGH, 59), {"alert-unanswered": 100}),
        (alert(Priority.HIGH, 60), {"alert-unanswered": 100, "answer-overdue": 20}),
        (alert(Priority.MEDIUM, 239), {"alert-unanswered": 40}),
        (alert(Priority.MEDIUM, 240), {"alert-unanswered": 40, "answer-overdue": 10}),
        (alert(Priority.LOW, 72 * 60), {"alert-unanswered": 10, "answer-overdue": 5}),
        (alert(Priority.HIGH, 900, acknowledged_at=NOW, acknowledged_by="Dr Li"), {"alert-answered": 30}),
    ],
)
def test_open_alerts_count_more_while_nobody_has_answered(found: Alert, expected: dict[str, int]) -> None:
    assert told(None, found) == expected


def test_an_unanswered_alert_of_high_priority_stands_before_any_figures() -> None:
    worst = Standing(
        patient="p-2",
        day=date(2026, 3, 9),
        made_at=NOW,
        week=replace(GOOD, lbgi=20.0, hbgi=20.0, gri=100.0, tir=0.0),
        before=GOOD,
        pressure=Pressure(180.0, 110.0, 14),
        pressure_before=Pressure(120.0, 70.0, 14),
        sensor=True,
        night_lows=True,
    )
    figures = risk("p-2", worst, (), NOW)
    assert figures.points == 15 + 8 + 12 + 12 + 4 + 10 + 8 + 6 < points.UNANSWERED[Priority.HIGH]
    assert max(reason.points for reason in figures.reasons) < points.UNANSWERED[Priority.MEDIUM]
    urgent = risk("p-1", None, [alert(Priority.HIGH)], NOW)
    assert [each.patient for each in ranked([figures, urgent])] == ["p-1", "p-2"]
    many = risk("p-2", worst, [alert(Priority.MEDIUM), alert(Priority.LOW)], NOW)
    assert many.points > urgent.points
    assert [each.patient for each in ranked([many, urgent])] == ["p-1", "p-2"]


def test_reasons_say_the_numbers_the_limit_and_the_source() -> None:
    reasons = {reason.name: reason.because for reason in risk("p-1", week(lbgi=3.44, tir=72.0), (), NOW).reasons}
    assert reasons["lbgi"].en == (
        "Risk of lows (LBGI) 3.4 in the last 7 days, 2.5 or more (Kovatchev's risk classes); 100 % of the readings."
    )
    assert reasons["tir-falling"].zh == (
        "一周内目标范围内时间由 85.0% 降至 72.0%（Battelino 2019：5 个百分点即有意义）。"
    )
    waited = risk("p-1", None, [alert(Priority.HIGH, 150)], NOW).reasons
    assert waited[0].because.en == "High priority, nobody has answered: Low for 20 min."
    assert "waits 2 h, usual is 1 h" in waited[1].because.en


SHARE = st.floats(0, 100)
FIGURES = st.builds(
    Figures,
    readings=st.integers(2, 3000),
    **dict.fromkeys(("wear", "tir", "tbr", "tbr_2", "tar", "tar_2", "cv", "gri"), SHARE),
    **dict.fromkeys(("mean", "gmi", "lbgi", "hbgi"), st.floats(0, 60)),
)
PRESSURES = st.none() | st.builds(Pressure, st.floats(80, 220), st.floats(40, 130), st.integers(1, 40))
STANDINGS = st.none() | st.builds(
    Standing,
    patient=st.just("p-1"),
    day=st.just(date(2026, 3, 9)),
    made_at=st.just(NOW),
    week=st.none() | FIGURES,
    before=st.none() | FIGURES,
    pressure=PRESSURES,
    pressure_before=PRESSURES,
    sensor=st.booleans(),
    night_lows=st.booleans(),
)
ALERTS = st.lists(st.builds(alert, st.sampled_from(Priority), st.integers(0, 10_000)), max_size=4)


@given(STANDINGS, ALERTS)
def test_the_place_is_the_sum_of_its_reasons_and_an_alert_never_lowers_it(standing, alerts) -> None:
    found = risk("p-1", standing, alerts, NOW)
    assert found.points == sum(reason.points for reason in found.reasons)
    assert [reason.points for reason in found.reasons] == sorted((r.points for r in found.reasons), reverse=True)
    for reason in found.reasons:
        assert reason.points > 0
        assert reason.because.en
        assert reason.because.zh
    assert risk("p-1", standing, [*alerts, alert()], NOW).points == found.points + 40
