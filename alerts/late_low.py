"""Very low events of a sensor that had passed when they came, because a phone was out of reach for hours. Pure.

Staff are told of it once, as of a meter's (`alerts.spot.told_late`), where no alert has any reading of it: what the
sensor tells by itself (`alerts.sensor`) is waited for. Only of that is told of which staff would have heard had every
reading come when it was taken; and the patient is asked only where no reading says that it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, NamedTuple

from alerts.alert import Audience, Finding, Text, Verdict, together
from alerts.devices import UNRELIABLE
from alerts.first_aid import advice_late
from alerts.ladder import EVENT, Plan
from alerts.scene import Scene
from alerts.sensor import Sensor
from alerts.sensor_rules import LOW_EVENT_1, LOW_EVENT_2
from alerts.shown import limit_words, shown, words
from alerts.spot import Late
from ingest.reading import Reading

# So long before a low its rhythm, and whether it may be pressure on the sensor, show themselves.
BEFORE: Final = timedelta(hours=6)
# After so long without a reading nobody knows whether a low went on.
_LOST: Final = 3 * EVENT
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_NOTHING: Final = Text(en="", zh="")


class Low(NamedTuple):
    """A very low event of which staff hear in its time.

    low: the very low readings of it; worst: the lowest. back, over: the first on the right side of the clear limit,
    and that by which it is known to be over; None where there is none. newest: the sensor's newest, or the first
    after a gap in which it was lost (`is_lost`).
    """

    low: Sequence[Reading]
    worst: Reading
    back: Reading | None
    over: Reading | None
    newest: Reading
    is_lost: bool

    @property
    def onset(self) -> Reading:
        """The first very low one."""
        return self.low[0]

    @property
    def last(self) -> Reading:
        """The last very low one."""
        return self.low[-1]

    @property
    def keys(self) -> frozenset[str]:
        """Of the very low ones."""
        return frozenset(each.key for each in self.low)

    def is_past(self, scene: Scene) -> bool:
        """Whether the sensor does not tell of it by itself any more."""
        return self.back is not None and scene.now - self.back.taken_at > EVENT

    def goes_on(self, scene: Scene) -> bool:
        """Whether the sensor may still tell of it, for nothing shows its end and its newest reading is fresh."""
        return self.over is None and not self.is_lost and scene.fresh(LOW_EVENT_2, "fresh-sensor", self.newest)

    def meets(self, other: Low) -> bool:
        """Whether both are of one time."""
        return self.onset.taken_at <= other.last.taken_at and other.onset.taken_at <= self.last.taken_at


def lows(scene: Scene, plan: Plan, readings: Sequence[Reading], started: Mapping[str, datetime | None]) -> list[Low]:
    """The events that readings show.

    readings: of all sensors of the patient, oldest first, from `BEFORE` the first that is asked about on. started: by
    sensor, when it began to be worn, where that is less than a day ago.
    """
    return [
        low
        for device in dict.fromkeys(each.device for each in readings)
        for low in _lows(scene, plan, [each for each in readings if each.device == device], started.get(device))
    ]


def _lows(scene: Scene, plan: Plan, readings: Sequence[Reading], started: datetime | None) -> Iterator[Low]:
    """The events of one sensor, had each reading come when it was taken."""
    if not readings:
        return
    sensor = Sensor(plan, readings[0].device, scene.zone)
    sensor.started_at = started or _LONG_AGO
    since = None
    before = readings[0]
    for reading in readings:
        if since is not None and reading.taken_at - before.taken_at > _LOST:
            yield _low(scene, plan, readings, since, None, lost=reading)
            since = None
        before = reading
        told = sensor.take(reading, reading.taken_at) or ()
        if since is None:
            since = min(
                (
                    each.began or each.since
                    for each in told
                    if each.verdict is Verdict.RAISE
                    and each.audience is Audience.STAFF
                    and each.rule.problem == LOW_EVENT_2.problem
                    and each.level
                    and each.level.rule is not LOW_EVENT_1
                ),
                default=None,
            )
        elif sensor.shows_over(LOW_EVENT_2.name, reading):
            yield _low(scene, plan, readings, since, reading)
            since = None
    if since is not None:
        yield _low(scene, plan, readings, since, None)


def _low(
    scene: Scene,
    plan: Plan,
    readings: Sequence[Reading],
    since: datetime,
    over: Reading | None,
    *,
    lost: Reading | None = None,
) -> Low:
    newest = lost or readings[-1]
    until = (over or newest).taken_at
    of_it = [each for each in readings if since <= each.taken_at <= until and each is not lost]
    low = [each for each in of_it if is_very_low(plan, each)]
    well = list(takewhile(lambda each: _is_well(scene, each), of_it[::-1])) if over else []
    worst = min(low, key=lambda each: shown(each)[0])
    return Low(low, worst, well[-1] if well else None, over, newest, lost is not None)


def is_very_low(plan: Plan, reading: Reading) -> bool:
    """Whether a sensor's value, which it does not doubt itself, is below the limit of level 2."""
    value, unit = shown(reading)
    return value < plan.very_low[unit] and UNRELIABLE.isdisjoint(reading.flags)


