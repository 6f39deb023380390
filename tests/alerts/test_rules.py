from __future__ import annotations

import json

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from alerts.rules import DEFAULTS, MG_DL, MIN, MMHG, MMOL_L, RULES, LimitsError, Parameter, Rule, parse_limits
from ingest.vital import MG_DL_PER_MMOL_L

EVERY = [(rule, parameter) for rule in RULES.values() for parameter in rule.parameters]


@pytest.mark.parametrize(("rule", "parameter"), EVERY)
def test_every_number_has_a_default_in_its_bounds_and_a_source_in_both_languages(
    rule: Rule, parameter: Parameter
) -> None:
    assert parameter.lower <= parameter.default <= parameter.upper
    assert parameter.unit in {MG_DL, MMOL_L, MMHG, MIN}
    assert parameter.source.en
    assert parameter.source.zh
    assert DEFAULTS.value(rule.name, parameter.name, parameter.unit) == parameter.default


def test_a_glucose_limit_means_the_same_in_both_units() -> None:
    in_mmol = {(rule.name, parameter.name): parameter for rule, parameter in EVERY if parameter.unit == MMOL_L}
    in_mg = {(rule.name, parameter.name): parameter for rule, parameter in EVERY if parameter.unit == MG_DL}
    assert in_mmol.keys() == in_mg.keys()
    for key, mmol in in_mmol.items():
        for name in ("default", "lower", "upper"):
            assert getattr(mmol, name) * MG_DL_PER_MMOL_L == pytest.approx(getattr(in_mg[key], name), abs=1.0)


def test_limits_published_with_the_consensus() -> None:
    assert DEFAULTS.value("glucose-low", "limit", MG_DL) == 70
    assert DEFAULTS.value("glucose-low", "limit", MMOL_L) == 3.9
    assert DEFAULTS.value("glucose-very-low", "limit", MG_DL) == 54
    assert DEFAULTS.value("glucose-very-low", "limit", MMOL_L) == 3.0
    assert DEFAULTS.value("glucose-high", "limit", MMOL_L) == 10.0
    assert DEFAULTS.value("glucose-very-high", "limit", MMOL_L) == 13.9
    assert DEFAULTS.value("blood-pressure-high", "systolic", MMHG) == 135
    assert DEFAULTS.value("blood-pressure-severe", "diastolic", MMHG) == 110


def test_a_limit_in_one_unit_holds_in_the_other_and_says_that_it_is_the_patients_own() -> None:
    limits = parse_limits({"glucose-low": {"limit": {"value": 4.4, "unit": "mmol/L"}}})
    assert limits.value("glucose-low", "limit", MG_DL) == 79
    assert limits.value("glucose-low", "clear", MMOL_L) == 4.4  # moved along, so that the low can end
    assert limits.value("glucose-low", "clear", MG_DL) == 79
    assert limits.source("glucose-low", "limit", MG_DL).en == "set for this patient"
    assert limits.source("glucose-very-low", "limit", MG_DL).en.startswith("Battelino")


def test_a_limit_may_be_given_in_both_units() -> None:
    both = [{"value": 75, "unit": "mg/dL"}, {"value": 4.2, "unit": "mmol/L"}]
    limits = parse_limits({"glucose-low": {"limit": both}})
    assert (limits.value("glucose-low", "limit", MG_DL), limits.value("glucose-low", "limit", MMOL_L)) == (75, 4.2)
    assert parse_limits(json.loads(json.dumps(limits.to_json()))) == limits


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"glucose-lo": {}}, "glucose-lo: there is no such rule. Use one of: glucose-low,"),
        ({"glucose-low": 4}, "glucose-low: expected"),
        (
            {"glucose-low": {"limt": {"value": 70, "unit": "mg/dL"}}},
            "glucose-low.limt: this rule has no such parameter",
        ),
        ({"glucose-low": {"limit": 70}}, 'without a unit is refused. Write it as {"value": 70, "unit": "mg/dL"}'),
        ({"glucose-low": {"limit": {"value": 70}}}, "a number without a unit is refused"),
        ({"glucose-low": {"limit": {"value": 70, "unit": "mmHg"}}}, "unit 'mmHg' does not fit. Use mg/dL or mmol/L"),
        ({"glucose-low": {"limit": {"value": "70", "unit": "mg/dL"}}}, "'70' is not a number"),
        ({"glucose-low": {"limit": {"value": True, "unit": "mg/dL"}}}, "True is not a number"),
        ({"glucose-low": {"limit": {"value": float("nan"), "unit": "mg/dL"}}}, "nan mg/dL is not safe"),
        ({"glucose-low": {"limit": {"value": 40, "unit": "mg/dL"}}}, "Choose a value from 60 to 100 mg/dL"),
        ({"glucose-low": {"limit": {"value": 70, "unit": "mmol/L"}}}, "Choose a value from 3.3 to 5.6 mmol/L"),
        ({"glucose-low": {"limit": [{"value": 70, "unit": "mg/dL"}] * 2}}, "given twice in mg/dL"),
        ({"glucose-low": {"limit": {"value": 70, "unit": "mg/dL", "by": "x"}}}, "expected exactly value and unit"),
        (
            {
                "glucose-low": {"limit": {"value": 60, "unit": "mg/dL"}},
                "glucose-very-low": {"limit": {"value": 65, "unit": "mg/dL"}},
            },
            "glucose-very-low.limit is 65 mg/dL, above glucose-low.limit with 60 mg/dL",
        ),
        (
            {"blood-pressure-high": {"clear-systolic": {"value": 150, "unit": "mmHg"}}},
            "blood-pressure-high.clear-systolic is 150 mmHg, above blood-pressure-high.systolic with 135 mmHg",
        ),
    ],
)
def test_unsafe_limits_are_refused_with_where_what_and_what_to_do(data: dict[str, object], said: str) -> None:
    with pytest.raises(LimitsError) as refused:
        parse_limits(data)
    assert said in str(refused.value)


@given(st.sampled_from(EVERY), st.floats(0, 1))
def test_any_accepted_limit_makes_the_way_through_json(choice: tuple[Rule, Parameter], share: float) -> None:
    rule, parameter = choice
    value = round(parameter.lower + share * (parameter.upper - parameter.lower), 1)
    data = {rule.name: {parameter.name: {"value": value, "unit": parameter.unit}}}
    try:
        limits = parse_limits(data)
    except LimitsError:
        event("contradicts another limit")
        return
    assert parse_limits(json.loads(json.dumps(limits.to_json()))) == limits
    assert limits.value(rule.name, parameter.name, parameter.unit) == value
