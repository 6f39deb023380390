"""A bed: one patient in the ward, and what is remembered of the devices that measure. Pure.

A sensor's reading is judged as it comes, in some microseconds, from a state of some kilobytes (`alerts.sensor`).
All else is judged on stored readings, which `look` is given when `take` has asked for it: a reading that came late,
a spot measurement (`alerts.spot`) unless it is unremarkable (`alerts.cuff`), a deadline. So a bed holds no readings.

- **Several sensors** are judged each alone, but a low or high that two show is told once, and where a new sensor
  goes on with it, staff's wait counts from its beginning. What is known of the patient, and when a low ahead was told
  last, a new sensor takes over from the one heard last. A trouble is over when one shows it and no other has shown it
  within the last 15 minutes; so a sensor that was replaced holds nothing up.
- **What stands** (`standing`) are the rules that hold an alert of the patient up, told by the ward: what is over is
  looked for among them, also after a restart.
- **What was closed while it was so** (`closed`): a low that a sensor still shows a while after a person closed the
  alert about it is told again.
- **Changed limits** have the bed made anew. What a sensor shows by them is told at its next reading, with its true
  onset; spot measurements from before are judged by them too, as far as each rule looks back, but what raised an
  alert does not end it: that takes a new measurement.
- **Late** is judged by when the bed sees a reading, which may be long after it came to a home post or was set aside:
  each is fresh, too old to be told as urgent, or long past (`alerts.latecomers`). A sensor's low that has passed
  unseen is told (`alerts.late_low`), and one that may go on when it is not over a few minutes later.
- **Time** raises no-data, from a moment that arrivals only put off, and what `alerts.spot` waits for (`due`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from alerts import corrected, latecomers, spot
from alerts.alert import Alert, Audience, Finding, Verdict
from alerts.device_rules import LATE_DATA, NO_DATA
from alerts.devices import LATE_COUNT, Arrivals, Expected, LastHeard, late_data, no_data, wrong_clock
from alerts.ladder import Plan
from alerts.late_low import is_very_low
from alerts.latecomers import OLD, WAITED, Latecomers, came_late
from alerts.rule import Limits
from alerts.rules import RULES
from alerts.scene import Scene
from alerts.sensor import NEVER, Sensor, Told, built, is_late
from alerts.sensor_rules import LOW_EVENT_2
from alerts.sensor_words import finding, still_low
from alerts.spot_rules import LATE_EMERGENCY, METER_LOW, METER_VERY_LOW
from ingest.reading import Reading
from ingest.vital import Unit, Vital

# A sensor's reading may end these.
_METER_LOWS: Final = frozenset({METER_LOW.name, METER_VERY_LOW.name})
_ENDED_BY_SENSORS: Final = _METER_LOWS | {LATE_EMERGENCY.name}
# A device that is heard may end these; what it begins, time or an arrival that is late does.
_OF_DEVICES: Final = frozenset({NO_DATA.name, LATE_DATA.name})
NONE: Final[tuple[Finding, ...]] = ()
# Shared by all beds, for each empty frozenset that is made takes 216 bytes.
NO_NAMES: Final[frozenset[str]] = frozenset()
NOTHING_STANDING: Final[Mapping[str, datetime]] = MappingProxyType({})
NO_ONSETS: Final[Mapping[tuple[str, Audience], datetime]] = MappingProxyType({})
NOTHING_TOGETHER: Final[Mapping[str, Reading]] = MappingProxyType({})
NOTHING_EARLIER: Final[Mapping[str, Sequence[tuple[float, float]]]] = MappingProxyType({})


class Stored(latecomers.Stored, Protocol):
    """The stored readings of a patient, as the ward gives them; they block."""

    def sensor(self, device: str) -> Sequence[Reading]:
        """Of a sensor: those of the last `alerts.sensor.HISTORY` and the one before, oldest first."""
        ...

    def spot(self) -> spot.Taken:
        """By vital, those that `alerts.spot.judge` wants."""
        ...

    def said_before(self, reading: Reading) -> Reading | None:
        """What the device had said of a reading before, where it said something else and that is known."""
        ...


class _Kept(NamedTuple):
    """What is stored of a patient's sensors, as `Bed.start` is given it."""

    sensors: Mapping[str, Sequence[Reading]]
    earlier: Mapping[str, Sequence[tuple[float, float]]]

    def built(self, plan: Plan, zone: tzinfo, device: str, until: float = math.inf) -> Sensor:
        """A sensor as it was at a moment (minutes since 1970), with what another had shown of the patient before."""
        readings = [each for each in self.sensors.get(device, ()) if _minute(each) < until]
        earlier = [each for each in self.earlier.get(device, ()) if each[0] < until]
        others, known = {*self.sensors, *self.earlier} - {device}, None
        if others:
            begins = next(self._moments(device), until)
            shown = {moment: other for other in others for moment in self._moments(other) if moment < begins}
            known = self.built(plan, zone, shown[max(shown)], begins).forecast if shown else None
        return built(plan, device, zone, readings, earlier, known=known)

    def _moments(self, device: str) -> Iterator[float]:
        yield from (moment for moment, _ in self.earlier.get(device, ()))
        yield from map(_minute, self.sensors.get(device, ()))


