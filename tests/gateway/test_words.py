"""What a reading is called on the pages."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest
from jinja2 import Environment

from gateway.language import Translated, load_languages
from gateway.words import shown
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital, canonical
from tests.gateway.small_house import reading

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BOTH = (Flag.ABOVE_RANGE, Flag.BELOW_RANGE)


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_a_reading_is_written_alike_whatever_the_order_of_its_set_of_flags(order: tuple[Flag, ...]) -> None:
    ordered = cast("frozenset[Flag]", dict.fromkeys(order).keys())  # a frozenset has another order in each process
    written = shown(reading(Vital.GLUCOSE, NOON, None, flags=ordered), Unit.MMOL_L, load_languages()["en"])
    assert written.value == "HI"
    assert written.remarks == "above what the device can measure, below what the device can measure"


@pytest.mark.parametrize(
    ("given", "wanted", "sent", "says"),
    [
        (reading(Vital.CGM, NOON, 5.64), Unit.MMOL_L, False, "5.6 mmol/L"),
        (reading(Vital.CGM, NOON, 5.64), Unit.MMOL_L, True, "5.64 mmol/L"),
        (reading(Vital.CGM, NOON, 5.6), Unit.MG_DL, True, "101 mg/dL (5.6 mmol/L)"),
        (reading(Vital.GLUCOSE, NOON, 0.0056), Unit.MG_DL, False, "101 mg/dL"),
        (reading(Vital.BLOOD_PRESSURE, NOON, 138, 86, None, 70), Unit.MMOL_L, True, "138/86 mmHg, pulse 70/min"),
        (
            replace(
                reading(Vital.BLOOD_PRESSURE, NOON, 18.0, 11.3, None, None),
                unit=Unit.KPA,
                values=canonical(Vital.BLOOD_PRESSURE, (18.0, 11.3, None, None), Unit.KPA),
            ),
            Unit.MMOL_L,
            True,
            "18/11.3 kPa (135/85 mmHg)",
        ),
    ],
)
def test_a_glucose_is_written_in_the_unit_that_is_read_and_kilopascals_in_both(
    given: Reading, wanted: Unit, sent: bool, says: str
) -> None:
    written = shown(given, wanted, load_languages()["en"], sent=sent)
    assert f"{written.value} {written.unit}" == says


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{{ _("High priority") }}', "高优先级"),
        ('{% if true %}{{ {"high": _("High priority")}["high"] }}{% endif %}', "高优先级"),
        ('{{ _("by {name}").format(name="<王>") }}', "&lt;王&gt;"),
        ("{{ word }}: {{ _(word) }}, {{ _ and (word) }}", "High priority: 高优先级, High priority"),
        ('_("High priority")', '_("High priority")'),
    ],
    ids=["alone", "within", "with a place", "what is not known before", "outside of what is said"],
)
def test_words_of_a_template_are_translated_as_it_is_read_and_not_each_time(source: str, said: str) -> None:
    calls: list[str] = []
    language = load_languages()["zh_CN"]

    def translate(message: str) -> str:
        calls.append(message)
        return language.gettext(message)

    room = Environment(autoescape=True, extensions=[Translated])
    room.globals["_"] = translate
    template = room.from_string(source)
    calls.clear()
    assert template.render(word="High priority") == said
    assert calls == (["High priority"] if "_(word)" in source else [])
