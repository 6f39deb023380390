from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from alerts.device_rules import CHANNEL_DEAD
from alerts.devices import LATE
from alerts.rule import MG_DL, MIN, MMHG, MMOL_L, PERCENT, POPULATIONS, REGIONS, Group, LimitsError, Parameter, Rule
from alerts.rules import DEFAULTS, PROBLEMS, RULES, Care, Override, RuleBook, limits_for, parse_book, parse_limits
from ingest.vital import MG_DL_PER_MMOL_L

EVERY = [(rule, parameter) for rule in RULES.values() for parameter in rule.parameters]


@pytest.mark.parametrize(("rule", "parameter"), EVERY)
def test_every_number_has_a_default_in_its_bounds_and_a_source_in_both_languages(
    rule: Rule, parameter: Parameter
) -> None:
    for variant in (parameter.of(()), *parameter.variants.values()):
        assert parameter.lower <= variant.default <= parameter.upper
        assert variant.source.en
        assert variant.source.zh
    assert parameter.variants.keys() <= {*POPULATIONS, *REGIONS}
    assert DEFAULTS.value(rule.name, parameter.name, parameter.unit) == parameter.default


def test_every_rule_has_a_name_a_title_and_a_trouble_that_has_a_name() -> None:
    for name, rule in RULES.items():
        assert name == rule.name
        assert name == name.lower()
        assert rule.title.en
        assert rule.title.zh
        assert rule.problem in PROBLEMS
        assert bool(rule.vitals) == (rule is not CHANNEL_DEAD)  # about the house, and no reading


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("region", REGIONS)
def test_the_defaults_of_every_population_and_region_contradict_nothing(population: Group, region: Group) -> None:
    limits = limits_for(population=population, region=region)
    assert limits.value("low-event-2", "limit", MG_DL) == 54


def test_no_device_comes_late_and_still_too_early_to_be_told() -> None:
    for rule in RULES.values():
        for parameter in rule.parameters:
            if parameter.name.startswith("fresh-"):
                assert all(LATE[vital] <= timedelta(minutes=parameter.lower) for vital in rule.vitals)


def test_a_glucose_limit_means_the_same_in_both_units() -> None:
    in_mmol = {(rule.name, parameter.name): parameter for rule, parameter in EVERY if parameter.unit == MMOL_L}
    in_mg = {(rule.name, parameter.name): parameter for rule, parameter in EVERY if parameter.unit == MG_DL}
    assert in_mg.keys() <= in_mmol.keys()  # ketones have the one unit
    for key, mmol in ((key, each) for key, each in in_mmol.items() if key in in_mg):
        for name in ("default", "lower", "upper"):
            assert getattr(mmol, name) * MG_DL_PER_MMOL_L == pytest.approx(getattr(in_mg[key], name), abs=1.0)


def test_limits_published_with_the_consensus() -> None:
    assert DEFAULTS.value("low-event-1", "limit", MG_DL) == 70
    assert DEFAULTS.value("low-event-1", "limit", MMOL_L) == 3.9
    assert DEFAULTS.value("low-event-2", "limit", MG_DL) == 54
    assert DEFAULTS.value("low-event-2", "limit", MMOL_L) == 3.0
    assert DEFAULTS.value("high-event-1", "limit", MMOL_L) == 10.0
    assert DEFAULTS.value("high-event-2", "limit", MMOL_L) == 13.9
    assert DEFAULTS.value("bp-session-high", "systolic", MMHG) == 135
    assert DEFAULTS.value("bp-severe", "diastolic", MMHG) == 110


def test_in_pregnancy_the_range_is_narrower_and_staff_hear_of_a_level_2_low_at_once() -> None:
    limits = limits_for(population=Group.PREGNANCY)
    assert (limits.value("low-event-1", "limit", MG_DL), limits.value("low-event-1", "limit", MMOL_L)) == (63, 3.5)
    assert (limits.value("high-event-1", "limit", MG_DL), limits.value("high-event-1", "limit", MMOL_L)) == (140, 7.8)
    assert limits.minutes("low-event-2", "staff-after") == timedelta(minutes=15)
    assert "pregnancy" in limits.source("low-event-1", "limit", MG_DL).en


