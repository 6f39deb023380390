"""A patient's own limits as they are set one by one: which of the earlier ones a new one ends."""

from __future__ import annotations

from datetime import date

import pytest

from alerts.rule import Group, LimitsError
from alerts.rules import parse_book
from gateway.own_limits import limits_on, own_numbers, refuse_change, unreadable_numbers, with_number, without_number
from gateway.people import Patient

TODAY = date(2026, 3, 10)
DAYS = tuple[str | None, str | None]


def number(value: float, days: DAYS = (None, None), unit: str = "mg/dL") -> dict[str, object]:
    said = {name: day for name, day in zip(("from", "to"), days, strict=True) if day}
    return {"value": value, "unit": unit, "author": "Dr Li", **said}


def anna(*numbers: dict[str, object]) -> Patient:
    held = {"low-event-1": {"limit": list(numbers)}, "low-event-2": {"staff-after": number(20, unit="min")}}
    return Patient(id="anna", name="Anna", zone="UTC", limits=held)


@pytest.mark.parametrize(
    ("before", "new", "ends"),
    [
        ((None, None), (None, None), True),
        ((None, None), ("2026-03-10", None), True),  # what was before today is over anyhow
        ((None, None), ("2026-03-11", None), False),
        ((None, None), ("2026-03-10", "2026-03-20"), False),  # a while over a lasting one
        (("2026-03-12", "2026-03-14"), ("2026-03-10", "2026-03-14"), True),
        (("2026-03-12", "2026-03-15"), ("2026-03-10", "2026-03-14"), False),
        (("2026-03-12", None), ("2026-03-12", None), True),
        (("2026-03-12", None), ("2026-03-13", None), False),
        (("2026-02-01", "2026-02-20"), ("2026-03-10", None), True),
        (("2026-02-01", "2026-02-20"), ("2026-04-01", None), False),
    ],
)
def test_a_number_ends_when_a_new_one_leaves_it_no_day(before: DAYS, new: DAYS, ends: bool) -> None:
    later = number(4.1, new, "mmol/L")
    changed = with_number(anna(number(72, before)), "low-event-1", "limit", later, TODAY)
    assert changed.limits["low-event-1"]["limit"] == ([] if ends else [number(72, before)]) + [later]
    assert changed.limits["low-event-2"] == {"staff-after": [number(20, unit="min")]}


def test_one_of_several_is_ended_by_what_was_written_down() -> None:
    first, second = number(72, ("2026-03-01", None)), number(74, ("2026-03-20", None))
    one = without_number(anna(first, second), "low-event-1", "limit", dict(first))
    assert [own.value for own in own_numbers(one)] == [74, 20]
    with pytest.raises(ValueError, match="not in list"):
        without_number(one, "low-event-1", "limit", first)


def test_a_number_that_cannot_be_is_refused_and_one_that_cannot_be_read_is_kept() -> None:
    with pytest.raises(LimitsError, match="not safe"):
        with_number(anna(), "low-event-1", "limit", number(20), TODAY)
    old = {"value": 1, "unit": "mg/dL", "author": "an older Homeward"}
    changed = with_number(anna(old), "low-event-1", "limit", number(72), TODAY)
    assert changed.limits["low-event-1"]["limit"] == [old, number(72)]


def test_what_cannot_be_read_hides_no_contradiction_of_the_others() -> None:
    low, very_low = number(62), number(54)
    held = {"glucose-gone": {"limit": [low]}, "low-event-1": {"limit": [low]}, "low-event-2": {"limit": [very_low]}}
    before = Patient(id="anna", name="Anna", zone="UTC", limits=held)
    clinic = parse_book({"clinic": {"low-event-2": {"limit": number(64)}}})
    assert [each.rule for each in unreadable_numbers(before)] == ["glucose-gone"]
    refuse_change(clinic, before, with_number(before, "low-event-1", "hold", number(20, unit="min"), TODAY), TODAY)
    with pytest.raises(LimitsError, match="is 64 mg/dL, above low-event-1"):
        refuse_change(clinic, before, without_number(before, "low-event-2", "limit", very_low), TODAY)


def test_what_contradicts_a_changed_rule_file_can_be_ended_one_by_one_and_nothing_is_added_to_it() -> None:
    high, calm = number(190), number(134, unit="mmHg")
    held = {"high-event-1": {"limit": [high]}, "bp-session-high": {"clear-systolic": [calm]}}
    before = Patient(id="anna", name="Anna", zone="UTC", limits=held)
    clinic = parse_book(
        {
            "clinic": {
                "high-event-2": {each: number(185) for each in ("limit", "clear")},
                "bp-session-high": {"systolic": number(130, unit="mmHg"), "clear-systolic": number(125, unit="mmHg")},
            }
        }
    )
    one = without_number(before, "high-event-1", "limit", high)
    refuse_change(clinic, before, one, TODAY)
    refuse_change(clinic, one, without_number(one, "bp-session-high", "clear-systolic", calm), TODAY)
    with pytest.raises(LimitsError, match="high-event-1"):
        refuse_change(
            clinic, before, with_number(before, "low-event-1", "hold", number(20, unit="min"), TODAY), TODAY
        )


def test_a_number_on_which_another_rests_is_not_ended_before_it() -> None:
    clinic = parse_book({"clinic": {"low-event-2": {"limit": number(64)}}})
    low, very_low = number(62), number(54)
    held = {"low-event-1": {"limit": [low]}, "low-event-2": {"limit": [very_low]}}
    before = Patient(id="anna", name="Anna", zone="UTC", limits=held)
    with pytest.raises(LimitsError, match="is 64 mg/dL, above low-event-1"):
        refuse_change(clinic, before, without_number(before, "low-event-2", "limit", very_low), TODAY)
    refuse_change(clinic, before, without_number(before, "low-event-1", "limit", low), TODAY)


def test_where_the_rule_file_contradicts_a_population_its_defaults_hold_with_the_reason() -> None:
    clinic = parse_book({"clinic": {"low-event-2": {"limit": number(64)}, "low-event-1": {"limit": number(66)}}})
    held = {"low-extended": {"staff-after": [number(130, unit="min")]}}
    anna = Patient(id="anna", name="Anna", zone="UTC", limits=held, population=Group.PREGNANCY)
    assert not limits_on(clinic, anna, TODAY).left_out  # 66 is no laxer than the 63 of pregnancy
    clinic = parse_book({"clinic": {"low-event-2": {"limit": number(64)}}})
    applied = limits_on(clinic, anna, TODAY)
    assert [applied.limits.value(f"low-event-{level}", "limit", "mg/dL") for level in (1, 2)] == [63, 54]
    assert applied.limits.value("low-extended", "staff-after", "min") == 130
    assert ["low-event-2.limit is 64 mg/dL" in each.en for each in applied.left_out] == [True]
