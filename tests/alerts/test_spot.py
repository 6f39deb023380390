"""What holds for every history of spot measurements."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from alerts.alert import Audience, Finding, Verdict
from alerts.plan import Plan
from alerts.rule import Group, LimitsError
from alerts.rules import DEFAULTS, parse_limits
from alerts.spot_rules import NOT_ABOVE, SPOT_RULES
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital
from tests.alerts.spot_ward import START, Home, cuff, ketone, limits, meter, minute, sensor

PLANS = [Plan(vital=Vital.GLUCOSE, times=2, days=5, since=START - timedelta(days=30))]
FLAGS = st.sets(st.sampled_from([Flag.IRREGULAR_PULSE, Flag.CUFF_LOOSE, Flag.STRIP_ERROR]), max_size=1)
AT = st.integers(0, 3 * 1440)
MEAL = st.sampled_from(["before-meal", "after-meal", "fasting", None])
PATIENTLY = settings(deadline=None)  # a busy machine is no fault of the rules
# Around the limits, where the findings are.
GLUCOSE = st.one_of(st.integers(40, 80), st.integers(120, 320), st.sampled_from(["HI", "LO"]))


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    at, flags = draw(AT), draw(FLAGS)
    late = at + draw(st.sampled_from([0, 0, 0, 5, 90, 900]))
    kind = draw(st.sampled_from(["meter", "meter", "cuff", "cuff", "sensor", "ketone", "mmol"]))
    if kind == "cuff":
        return cuff(at, draw(st.integers(75, 200)), draw(st.integers(45, 130)), flags=flags, arrives=late)
    if kind == "ketone":
        return ketone(at, draw(st.integers(0, 40)) / 10, arrives=late)
    if kind == "sensor":
        return sensor(at, draw(GLUCOSE), arrives=late)
    if kind == "mmol":
        return meter(at, draw(st.integers(25, 180)) / 10, Unit.MMOL_L, meal=draw(MEAL), arrives=late)
    return meter(at, draw(GLUCOSE), meal=draw(MEAL), flags=flags, arrives=late)


HISTORY = st.lists(readings(), max_size=25, unique_by=lambda each: (each.vital, each.taken_at))
# Bursts, in which sessions and repetitions are.
BURSTS = HISTORY.map(
    lambda history: [
        *history,
        *[cuff((each.taken_at - START) / timedelta(minutes=1) + 2.5, 150, 90) for each in history[::3]],
    ]
)


@PATIENTLY
@given(BURSTS, st.integers(0, 5 * 1440))
def test_every_finding_speaks_both_languages_names_no_patient_and_keeps_its_evidence(
    history: list[Reading], now: int
) -> None:
    home = Home(plans=PLANS).take(*history)
    keys = {each.key for each in history}
    for each in (*home.judged(now).findings, *home.reviewed(now).findings):
        assert each.because.en.endswith(".")
        assert each.because.zh.endswith("。")
        assert "p-1" not in each.because.en + each.because.zh
        assert set(each.evidence) <= keys
        assert (
            each.evidence or each.verdict is not Verdict.RAISE or each.rule in {"missed-measurement", "plan-not-kept"}
        )
        assert each.since <= minute(now)
        event(f"{each.rule} {each.verdict} {each.audience}")


def essence(findings: tuple[Finding, ...]) -> set[tuple[object, ...]]:
    """What somebody hears, without the wording; what only grows old falls from RAISE to HOLD unheard."""
    return {
        (each.rule, each.since, each.audience, each.priority, each.known_at)
        for each in findings
        if each.verdict is Verdict.RAISE
    }


@PATIENTLY
@given(BURSTS, st.integers(0, 3 * 1440), st.floats(0, 1))
def test_nothing_new_is_found_before_the_moment_at_which_it_asks_to_be_judged_again(
    history: list[Reading], now: int, share: float
) -> None:
    home = Home().take(*[each for each in history if each.received_at <= minute(now)])
    judged = home.judged(now)
    again = None if judged.again is None else (judged.again - START) / timedelta(minutes=1)
    assert again is None or again > now
    until = now + 2880 if again is None else again
    later = home.judged(max(now, now + share * (until - now) - 0.01))
    assert essence(later.findings) <= essence(judged.findings)


@PATIENTLY
@given(BURSTS, st.integers(0, 3 * 1440), st.sets(st.sampled_from([rule.name for rule in SPOT_RULES])))
def test_what_nobody_hears_is_all_that_is_left_out(history: list[Reading], now: int, raising: set[str]) -> None:
    home = Home().take(*history)
    everything = home.judged(now)
    heard = home.judged(now, raising=raising)
    assert heard.again == everything.again
    assert heard.findings == tuple(
        each
        for each in everything.findings
        if each.verdict is Verdict.RAISE or (each.verdict is Verdict.CLEAR and each.rule in raising)
    )


@PATIENTLY
@given(HISTORY)
def test_a_day_later_nothing_is_raised_any_more(history: list[Reading]) -> None:
    home = Home().take(*history)
    found = home.judged(5 * 1440)
    assert essence(found.findings) == set()
    assert found.again is None


@PATIENTLY
@given(st.lists(st.tuples(AT, st.integers(70, 179), st.integers(40, 109)), max_size=20), st.integers(0, 4 * 1440))
def test_staff_never_hear_of_a_severe_pressure_without_a_severe_reading(
    history: list[tuple[int, int, int]], now: int
) -> None:
    found = Home().take(*[cuff(*each) for each in history]).at(now)
    assert "bp-severe" not in found or found["bp-severe"].verdict is not Verdict.RAISE


@settings(max_examples=200, deadline=None)
@given(
    st.integers(160, 240),
    st.integers(60, 140),
    st.integers(1, 14),
    st.integers(90, 179),
    st.integers(60, 109),
    st.integers(0, 600),
)
def test_a_severe_reading_followed_in_time_by_one_that_is_not_never_reaches_staff(
    systolic: int, diastolic: int, gap: int, next_systolic: int, next_diastolic: int, wait: int
) -> None:
    second = cuff(gap, next_systolic, min(next_diastolic, next_systolic - 20))
    home = Home().take(cuff(0, systolic, min(diastolic, systolic - 20)), second)
    for now in (0, gap / 2, gap, gap + wait):
        found = home.at(now)["bp-severe"]
        assert found.verdict is not Verdict.RAISE or found.audience is Audience.PATIENT


# The rules as data


@pytest.mark.parametrize("group", [None, Group.OLDER, Group.PREGNANCY, Group.CHINA])
def test_the_numbers_of_every_group_are_in_their_bounds_and_in_order(group: Group | None) -> None:
    groups = () if group is None else (group,)
    values = {
        (rule.name, each.name, each.unit): each.of(groups).default for rule in SPOT_RULES for each in rule.parameters
    }
    for rule in SPOT_RULES:
        for each in rule.parameters:
            assert each.lower <= each.of(groups).default <= each.upper, (rule.name, each.name)
            assert each.of(groups).source.en
            assert each.of(groups).source.zh
    known = limits(*groups)
    for (rule_name, parameter, unit), value in values.items():
        assert known.value(rule_name, parameter, unit) == value
    for low, high in NOT_ABOVE:
        for unit in {unit for rule_name, parameter, unit in values if (rule_name, parameter) == low}:
            assert values[*low, unit] <= values[*high, unit], (low, high)


def test_published_limits() -> None:
    for rule, parameter, unit, value in (
        ("meter-low", "limit", "mg/dL", 70),
        ("meter-low", "limit", "mmol/L", 3.9),
        ("meter-very-low", "limit", "mg/dL", 54),
        ("meter-referral", "low", "mmol/L", 3.9),
        ("meter-referral", "high", "mmol/L", 16.7),
        ("ketone", "emergency", "mmol/L", 3.0),
        ("bp-severe", "systolic", "mmHg", 180),
        ("bp-severe", "diastolic", "mmHg", 110),
        ("bp-not-at-goal", "systolic", "mmHg", 135),
        ("bp-low", "systolic", "mmHg", 90),
    ):
        assert DEFAULTS.value(rule, parameter, unit) == value


@pytest.mark.parametrize(
    ("given_limits", "said"),
    [
        ({"meter-low": {"limit": 60}}, "without a unit"),
        ({"meter-low": {"limit": {"value": 40, "unit": "mg/dL"}}}, "not safe"),
        ({"bp-severe": {"wait": {"value": 120, "unit": "min"}}}, "not safe"),
        ({"bp-severe": {"systolic": {"value": 24, "unit": "kPa"}}}, "does not fit"),
        ({"meter-high": {"before-meal": {"value": 190, "unit": "mg/dL"}}}, "above meter-high.after-meal"),
    ],
)
def test_limits_that_are_unsafe_or_contradict_each_other_are_refused(
    given_limits: dict[str, object], said: str
) -> None:
    with pytest.raises(LimitsError, match=said):
        parse_limits(given_limits)
