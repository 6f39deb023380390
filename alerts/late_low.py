"""Very low events of a sensor that had passed when they came, because a phone was out of reach for hours. Pure.

What is fresh, or was over only just now, the sensor tells by itself (`alerts.sensor`). What is older is past: staff
are told of it once, as of a meter's (`alerts.spot.told_late`), but only of that of which they would have heard had
every reading come when it was taken; and the patient is asked only where no reading says that it is over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_NOTHING: Final = Text(en="", zh="")


class Low(NamedTuple):
    """A very low event of which staff hear in its time.

    onset, worst, last: the first, the lowest and the last reading of it. back, over: the first on the right side of
    the clear limit, and that by which it is known to be over; None where there is none. newest: that of the sensor.
    """

    onset: Reading
    worst: Reading
    last: Reading
    back: Reading | None
    over: Reading | None
    newest: Reading

    def is_past(self, scene: Scene) -> bool:
        """Whether the sensor does not tell of it by itself."""
        if self.back is None:
            return not scene.fresh(LOW_EVENT_2, "fresh-sensor", self.newest)
        return scene.now - self.back.taken_at > EVENT

    def meets(self, other: Low) -> bool:
        """Whether both are of one time."""
        return self.onset.taken_at <= other.last.taken_at and other.onset.taken_at <= self.last.taken_at


def lows(
    scene: Scene,
    plan: Plan,
    readings: Sequence[Reading],
    came: Collection[str],
    started: Mapping[str, datetime | None],
) -> list[Low]:
    """The events that readings show and that those which came before them do not show.

    readings: of all sensors of the patient, oldest first, from `BEFORE` the first that came on. came: keys of those
    that came too late. started: by sensor, when it began to be worn, where that is less than a day ago.
    """
    in_time: list[Low] = []
    whole: list[Low] = []
    for device in dict.fromkeys(each.device for each in readings):
        of_it = [each for each in readings if each.device == device]
        before = [each for each in of_it if each.key not in came]
        in_time += _lows(scene, plan, before, started.get(device))
        if len(before) < len(of_it):
            whole += _lows(scene, plan, of_it, started.get(device))
    return [low for low in whole if not any(low.meets(each) for each in in_time)]


def _lows(scene: Scene, plan: Plan, readings: Sequence[Reading], started: datetime | None) -> Iterator[Low]:
    """The events of one sensor, had each reading come when it was taken."""
    if not readings:
        return
    sensor = Sensor(plan, readings[0].device, scene.zone)
    sensor.started_at = started or _LONG_AGO
    since = None
    for reading in readings:
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


def _low(scene: Scene, plan: Plan, readings: Sequence[Reading], since: datetime, over: Reading | None) -> Low:
    until = (over or readings[-1]).taken_at
    of_it = [each for each in readings if since <= each.taken_at <= until]
    low = [each for each in of_it if is_very_low(plan, each)]
    well = list(takewhile(lambda each: _is_well(scene, each), of_it[::-1])) if over else []
    back = well[-1] if well else None
    return Low(low[0], min(low, key=lambda each: shown(each)[0]), low[-1], back, over, readings[-1])


def is_very_low(plan: Plan, reading: Reading) -> bool:
    """Whether a sensor's value, which it does not doubt itself, is below the limit of level 2."""
    value, unit = shown(reading)
    return value < plan.very_low[unit] and UNRELIABLE.isdisjoint(reading.flags)


def _is_well(scene: Scene, reading: Reading) -> bool:
    value, unit = shown(reading)
    return value >= scene.number(LOW_EVENT_2, "clear", unit)


def told(scene: Scene, low: Low) -> Late:
    """What staff are told of it, and what the patient is asked where it may go on."""
    because = _words(scene, low)
    asked = together((because, advice_late(very_low=True)), _NOTHING)
    return Late(
        _finding(scene, low, because, Audience.STAFF),
        None if low.over else _finding(scene, low, asked, Audience.PATIENT),
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
            en=f"The newest value is {now.en}, of {at}: how it went on is not known.",
            zh=f"最新数值为 {at} 的 {now.zh}：此后情况未知。",
        )
    return Text(
        en=f"Sensor glucose was below {limit.en} from {since} to {last}, lowest {lowest.en}. {after.en} This "
        f"came late, at {came}. Limit: {source.en}.",
        zh=f"{since} 至 {last} 动态血糖低于 {limit.zh}，最低 {lowest.zh}。{after.zh}数据迟至 {came} 才到达。"
        f"限值依据：{source.zh}。",
    )
