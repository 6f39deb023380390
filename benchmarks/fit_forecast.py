"""Fit the weights of the predicted lows (alerts/forecast_weights.py) and say how good they are.

    python -m benchmarks.fit_forecast DATA [--quick] [--write]

DATA holds one directory for each set, with a `cgm.csv` of the columns subject,time,glucose (mg/dL, Low and High as
words). Needs numpy only. Prints, for each kind of sensor and each level: the four baselines, the fit on all subjects,
the fit on the other four fifths of the subjects, and the fit on all other sets. `--write` replaces the weights by
those fitted on all subjects. docs/forecast.md tells the method.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from alerts import forecast
from alerts.forecast import LEVELS, REST, Forecast, expected_change, terms
from alerts.forecast_weights import Weights
from alerts.ladder import Plan
from alerts.rules import DEFAULTS
from alerts.sensor import Sensor
from ingest.reading import EPOCH, Flag, Reading, TimeBasis
from ingest.vital import Unit, Vital

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

BEFORE, MIN_LEAD, COLD = 60.0, 10.0, 30.0  # minutes, as in the scorer
FALSE, TRUE, LATE, VOID = 0, 1, 2, 3
START: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # the clock of the wearer, as in the files
PATIENCE: Final = 120.0  # minutes over which what comes later counts for less, by 1/e
WIDTH: Final = 0.1  # of the second fit around the threshold
RIDGE: Final = 3e-3
FOLDS: Final = 5


@dataclass(frozen=True)
class Aim:
    """What a model is fitted for: the price of a false warning in found events, levels that lend their readings."""

    price: float
    levels: tuple[float, ...]
    reach: float  # mg/dL above the level below which the expected glucose must be for a warning to be thought of
    sensitivity: float  # on the subjects fitted; the threshold is set to reach it


AIMS: Final[dict[tuple[str, float], Aim]] = {
    ("fast", 70.0): Aim(0.3, (66.0, 70.0, 74.0), 18.0, 0.815),
    ("fast", 54.0): Aim(0.2, (54.0, 60.0, 66.0), 18.0, 0.84),
    ("slow", 70.0): Aim(0.4, (64.0, 70.0, 76.0), 30.0, 0.795),
    ("slow", 54.0): Aim(0.3, (54.0, 62.0, 70.0), 30.0, 0.885),
}


@dataclass
class Event:
    """A consensus event: minutes of onset and end; not scorable when it begins within 30 minutes after a gap."""

    onset: float
    end: float
    scorable: bool


@dataclass
class Judged:
    """The readings of one subject against one level: events, and what a warning at each reading would be."""

    events: list[Event]
    kind: Ints
    event: Ints  # index of the event such a warning would find, or -1


@dataclass
class Subject:
    """One subject: minutes, mg/dL, cadence, starts of unbroken runs (and the end), what a `Forecast` held."""

    set: str
    name: str
    minutes: Floats
    glucose: Floats
    cadence: float
    runs: Ints
    days: float
    fold: int = 0
    used: Ints = field(default_factory=lambda: np.zeros(0, np.intp))  # readings a `Forecast` does not pass over
    held: dict[str, Floats] = field(default_factory=dict)
    hidden: dict[float, Flags] = field(default_factory=dict)  # by level: those from which nothing is foretold
    plain: Floats = field(default_factory=lambda: np.zeros(0))  # what the damped Kalman filter predicts for them
    judged: dict[float, Judged] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which weights hold: fast or slow."""
        return "slow" if self.cadence >= forecast.SLOW_CADENCE else "fast"


def read(path: Path, name: str) -> list[Subject]:
    """The subjects of a file with more than 60 readings."""
    rows: dict[str, list[tuple[float, float]]] = {}
    words = {"low": forecast.BELOW_RANGE, "high": forecast.ABOVE_RANGE}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in list(csv.reader(file))[1:]:
            word = row[2].strip().lower()
            value = words[word] if word in words else float(word)
            minute = (datetime.fromisoformat(row[1].strip()) - START).total_seconds() / 60
            rows.setdefault(row[0].strip(), []).append((minute, value))
    return [subject(name, each, np.array(rows[each])) for each in rows if len(rows[each]) > 60]


