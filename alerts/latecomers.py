"""What came to a bed when it was too old to be told in its time, until staff have heard of it. Pure.

A bed makes it where something came late, asks it when it looks at what is stored, and lets it go when it is empty.

- **When it was seen** is when it came: what waited at a home post, or set aside, nobody could be told of before. What
  was judged before a restart, and is old only by now, did not come late.
- **Very lows of a sensor** (`alerts.late_low`) wait a few minutes for more, where nothing says that they are over.
- **One alert** speaks of all that came late while it stands, and is over when the newest value of no device is an
  emergency.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from alerts import late_low, spot
from alerts.alert import Finding
from alerts.devices import LATE, Expected
from alerts.ladder import Plan
from alerts.scene import Scene
from alerts.sensor import NEVER, Sensor
from alerts.sensor_rules import LOW_EVENT_2
from alerts.spot_rules import LATE_EMERGENCY
from ingest.reading import Reading
from ingest.vital import Vital

# Of a sensor's reading, when it comes.
OLD: Final = LATE[Vital.CGM]
# What came so long before the bed sees it waited somewhere: it came when it is seen.
WAITED: Final = timedelta(minutes=15)
# A phone that is back may send in several messages how a low went on.
_MORE_TO_COME: Final = timedelta(minutes=5)


class Stored(Protocol):
    """What is asked of the stored readings of a patient; it blocks."""

    def sensors_since(self, start: datetime) -> Sequence[Reading]:
        """Of all sensors, those taken from a moment on, oldest first."""
        ...

    def watched(self, keys: Collection[str]) -> frozenset[str]:
        """Those of the keys of readings that stand in an alert of the patient: they were judged before."""
        ...


class Seen(NamedTuple):
    """Spot readings as the bed saw them.

    taken: by vital, oldest first. came: those to look for what is late in, by key, when each was taken. waited: of
    those that waited when they were seen. worn: since when each device is known to be worn.
    """

    taken: spot.Taken
    came: Mapping[str, datetime]
    waited: dict[str, datetime]
    worn: Mapping[str, datetime]


class Latecomers:
    """Of one patient. expected, sensors: as the bed has them."""

    __slots__ = ("_expected", "_lows", "_plan", "_sensors", "_told", "_waited", "again", "asks")

    def __init__(self, plan: Plan, expected: Sequence[Expected], sensors: Mapping[str, Sensor]) -> None:
        self._plan = plan
        self._expected = expected
        self._sensors = sensors
        self._waited: dict[str, datetime] = {}  # when spot readings were seen, by key
        self._lows: dict[str, list[Reading]] = {}  # by sensor, the very low ones that are to be judged
        self._told: dict[tuple[str, datetime], Finding] = {}  # of which the alert speaks
        self.asks = False  # the lows are to be judged now
        self.again = NEVER  # or then

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self._waited or self._lows or self._told)

    def is_due(self, now: datetime) -> bool:
        """Whether lows are to be judged."""
        return self.asks or self.again <= now

    def wait(self, reading: Reading, now: datetime) -> None:
        """Note a spot reading that waited until it was seen."""
        self._waited[reading.key] = now

    def take_low(self, reading: Reading) -> None:
        """Take in a sensor's very low one that is old."""
        self._lows.setdefault(reading.device, []).append(reading)
        self.asks = True

    def hear(self, device: str) -> None:
        """Note that a sensor has sent: it may say how its lows went on."""
        if device in self._lows:
            self.asks = True

    def seen(self, stored: Stored, taken: spot.Taken, came: Mapping[str, datetime], now: datetime) -> Seen:
        """The stored spot readings as they were seen. came: as for `spot.passed`."""
        readings = [each for vital, of_it in taken.items() if vital is not Vital.CGM for each in of_it]
        again = self._watched_again(readings, stored, came, now)
        known = self._waited.keys() - again
        waited = {each.key: self._waited[each.key] for each in readings if each.key in known}
        return Seen(
            _as_seen(taken, waited),
            {key: at for key, at in came.items() if key not in again},
            waited,
            self._worn(readings),
        )

    def told(self, scene: Scene, stored: Stored, seen: Seen, standing: Mapping[str, datetime]) -> list[Finding]:
        """What is to be told, and that nothing of it goes on; all that blocks is asked before anything is changed."""
        lows, glucose = self._unheard_lows(scene, stored)
        waiting = {low.onset.device for low in lows if self._may_be_told_otherwise(scene, low)}
        glucose += seen.taken.get(Vital.GLUCOSE, ())
        new = [
            *spot.late(scene, seen.taken, seen.came, seen.worn),
            *(late_low.told(scene, low, glucose) for low in lows if low.onset.device not in waiting),
        ]
        over = self._is_over(scene, stored, seen.taken) if new or LATE_EMERGENCY.name in standing else None
        self._waited = seen.waited
        self._lows = {device: self._lows[device] for device in waiting}
        more = scene.now + _MORE_TO_COME
        self.again = (self.again if scene.now < self.again < more else more) if waiting else NEVER
        self.asks = False
        found = self._in_one_alert(scene, seen, new, standing.get(LATE_EMERGENCY.name))
        return [*found, over] if over else found

    def _watched_again(
        self, readings: Iterable[Reading], stored: Stored, came: Mapping[str, datetime], now: datetime
    ) -> frozenset[str]:
        """Of what came since the last look, that which was judged before a restart and may be too old by now."""
        first = min(came.values(), default=NEVER)
        new = [each for each in readings if each.taken_at >= first and each.key in came and each.rev == 1]
        old = [each.key for each in new if each.key in self._waited or now - each.taken_at > LATE[each.vital]]
        return stored.watched(old) if old else frozenset()

    def _worn(self, readings: Iterable[Reading]) -> dict[str, datetime]:
        """Since when each device is known to be worn: as somebody said, or since it was heard for this patient."""
        worn = {each.device: each.worn_since for each in self._expected if each.worn_since}
        for each in readings:
            if each.device in worn and each.received_at < worn[each.device]:
                worn[each.device] = each.received_at
        return worn

    def _may_be_told_otherwise(self, scene: Scene, low: late_low.Low) -> bool:
        """Whether more may come of it in a few minutes, or its sensor tells of it by itself."""
        if low.is_past(scene):
            return False
        sensor = self._sensors.get(low.onset.device)
        return scene.now < self.again or (
            low.goes_on(scene) and sensor is not None and sensor.is_in(LOW_EVENT_2.name)
        )

    def _unheard_lows(self, scene: Scene, stored: Stored) -> tuple[list[late_low.Low], list[Reading]]:
        """Very low events that came late, at least in part, and of which staff have not heard by any sensor.

        With the readings of all sensors from before them on.
        """
        if not self._lows:
            return [], []
        came = [each for readings in self._lows.values() for each in readings]
        readings = list(stored.sensors_since(min(each.taken_at for each in came) - late_low.BEFORE))
        started = {device: sensor.started_at for device, sensor in self._sensors.items()}
        lows = late_low.lows(scene, self._plan, readings, started)
        keys = frozenset[str]().union(*(low.keys for low in lows))
        heard = stored.watched(keys) if keys else frozenset()
        told = [low for low in lows if not heard.isdisjoint(low.keys)]
        late, worn = {each.key for each in came}, self._worn(readings)
        return [
            low
            for low in lows
            if not late.isdisjoint(low.keys)
            and (low.onset.device not in worn or worn[low.onset.device] <= low.last.taken_at)
            and not any(low.meets(each) for each in told)
        ], readings

    def _is_over(self, scene: Scene, stored: Stored, taken: spot.Taken) -> Finding | None:
        heard_at = max((sensor.last_at for sensor in self._sensors.values() if sensor.last_at), default=None)
        if heard_at:
            taken = {**taken, Vital.CGM: stored.sensors_since(heard_at - OLD)}
        return spot.late_is_over(scene, taken)

    def _in_one_alert(
        self, scene: Scene, seen: Seen, new: Sequence[spot.Late], since: datetime | None
    ) -> list[Finding]:
        """What is new, beside that of which the alert speaks already. since: when that was raised, if it stands."""
        if since is None:
            self._told = {}
        elif new and not self._told:
            self._told = _by_onset(spot.late(scene, seen.taken, _received_since(seen.taken, since), seen.worn))
        told = _by_onset(new)
        found = spot.told_late(scene, new, [each for at, each in self._told.items() if at not in told])
        self._told |= told
        return found


def came_late(readings: Iterable[Reading]) -> list[Reading]:
    """Of a sensor's readings those that were old when they came."""
    return [each for each in readings if each.received_at - each.taken_at > OLD]


def _as_seen(taken: spot.Taken, waited: Mapping[str, datetime]) -> spot.Taken:
    """What waited came when it was seen."""
    if not waited:
        return taken
    return {
        vital: [replace(each, received_at=waited.get(each.key, each.received_at)) for each in readings]
        for vital, readings in taken.items()
    }


def _received_since(taken: spot.Taken, since: datetime) -> dict[str, datetime]:
    return {each.key: each.taken_at for readings in taken.values() for each in readings if each.received_at >= since}


def _by_onset(late: Iterable[spot.Late]) -> dict[tuple[str, datetime], Finding]:
    return {(each.told.rule, each.told.since): each.told for each in late}