def _is_well(scene: Scene, reading: Reading) -> bool:
    value, unit = shown(reading)
    return value >= scene.number(LOW_EVENT_2, "clear", unit)


def told(scene: Scene, low: Low, glucose: Iterable[Reading]) -> Late:
    """What staff are told of it, and what the patient is asked where it may go on. glucose: of all devices."""
    ends = low.over or any(_is_well(scene, each) and each.taken_at - low.last.taken_at > EVENT for each in glucose)
    because = _words(scene, low)
    asked = together((because, advice_late(very_low=True)), _NOTHING)
    return Late(
        _finding(scene, low, because, Audience.STAFF),
        None if ends else _finding(scene, low, asked, Audience.PATIENT),
    )


def _finding(scene: Scene, low: Low, because: Text, audience: Audience) -> Finding:
    evidence = (low.onset, low.worst, low.last)
    return scene.finding(
        LOW_EVENT_2, Verdict.RAISE, because, low.onset.taken_at, evidence, known_at=scene.now, audience=audience
    )


def _words(scene: Scene, low: Low) -> Text:
    unit = shown(low.onset)[1]
    limit, source = (
        limit_words(scene, LOW_EVENT_2, "limit", unit),
        scene.limits.source(LOW_EVENT_2.name, "limit", unit),
    )
    since, last, came = (scene.clock(each) for each in (low.onset.taken_at, low.last.taken_at, scene.now))
    lowest, now = words(scene, low.worst), words(scene, low.over or low.newest)
    at = scene.clock((low.over or low.newest).taken_at)
    if low.over:
        clear = limit_words(scene, LOW_EVENT_2, "clear", unit)
        after = Text(
            en=f"It was over by {at}, at {now.en}: at or above {clear.en} for 15 min.",
            zh=f"至 {at} 已恢复，为 {now.zh}：已 15 分钟不低于 {clear.zh}。",
        )
    else:
        after = Text(
            en=f"The {'next' if low.is_lost else 'newest'} value is {now.en}, of {at}: how it went on is not known.",
            zh=f"{'其后' if low.is_lost else '最新'}数值为 {at} 的 {now.zh}：此后情况未知。",
        )
    return Text(
        en=f"Sensor glucose was below {limit.en} from {since} to {last}, lowest {lowest.en}. {after.en} This "
        f"came late, at {came}. Limit: {source.en}.",
        zh=f"{since} 至 {last} 动态血糖低于 {limit.zh}，最低 {lowest.zh}。{after.zh}数据迟至 {came} 才到达。"
        f"限值依据：{source.zh}。",
    )
