"""What watching costs: CPU time for each reading, and memory for each patient, with every rule on.

    python -m benchmarks.watch [--patients 10000] [--json OUT.json]

Steady flow: every patient has a sensor of 5 minutes that replays one of the real traces of `simulators/traces`, begun
at another place for each, so that in each round of 5 minutes every patient brings one reading, in the same mixture of
quiet, low and high: of 100 readings 23 are beyond a limit or not long back, and 3 to 4 findings come of them (of the
public sets cgm-azt1d, cgm-shanghai-t2dm and cgm-brist1d: 32, 39, 65, and 3, 4, 8). The sensors have been worn for
more than a day. Measured is `Bed.take` with everything it leads to, the sentences of the findings included, but not
the alerts in the book; what they hold up stands at the next reading. One reading at a time, and in batches of 1000,
which have no form of their own. Rounds of both ways alternate, garbage is collected
between. The median of the rounds is given, and the least, which is nearer to that of a machine with nobody else at
work; and beside them, in the same rounds, what five detectors of constant cost in plain Python take (`Floor`), by
which machines can be compared.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import truediv
from pathlib import Path
from statistics import median

from alerts.alert import Alert, Finding
from alerts.bed import Bed
from alerts.devices import Expected
from alerts.ladder import Plan
from alerts.machine import hear_findings
from alerts.rules import DEFAULTS
from ingest.reading import Flag, Reading, TimeBasis
from ingest.vital import Unit, Vital

TRACES = Path(__file__).parents[1] / "simulators" / "traces"
NAMES = ("cgm_quiet", "cgm_low", "cgm_high", "cgm_very_low")
START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
BATCH = 1000
WARM = 30  # rounds before the first that counts


def values() -> list[list[float | Flag]]:
    """The glucose of each trace, in steps of 5 minutes."""
    words: dict[str, float | Flag] = {"Low": Flag.BELOW_RANGE, "High": Flag.ABOVE_RANGE}
    traces: list[list[float | Flag]] = []
    for name in NAMES:
        with (TRACES / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        traces.append([words.get(row[1]) or float(row[1]) for row in rows])
    return traces


class Flow:
    """The readings of every patient, round by round."""

    def __init__(self, patients: int) -> None:
        self._traces = values()
        self._names = [f"p-{number:06}" for number in range(patients)]
        self._round = 0
        self.now = START

    def next(self) -> list[Reading]:
        """One reading of each patient."""
        self.now += STEP
        self._round += 1
        return [self._reading(number, name) for number, name in enumerate(self._names)]

    def _reading(self, number: int, name: str) -> Reading:
        trace = self._traces[number % len(self._traces)]
        value = trace[(self._round + number * 7) % len(trace)]
        off_scale = isinstance(value, Flag)
        sent = (None if isinstance(value, Flag) else value,)
        return Reading(
            patient=name,
            device=f"cgm-{name}",
            vital=Vital.CGM,
            values=sent,
            sent=sent,
            unit=Unit.MG_DL,
            taken_at=self.now,
            time_basis=TimeBasis.DEVICE,
            received_at=self.now,
            device_time=self.now,
            flags=frozenset({value}) if off_scale and isinstance(value, Flag) else frozenset(),
        )


def beds_for(readings: Iterable[Reading]) -> dict[str, Bed]:
    """A bed for each patient, the sensor worn for more than a day."""
    plan = Plan(DEFAULTS)
    beds = {}
    for reading in readings:
        expected = Expected(
            device=reading.device,
            vital=Vital.CGM,
            silence=timedelta(hours=6),
            staff_after=timedelta(days=3),
            staff_after_low=timedelta(hours=12),
            since=START,
            not_before=START,
        )
        beds[reading.patient] = bed = Bed(reading.patient, plan=plan, zone=UTC, expected=(expected,))
        before = replace(reading, taken_at=START - timedelta(hours=23), received_at=START - timedelta(hours=23))
        bed.start({reading.device: [replace(before, taken_at=START - timedelta(hours=46)), before]}, {})
    return beds


class Floor:
    """Five detectors of constant cost in plain Python: what watching costs at least, and how fast the machine is.

    Three readings in a row below 70 and above 180 mg/dL until one is back, a slope over the last 15 readings of 3
    mg/dL/min, a low within 20 minutes on that slope, and a fast average that leaves a slow one. Readings stand 5
    minutes apart here, nothing is late or missing, and nothing is said in words.
    """

    __slots__ = ("at", "fast", "high", "last", "low", "raised", "slow", "sum", "weighted")
    SPAN = 15

    def __init__(self) -> None:
        self.last = [0.0] * self.SPAN
        self.at = self.low = self.high = self.raised = 0
        self.sum = self.weighted = 0.0
        self.fast = self.slow = 140.0

    def take(self, glucose: float) -> int:
        """The detectors that raise something new, as bits."""
        at, span = self.at, self.SPAN
        oldest, self.last[at] = self.last[at], glucose
        self.at = (at + 1) % span
        # By the moments 0, -1, .. of which all move back by one as the reading comes.
        self.weighted += span * oldest - self.sum
        self.sum += glucose - oldest
        slope = (self.weighted + self.sum * (span - 1) / 2) * 12 / (span * (span * span - 1)) / 5
        self.fast += 0.3 * (glucose - self.fast)
        self.slow += 0.05 * (glucose - self.slow)
        self.low = self.low + 1 if glucose < 70.0 else 0
        self.high = self.high + 1 if glucose > 180.0 else 0
        before, now = self.raised, 0
        if self.low >= 3 or (before & 1 and glucose < 80.0):
            now |= 1
        if self.high >= 3 or (before & 2 and glucose > 170.0):
            now |= 2
        if slope > 3.0 or slope < -3.0:
            now |= 4
        if glucose + 20.0 * slope < 70.0:
            now |= 8
        if self.fast - self.slow > 40.0 or self.slow - self.fast > 40.0:
            now |= 16
        self.raised = now
        return now & ~before


Found = list[tuple[str, Sequence[Finding]]]


def one_at_a_time(beds: dict[str, Bed], readings: list[Reading], now: datetime) -> Found:
    """Patients, and what is found of them."""
    found = []
    for reading in readings:
        said = beds[reading.patient].take(reading, now)
        if said:
            found.append((reading.patient, said))
    return found


def in_batches(beds: dict[str, Bed], readings: list[Reading], now: datetime) -> Found:
    """Patients, and what is found of them."""
    return [
        each
        for first in range(0, len(readings), BATCH)
        for each in one_at_a_time(beds, readings[first : first + BATCH], now)
    ]


def at_least(floors: dict[str, Floor], readings: list[Reading]) -> Found:
    """Nothing; what the floor costs."""
    for reading in readings:
        floors[reading.patient].take(reading.values[0] or 400.0)
    return []


class Ward:
    """Patients in their beds, and the alerts that stand."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self.beds = beds_for(readings)
        self._alerts: dict[str, dict[tuple[str, str], Alert]] = {name: {} for name in self.beds}

    def hear(self, found: Found, now: datetime) -> None:
        """As the gateway's ward does: what was found opens, joins and clears alerts, and the beds learn which."""
        for patient, findings in found:
            alerts = self._alerts[patient]
            for change in hear_findings(alerts, findings, now).changes:
                alerts[patient, change.alert.problem] = change.alert
            up = {rule: alert.since for alert in alerts.values() for rule in alert.raising}
            self.beds[patient].settle(up, now)

    @property
    def standing(self) -> int:
        """Patients of whom something stands."""
        return sum(bool(bed.standing) for bed in self.beds.values())


