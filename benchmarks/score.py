"""The detectors on recorded traces: what they find, what they miss, and what it costs a doctor in attention.

    python -m benchmarks.score [--shared ../shared] [--set NAME ...] [--rules FILE] [--disturb SEED] [--details]

Replays every data set once, undisturbed or disturbed, with all rules, and prints

- for each set and cadence: *predicted-low* and *predicted-urgent-low* by the event scorer of the data sets
  (`eval_hypo.py`, at least 10 min of lead);
- *low-event-2*: level-2 events of the same scorer; *found* within 15 min of their onset; *missed*; and *extra*
  findings without an event. What only disturbed data has: *late*, found as soon as the readings that make it an event
  had come; *past*, not told because it was over by then; *known*, a finding without an event, but there was one by
  what had come so far;
- findings for staff and items in the doctor's queue per patient-day;
- what the blood-pressure rules say of the sets of blood pressures.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final, NamedTuple

from alerts.alert import Audience
from alerts.rule import MMHG, Group
from alerts.rules import RULES, RuleBook
from alerts.spot_rules import BP_SEVERE
from gateway.replay.cells import WORD_OF
from gateway.replay.command import read_rules
from gateway.replay.disturb import disturb
from gateway.replay.run import Outcome, Told, limits_tried, replay
from gateway.replay.table import Row, Table, read_table
from ingest.reading import EPOCH, Flag

SETS: Final = (
    "azt1d", "brist1d", "physiocgm", "t1duom", "hall2018", "bigideas", "shanghai-t1dm", "shanghai-t2dm",
)  # fmt: skip
PREDICTED: Final = (("predicted-low", 70.0), ("predicted-urgent-low", 54.0))
_LEVEL_2: Final = 54.0
_RECOVERED: Final = 70.0
_IN_TIME: Final = 15.0  # minutes
_FEW: Final = 60  # a subject with no more readings is not scored, as in the scorer
_CODES: Final = {"Low": 39.0, "High": 401.0}


class Subject(NamedTuple):
    """One subject's delivered series. Times are minutes; arrived: when each reading of `minutes` first came."""

    name: str
    minutes: Any
    values: Any
    cadence: float
    segments: Any
    arrived: dict[float, float]

    @property
    def every(self) -> int:
        """5 or 15 minutes, as the bars are given."""
        return 5 if self.cadence <= 8 else 15


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="data sets and scorer (../shared)")
    parser.add_argument("--set", action="append", choices=SETS, help="this one alone; may be repeated")
    parser.add_argument("--rules", type=Path, help="limits instead of the defaults")
    parser.add_argument(
        "--disturb", type=int, metavar="SEED", help="with gaps, repeats, late and shuffled deliveries"
    )
    parser.add_argument("--details", action="store_true", help="list what was missed and what came to the queue")
    options = parser.parse_args()
    if not (options.shared / "eval_hypo.py").exists():
        print(f"{options.shared} has no eval_hypo.py and data; name their place with --shared", file=sys.stderr)
        return 2
    scorer = _scorer(options.shared / "eval_hypo.py")
    rules = read_rules(options.rules)
    print(_HEAD)
    for name in options.set or SETS:
        table = read_table(options.shared / "data" / f"cgm-{name}" / "cgm.csv")
        if options.disturb is not None:
            rows = {one: disturb(rows, f"{options.disturb} {one}") for one, rows in table.rows.items()}
            table = replace(table, rows=rows)
        outcome = replay(table, rules, only=RULES, progress=_quiet)
        for line in _scores(scorer, name, table, outcome, details=options.details):
            print(line, flush=True)
        if options.details:
            _list_items(outcome)
    if not options.set:
        _pressures(options.shared / "data", rules)
    return 0


_HEAD: Final = (
    f"{'':<19}{'':>5}{'':>6}  {'predicted-low < 70':<28}  {'predicted-urgent-low < 54':<28}  "
    f"{'low-event-2':<43}  {'a patient-day':<14}\n"
    f"{'set, cadence':<19}{'subj':>5}{'days':>6}"
    + 2 * f"  {'events':>6}{'sens':>6}{'false/d':>8}{'lead':>5}{'':>3}"
    + f"  {'events':>6}{'found':>6}{'late':>5}{'past':>5}{'missed':>7}{'known':>6}{'extra':>6}"
    + f"  {'staff':>6}{'items':>7}"
)