def test_a_limit_in_one_unit_holds_in_the_other_and_says_that_it_is_the_patients_own() -> None:
    limits = parse_limits({"low-event-1": {"limit": {"value": 4.4, "unit": "mmol/L"}}})
    assert limits.value("low-event-1", "limit", MG_DL) == 79
    assert limits.value("low-event-1", "clear", MMOL_L) == 4.4  # moved along, so that the low can end
    assert limits.value("low-event-1", "clear", MG_DL) == 79
    assert limits.source("low-event-1", "limit", MG_DL).en == "set for this patient"
    assert limits.source("low-event-2", "limit", MG_DL).en.startswith("Battelino")


def test_a_limit_may_be_given_in_both_units() -> None:
    both = [{"value": 75, "unit": "mg/dL"}, {"value": 4.2, "unit": "mmol/L"}]
    limits = parse_limits({"low-event-1": {"limit": both}})
    assert (limits.value("low-event-1", "limit", MG_DL), limits.value("low-event-1", "limit", MMOL_L)) == (75, 4.2)
    assert parse_limits(json.loads(json.dumps(limits.to_json()))) == limits


BOOK = """
region = "china"
population = "older"

[clinic.low-event-2]
staff-after = { value = 20, unit = "min", author = "Dr Li", from = 2026-01-01 }

[programme.gdm.bp-severe]
systolic = { value = 155, unit = "mmHg", author = "Dr Wu" }

[patient.p-1]
population = "pregnancy"
programme = "gdm"

[patient.p-2.low-event-2]
staff-after = { value = 15, unit = "min", author = "Dr Li", from = 2026-03-01, to = 2026-03-07 }
"""


def test_the_narrower_override_counts_while_it_holds_and_says_who_set_it() -> None:
    book = parse_book(tomllib.loads(BOOK))
    day = date(2026, 3, 1)

    def after(patient: str, on: date) -> float:
        return book.limits(patient, (), on).value("low-event-2", "staff-after", MIN)

    assert [after("p-2", date(2026, 3, number)) for number in (1, 7, 8)] == [15, 15, 20]
    assert after("p-9", date(2025, 12, 31)) == 15  # the default of the older
    source = book.limits("p-2", (), day).source("low-event-2", "staff-after", MIN)
    assert source.en == "set for this patient by Dr Li, 2026-03-01"
    assert source.zh == "为该患者单独设定（Dr Li），2026-03-01"
    in_programme = book.limits("p-1", (), day)
    assert in_programme.value("bp-severe", "systolic", MMHG) == 155
    assert in_programme.source("bp-severe", "systolic", MMHG).en == "set for programme gdm by Dr Wu"
    assert in_programme.value("low-event-1", "limit", MG_DL) == 63
    assert book.limits("p-9", (), day).value("meter-high", "before-meal", MMOL_L) == 8.3  # older over China


LAXER = """
[clinic.bp-severe]
systolic = { value = 190, unit = "mmHg" }
diastolic = { value = 115, unit = "mmHg" }

[clinic.high-event-1]
limit = { value = 11.1, unit = "mmol/L" }
patient-after = { value = 60, unit = "min" }

[clinic.week-tir]
limit = { value = 40, unit = "%" }

[older.week-tir]
limit = { value = 45, unit = "%" }

[programme.insulin.bp-severe]
systolic = { value = 170, unit = "mmHg" }

[programme.gdm.bp-severe]
systolic = { value = 155, unit = "mmHg" }

[patient.p-1]
population = "pregnancy"

[patient.p-1.bp-severe]
systolic = { value = 175, unit = "mmHg" }
"""