def measure(patients: int, rounds: int) -> dict[str, float]:
    """Microseconds of CPU for each reading in both ways and of the floor, findings and standing alerts.

    Of each the median of the rounds and the least; of the ways also the median of what they are beside the floor of
    their round.
    """
    flow = Flow(patients)
    first = flow.next()
    single, batched = Ward(first), Ward(first)
    floors = {reading.patient: Floor() for reading in first}
    costs: dict[str, list[float]] = {"floor": [], "single": [], "batched": []}
    found = 0
    for number in range(WARM + rounds):
        readings = flow.next()
        gc.collect()
        gc.disable()
        costs["floor"].append(_cost(at_least, floors, readings)[0])
        for way, ward, run in (("single", single, one_at_a_time), ("batched", batched, in_batches)):
            cost, said = _cost(run, ward.beds, readings, flow.now)
            costs[way].append(cost)
            ward.hear(said, flow.now)
            if number >= WARM and way == "single":
                found += sum(len(findings) for _, findings in said)
        gc.enable()
    costs = {way: each[WARM:] for way, each in costs.items()}
    return {
        **{f"us_{way}": median(each) for way, each in costs.items()},
        **{f"us_{way}_least": min(each) for way, each in costs.items()},
        **{f"floors_{way}": median(map(truediv, costs[way], costs["floor"])) for way in ("single", "batched")},
        "findings_per_day": found / patients / rounds * 288,
        "standing": single.standing / patients,
    }


def _cost(run: Callable[..., Found], judges: Mapping[str, object], *given: object) -> tuple[float, Found]:
    """Microseconds of CPU for each patient's reading, and what was found."""
    began = time.thread_time()
    said = run(judges, *given)
    return (time.thread_time() - began) / len(judges) * 1e6, said


def memory(patients: int) -> float:
    """Bytes for each patient after six hours of readings, without the readings themselves and the alerts."""
    flow = Flow(patients)
    first = flow.next()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    beds = beds_for(first)
    for _ in range(72):
        one_at_a_time(beds, flow.next(), flow.now)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / patients


def main() -> int:
    """Measure, print, and fail where the issue's bars are not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--large", type=int, default=100_000, help="patients of the large ward; 0 leaves it out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {
        "1000": measure(1000, options.rounds),
        str(options.patients): measure(options.patients, options.rounds),
    }
    if options.large:
        figures[str(options.large)] = measure(options.large, max(3, options.rounds // 5))
    bytes_each = memory(2000)
    print(f"{'patients':>9}  {'us/reading (least, floors)':>26}  {'in 1000s (least, floors)':>26}", end="  ")
    print(f"{'floor (least)':>13}  findings/day  standing")
    for size, row in figures.items():
        ways = (
            f"{row[f'us_{way}']:.2f} ({row[f'us_{way}_least']:.2f}, {row[f'floors_{way}']:.2f})"
            for way in ("single", "batched")
        )
        print(f"{size:>9}  {'  '.join(f'{way:>26}' for way in ways)}", end="  ")
        print(f"{row['us_floor']:5.2f} ({row['us_floor_least']:.2f})", end="  ")
        print(f"{row['findings_per_day']:12.2f}  {row['standing']:8.1%}")
    print(f"memory {bytes_each:.0f} bytes a patient")
    main_row = figures[str(options.patients)]
    growth = figures[str(options.large)]["us_single"] / figures["1000"]["us_single"] if options.large else 1.0
    print(f"growth from 1000 to {options.large or 1000} patients {growth:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"rows": figures, "bytes": bytes_each, "growth": growth}), "utf-8")
    good = main_row["us_single"] <= 10.0 and main_row["us_batched"] <= 5.0 and growth < 1.3 and bytes_each <= 4096.0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
