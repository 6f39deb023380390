"""The weekly review, on weeks that were made by hand: 672 readings at 15 minutes, in Shanghai."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Audience, Finding, Verdict
from alerts.metrics import Population, Traces, wall_clock
from alerts.review import RANGES, Review, review
from alerts.review_rules import REVIEW_RULES
from alerts.rule import Comparison, Group
from alerts.rules import RULES, limits_for
from alerts.week import last_monday, midnight_us
from ingest.reading import Reading, TimeBasis, from_us, to_us
from ingest.vital import Unit, Vital

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAY = date(2026, 3, 2)
START = datetime(2026, 3, 2, tzinfo=SHANGHAI)
NOW = datetime(2026, 3, 9, 4, tzinfo=SHANGHAI)
WEEK = timedelta(days=7)
QUARTER = timedelta(minutes=15)
LO, HI = -math.inf, math.inf


def trace(values: Mapping[datetime, float], *, mmol: bool = False, zone: ZoneInfo = SHANGHAI) -> Traces:
    taken = np.array([to_us(at) for at in sorted(values)], dtype=np.int64)
    return Traces(
        offsets=np.array([0, len(taken)]),
        taken_us=taken,
        clock_us=wall_clock(taken, zone),
        shown=np.array([values[at] for at in sorted(values)], dtype=np.float64),
        mmol=np.full(len(taken), mmol),
    )


def week(*parts: tuple[int, float], start: datetime = START) -> dict[datetime, float]:
    """So many readings of each value, one after the other from the start of the week on."""
    values = [value for count, value in parts for _ in range(count)]
    return {start + QUARTER * number: value for number, value in enumerate(values)}


def judged(values: Mapping[datetime, float], *groups: Group, mmol: bool = False, unit: Unit | None = None) -> Review:
    traces = trace(values, mmol=mmol)
    region = Group.CHINA if Group.CHINA in groups else Group.INTERNATIONAL
    limits = limits_for(population=next(iter(groups), Group.ADULT), region=region)
    population = RANGES[groups[0]] if groups and groups[0] in RANGES else Population.ADULT
    return review(
        "p-1",
        traces,
        ["cgm-1"] * len(values),
        MONDAY,
        limits,
        population=population,
        zone=SHANGHAI,
        now=NOW.astimezone(UTC),
        unit=unit,
    )


def found(result: Review, rule: str) -> Finding:
    return next(finding for finding in result.findings if finding.rule == rule)


def verdicts(result: Review) -> dict[str, Verdict]:
    return {finding.rule: finding.verdict for finding in result.findings}


RAISED, CLEARED, HELD = Verdict.RAISE, Verdict.CLEAR, Verdict.HOLD


def test_a_quiet_week_raises_nothing_and_says_so() -> None:
    before = week((672, 100.0), start=START - WEEK)
    result = judged(before | week((672, 110.0)))
    assert verdicts(result) == {rule.name: CLEARED for rule in REVIEW_RULES}
    assert result.raised == ()
    assert result.week is not None
    assert (result.week.readings, result.week.wear, result.week.tir) == (672, 100.0, 100.0)
    assert found(result, "week-tir").because.en == (
        "Time in range (70-180 mg/dL) was 100.0 % in the week from 2026-03-02 to 2026-03-08, target above 70 % "
        "(Battelino 2019); the week before 100.0 %. The sensor gave 100 % of its readings."
    )


def test_who_reads_mmol_is_told_so_whatever_the_sensor_sends_and_judged_as_it_sends() -> None:
    # 3.9 mmol/L is 70.26 mg/dL: 70 mg/dL is in range.
    result = judged(week((672, 70.0)), unit=Unit.MMOL_L)
    assert found(result, "week-tir").because.en.startswith("Time in range (3.9-10.0 mmol/L) was 100.0 %")


@pytest.mark.parametrize(
    ("parts", "groups", "rule", "verdict"),
    [
        # 70 % of 672 are 470.4, 50 % are 336.
        (((470, 180.0), (202, 181.0)), (), "week-tir", RAISED),
        (((471, 70.0), (201, 181.0)), (), "week-tir", CLEARED),
        (((336, 180.0), (336, 181.0)), (Group.OLDER,), "week-tir", RAISED),
        (((337, 180.0), (335, 181.0)), (Group.OLDER,), "week-tir", CLEARED),
        (((470, 140.0), (202, 141.0)), (Group.PREGNANCY,), "week-tir", RAISED),
        (((672, 63.0),), (Group.PREGNANCY,), "week-tir", CLEARED),
        # 4 % are 26.9, 1 % are 6.7.
        (((27, 69.0), (645, 100.0)), (), "week-tbr", RAISED),
        (((26, 69.0), (646, 100.0)), (), "week-tbr", CLEARED),
        (((7, 53.0), (665, 100.0)), (), "week-tbr", RAISED),
        (((6, LO), (666, 100.0)), (), "week-tbr", CLEARED),
        (((7, 69.0), (665, 100.0)), (Group.OLDER,), "week-tbr", RAISED),
        (((27, 63.0), (645, 100.0)), (Group.PREGNANCY,), "week-tbr", CLEARED),
        (((27, 62.0), (645, 100.0)), (Group.PREGNANCY,), "week-tbr", RAISED),
        # 25 % are 168, 5 % are 33.6, 10 % are 67.2.
        (((168, 181.0), (504, 100.0)), (), "week-tar", RAISED),
        (((167, 250.0), (505, 100.0)), (), "week-tar", CLEARED),
        (((34, 251.0), (638, 100.0)), (), "week-tar", RAISED),
        (((33, HI), (639, 100.0)), (), "week-tar", CLEARED),
        (((67, 251.0), (605, 100.0)), (Group.OLDER,), "week-tar", CLEARED),
        (((68, 251.0), (604, 100.0)), (Group.OLDER,), "week-tar", RAISED),
        (((168, 141.0), (504, 100.0)), (Group.PREGNANCY,), "week-tar", RAISED),
        (((100, 300.0), (572, 100.0)), (Group.PREGNANCY,), "week-tar", CLEARED),
        # Halves at 100 - d and 100 + d have a CV of d times the root of 672/671.
        (((336, 64.0), (336, 136.0)), (), "week-cv", RAISED),
        (((336, 64.1), (336, 135.9)), (), "week-cv", CLEARED),
        (((336, 67.0), (336, 133.0)), (Group.ADULT, Group.CHINA), "week-cv", RAISED),
        (((336, 67.0), (336, 133.0)), (), "week-cv", CLEARED),
    ],
)
def test_shares_meet_their_targets(parts, groups, rule, verdict) -> None:
    assert found(judged(week(*parts), *groups), rule).verdict is verdict


def test_values_in_mmol_are_compared_as_they_were_shown() -> None:
    """10.0 mmol/L is 180.16 mg/dL, 13.9 is 250.42, 3.9 is 70.26 and 3.0 is 54.05: all four are inside."""
    result = judged(week((168, 10.0), (168, 13.9), (168, 3.9), (168, 3.8)), mmol=True)
    assert result.week is not None
    assert (result.week.tir, result.week.tar, result.week.tar_2) == (50.0, 25.0, 0.0)
    assert (result.week.tbr, result.week.tbr_2) == (25.0, 0.0)
    assert "below 3.9 mmol/L" in found(result, "week-tbr").because.en
    assert "低于 3.0 mmol/L 占 0.0%" in found(result, "week-tbr").because.zh
    assert "(3.9-10.0 mmol/L)" in found(result, "week-tir").because.en


@pytest.mark.parametrize(("count", "verdict"), [(571, RAISED), (572, CLEARED), (672, CLEARED)])
def test_a_fall_of_time_in_range_is_told_from_15_points_on(count: int, verdict: Verdict) -> None:
    before = week((672, 100.0), start=START - WEEK)
    result = judged(before | week((count, 100.0), (672 - count, 200.0)))
    assert found(result, "week-tir-falling").verdict is verdict
    if count == 571:
        assert "fell by 15.0 points" in found(result, "week-tir-falling").because.en
        assert "from 100.0 % the week before to 85.0 %" in found(result, "week-tir-falling").because.en


def test_below_70_percent_of_the_readings_a_week_is_not_judged() -> None:
    """Evenly lost readings: 470 of 672 are 69.9 %."""
    full = week((672, 250.0))
    kept = [at for number, at in enumerate(full) if number * 470 // 672 != (number - 1) * 470 // 672]
    result = judged(dict.fromkeys(kept, 250.0))
    assert len(kept) == 470
    held = {rule for rule, verdict in verdicts(result).items() if verdict is HELD}
    assert held == {"week-tir", "week-tbr", "week-tar", "week-cv", "week-tir-falling", "week-nocturnal-lows"}
    assert "the sensor gave 69 % of the readings of the week, at least 70 %" in found(result, "week-tir").because.en
    assert found(result, "week-wear").verdict is RAISED
    # One more reading, and it is.
    result = judged(dict.fromkeys([*kept, next(at for at in full if at not in kept)], 250.0))
    assert {"week-tir", "week-tar"} <= {finding.rule for finding in result.raised}


def test_the_change_is_not_judged_on_a_week_before_that_is_thin() -> None:
    before = week((300, 100.0), start=START - WEEK)
    result = judged(before | week((672, 200.0)))
    assert found(result, "week-tir-falling").verdict is HELD
    assert "44 % of the readings of the week before" in found(result, "week-tir-falling").because.en
    assert found(result, "week-tir").verdict is RAISED


def nights(*lows: tuple[int, float, int], days: Sequence[int] = range(-7, 7)) -> dict[datetime, float]:
    """Two weeks at 120 but for lows: (day, hour, readings), day 0 is Monday. The last of a low is the lowest."""
    values = {START + timedelta(days=day) + QUARTER * number: 120.0 for day in days for number in range(96)}
    for day, hour, count in lows:
        for number in range(count):
            values[START + timedelta(days=day, hours=hour) + QUARTER * number] = 65.0 - number
    return values


@pytest.mark.parametrize(
    ("lows", "verdict"),
    [
        ([(-5, 2, 2), (-1, 2, 3), (3, 2, 1)], RAISED),
        ([(-5, 2, 2), (3, 2, 1)], CLEARED),  # two nights
        ([(-5, 1, 2), (-1, 2, 3), (3, 3, 1)], CLEARED),  # three nights at three hours
        ([(-5, 2, 2), (-3, 2, 3), (-1, 2, 1)], CLEARED),  # it did not come back this week: it was told last week
        ([(-5, 6, 2), (-1, 6, 3), (3, 6, 1)], CLEARED),  # the morning is no night
        ([(0, 2, 1), (0, 2.5, 1), (0, 2.75, 1)], CLEARED),  # one night
    ],
)
def test_lows_that_come_back_at_the_same_hours_of_the_night(lows, verdict) -> None:
    assert found(judged(nights(*lows)), "week-nocturnal-lows").verdict is verdict


def test_recurring_lows_name_the_hours_the_nights_and_the_lowest_readings() -> None:
    result = judged(nights((-5, 2, 2), (-1, 2, 3), (3, 2, 5), (4, 23, 4)))
    finding = found(result, "week-nocturnal-lows")
    assert finding.because.en == (
        "Glucose was below 70 mg/dL at the same hours of the night (02:00-03:00) in 3 nights of the two weeks up to "
        "2026-03-08; 3 are flagged (Homeward default, to be confirmed by the clinic). 14 of 14 nights have enough "
        "readings."
    )
    lowest = [
        START + timedelta(days=-5, hours=2, minutes=15),
        START + timedelta(days=-1, hours=2, minutes=30),
        START + timedelta(days=3, hours=3),
    ]
    assert finding.evidence == tuple(_reading(at).key for at in lowest)


def test_with_few_nights_known_no_low_is_no_answer() -> None:
    result = judged(nights(days=[-7, -6, -5, -4, 0, 1, 2, 3, 4]))
    finding = found(result, "week-nocturnal-lows")
    assert finding.verdict is HELD
    assert "9 of the 14 nights" in finding.because.en
    # What was seen was seen.
    result = judged(nights((-4, 2, 1), (0, 2, 1), (1, 2, 1), days=[-7, -6, -5, -4, 0, 1, 2, 3, 4]))
    assert found(result, "week-nocturnal-lows").verdict is RAISED


def test_a_sensor_that_was_put_on_or_ended_in_the_week_was_not_worn_too_little() -> None:
    put_on = judged(week((336, 100.0), start=START + WEEK / 2))
    assert found(put_on, "week-wear").verdict is CLEARED
    assert "from 2026-03-05 12:00 to 2026-03-09 00:00" in found(put_on, "week-wear").because.en
    before = week((672, 100.0), start=START - WEEK)
    ended = judged(before | week((200, 100.0)))
    assert found(ended, "week-wear").verdict is CLEARED
    assert found(ended, "week-tir").verdict is HELD
    gap = judged(before | week((200, 100.0)) | week((200, 100.0), start=START + QUARTER * 472))
    assert found(gap, "week-wear").verdict is RAISED
    assert "gave 59 % of its readings" in found(gap, "week-wear").because.en
    gone = judged(before)
    assert found(gone, "week-wear").verdict is HELD
    assert gone.raised == ()


def test_a_week_in_which_the_clocks_change_is_whole() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    monday = date(2026, 3, 23)
    start, end = (from_us(midnight_us(day, berlin)) for day in (monday, monday + WEEK))
    assert end - start == timedelta(hours=167)
    values = {start + QUARTER * number: 100.0 for number in range(-10, 700)}
    traces = trace(values, zone=berlin)
    result = review(
        "p-1", traces, ["cgm-1"] * len(values), monday, limits_for(), zone=berlin, now=end + timedelta(hours=4)
    )
    assert result.week is not None
    assert result.week.readings == 668
    assert found(result, "week-tir").verdict is CLEARED


def test_findings_are_for_the_weekly_list_and_name_their_readings() -> None:
    result = judged(week((672, 300.0)))
    for finding in result.findings:
        assert (finding.patient, finding.audience, finding.since) == ("p-1", Audience.WEEKLY, START)
        assert finding.known_at == NOW
    assert found(result, "week-tir").evidence == (_reading(START).key, _reading(START + QUARTER * 671).key)


def test_rules_name_units_bounds_and_sources() -> None:
    for rule in REVIEW_RULES:
        assert RULES[rule.name] is rule
        assert isinstance(rule.comparison, Comparison)
        assert rule.audience is Audience.WEEKLY
        for parameter in rule.parameters:
            assert parameter.unit
            assert parameter.source.en
            for each in (parameter.default, *(variant.default for variant in parameter.variants.values())):
                assert parameter.lower <= each <= parameter.upper


@given(st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))
def test_the_last_monday_begins_the_last_week_that_is_over(now: datetime) -> None:
    monday = last_monday(now, SHANGHAI)
    assert monday.weekday() == 0
    assert midnight_us(monday + WEEK, SHANGHAI) <= to_us(now) < midnight_us(monday + 2 * WEEK, SHANGHAI)


READINGS = st.lists(
    st.tuples(st.integers(-8 * 96, 8 * 96), st.sampled_from([LO, 40.0, 54.0, 69.0, 70.0, 140.0, 181.0, 251.0, HI])),
    max_size=80,
    unique_by=lambda each: each[0],
)


@settings(max_examples=60)
@given(READINGS, st.sampled_from([(), (Group.OLDER,), (Group.PREGNANCY,)]))
def test_any_two_weeks_get_one_answer_of_each_rule_in_both_languages(readings, groups) -> None:
    values = {START + QUARTER * number: value for number, value in readings}
    result = judged(values, *groups)
    assert tuple(finding.rule for finding in result.findings) == tuple(rule.name for rule in REVIEW_RULES)
    known = {_reading(at).key for at in values if START - WEEK <= at < START + WEEK}
    for finding in result.findings:
        assert finding.because.en.endswith(".")
        assert finding.because.zh.endswith("。")
        assert "nan" not in finding.because.en + finding.because.zh
        assert set(finding.evidence) <= known
    # What lies outside of the two weeks has no say.
    inside = {at: value for at, value in values.items() if START - WEEK <= at < START + WEEK}
    assert judged(inside, *groups) == result


def _reading(at: datetime) -> Reading:
    return Reading(
        patient="p-1",
        device="cgm-1",
        vital=Vital.CGM,
        values=(100.0,),
        sent=(100.0,),
        unit=Unit.MG_DL,
        taken_at=at.astimezone(UTC),
        time_basis=TimeBasis.DEVICE,
        received_at=at.astimezone(UTC),
    )