def test_what_is_set_for_a_clinic_never_has_a_population_watched_less_closely() -> None:
    book, day = parse_book(tomllib.loads(LAXER)), date(2026, 3, 1)

    def systolic(
        book: RuleBook, population: Group | None = None, programme: str | None = None, patient: str = ""
    ) -> float:
        return book.limits(patient, (), day, Care(population, programme)).value("bp-severe", "systolic", MMHG)

    adult, older, pregnancy = (book.limits("", (), day, Care(group)) for group in POPULATIONS)
    assert (systolic(book), systolic(book, None, "insulin"), systolic(book, Group.OLDER)) == (190, 170, 190)
    assert systolic(book, Group.PREGNANCY) == 160
    assert "pregnancy" in pregnancy.source("bp-severe", "systolic", MMHG).en
    assert pregnancy.value("bp-severe", "diastolic", MMHG) == 110  # a number of its own, though it is the adults' too
    assert [each.value("high-event-1", "limit", MMOL_L) for each in (adult, older, pregnancy)] == [11.1, 11.1, 7.8]
    assert [each.value("high-event-1", "limit", MG_DL) for each in (adult, older, pregnancy)] == [200, 200, 140]
    assert pregnancy.value("high-event-1", "patient-after", MIN) == 60  # sooner than its own 120
    assert [each.value("week-tir", "limit", PERCENT) for each in (adult, older, pregnancy)] == [40, 45, 40]
    assert systolic(book, Group.PREGNANCY, "insulin") == 160
    assert systolic(book, Group.PREGNANCY, "gdm") == 155
    assert systolic(book, patient="p-1") == 175  # set for the one patient
    by_name = parse_book(tomllib.loads(LAXER + '[pregnancy.bp-severe]\nsystolic = {value = 165, unit = "mmHg"}'))
    assert [systolic(by_name, group) for group in POPULATIONS] == [190, 190, 165]
    assert systolic(by_name, Group.PREGNANCY, "insulin") == 165
    said = by_name.limits("", (), day, Care(Group.PREGNANCY)).source("bp-severe", "systolic", MMHG)
    assert (said.en, said.zh) == ("set by the clinic for pregnancy", "由医疗机构为妊娠人群设定")


def test_the_numbers_of_a_clinic_for_pregnancy_are_meant_for_it_and_loosen_none_of_adults() -> None:
    clinic = 'population = "pregnancy"\n[clinic.low-event-1]\nlimit = { value = 62, unit = "mg/dL" }'
    book, day = parse_book(tomllib.loads(clinic)), date(2026, 3, 1)
    found = {
        group: book.limits("", (), day, Care(group)).value("low-event-1", "limit", MG_DL) for group in POPULATIONS
    }
    assert found == {Group.ADULT: 70, Group.OLDER: 70, Group.PREGNANCY: 62}