def subject(set_name: str, name: str, table: Floats) -> Subject:
    """A subject from rows of minute and mg/dL in any order; of a repeated minute the first row counts."""
    table = table[np.argsort(table[:, 0], kind="stable")]
    table = table[np.concatenate([[True], np.diff(table[:, 0]) > 0])]
    minutes, glucose = table[:, 0].copy(), table[:, 1].copy()
    apart = np.diff(minutes)
    cadence = float(np.median(apart))
    gap = max(forecast.GAP, 2.5 * cadence)
    runs = np.concatenate([[0], np.flatnonzero(apart > gap) + 1, [len(minutes)]]).astype(np.intp)
    kind = "15" if cadence >= forecast.SLOW_CADENCE else "5"
    days = float(np.minimum(apart, gap).sum() / 1440)
    return Subject(f"{set_name}/{kind}", name, minutes, glucose, cadence, runs, days)


def find_events(one: Subject, level: float) -> list[Event]:
    """Consensus events: below the level for 15 minutes, ended by 15 minutes at 70 mg/dL or above."""
    need = max(1, math.ceil(15 / max(1, round(one.cadence)) - 1e-9))
    minutes, glucose, found = one.minutes, one.glucose, []
    for start, stop in zip(one.runs[:-1], one.runs[1:], strict=True):
        i = start
        while i < stop:
            j = i
            while j < stop and glucose[j] < level:
                j += 1
            if j - i < need:
                i = max(j, i + 1)
                continue
            up, k = 0, j
            while k < stop and up < need:
                up = up + 1 if glucose[k] >= LEVELS[0] else 0
                k += 1
            end = minutes[k - up] if up >= need else minutes[stop - 1]
            found.append(Event(float(minutes[i]), float(end), bool(minutes[i] - minutes[start] >= COLD)))
            i = k if up >= need else stop
    return found


def judge(one: Subject, level: float) -> Judged:
    """What a warning at each reading would be, as the scorer of the consensus events counts."""
    events, minutes = find_events(one, level), one.minutes
    kind = np.full(len(minutes), FALSE, np.intp)
    event = np.full(len(minutes), -1, np.intp)
    for number, each in enumerate(events):
        late = (minutes > each.onset - MIN_LEAD) & (minutes <= each.end + 15) & (kind == FALSE)
        kind[late] = LATE
        early = (minutes >= each.onset - BEFORE) & (minutes <= each.onset - MIN_LEAD)
        kind[early & (kind != LATE)] = TRUE if each.scorable else VOID
        if each.scorable:
            event[early & (event < 0)] = number
    run = np.searchsorted(one.runs, np.arange(len(minutes)), side="right") - 1
    cold = minutes - minutes[one.runs[run]] < COLD
    unknown = minutes[one.runs[run + 1] - 1] < minutes + BEFORE - max(forecast.GAP, 2.5 * one.cadence)
    kind[(kind == FALSE) & (cold | unknown)] = VOID
    return Judged(events, kind, event)


SHARED: Final = (
    "minute", "glucose", "since", "lag5", "lag10", "lag20", "lag40", "lag80", "floor", "crest", "crest_at", "mean",
    "spread", "pace", "noise",
)  # fmt: skip


def as_sent(name: str, taken: datetime, glucose: float) -> Reading:
    """A reading as its sensor would have sent it."""
    flags = {forecast.BELOW_RANGE: Flag.BELOW_RANGE, forecast.ABOVE_RANGE: Flag.ABOVE_RANGE}
    word = flags.get(glucose)
    sent = (None if word else glucose,)
    return Reading(
        patient=name,
        device=name,
        vital=Vital.CGM,
        values=sent,
        sent=sent,
        unit=Unit.MG_DL,
        taken_at=taken,
        time_basis=TimeBasis.DEVICE,
        received_at=taken,
        flags=frozenset({word} if word else ()),
    )