def _minute(reading: Reading) -> float:
    return reading.taken_at.timestamp() / 60


class Bed:
    """One patient: limits, zone, expected devices, and the state of each sensor. until: how long the limits hold."""

    __slots__ = (
        "_again",
        "_arrivals",
        "_asks",
        "_back",
        "_came",
        "_clock_told",
        "_due",
        "_late",
        "_onsets",
        "_outdated",
        "_plan",
        "_pressure_at",
        "_raised",
        "_recalled",
        "_sensors",
        "_silent",
        "_together",
        "_unwell",
        "closed",
        "expected",
        "patient",
        "reads",
        "standing",
        "until",
        "zone",
    )

    def __init__(
        self,
        patient: str,
        *,
        plan: Plan,
        zone: tzinfo,
        expected: tuple[Expected, ...],
        until: datetime = NEVER,
        reads: Unit | None = None,
    ) -> None:
        self.patient = patient
        self.reads = reads
        self.until = until
        self.zone = zone
        self.expected = expected
        self.standing = NOTHING_STANDING
        self.closed: Alert | None = None
        self._plan = plan
        self._sensors: dict[str, Sensor] = {}
        self._arrivals: dict[str, Arrivals] = {}
        self._outdated = NO_NAMES  # sensors to be built again
        self._together: Mapping[str, Reading] = NOTHING_TOGETHER  # the newest of sensors to be judged as a whole
        self._raised = NO_NAMES  # rules, since the last `settle`
        self._recalled = False  # how meters and cuffs were heard before the bed was made
        self._asks = True  # spot measurements are to be judged
        self._came: dict[str, datetime] = {}  # those that came since `spot` judged last: by key, when taken
        self._late: Latecomers | None = None
        self._onsets = NO_ONSETS  # of what was raised when `spot` judged last
        self._pressure_at: datetime | None = None  # when the newest that was seen or stored was taken
        self._silent = NO_NAMES  # devices of whose silence somebody was told, at the last `settle`
        self._unwell = False  # at the last `settle`
        self._back = False  # a silence that was told begins anew, or staff are to hear of one sooner
        self._clock_told: datetime | None = None  # the onset of the wrong clock that was told last
        self._again = NEVER
        self._due = NEVER

    def start(
        self,
        sensors: Mapping[str, Sequence[Reading]],
        standing: Mapping[str, datetime],
        earlier: Mapping[str, Sequence[tuple[float, float]]] = NOTHING_EARLIER,
        closed: Alert | None = None,
    ) -> None:
        """Take in what was stored before the bed was made, by sensor, oldest first; nothing of it is told.

        standing: the rules that hold an alert up, and since when. earlier: what came before that, for what is known
        of the patient (`alerts.sensor.built`). closed: as for `settle`.
        """
        self.standing = standing or NOTHING_STANDING
        self.closed = closed
        self._onsets = {(rule, each): since for rule, since in standing.items() for each in Audience} or NO_ONSETS
        kept = _Kept(sensors, earlier)
        for device, readings in sensors.items():
            self._sensors[device] = kept.built(self._plan, self.zone, device)
            for reading in readings:
                self._note(reading)
        for device, sensor in self._sensors.items():
            sensor.join(self._sensors)
            if sensors[device]:
                late = is_late(sensors[device][-1])
                sensor.believe(standing, sensors[device][0].taken_at, late=late)
            # It may have waited for more when the house went down.
            heard_at = max((each.received_at for each in sensors[device]), default=NEVER)
            for reading in came_late(sensors[device]):
                waits = sensor.is_in(LOW_EVENT_2.name) or heard_at - reading.received_at <= WAITED
                if waits and is_very_low(self._plan, reading):
                    self._latecomers().take_low(reading)

    @property
    def limits(self) -> Limits:
        """The patient's."""
        return self._plan.limits

    @property
    def asks(self) -> bool:
        """Whether `look` is asked for."""
        return self._asks or self._back or bool(self._outdated) or (self._late is not None and self._late.asks)

    @property
    def holds(self) -> bool:
        """Whether `taken_together` is asked for, once all that came with the last reading is taken in."""
        return bool(self._together)

    def take(self, reading: Reading, now: datetime) -> Sequence[Finding]:
        """Take a reading in; what is found at once. Afterwards `holds` and `asks` say what else to do."""
        device = reading.device
        came = self._note(reading)
        found: Sequence[Finding] = NONE
        if reading.vital is Vital.CGM:
            sensor = self._sensors.get(device)
            if sensor is None:
                before = self._heard_last()
                sensor = self._sensors[device] = Sensor(self._plan, device, self.zone, self._sensors)
                if before is not None:
                    sensor.forecast.follow(before.forecast)
            if now - reading.taken_at > OLD:
                sensor.hold()  # more will have come with it
                if now - reading.taken_at <= spot.LATEST and is_very_low(self._plan, reading):
                    self._latecomers().take_low(reading)
            told = sensor.take(reading, now)
            if told is None:
                self._outdated |= {device}
            elif told:
                found = self._heard(told, now)
            if sensor.known is not None and told is not None:
                self._together = {**self._together, device: reading}
            if self._late is not None:
                self._late.hear(device)
            if self.standing:
                found = (*found, *self._over(sensor, reading, now, found), *self._still_low(sensor, reading, now))
        elif self._is_to_be_judged(reading):
            self._asks = True
            self._came[reading.key] = reading.taken_at
            if now - reading.received_at > WAITED:
                self._latecomers().wait(reading, now)
        if self._silent:
            self._back |= device in self._silent or self.is_unwell is not self._unwell
        late = came.late and len(came.late) == LATE_COUNT
        if late or came.astray or (self.standing and not _OF_DEVICES.isdisjoint(self.standing)):
            found = (*found, *self._of_devices(now))
        return found

    def _is_to_be_judged(self, reading: Reading) -> bool:
        """Whether a spot measurement may lead to anything, on its own or with what is stored."""
        if reading.vital is not Vital.BLOOD_PRESSURE:
            return True
        before = self._pressure_at
        self._pressure_at = max(before or reading.taken_at, reading.taken_at)
        return bool(self.standing) or not self._plan.unremarkable.includes(reading, before)

    def _note(self, reading: Reading) -> Arrivals:
        came = self._arrivals.get(reading.device)
        if came is None:
            came = self._arrivals[reading.device] = Arrivals(reading)
        else:
            came.take(reading)
        return came

    def _recall(self, stored: Iterable[Reading]) -> None:
        """Note how what is stored came in, so that no wait for a device begins anew."""
        heard: dict[str, Arrivals] = {}
        for reading in sorted(stored, key=lambda each: (each.received_at, each.taken_at)):
            came = heard.setdefault(reading.device, Arrivals(reading))
            came.take(reading)
        for device, came in heard.items():
            known = self._arrivals.get(device)
            if known is None or known.received_at <= came.received_at:
                self._arrivals[device] = came
        self._recalled = True

    def taken_together(self, now: datetime) -> Sequence[Finding]:
        """What is found of sensors that sent more at once than what is new: of all of it, and not of each."""
        found: list[Finding] = []
        for device, reading in self._together.items():
            if device not in self._outdated:  # or `look` judges all of it
                found += self._heard(self._sensors[device].judged(reading, now), now)
                found += self._still_low(self._sensors[device], reading, now)
        self._together = NOTHING_TOGETHER
        return found

    def look(self, stored: Stored, now: datetime) -> Sequence[Finding]:
        """What is found on stored readings, and by the clock.

        All that blocks is asked before anything is changed: where that fails, the next call finds the whole.
        """
        scene = self._scene(now)
        outdated = {device: self._taken_by(stored, device, now) for device in sorted(self._outdated)}
        asks = self._asks or self._again <= now or (self._late is not None and self._late.is_due(now))
        # What a late reading of a sensor shows may end these.
        asks |= bool(outdated and not _ENDED_BY_SENSORS.isdisjoint(self.standing))
        taken, raised_by, late = self._look_back(stored, scene) if asks else ({}, NO_NAMES, [])
        found = [finding for device, readings in outdated.items() for finding in self._rebuild(device, readings, now)]
        found += self.taken_together(now)
        self._outdated = NO_NAMES
        if asks:
            found += [*self._judge_spot(scene, taken, raised_by), *late]
        found += self._of_devices(now)
        return found

    def _taken_by(self, stored: Stored, device: str, now: datetime) -> Sequence[Reading]:
        """A sensor's; what is newer than the last one taken is still to come, and is judged when it does."""
        newest = self._sensors[device].last_at or now
        return [each for each in stored.sensor(device) if each.taken_at <= newest]

    def _rebuild(self, device: str, readings: Sequence[Reading], now: datetime) -> Sequence[Finding]:
        """What a sensor has to tell by its stored readings, of which some came late."""
        sensor, told = self._sensors[device].rebuilt(readings, now)
        self._sensors[device] = sensor
        found = self._heard(told, now)
        return [*found, *self._over(sensor, readings[-1], now, found)] if readings else found

    def _judge_spot(self, scene: Scene, taken: spot.Taken, raised_by: frozenset[str]) -> list[Finding]:
        """raised_by: the keys of the newest of each vital that stand in an alert."""
        past = spot.passed(scene, taken, self._came)
        # What has passed is over as well.
        raising = self.standing.keys() | {each.rule for each in past}
        judged = spot.judge(scene, taken, raising=raising, low_since=self._low_since)
        self._came = {}
        if pressures := taken.get(Vital.BLOOD_PRESSURE):
            self._pressure_at = pressures[-1].taken_at
        self._again = judged.again or NEVER
        self._asks = False
        # By a limit that was changed since, what raised an alert may be in order; what time ends begins now.
        heard = [
            each
            for each in judged.findings
            if each.verdict is not Verdict.CLEAR or each.since >= scene.now or raised_by.isdisjoint(each.evidence)
        ]
        return spot.with_what_passed(self._as_begun(heard, taken), past, scene)

    def settle(self, standing: Mapping[str, datetime], now: datetime, closed: Alert | None = None) -> datetime:
        """Note the rules that hold an alert up now, and since when; the moment after now at which to look again.

        closed: the alert about a low that a person closed and that is not over, None where there is none.
        """
        self.standing = standing or NOTHING_STANDING
        self.closed = closed
        self._raised = NO_NAMES
        self._back = False
        self._unwell = self.is_unwell
        silent = (each.device for each in self._awaited() if min(each.told_at(self._arrivals)) <= now)
        self._silent = frozenset(silent) or NO_NAMES
        self._due = min((moment for moment in self._moments() if moment > now), default=NEVER)
        return self._due

    def due(self, now: datetime) -> datetime:
        """The moment to look again. Arrivals may have put it off; where they bring it nearer, `asks` says so."""
        if self._due <= now:
            self._due = min(self._moments())
        return self._due

    def _moments(self) -> list[datetime]:
        moments = [*self._silences(), self._again, self.until]
        return moments if self._late is None else [*moments, self._late.again]

    def misses(self, now: datetime) -> bool:
        """Whether somebody is to be told that a device is not heard, for all that the bed knows."""
        return any(moment <= now for moment in self._silences())

    def hear_elsewhere(self, heard: Mapping[str, LastHeard]) -> bool:
        """Note when another hub on the same database heard devices last; whether that is news."""
        known = self.expected
        self.expected = tuple(
            each.of_one_heard(there) if (there := heard.get(each.device)) else each for each in known
        )
        return self.expected != known

    def _silences(self) -> list[datetime]:
        return [moment for each in self._awaited() for moment in each.told_at(self._arrivals)]

    def _awaited(self) -> Sequence[Expected]:
        """What ought to be heard; of one who was not well when a sensor was heard last, staff hear sooner."""
        if not self.is_unwell:
            told_at = self.standing.get(NO_DATA.name)
            return self.expected if told_at is None else [each.of_one_missed(told_at) for each in self.expected]
        return [each.of_one_unwell() if each.vital is Vital.CGM else each for each in self.expected]

    @property
    def is_unwell(self) -> bool:
        """Whether the patient was not well when a sensor was heard last, here or at another hub."""
        sensors = (each for each in self.expected if each.vital is Vital.CGM)
        there = max(((each.elsewhere, each.unwell_elsewhere) for each in sensors if each.elsewhere), default=None)
        newest = self._heard_last()
        came = self._arrivals.get(newest.device) if newest else None
        if there and (came is None or came.usable_at < there[0]):
            return there[1]
        return newest is not None and newest.forecast.unwell

    def _heard_last(self) -> Sensor | None:
        heard = {sensor.last_at: sensor for sensor in self._sensors.values() if sensor.last_at}
        return heard[max(heard)] if heard else None

    def _scene(self, now: datetime) -> Scene:
        return Scene(self.patient, self._plan.limits, now, self.zone, self.reads)

    def _heard(self, told: Sequence[Told], now: datetime) -> list[Finding]:
        """In words, without the end of what nobody but the patient was told of, unless it may hold an alert up."""
        self._raised |= {each.rule.name for each in told if each.verdict is Verdict.RAISE}
        up = self._raised.union(self.standing)
        scene = self._scene(now)
        return [
            finding(scene, each)
            for each in told
            if each.verdict is Verdict.RAISE or each.staff or each.rule.name in up
        ]

    def _over(self, sensor: Sensor, reading: Reading, now: datetime, found: Sequence[Finding]) -> Sequence[Finding]:
        """What stands and is over by what this sensor shows."""
        if not _METER_LOWS.isdisjoint(self.standing):
            self._asks = True
        if LATE_EMERGENCY.name in self.standing and sensor.shows_over(LOW_EVENT_2.name, reading):
            self._asks = True
        said = {each.rule for each in found}
        over = []
        for rule, since in self.standing.items():
            if reading.taken_at < since or rule not in self._plan.level_of or rule in said:
                continue
            if told := sensor.shows_over(rule, reading):
                others = (other for other in self._sensors.values() if other is not sensor)
                if not any(other.shows(rule, reading.taken_at) for other in others):
                    over.append(finding(self._scene(now), told))
        return over

    def _still_low(self, sensor: Sensor, reading: Reading, now: datetime) -> Sequence[Finding]:
        """What a person closed and the sensor shows still; told once for a closing."""
        if self.closed is None or self.closed.closed_at is None:
            return NONE
        if reading.taken_at < self.closed.closed_at + self.limits.minutes(LOW_EVENT_2.name, "after-closing"):
            return NONE
        told = sensor.still_low(reading, now)
        if told is None:
            return NONE
        closed, self.closed = self.closed, None
        return still_low(self._scene(now), told, closed)

    def _low_since(self, at: datetime) -> datetime:
        """A meter's low that a sensor has shown before is no new one."""
        return min([at, *filter(None, (sensor.low_since(at) for sensor in self._sensors.values()))])

    def _as_begun(self, found: Sequence[Finding], taken: spot.Taken) -> list[Finding]:
        """With its onset as it was seen first: that of a device gone mad is soon no longer among what is judged."""
        cut = {vital: readings[0].taken_at for vital, readings in taken.items() if len(readings) >= spot.MOST}
        begun = [self._since_before(each, cut) for each in found]
        raised = {(each.rule, each.audience): each.since for each in begun if each.verdict is Verdict.RAISE}
        self._onsets = raised or NO_ONSETS
        return begun

    def _look_back(self, stored: Stored, scene: Scene) -> tuple[spot.Taken, frozenset[str], list[Finding]]:
        """The stored spot readings as they were seen, the newest that an alert has, and what came late of all."""
        taken, late = stored.spot(), self._latecomers()
        seen = late.seen(stored, taken, self._came, scene.now)
        amended = corrected.judge(scene, seen.taken, self._came, stored.said_before)
        newest = [of_it[-1] for vital, of_it in taken.items() if of_it and vital is not Vital.CGM]
        # What has come since, or was corrected, is news of its own under the same key.
        known = [each.key for each in newest if each.rev == 1 and each.key not in self._came]
        raised_by = stored.watched(known) if known and self.standing else NO_NAMES
        found = late.told(scene, stored, seen, self.standing)
        # Nothing is asked any more, so nothing fails from here on.
        if not self._recalled:
            self._recall(each for vital, readings in taken.items() if vital is not Vital.CGM for each in readings)
        if late.is_empty:
            self._late = None
        return seen.taken, raised_by, [*found, *amended]

    def _latecomers(self) -> Latecomers:
        if self._late is None:
            self._late = Latecomers(self._plan, self.expected, self._sensors)
        return self._late

    def _since_before(self, found: Finding, cut: Mapping[Vital, datetime]) -> Finding:
        known = self._onsets.get((found.rule, found.audience))
        first = max((cut[vital] for vital in RULES[found.rule].vitals if vital in cut), default=None)
        if found.verdict is not Verdict.RAISE or known is None or first is None or known >= first:
            return found
        return replace(found, since=min(known, found.since))

    def _of_devices(self, now: datetime) -> list[Finding]:
        """No data, late data and wrong clocks, as far as they are heard."""
        found = []
        if self.misses(now) or NO_DATA.name in self.standing:
            found += no_data(self._scene(now), self._awaited(), self._arrivals)
        late = any(len(came.late) == LATE_COUNT for came in self._arrivals.values())
        if late or LATE_DATA.name in self.standing:
            found.append(late_data(self._scene(now), self.expected, self._arrivals))
        if any(came.astray for came in self._arrivals.values()):
            wrong = wrong_clock(self._scene(now), self.expected, self._arrivals)
            # A reading of the same week would write the same notice: that costs a look into the book each time.
            if wrong and wrong.since != self._clock_told:
                self._clock_told = wrong.since
                found.append(wrong)
        return [each for each in found if each.verdict is Verdict.RAISE or each.rule in self.standing]