def test_it_is_known_when_other_numbers_will_hold() -> None:
    book = parse_book(tomllib.loads(BOOK))
    assert book.changes_after("p-2", (), date(2025, 6, 1)) == date(2026, 1, 1)
    assert book.changes_after("p-2", (), date(2026, 1, 1)) == date(2026, 3, 1)
    assert book.changes_after("p-2", (), date(2026, 3, 1)) == date(2026, 3, 8)
    assert book.changes_after("p-2", (), date(2026, 3, 8)) is None
    own = Override(given={}, scope="patient", first=date(2026, 5, 1))
    assert book.changes_after("p-2", (own,), date(2026, 4, 1)) == date(2026, 5, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('region = "mars"', "region: 'mars' is not known. Use one of: international, china."),
        ("clinics = 1", "clinics: there is no such key. Use one of: adult, clinic, older, patient,"),
        ('patient.x.programme = "gdm"', "patient.x: there is no programme 'gdm'"),
        ("clinic.low-event-1.limit = 70", "without a unit is refused"),
        ('clinic.low-event-1.limit = { value = 40, unit = "mg/dL" }', "40 mg/dL is not safe"),
        ('clinic.low-event-1.limit = { value = 72, unit = "mg/dL", from = "soon" }', "'soon' is not a day"),
        (
            'clinic.low-event-1.limit = { value = 72, unit = "mg/dL", from = 2026-03-02, to = 2026-03-01 }',
            "it would end on 2026-03-01, before it begins",
        ),
        ('clinic.low-event-1.limit = { value = 72, unit = "mg/dL", author = 7 }', "the author 7 is not a name"),
        ("clinic = 5", "clinic: expected a table"),
        (
            """
            clinic.low-event-2.limit = { value = 65, unit = "mg/dL" }
            patient.p-1.low-event-1.limit = { value = 60, unit = "mg/dL" }
            """,
            "low-event-2.limit is 65 mg/dL, above low-event-1.limit with 60 mg/dL",
        ),
    ],
)
def test_a_rule_file_is_refused_with_where_what_and_what_to_do(text: str, said: str) -> None:
    with pytest.raises(LimitsError) as refused:
        parse_book(tomllib.loads(text))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"glucose-lo": {}}, "glucose-lo: there is no such rule. Did you mean glucose-referral? `homeward rules"),
        ({"low-event-3": {}}, "low-event-3: there is no such rule. Did you mean low-event-2 or low-event-1 or"),
        ({"low-event-1": 4}, "low-event-1: expected"),
        (
            {"low-event-1": {"limt": {"value": 70, "unit": "mg/dL"}}},
            "low-event-1.limt: this rule has no such parameter",
        ),
        ({"low-event-1": {"limit": 70}}, 'without a unit is refused. Write it as {"value": 70, "unit": "mg/dL"}'),
        ({"low-event-1": {"limit": {"value": 70}}}, "a number without a unit is refused"),
        ({"low-event-1": {"limit": {"value": 70, "unit": "mmHg"}}}, "unit 'mmHg' does not fit. Use mg/dL or mmol/L"),
        ({"low-event-1": {"limit": {"value": "70", "unit": "mg/dL"}}}, "'70' is not a number"),
        ({"low-event-1": {"limit": {"value": True, "unit": "mg/dL"}}}, "True is not a number"),
        ({"low-event-1": {"limit": {"value": float("nan"), "unit": "mg/dL"}}}, "nan mg/dL is not safe"),
        ({"low-event-1": {"limit": {"value": 40, "unit": "mg/dL"}}}, "Choose a value from 60 to 100 mg/dL"),
        ({"low-event-1": {"limit": {"value": 70, "unit": "mmol/L"}}}, "Choose a value from 3.3 to 5.6 mmol/L"),
        ({"low-event-1": {"limit": [{"value": 70, "unit": "mg/dL"}] * 2}}, "given twice in mg/dL"),
        ({"low-event-1": {"limit": {"value": 70, "unit": "mg/dL", "by": "x"}}}, "'by' is nothing that a number says"),
        ({"low-event-1": {"limit": {"value": 70, "unit": "mg/dL", "form": "2026-03-01"}}}, "Did you mean from?"),
        ({"low-event-1": {"limit": {"unit": "mg/dL"}}}, "the value is missing"),
        (
            {
                "low-event-1": {"limit": {"value": 60, "unit": "mg/dL"}},
                "low-event-2": {"limit": {"value": 65, "unit": "mg/dL"}},
            },
            "low-event-2.limit is 65 mg/dL, above low-event-1.limit with 60 mg/dL",
        ),
        (
            {
                "low-event-1": {"limit": {"value": 3.4, "unit": "mmol/L"}},
                "low-event-2": {"limit": {"value": 3.6, "unit": "mmol/L"}},
            },
            "low-event-2.limit is 3.6 mmol/L, above low-event-1.limit with 3.4 mmol/L",
        ),
        (
            {"bp-session-high": {"clear-systolic": {"value": 150, "unit": "mmHg"}}},
            "bp-session-high.clear-systolic is 150 mmHg, above bp-session-high.systolic with 135 mmHg",
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