def watch(one: Subject, levels: Sequence[float]) -> None:
    """Let a `Forecast` see the readings in order, and write down what it holds after each."""
    eyes, used, rows = [Forecast((level, level)) for level in levels], [], []
    sensor, hidden = Sensor(Plan(DEFAULTS), one.name, UTC), []
    for i, (minute, glucose) in enumerate(zip(one.minutes.tolist(), one.glucose.tolist(), strict=True)):
        taken = EPOCH + timedelta(minutes=minute)
        sensor.take(as_sent(one.name, taken, glucose), None)
        if None not in [eye.take(minute, glucose) for eye in eyes]:
            used.append(i)
            hidden.append([sensor.hides_what_is_ahead(number, taken) for number in range(len(LEVELS))])
            states = [eye.state for eye in eyes]
            rows.append([getattr(states[0], name) for name in SHARED])
            for near in (state.near[0] for state in states):
                rows[-1] += (near.near, near.below, near.last_low)
    names = [*SHARED, *(f"{name} {level}" for level in levels for name in ("near", "below", "last_low"))]
    one.used = np.array(used, np.intp)
    one.hidden = dict(zip(LEVELS, np.array(hidden).T, strict=True))
    one.plain = kalman(one, 30.0)[one.used]
    one.held = dict(zip(names, np.array(rows).T.copy(), strict=True))


def lags_of(one: Subject) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """The five lags after each reading used."""
    held = one.held
    return held["lag5"], held["lag10"], held["lag20"], held["lag40"], held["lag80"]


def fit_drift(subjects: Iterable[Subject]) -> tuple[float, ...]:
    """Change of glucose within HORIZON minutes from the five lags, least squares over readings below 160 mg/dL."""
    sides, answers = [], []
    for one in subjects:
        minute, glucose = one.held["minute"], one.held["glucose"]
        then = np.minimum(np.searchsorted(minute, minute + forecast.HORIZON - 4), len(minute) - 1)
        apart = minute[then] - minute
        fits = (np.abs(apart - forecast.HORIZON) <= 11) & (one.held["since"][then] == one.held["since"])
        fits &= (glucose < 160) & (minute - one.held["since"] >= COLD)
        sides.append(np.column_stack(lags_of(one))[fits])
        answers.append(((glucose[then] - glucose) * forecast.HORIZON / np.maximum(apart, 1))[fits])
    x, y = np.vstack(sides), np.concatenate(answers)
    scale = np.sqrt((x**2).mean(axis=0))
    x = x / scale
    solved = np.linalg.solve(x.T @ x + 0.01 * len(x) * np.eye(5), x.T @ y) / scale
    return tuple(round(float(each), 4) for each in solved)