def _quiet(_done: int) -> None: ...


def _scorer(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("eval_hypo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _minute(moment: datetime) -> float:
    return (moment - EPOCH) / timedelta(minutes=1)


def _value(row: Row) -> float:
    number = row.sent[0]
    if number is not None:
        return number
    return _CODES[WORD_OF[Flag.BELOW_RANGE if Flag.BELOW_RANGE in row.flags else Flag.ABOVE_RANGE]]


def _subjects(scorer: ModuleType, table: Table) -> Iterator[Subject]:
    for name, rows in table.rows.items():
        if len(rows) > _FEW:
            arrived: dict[float, float] = {}
            for row in rows:
                arrived.setdefault(_minute(row.taken_at), _minute(row.received_at))
            minutes, values, cadence, segments = scorer.series([(_minute(row.taken_at), _value(row)) for row in rows])
            yield Subject(name, minutes, values, cadence, segments, arrived)


def _scores(scorer: ModuleType, name: str, table: Table, outcome: Outcome, *, details: bool) -> Iterator[str]:
    told: defaultdict[str, list[Told]] = defaultdict(list)
    items = Counter(each.finding.patient for each in outcome.items)
    for each in outcome.told:
        told[each.finding.patient].append(each)
    subjects = list(_subjects(scorer, table))
    for every in (5, 15):
        here = [subject for subject in subjects if subject.every == every]
        if here:
            yield from _lines(scorer, f"{name}, {every} min", here, told, items, details=details)


def _lines(
    scorer: ModuleType,
    name: str,
    here: Sequence[Subject],
    told: dict[str, list[Told]],
    items: Counter[str],
    *,
    details: bool,
) -> Iterator[str]:
    line = f"{name:<19}{len(here):>5}"
    days = 0.0
    parts = ""
    for rule, level in PREDICTED:
        alerts = [[_minute(each.at) for each in told[one.name] if each.finding.rule == rule] for one in here]
        results = [_predicted(scorer, one, at, level) for one, at in zip(here, alerts, strict=True)]
        total = scorer.summary(results)
        days = total["days"]
        parts += f"  {total['events']:>6}{total['sensitivity']:>6.2f}{total['false_per_day']:>8.2f}"
        parts += f"{total['lead_median']:>5.0f}{'':>3}"
    level_2 = [(one.name, *event) for one in here for event in _events(scorer, one, told[one.name])]
    events = Counter(what for _, what, _ in level_2)
    parts += f"  {events['events']:>6}{events['found']:>6}{events['late']:>5}{events['past']:>5}{events['missed']:>7}"
    parts += f"{events['known']:>6}{events['extra']:>6}"
    staff = sum(each.finding.audience is Audience.STAFF for one in here for each in told[one.name])
    brought = sum(items[one.name] for one in here)
    yield f"{line}{days:>6.0f}{parts}  {staff / days:>6.3f}{brought / days:>7.3f}"
    if details:
        for subject, what, minute in level_2:
            if what in {"missed", "extra"}:
                yield f"    {what}: {subject}  {EPOCH + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}"


def _predicted(scorer: ModuleType, one: Subject, alerts: Sequence[float], level: float) -> Any:
    series = list(zip(one.minutes, one.values, strict=True))
    return scorer.score(series, [(at, 0) for at in alerts], level, 70.0, 60.0, 10.0)


def _events(scorer: ModuleType, one: Subject, told: Sequence[Told]) -> Iterator[tuple[str, float]]:
    """(what, minute) of low-event-2, in the words of the table's columns; see above."""
    made = [_minute(each.at) for each in told if each.finding.rule == "low-event-2"]
    events = scorer.find_events(one.minutes, one.values, one.cadence, one.segments, _LEVEL_2, _RECOVERED)
    for onset, end, _ in events:
        yield "events", onset
        known = _known_at(scorer, one, onset)
        if any(onset <= at <= max(onset + _IN_TIME, known) for at in made):
            yield ("found" if known <= onset + _IN_TIME else "late"), onset
        else:
            yield ("past" if end + _IN_TIME < known else "missed"), onset
    for at in made:
        if not any(onset <= at <= end + _IN_TIME for onset, end, _ in events):
            yield ("known" if _was_event(scorer, one, at) else "extra"), at


def _known_at(scorer: ModuleType, one: Subject, onset: float) -> float:
    """When the readings that make the event had all come."""
    first = int(one.minutes.searchsorted(onset))
    need = -(-int(scorer.DUR) // max(1, round(one.cadence)))
    return max(one.arrived[minute] for minute in one.minutes[first : first + need])


def _was_event(scorer: ModuleType, one: Subject, at: float) -> bool:
    """Whether what had arrived at a moment was an event, not ended or not for 15 min."""
    rows = [
        (minute, value)
        for minute, value in zip(one.minutes, one.values, strict=True)
        if at - 1440 <= minute and one.arrived[minute] <= at
    ]
    minutes, values, _, segments = scorer.series(rows)
    events = scorer.find_events(minutes, values, one.cadence, segments, _LEVEL_2, _RECOVERED)
    return any(at <= end + _IN_TIME or end == minutes[-1] for _, end, _ in events)


def _list_items(outcome: Outcome) -> None:
    for at, finding in outcome.items:
        print(f"    item: {finding.patient}  {at:%Y-%m-%d %H:%M}  {finding.rule}: {finding.because.en}")


def _pressures(data: Path, rules: RuleBook) -> None:
    """bp-preg by the limits of pregnancy, 5 min apart instead of 30: the next one is the second that is asked for."""
    pregnant = RuleBook(population=Group.PREGNANCY)
    limits = limits_tried(pregnant, "")
    severe_from = tuple(limits.value(BP_SEVERE.name, name, MMHG) for name in ("systolic", "diastolic"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "preg.csv"
        with (data / "bp-preg" / "bp.csv").open() as source, path.open("w") as target:
            print("subject,time,systolic,diastolic", file=target)
            for row in csv.DictReader(source):
                if row["minute"] == "Booking":  # a visit long before
                    continue
                taken = datetime(2020, 1, 1, 8) + timedelta(minutes=float(row["minute"]) / 6)  # noqa: DTZ001
                print(f"{row['subject']},{taken},{row['systolic']},{row['diastolic']}", file=target)
        preg = read_table(path)
    outcome = replay(preg, pregnant, only=(), progress=_quiet)
    severe = [told for told in outcome.told if told.finding.rule == BP_SEVERE.name]
    staff = [told for told in severe if told.finding.audience is Audience.STAFF]
    pairs = [row for rows in preg.rows.values() for row in pairwise(rows)]
    first = [pair for pair in pairs if _is_severe(pair[0], severe_from)]
    confirmed = sum(_is_severe(second, severe_from) for _, second in first)
    refuted = sum(_is_refuted(preg.rows[each.finding.patient], each, severe_from) for each in staff)
    print(
        f"\nbp-preg: {len(first)} severe readings with a next one, {confirmed} of them confirmed by it; "
        f"{len(severe) - len(staff)} requests to the patient, {len(staff)} findings for staff, {refuted} of them "
        "though the next one was below"
    )
    for name, file, meter in (("bp-jhs", "bp-jhs/bp.csv", False), ("smbg-uci", "smbg-uci/smbg.csv", True)):
        outcome = replay(read_table(data / file, meter=meter), rules, only=(), progress=_quiet)
        counts = Counter((each.finding.rule, str(each.finding.audience)) for each in outcome.told)
        said = ", ".join(f"{rule} {audience} {count}" for (rule, audience), count in sorted(counts.items()))
        print(f"{name}: {outcome.days:.0f} days, {len(outcome.items)} items in the doctor's queue; {said}")


def _is_severe(row: Row, limits: tuple[float, ...]) -> bool:
    return any(value is not None and value >= limit for value, limit in zip(row.sent, limits, strict=False))


def _is_refuted(rows: Sequence[Row], told: Told, limits: tuple[float, ...]) -> bool:
    """Whether no two severe readings in a row had come before the finding, and the last one was below."""
    severe = [_is_severe(row, limits) for row in rows if row.received_at <= told.at]
    return not severe[-1] and not any(one and other for one, other in pairwise(severe))


if __name__ == "__main__":
    sys.exit(main())
