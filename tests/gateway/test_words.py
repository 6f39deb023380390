"""What a reading is called on the pages."""

from datetime import UTC, datetime
from typing import cast

import pytest

from gateway.language import load_languages
from gateway.words import shown
from ingest.reading import Flag
from ingest.vital import Vital
from tests.gateway.small_house import reading

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BOTH = (Flag.ABOVE_RANGE, Flag.BELOW_RANGE)


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_a_reading_is_written_alike_whatever_the_order_of_its_set_of_flags(order: tuple[Flag, ...]) -> None:
    ordered = cast("frozenset[Flag]", dict.fromkeys(order).keys())  # a frozenset has another order in each process
    written = shown(reading(Vital.GLUCOSE, NOON, None, flags=ordered), None, load_languages()["en"])
    assert written.value == "HI"
    assert written.remarks == "above what the device can measure, below what the device can measure"
