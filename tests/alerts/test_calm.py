"""The calm path changes nothing: the same alerts and notices as when every reading is judged in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Alert, Finding
from alerts.calm import DEFAULT_CALM, NEVER, Bed, Calm
from alerts.machine import Heard, hear_findings
from alerts.rules import DEFAULTS, Limits, parse_limits
from alerts.watch import Expected, watch
from alerts.window import SPAN, Window
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital
from tests.alerts.ward import START, ZONE, cgm, cuff, meter, minute, reading, trace

OWN = parse_limits(
    {
        "glucose-low": {"limit": {"value": 90, "unit": "mg/dL"}, "hold": {"value": 0, "unit": "min"}},
        "glucose-high": {"limit": {"value": 8.5, "unit": "mmol/L"}, "hold": {"value": 15, "unit": "min"}},
        "glucose-very-high": {"limit": {"value": 200, "unit": "mg/dL"}},
        "glucose-referral": {"limit": {"value": 200, "unit": "mg/dL"}, "clear": {"value": 200, "unit": "mg/dL"}},
        "blood-pressure-high": {"systolic": {"value": 121, "unit": "mmHg"}},
        "no-data": {"silence-cgm_glucose": {"value": 30, "unit": "min"}},
    }
)
EXPECTED = tuple(
    Expected(device=device, vital=vital, silence=timedelta(minutes=silence), since=START - timedelta(hours=1))
    for device, vital, silence in (
        ("cgm-1", Vital.CGM, 60),
        ("meter-1", Vital.GLUCOSE, 2880),
        ("cuff-1", Vital.BLOOD_PRESSURE, 360),
    )
)


class Judge:
    """Keeps the alerts of one patient, and everything that was ever heard of them."""

    def __init__(self) -> None:
        self.standing: dict[tuple[str, str], Alert] = {}
        self.heard: list[tuple[datetime, Heard]] = []
        self.notices: set[str] = set()

    def hear(self, findings: Sequence[Finding], now: datetime) -> bool:
        """Whether an alert was changed."""
        heard = hear_findings(self.standing, findings, now)
        # A notice that was written before is not written again (`Book.record`).
        heard = replace(heard, notices=tuple(each for each in heard.notices if each.id not in self.notices))
        self.notices |= {each.id for each in heard.notices}
        for change in heard.changes:
            self.standing[change.alert.patient, change.alert.problem] = change.alert
        if heard.changes or heard.notices:
            self.heard.append((now, heard))
        return bool(heard.changes)

    @property
    def present(self) -> bool:
        return any(alert.raising for alert in self.standing.values())


class InFull(Judge):
    """Every reading and every tick is judged."""

    def __init__(self, limits: Limits, expected: Sequence[Expected]) -> None:
        super().__init__()
        self._window, self._limits, self._expected = Window("p-1"), limits, expected

    def step(self, readings: Sequence[Reading], now: datetime) -> None:
        for each in readings:
            self._window.add(each)
        self.hear(watch(self._window, self._limits, self._expected, now, zone=ZONE), now)


class Calmly(Judge):
    """Only what the bed asks for is judged, on readings that are fetched when they are needed."""

    def __init__(self, limits: Limits, expected: Sequence[Expected]) -> None:
        super().__init__()
        self.bed = Bed("p-1", calm=Calm(limits), zone=ZONE, expected=tuple(expected))
        self._kept: list[Reading] = []
        self.looks = 0

    def step(self, readings: Sequence[Reading], now: datetime) -> None:
        self._kept += [each for each in readings if each not in self._kept]
        stirred = [each for each in readings if self.bed.take(each, now)]
        if stirred or not self.looks or self.bed.is_due(now):
            self._look(now)

    def _look(self, now: datetime) -> None:
        if self.bed.window is None:
            self.bed.fill(lambda vital, limit: self._newest(vital, limit, now))
        self.looks += 1
        raising = {rule for alert in self.standing.values() for rule in alert.raising}
        findings = self.bed.look(now, raising)
        changed = self.hear(findings, now)
        self.bed.settle(findings, present=self.present, changed=changed, now=now)

    def _newest(self, vital: Vital, limit: int, now: datetime) -> list[Reading]:
        kept = [each for each in self._kept if each.vital is vital and each.taken_at >= now - 2 * SPAN]
        return sorted(kept, key=lambda each: (each.taken_at, each.device))[-limit:]


def both(
    arrivals: Sequence[tuple[datetime, Reading]], limits: Limits = DEFAULTS, *, hours: int = 0
) -> tuple[InFull, Calmly]:
    """Readings come at their moments, with a tick every 15 minutes of silence and each hour afterwards."""
    full, calm = InFull(limits, EXPECTED), Calmly(limits, EXPECTED)
    now = START
    for at, each in sorted(arrivals, key=lambda pair: pair[0]):
        while at - now > timedelta(minutes=15):
            now += timedelta(minutes=15)
            full.step([], now)
            calm.step([], now)
        now = max(now, at)
        full.step([each], now)
        calm.step([each], now)
    for hour in range(hours):
        full.step([], now + timedelta(hours=hour + 1))
        calm.step([], now + timedelta(hours=hour + 1))
    return full, calm


UNITS = st.sampled_from([(Unit.MG_DL, 1.0), (Unit.MMOL_L, 1 / 18), (Unit.KG_L, 1e-5), (Unit.MOL_L, 1 / 18000)])
GLUCOSE = st.sampled_from(
    [100, 110, 120, 130, 140, 150, 45, 53, 54, 69, 70, 71, 100, 120, 179, 180, 181, 240, 251, 299, 300, 320, None]
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[datetime, Reading]]:
    """Hours of a sensor in stretches of one value and rhythm, with gaps, two sensors, spot readings and delays."""
    arrivals: list[tuple[datetime, Reading]] = []
    at = 0.0
    for _ in range(draw(st.integers(1, 8))):
        device = draw(st.sampled_from(["cgm-1", "cgm-1", "cgm-1", "cgm-2"]))
        every = draw(st.sampled_from([5, 5, 5, 1, 3, 15]))
        unit, factor = draw(UNITS)
        value = draw(GLUCOSE)
        late = draw(st.sampled_from([0, 0, 0, 1, 14, 16, 40, 200]))
        burst = draw(st.booleans())  # all come at the end of the stretch
        count = draw(st.integers(1, 30))
        for n in range(count):
            sent = None if value is None else round(value * factor, 7)
            flags = (
                frozenset({draw(st.sampled_from([Flag.ABOVE_RANGE, Flag.BELOW_RANGE]))})
                if value is None
                else frozenset()
            )
            taken = minute(at + every * n)
            comes = minute(at + every * count) if burst else taken + timedelta(minutes=late)
            one = reading(Vital.CGM, taken, (sent,), unit, device=device, arrives=comes, flags=flags)
            arrivals.append((comes, one))
            if draw(st.integers(0, 19)) == 0:
                arrivals.append((comes + timedelta(minutes=7), one))
        at += every * draw(st.sampled_from([count, count, count, count // 2])) + draw(
            st.sampled_from([0, 0, 0, 18, 40, 130])
        )
    end = int(at) + 30
    for at_, value, delay in draw(
        st.lists(st.tuples(st.integers(0, end), GLUCOSE.filter(bool), st.sampled_from([0, 30, 400])), max_size=6)
    ):
        one = meter(at_, value, arrives=minute(at_ + delay))
        arrivals.append((one.received_at, one))
    for at_, systolic, diastolic in draw(
        st.lists(
            st.tuples(
                st.integers(0, end), st.sampled_from([110, 125, 136, 185, 200]), st.sampled_from([70, 88, 115, 125])
            ),
            max_size=8,
        )
    ):
        arrivals.append((minute(at_), cuff(at_, systolic, diastolic)))
        if draw(st.booleans()):
            arrivals.append((minute(at_ + 2), cuff(at_ + 2, draw(st.sampled_from([110, 200])), diastolic)))
    return arrivals


@settings(deadline=None, max_examples=50)
@given(histories(), st.sampled_from([DEFAULTS, OWN]))
def test_the_same_is_heard_with_and_without_the_calm_path(
    history: list[tuple[datetime, Reading]], limits: Limits
) -> None:
    full, calm = both(history, limits, hours=30)
    assert calm.heard == full.heard
    assert calm.standing == full.standing


def test_a_patient_who_rests_is_not_looked_at_and_keeps_no_readings() -> None:
    arrivals = [(each.received_at, each) for each in trace([100 + n % 60 for n in range(400)])]
    arrivals += [(each.received_at, each) for each in (meter(100, 120), meter(900, 101))]
    arrivals += [(each.received_at, each) for each in (cuff(at, 120, 75) for at in range(0, 2000, 300))]
    full, calm = both(arrivals)
    assert calm.heard == full.heard == []
    assert calm.looks < 25
    assert calm.bed.rests
    assert calm.bed.window is None


def test_what_is_put_in_after_a_rest_is_little_and_enough() -> None:
    day = trace([100] * 280 + [60] * 6)
    calm = Calm(DEFAULTS)
    asked: list[int] = []

    def newest(limit: int) -> list[Reading]:
        asked.append(limit)
        return day[-limit:]

    assert len(calm.needed(Vital.CGM, newest)) == 64
    assert asked == [16, 64]
    assert (
        calm.needed(Vital.BLOOD_PRESSURE, lambda limit: [cuff(n, 120, 75) for n in range(40)][-limit:])[0].values[0]
        == 120
    )


@pytest.mark.parametrize(
    ("each", "keeps"),
    [
        (cgm(0, 70), True),
        (cgm(0, 69.9), False),
        (cgm(0, 180), True),
        (cgm(0, 180.1), False),
        (cgm(0, 3.9, Unit.MMOL_L), True),
        (cgm(0, 3.8, Unit.MMOL_L), False),
        (cgm(0, 0.0039, Unit.MOL_L), True),
        (cgm(0, 0.0007, Unit.KG_L), True),
        (meter(0, None, flags=frozenset({Flag.ABOVE_RANGE})), False),
        (cuff(0, 134, 84), True),
        (cuff(0, 135, 84), False),
        (cuff(0, 134, 85), False),
        (cuff(0, 18.0, 11.0, Unit.KPA), False),
        (reading(Vital.KETONE, START, (3.5,), Unit.MMOL_L, device="meter-1"), True),
    ],
)
def test_what_no_rule_minds_is_inside_every_limit_in_the_unit_received(each: Reading, keeps: bool) -> None:
    assert DEFAULT_CALM.keeps(each) is keeps


def test_a_limit_that_is_reached_by_standing_on_it_is_not_inside() -> None:
    on_it = Limits(given={**parse_limits({"glucose-referral": {"limit": {"value": 250, "unit": "mg/dL"}}}).given})
    wide = {"glucose-high": "limit clear", "glucose-very-high": "limit clear", "glucose-referral": "clear"}
    raised = parse_limits(
        {
            **{
                rule: {name: {"value": 250, "unit": "mg/dL"} for name in names.split()}
                for rule, names in wide.items()
            },
            "glucose-referral": {name: {"value": 250, "unit": "mg/dL"} for name in ("limit", "clear")},
        }
    )
    assert not Calm(on_it).keeps(cgm(0, 250))
    assert not Calm(raised).keeps(cgm(0, 250))
    assert Calm(raised).keeps(cgm(0, 249))


def test_silence_and_a_missing_second_pressure_are_looked_for_when_they_are_due() -> None:
    expected = EXPECTED[:1]
    bed = Bed("p-1", calm=DEFAULT_CALM, zone=ZONE, expected=expected)
    kept = [*trace([100] * 20), cuff(95, 190, 100)]
    bed.fill(lambda vital, limit: [each for each in kept if each.vital is vital][-limit:])
    findings = bed.look(minute(95), ())
    bed.settle(findings, present=False, changed=False, now=minute(95))
    assert not bed.rests
    assert minute(110) < bed.due < minute(110.1)
    kept = kept[:-1]
    bed.put_away()
    bed.fill(lambda vital, limit: [each for each in kept if each.vital is vital][-limit:])
    bed.settle(bed.look(minute(95), ()), present=False, changed=False, now=minute(95))
    assert bed.rests
    assert bed.due == minute(95 + 60)
    assert not bed.take(cgm(100, 100), minute(100))
    assert not bed.is_due(minute(159))
    assert bed.is_due(minute(160))
    assert Bed("p-1", calm=DEFAULT_CALM, zone=ZONE, expected=()).due == NEVER