def seen(one: Subject, level: float, drift: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Expected glucose and the terms (readings, terms) of the readings used."""
    held, lags = one.held, lags_of(one)
    bare = Weights(drift=drift, reach=0, threshold=0, constant=0, terms=())
    expected = held["glucose"] + expected_change(bare, *lags)
    shape = (held["glucose"] - held["floor"], held["crest"] - held["glucose"], held["minute"] - held["crest_at"])
    share = (held[f"near {level}"], held[f"below {level}"])
    person = (held["pace"], held["noise"], held["spread"], held["mean"] - level, *share)
    since_low = held["minute"] - held[f"last_low {level}"]
    rows = terms(held["glucose"] - level, expected - level, lags, shape, since_low, person)
    return expected, np.column_stack(rows)


def candidates(one: Subject, level: float, expected: Floats, reach: float) -> Flags:
    """Readings at which a `Forecast` thinks of a warning."""
    held = one.held
    over = held["glucose"] - level
    fits = (over >= 0) & (over < forecast.CEILING) & (expected - level < reach)
    fits &= held["minute"] - held["since"] >= forecast.YOUNGEST
    return np.asarray(fits & (held["minute"] - held[f"last_low {level}"] >= forecast.RECOVERY), bool)


def worth(one: Subject, level: float, price: float) -> Floats:
    """What a warning at each reading used is worth more than waiting, if later ones are given by a plain rule.

    A found event is worth 1, a false warning costs the price, a late one nothing. The plain rule warns whenever the
    damped Kalman filter predicts less than level + 3. After a warning nothing is possible for REST minutes, after a
    found event until it.
    """
    judged, minute = one.judged[level], one.held["minute"]
    event, kind = judged.event[one.used], judged.kind[one.used]
    found = event >= 0
    gain = np.where(found, 1.0, np.where(kind == FALSE, -price, 0.0))
    after = minute + REST
    onset = np.array([each.onset for each in judged.events] or [0.0])
    after[found] = np.maximum(after[found], onset[event[found]] - MIN_LEAD + 0.01)
    then = np.searchsorted(minute, after)
    rule = (one.plain < level + 3) & (one.held["glucose"] >= level)
    since = one.held["since"]
    value, result = np.zeros(len(minute) + 1), np.zeros(len(minute))
    for i in range(len(minute) - 1, -1, -1):
        wait = 0.0
        if i + 1 < len(minute) and since[i + 1] == since[i]:
            wait = math.exp((minute[i] - minute[i + 1]) / PATIENCE) * value[i + 1]
        j, warn = then[i], gain[i]
        if j < len(minute) and since[j] == since[i]:
            warn += math.exp((minute[i] - minute[j]) / PATIENCE) * value[j]
        result[i] = warn - wait
        value[i] = warn if rule[i] else wait
    return result


@dataclass
class Rows:
    """What is fitted: terms, worth, and for the level itself where the candidates stand."""

    x: Floats
    y: Floats
    at: Ints  # index among the readings used
    own: Floats  # terms of the candidates of the level itself


def prepare(one: Subject, level: float, aim: Aim, drift: tuple[float, ...]) -> Rows:
    """What one subject gives to the fit of a level."""
    xs, ys, at, own = [], [], np.zeros(0, np.intp), np.zeros((0, 0))
    for lent in aim.levels:
        expected, rows = seen(one, lent, drift)
        fits = candidates(one, lent, expected, aim.reach)
        if lent == level:
            fits &= ~one.hidden[level]
            at, own = np.flatnonzero(fits), rows[fits]
        known = fits & (one.judged[lent].kind[one.used] != VOID)
        xs.append(rows[known])
        ys.append(worth(one, lent, aim.price)[known])
    return Rows(np.vstack(xs), np.concatenate(ys), at, own)


def solve(x: Floats, y: Floats, weight: Floats) -> tuple[float, Floats]:
    """Constant and slopes of the weighted ridge least squares."""
    total = weight.sum()
    mean = weight @ x / total
    spread = np.sqrt(weight @ (x - mean) ** 2 / total) + 1e-9
    q = (x - mean) / spread
    level = float(weight @ y / total)
    slope = np.linalg.solve(
        (q * weight[:, None]).T @ q + RIDGE * total * np.eye(x.shape[1]), (q * weight[:, None]).T @ (y - level)
    )
    return level - float(mean / spread @ slope), slope / spread


def fit(rows: Sequence[Rows]) -> tuple[float, Floats]:
    """Ridge least squares, then twice again with the rows near the threshold weighing most."""
    x, y = np.vstack([each.x for each in rows]), np.concatenate([each.y for each in rows])
    constant, slope = solve(x, y, np.ones(len(y)))
    for _ in range(2):
        near = np.exp(-0.5 * ((x @ slope + constant) / WIDTH) ** 2) + 0.1
        constant, slope = solve(x, y, near)
    return constant, slope


@dataclass
class Tally:
    """Events and warnings counted; leads in minutes."""

    found: int = 0
    events: int = 0
    false: int = 0
    days: float = 0.0
    warnings: int = 0
    leads: list[float] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        self.found += other.found
        self.events += other.events
        self.false += other.false
        self.days += other.days
        self.warnings += other.warnings
        self.leads += other.leads
        return self

    @property
    def sensitivity(self) -> float:
        """Share of the events that were found."""
        return self.found / max(1, self.events)

    def __str__(self) -> str:
        lead = float(np.median(self.leads)) if self.leads else math.nan
        rate, share = self.false / max(self.days, 1e-9), self.found / max(1, self.found + self.false)
        warnings = self.warnings / max(self.days, 1e-9)
        return f"{self.sensitivity:.3f}  {rate:5.2f}  {share:.2f}  {lead:3.0f}  {warnings:5.2f}"


def tally(one: Subject, level: float, warned: list[int]) -> Tally:
    """Score the readings (indices into `minutes`) at which was warned."""
    judged = one.judged[level]
    first: dict[int, float] = {}
    for event, minute in zip(judged.event[warned].tolist(), one.minutes[warned].tolist(), strict=True):
        if event >= 0:
            first.setdefault(event, judged.events[event].onset - minute)
    false = int((judged.kind[warned] == FALSE).sum())
    events = sum(each.scorable for each in judged.events)
    return Tally(len(first), events, false, one.days, len(warned), list(first.values()))


def play(one: Subject, rows: Rows, score: Floats, threshold: float) -> list[int]:
    """The readings at which a `Forecast` of that score warns."""
    at = rows.at[score > threshold]
    last, warned = -math.inf, []
    for i, minute in zip(one.used[at].tolist(), one.held["minute"][at].tolist(), strict=True):
        if minute - last >= REST:
            warned.append(i)
            last = minute
    return warned


def total(parts: Iterable[Tally]) -> Tally:
    """The sum."""
    result = Tally()
    for each in parts:
        result += each
    return result


Scored = list[tuple[Subject, Rows, Floats]]


def scored(subjects: Sequence[Subject], rows: dict[int, Rows], model: tuple[float, Floats]) -> Scored:
    """The weighted sum at the candidates of each subject."""
    constant, slope = model
    return [(one, rows[id(one)], rows[id(one)].own @ slope + constant) for one in subjects]


def tally_all(parts: Scored, level: float, threshold: float) -> Tally:
    """The score of all at one threshold."""
    return total(tally(one, level, play(one, rows, score, threshold)) for one, rows, score in parts)


def threshold_for(parts: Scored, level: float, sensitivity: float) -> float:
    """The highest threshold that reaches a sensitivity, to 1/4096."""
    low, high = -0.5, 0.5
    for _ in range(12):
        middle = (low + high) / 2
        if tally_all(parts, level, middle).sensitivity >= sensitivity:
            low = middle
        else:
            high = middle
    return low


def curve(parts: Scored, level: float) -> str:
    """Sensitivity @ false per day, along the threshold."""
    points = []
    for sensitivity in (0.75, 0.78, 0.80, 0.83, 0.85, 0.88):
        got = tally_all(parts, level, threshold_for(parts, level, sensitivity))
        points.append(f"{got.sensitivity:.3f}@{got.false / got.days:.2f}")
    return " ".join(points)


def by_set(held_out: list[tuple[Subject, list[int]]], level: float, label: str) -> None:
    """Print the score of all and of each set."""
    names = sorted({one.set for one, _ in held_out})
    for name in ["all", *names]:
        parts = [tally(one, level, warned) for one, warned in held_out if name in ("all", one.set)]
        print(f"  {label:<22} {name:<18} {total(parts)}")


def deal_folds(subjects: Sequence[Subject]) -> None:
    """A fold for each subject, even within each set, by a fixed shuffle."""
    shuffle, turn = np.random.default_rng(1), 0
    for name in sorted({one.set for one in subjects}):
        members = [one for one in subjects if one.set == name]
        for i in shuffle.permutation(len(members)):
            members[i].fold = turn % FOLDS
            turn += 1


# The four baselines: they warn when the prediction or the reading is below the level, are armed again after 15
# minutes above it, and rest for 30.


def line(one: Subject) -> Floats:
    """A straight line through the last 30 minutes, 20 minutes on."""
    last = np.arange(len(one.minutes))
    run = one.runs[np.searchsorted(one.runs, last, side="right") - 1]
    first = np.maximum(run, np.searchsorted(one.minutes, one.minutes - 30 - 1e-6))
    t, g = one.minutes - one.minutes[0], one.glucose

    def sums(values: Floats) -> Floats:
        table = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(table[last + 1] - table[first])

    n, st, sg = last - first + 1, sums(t), sums(g)
    spread = np.maximum(sums(t * t) - st * st / n, 1e-9)
    slope = (sums(t * g) - st * sg / n) / spread
    return np.where(n >= 3, sg / n + slope * (t + 20 - st / n), g)


def kalman(one: Subject, decay: float) -> Floats:
    """Level and rate, q 0.03, r 9, 20 minutes on; the rate decays with the time constant given (minutes)."""
    result = one.glucose.copy()
    ahead = decay * (1 - math.exp(-20 / decay))
    starts, q, r = set(one.runs.tolist()), 0.03, 9.0
    level = rate = a = b = c = 0.0
    for i, (minute, glucose) in enumerate(zip(one.minutes.tolist(), one.glucose.tolist(), strict=True)):
        if i in starts:
            level, rate, a, b, c = glucose, 0.0, r, 0.0, 1.0
            continue
        dt = minute - one.minutes[i - 1]
        keep = math.exp(-dt / decay)
        k = decay * (1 - keep)
        level, rate = level + k * rate, keep * rate
        a, b, c = a + 2 * k * b + k * k * c, keep * (b + k * c), keep * keep * c
        a, b, c = a + q * dt**4 / 4, b + q * dt**3 / 2, c + q * dt**2
        gain, turn, error = a / (a + r), b / (a + r), glucose - level
        level, rate = level + gain * error, rate + turn * error
        a, b, c = a * (1 - gain), b * (1 - gain), c - turn * b
        result[i] = level + ahead * rate
    return result


def autoregression(subjects: Sequence[Subject]) -> Callable[[Subject], Floats]:
    """Seven readings, fitted directly to the glucose 20 minutes on; warns below the level + 5."""

    def sides(one: Subject) -> tuple[Floats, Flags]:
        x = np.column_stack([np.roll(one.glucose, k) for k in range(7)])
        run = np.searchsorted(one.runs, np.arange(len(one.glucose)), side="right") - 1
        return x, np.asarray(np.arange(len(one.glucose)) - one.runs[run] >= 7, bool)

    xs, ys = [], []
    for one in subjects:
        x, whole = sides(one)
        then = max(1, round(20 / one.cadence))
        ahead = np.roll(one.glucose, -then)
        fits = whole & np.roll(whole, -then)
        fits[-then:] = False
        xs.append(np.column_stack([x, np.ones(len(x))])[fits])
        ys.append(ahead[fits])
    found = np.linalg.lstsq(np.vstack(xs), np.concatenate(ys), rcond=None)[0]

    def predict(one: Subject) -> Floats:
        x, whole = sides(one)
        return np.where(whole, np.column_stack([x, np.ones(len(x))]) @ found - 5, one.glucose)

    return predict


def plain_warnings(one: Subject, predicted: Floats, level: float) -> list[int]:
    """The readings at which a baseline warns."""
    warned: list[int] = []
    last, armed, above = -math.inf, True, math.nan
    for i, (minute, low) in enumerate(
        zip(one.minutes.tolist(), (np.minimum(predicted, one.glucose) < level).tolist(), strict=True)
    ):
        if low:
            if armed and minute - last >= 30:
                warned.append(i)
                last, armed = minute, False
            above = math.nan
            continue
        if math.isnan(above):
            above = minute
        armed = armed or minute - above >= 15 - 1e-9 or one.cadence >= 14
    return warned


def baselines(subjects: Sequence[Subject]) -> dict[str, Callable[[Subject], Floats]]:
    """Name and prediction (mg/dL, 20 minutes on) of each."""
    return {
        "line": line,
        "Kalman": lambda one: kalman(one, 1e6),
        "damped Kalman": lambda one: kalman(one, 30.0),
        "AR(7)": autoregression(subjects),
    }


def say_baselines(subjects: Sequence[Subject]) -> None:
    """Print the score of each baseline for both levels."""
    for name, predict in baselines(subjects).items():
        made = [(one, predict(one)) for one in subjects]
        for level in LEVELS:
            got = total(tally(one, level, plain_warnings(one, predicted, level)) for one, predicted in made)
            print(f"  {name:<22} below {level:<12.0f} {got}")


def one_model(
    subjects: Sequence[Subject], kind: str, level: float, drift: tuple[float, ...], *, sets: bool
) -> Weights:
    """Fit one model on all, and say how good it is on those fitted and on those left out."""
    aim = AIMS[kind, level]
    rows = {id(one): prepare(one, level, aim, drift) for one in subjects}
    model = fit(list(rows.values()))
    parts = scored(subjects, rows, model)
    threshold = threshold_for(parts, level, aim.sensitivity)
    print(f"{kind}, below {level:.0f}: sensitivity, false per day, precision, lead (min), warnings per day")
    by_set([(one, play(one, own, score, threshold)) for one, own, score in parts], level, "fitted on all")
    groups: list[tuple[str, Callable[[Subject], object]]] = [("subjects held out", lambda one: one.fold)]
    if sets:
        groups.append(("set held out", lambda one: one.set))
    for label, key in groups:
        held_out: list[tuple[Subject, list[int]]] = []
        pooled: Scored = []
        for group in sorted({str(key(one)) for one in subjects}):
            others = [one for one in subjects if str(key(one)) != group]
            left = [one for one in subjects if str(key(one)) == group]
            part = fit([rows[id(one)] for one in others])
            limit = threshold_for(scored(others, rows, part), level, aim.sensitivity)
            for one, own, score in scored(left, rows, part):
                held_out.append((one, play(one, own, score, limit)))
                pooled.append((one, own, score - limit))
        by_set(held_out, level, label)
        print(f"  {label:<22} curve              {curve(pooled, level)}")
    return Weights(
        drift=drift,
        reach=aim.reach,
        threshold=round(threshold, 5),
        constant=round(float(model[0]), 6),
        terms=tuple(round(float(each), 6) for each in model[1]),
    )


HEAD: Final = '''"""Weights of `alerts/forecast.py`: benchmarks/fit_forecast.py, {subjects} subjects, {days} days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model: for one level and one kind of sensor.

    drift: weights of the five lags in the change of glucose expected within 20 minutes, one for both levels. reach:
    mg/dL above the level that the expected glucose must be below for a warning to be thought of. It is given when
    constant + the weighted `terms` is above the threshold; the unit of both is a found low.
    """

    drift: tuple[float, ...]
    reach: float
    threshold: float
    constant: float
    terms: tuple[float, ...]

'''


def write(path: Path, models: dict[tuple[str, float], Weights], subjects: Sequence[Subject]) -> None:
    """Write the module of weights."""
    text = HEAD.format(subjects=len(subjects), days=round(sum(one.days for one in subjects)))
    for kind, note in (("fast", "a reading every 1 to 8 minutes"), ("slow", "every 9 to 15 minutes")):
        text += f"\n{kind.upper()}: Final = (  # {note}; below 70 mg/dL, below 54 mg/dL\n"
        for level in LEVELS:
            each = models[kind, level]
            text += f"    Weights(\n        drift={each.drift},\n        reach={each.reach},\n"
            text += f"        threshold={each.threshold},\n        constant={each.constant},\n        terms=(\n"
            text += "".join(f"            {number},\n" for number in each.terms) + "        ),\n    ),\n"
        text += ")\n"
    path.write_text(text)


def main() -> None:
    """Fit, say, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true", help="replace alerts/forecast_weights.py")
    parser.add_argument("--leave", default="UoMGlucose2307", help="subjects to leave out (a wrong unit), comma list")
    parser.add_argument("--quick", action="store_true", help="neither baselines nor sets held out")
    chosen = parser.parse_args()
    left = chosen.leave.split(",")
    subjects = [
        one
        for path in sorted(chosen.data.glob("cgm-*/cgm.csv"))
        for one in read(path, path.parent.name.removeprefix("cgm-"))
        if one.name not in left
    ]
    deal_folds(subjects)
    models = {}
    for kind in ("fast", "slow"):
        alike = [one for one in subjects if one.kind == kind]
        levels = sorted({each for level in LEVELS for each in AIMS[kind, level].levels})
        for one in alike:
            watch(one, levels)
            one.judged = {level: judge(one, level) for level in {*levels, *LEVELS}}
        drift = fit_drift(alike)
        print(f"{kind}: {len(alike)} subjects, {sum(one.days for one in alike):.0f} days; drift {drift}", flush=True)
        if not chosen.quick:
            say_baselines(alike)
        for level in LEVELS:
            models[kind, level] = one_model(alike, kind, level, drift, sets=not chosen.quick)
    if chosen.write:
        write(Path(forecast.__file__).with_name("forecast_weights.py"), models, subjects)


if __name__ == "__main__":
    main()
