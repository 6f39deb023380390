"""In which unit a value is said: first the one in which the patient reads it, whatever the device sends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

import pytest

from alerts.alert import Finding
from ingest.vital import MG_DL_PER_MMOL_L, Unit
from tests.alerts import spot_ward
from tests.alerts.spot_ward import Home, cuff
from tests.alerts.ward import Ward, trace

MG_DL, MMOL_L = Unit.MG_DL, Unit.MMOL_L
_NUMBER = re.compile(r"([(（]?)[-+]?\d+(?:\.\d+)? (mg/dL|mmol/L)")
_SOURCE = re.compile(r"Limit: [A-Z].*|限值依据：.*")
# A day of 170, a fast fall to a very low that lasts, a fast rise to what lasts high, and a sensor that stands still.
COURSE = [170 + n % 2 for n in range(300)] + [
    *range(150, 50, -20),
    *[48 + n % 2 for n in range(30)],
    *range(66, 310, 18),
    *[310 + n % 2 for n in range(120)],
    *[310] * 20,
]


def in_unit(mg_dl: float, unit: Unit) -> float:
    return mg_dl if unit is MG_DL else round(mg_dl / MG_DL_PER_MMOL_L, 1)


def outside_brackets(found: Iterable[Finding]) -> set[str]:
    """The units of the numbers that stand first, without the titles of sources."""
    said = [_SOURCE.sub("", text) for each in found for text in (each.because.en, each.because.zh)]
    return {unit for text in said for bracket, unit in _NUMBER.findall(text) if not bracket}


@pytest.mark.parametrize(("received", "reads"), [*product((MG_DL, MMOL_L), (MG_DL, MMOL_L, None))])
def test_what_a_sensor_has_to_tell_is_said_in_the_unit_that_is_read(received: Unit, reads: Unit | None) -> None:
    ward = Ward(reads=reads)
    ward.comes(*trace([in_unit(each, received) for each in COURSE], unit=received))
    assert {"low-event-2", "falling-fast", "rising-fast", "high-extended", "predicted-low", "sensor-stuck"} <= {
        each.rule for each in ward.found
    }
    assert outside_brackets(ward.found) == {reads or received}
    rates = {unit for each in ward.found for unit in re.findall(r"(\S+)/min\b", each.because.en)}
    assert rates == {reads or received}


@pytest.mark.parametrize(("received", "reads"), [*product((MG_DL, MMOL_L), (MG_DL, MMOL_L, None))])
def test_what_a_meter_has_to_tell_is_said_in_the_unit_that_is_read(received: Unit, reads: Unit | None) -> None:
    home = Home()
    home.reads = reads
    measured = (50, 48, 120, 320, 330, 160, 65, 610, 620, 100)
    readings = [spot_ward.meter(30 * n, in_unit(each, received), received) for n, each in enumerate(measured)]
    found = [finding for n, each in enumerate(readings) for finding in home.take(each).judged(30 * n).findings]
    home.take(spot_ward.meter(272, in_unit(200, received), received))
    found += [*home.judged(272).findings, *home.reviewed(300).findings]
    assert {"meter-very-low", "meter-crisis", "contradiction", "meter-high"} <= {each.rule for each in found}
    assert outside_brackets(found) == {reads or received}


def test_kilopascals_are_said_in_millimetres_of_mercury_too() -> None:
    found = Home().take(cuff(0, 25.0, 15.0, Unit.KPA), cuff(2, 25.5, 15.1, Unit.KPA)).judged(2).findings
    said = [text for each in found for text in (each.because.en, each.because.zh) if "kPa" in text]
    assert said
    assert all(re.search(r"kPa (?!\(\d+/\d+ mmHg\))", text) is None for text in said)
    assert "25/15 kPa (188/113 mmHg)" in said[0]
