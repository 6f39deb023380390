"""Detectors for a glucose sensor: each reading costs a few steps, whatever came before. Pure.

A sensor's state holds no readings, only what they came to: for each limit since when it has been passed and what was
told of it, the rhythm, the last few values for the rate. What is found comes out at transitions only: an event is
known, it is told to the patient, it is handed to staff, it is over.

- **Events** follow the consensus: beyond the limit for 15 minutes, over after 15 minutes on the right side of the
  clear limit. 15 minutes are as many readings as stand for them in this sensor's rhythm (`alerts.rhythm`); a gap
  breaks an event, but a high goes on over one of up to two hours, for it is no recovery.
- **Ladder.** While an event lasts it climbs the rungs of its rules (`alerts.sensor_rules`). A low of the sensor's
  first day, or one that has the shape of pressure on the sensor, is told to the patient with that reason, and handed
  to staff later than others; none that persists is held back for ever.
- **Freshness.** Nothing is told on a reading that is older than "fresh-sensor"; an event that goes on is told at its
  first fresh reading. What was told by one that came late is told once more by the first of now that shows it still.
- **One low** is told to staff once, and their wait counts from its beginning, as long as nothing shows a recovery:
  though gaps of up to 45 minutes break it into events. What another sensor goes on with, low or high, is one event;
  a new one may have warmed up for two hours more, if it shows the same from its first readings on.
- **Over** is told when readings show it. After a gap, or a restart, that takes as many readings as any recovery.
- **Ahead** (`alerts.forecast`): nothing is foretold from readings that are late, of a sensor that warms up, or right
  after a jump; what may be pressure on the sensor is foretold with that reason.
- **What comes together** and is old already is judged as a whole: limits are silent (`hold`) until all is taken, and
  what then stands is told (`judged`), not what was on the way.
- **Late readings** are not taken: the state is built again from the stored readings (`Sensor.rebuilt`), and what
  then stands otherwise is told as such. A low that came and went unseen is told if it was only just over.
- **Values** are compared in the unit received. LO and HI are beyond every limit; a value that the device itself
  doubts (malfunction, temperature) says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import repeat
from types import MappingProxyType
from typing import Final, NamedTuple

from alerts.alert import Audience, Priority, Verdict
from alerts.devices import LATE, UNRELIABLE
from alerts.forecast import Forecast, Forewarning
from alerts.ladder import CELL, EVENT, RATE_SPAN_S, SPACED_S, Ahead, Level, Plan, Rung
from alerts.rhythm import GAP, Rhythm
from alerts.rule import Rule
from alerts.sensor_rules import (
    FALLING_FAST,
    HIGH_PROLONGED,
    LOW_CRITICAL,
    LOW_EVENT_2,
    RISING_FAST,
    SENSOR_COMPRESSION,
    SENSOR_JUMP,
    SENSOR_STUCK,
    SENSOR_WARM_UP,
)
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital, family

# A sensor's start is its first reading, or the first after so long a silence; before that if a reading's number
# says so: counted from the start of the session, in minutes (as Bluetooth's time offset) or in readings, which come
# no faster. Where there is no such number, a sensor that is back after a day cannot be told from a new one.
_NEW_SENSOR: Final = timedelta(days=1)
_LONGEST_KNOWN: Final = 14400  # minutes; a session older than ten days is an old one
# So far back the stored readings are needed to build a state again: the first day of a sensor, and a little more.
HISTORY: Final = timedelta(hours=25)
_GRACE: Final = timedelta(minutes=1)  # sensors do not keep their minutes to the second
_NIGHT: Final = frozenset({22, 23, 0, 1, 2, 3, 4, 5, 6, 7})
_OFF_SCALE: Final = {Flag.BELOW_RANGE: (-math.inf, 39.0), Flag.ABOVE_RANGE: (math.inf, 401.0)}
_JUMP_S: Final = 400.0
_SUDDEN: Final = 4  # a jump is so many times the step before it
_FALL_S: Final = 1000.0
_CALMED: Final = 1.0  # mg/dL/min, slower is not fast any more
_GAP_S: Final = GAP.total_seconds()
_LOST: Final = 3 * EVENT  # so long a low that was not seen to end is still the same one
# So long a high goes on unseen: from far too high down to the clear limit and up again takes longer.
_LOST_HIGH: Final = timedelta(hours=2)
_WARM_UP: Final = timedelta(hours=2)  # the longest (Dexcom G6, iCan i3), in which a new sensor shows nothing
_REACH: Final = 30.0  # minutes: a fast fall is told when it would come to a low within this time
_SETTLED: Final = 15  # readings in a row: in any rhythm a recovery, for no cadence is below a minute
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
NEVER: Final = datetime.max.replace(tzinfo=UTC)
_STEADY: Final = 0.5  # mg/dL/min, before the fall of a compression low
_REBOUND: Final = (25.0, timedelta(minutes=30))  # mg/dL within this time of the lowest
_CELL_S: Final = CELL.total_seconds()
_CELLS: Final = 24
_ALL_CELLS: Final = (1 << _CELLS) - 1
_STUCK_EDGES: Final = frozenset({39.0, 40.0, 400.0, 401.0, 500.0})


class Value(NamedTuple):
    """A glucose as received, and in mg/dL with LO as 39 and HI as 401."""

    shown: float
    unit: Unit
    mg_dl: float


class Told(NamedTuple):
    """What a sensor has to tell, with the numbers for the sentence (`alerts.sensor_words`).

    level: None for what is not about a limit. evidence: moments of the readings it rests on, oldest first. numbers:
    of an artefact or a rate, as its sentence wants them; of an event the rate (mg/dL/min), where it is known. staff:
    of an end, whether staff knew of it. emergency: whether a person has to act on it whatever was done before. began:
    when the trouble began of which it is the worse part, where that is known. broken: of an event, whether readings
    since then were not beyond the limit, or are missing. before: the event that went on when a gap began, which this
    one follows. again: whether it was told by a reading that came late, and one of now shows that it goes on.
    """

    rule: Rule
    verdict: Verdict
    audience: Audience
    priority: Priority
    since: datetime
    reading: Reading
    value: Value
    level: Level | None = None
    worst: Value | None = None
    held: Rule | None = None
    evidence: tuple[datetime, ...] = ()
    numbers: tuple[float, ...] = ()
    staff: bool = False
    emergency: bool = False
    began: datetime | None = None
    broken: bool = False
    before: Ended | None = None
    again: bool = False


class Slot:
    """How one limit stands."""

    __slots__ = (
        "back",
        "back_at",
        "cell",
        "due",
        "first",
        "held",
        "last",
        "late",
        "open",
        "run",
        "run_since",
        "since",
        "staff",
        "standing",
        "step",
        "unwell",
        "worst",
        "worst_at",
    )

    def __init__(self, back: int, at: datetime) -> None:
        self.back = back  # readings in a row on the right side of the clear limit
        self.run = 0  # readings in a row beyond the limit; for a share, the cells, the newest the lowest bit
        self.cell = _cell(at)
        self.open = False  # an event goes on
        self.standing: tuple[Rule, ...] = ()  # what was told and is not over
        self.staff: Priority | None = None  # with which priority staff were told
        self.step = 0  # rungs told
        self.late: tuple[Rung, ...] = ()  # the newest told to each audience, where the reading of it came late
        self.held: Rule | None = None
        self.since = self.run_since = self.last = self.back_at = self.worst_at = self.due = at
        self.first = at  # when the trouble began that this event goes on with
        self.unwell = at  # the first reading after the newest recovery
        self.worst: Value | None = None

    @property
    def idle(self) -> bool:
        """Whether it may be forgotten."""
        return not (self.run or self.open or self.standing)


class Ended(NamedTuple):
    """An event that is over.

    first: as of `Slot`; last: the last reading beyond the limit; end: the first that shows it is over.
    """

    since: datetime
    first: datetime
    last: datetime
    end: datetime
    worst: Value | None
    worst_at: datetime
    held: Rule | None


NOTHING: Final[tuple[Told, ...]] = ()
_ALONE: Final[Mapping[str, Sensor]] = MappingProxyType({})


class Sensor:
    """One sensor's state. zone: the wearer's, for what is night; worn: all that the patient wears or wore."""

    __slots__ = (
        "calm",
        "device",
        "ended",
        "first_at",
        "flat_since",
        "forecast",
        "known",
        "last_at",
        "moving",
        "plan",
        "points",
        "pressed_at",
        "resumed_at",
        "rhythm",
        "same",
        "slots",
        "started_at",
        "value",
        "worn",
        "zone",
    )

    def __init__(self, plan: Plan, device: str, zone: tzinfo, worn: Mapping[str, Sensor] = _ALONE) -> None:
        self.plan = plan
        self.device = device
        self.zone = zone
        self.worn = worn
        self.rhythm = Rhythm()
        self.forecast = Forecast(plan.ahead_levels)
        self.first_at: datetime | None = None  # the first reading taken in
        self.last_at: datetime | None = None
        self.started_at: datetime | None = None  # of a sensor in its first day
        self.value = math.nan  # as received
        self.same = 0  # readings in a row with this value
        self.flat_since: datetime | None = None
        self.calm = 0  # readings in a row that no limit minds, while there are no slots
        self.slots: tuple[Slot, ...] | None = None
        self.ended: dict[int, Ended] = {}  # by level: the newest event before
        self.known: list[list[Ended]] | None = None  # by level, while limits are silent: the events from before
        self.points: tuple[tuple[datetime, float], ...] = ()  # newest first, apart from each other
        self.moving = 0
        self.pressed_at: datetime | None = None  # a fall that may be pressure on the sensor
        self.resumed_at: datetime | None = None  # the first reading after the newest gap

    def take(self, reading: Reading, now: datetime | None) -> Sequence[Told] | None:
        """Take a reading in, in the order in which they were taken; what is to be told.

        None: it is not newer than the last one, and nothing was done with it. now: None tells nothing, as if no
        reading were fresh.
        """
        taken, last, plan = reading.taken_at, self.last_at, self.plan
        if last is not None and taken <= last:
            return None
        value, unit, mg_dl = reading.sent[0], reading.unit, reading.values[0]
        calm = plan.calm.get(unit)
        if reading.flags or value is None or mg_dl is None or calm is None:
            known = _value(reading)
            if known is None:
                return NOTHING
            value, unit, mg_dl = known
            if math.isinf(value):
                self.points = ()  # there is no rate from or to it
                self.moving = 0
            calm = plan.calm[unit]
        self.last_at = taken
        told: Sequence[Told] = NOTHING
        if last is None:
            seconds = 0.0
            self.first_at = taken
            if self.started_at is None:
                self.started_at = _session_began(reading)
        else:
            seconds = (taken - last).total_seconds()
            self.rhythm.note(seconds)
            if seconds > _GAP_S:
                self._pause(last, reading)
        lowest, highest, top = calm
        if self.slots is None and lowest <= value <= highest and value < top:
            if self.calm < _SETTLED:
                self.calm += 1
        else:
            told = self._judge(reading, Value(value, unit, mg_dl), last, now)
        points = self.points
        if points:
            if (
                self.moving
                or not plan.drop < mg_dl - points[0][1] < plan.leap
                or not plan.down < mg_dl - points[-1][1] < plan.up
                or (len(points) > 1 and not plan.down < mg_dl - points[1][1] < plan.up)
                or (len(points) > 2 and not plan.down < mg_dl - points[2][1] < plan.up)
            ):
                told = _with(told, self._move(reading, Value(value, unit, mg_dl), now))
            if seconds >= SPACED_S or (taken - points[0][0]).total_seconds() >= SPACED_S:
                self.points = ((taken, mg_dl), *self.points[:3])  # what a jump has left of them
        elif not math.isinf(value):
            if self.value == math.inf:
                self.forecast.begin(taken.timestamp() / 60, mg_dl)  # HI is no number to fall from
            self.points = ((taken, mg_dl),)
        for number in self.forecast.take(taken.timestamp() / 60, mg_dl) or ():
            told = _with(told, self._look_ahead(number, reading, Value(value, unit, mg_dl), now))
        if value == self.value:
            self.same += 1
            if self.same >= plan.stuck:
                told = _with(told, self._stand_still(reading, Value(value, unit, mg_dl), now))
        else:
            self.value = value
            self.same = 1
            self.flat_since = taken
        return told

    def shows_over(self, rule: str, reading: Reading) -> Told | None:
        """That the newest readings, of which this is the last, are on the right side of a rule's clear limit."""
        index = self.plan.level_of[rule]
        back = self.slots[index].back if self.slots else self.calm
        value = _value(reading)
        if value is None or back < self.rhythm.readings(EVENT):
            return None
        level = self.plan.levels[index]
        return _over(next(rung.rule for rung in level.rungs if rung.rule.name == rule), level, reading, value)

    def shows(self, rule: str, now: datetime) -> bool:
        """Whether readings that are hardly older than now do not show that a rule's trouble is over."""
        if self.last_at is None or now - self.last_at > EVENT:
            return False
        slot = self.slots[self.plan.level_of[rule]] if self.slots else None
        return slot is not None and slot.back < self.rhythm.readings(EVENT)

    def is_in(self, rule: str) -> bool:
        """Whether an event of a rule goes on."""
        return self.slots is not None and self.slots[self.plan.level_of[rule]].open

    def low_since(self, at: datetime) -> datetime | None:
        """Since when the sensor has shown a low that goes on at a moment."""
        slots = [
            slot for level, slot in zip(self.plan.levels, self.slots or (), strict=False) if level.low and slot.open
        ]
        return min((slot.since for slot in slots if slot.since <= at <= slot.last + EVENT), default=None)

    def join(self, worn: Mapping[str, Sensor]) -> None:
        """Go on with what other sensors of the patient show."""
        self.worn = worn
        for place, slot in enumerate(self.slots or ()):
            if slot.open:
                self._go_on(place, slot)

    def believe(self, standing: Mapping[str, datetime], start: datetime, *, late: bool = False) -> None:
        """Take as told what is known to stand: by rule, since when. start: of the readings that made this state.

        Of a rule that is told more than once, so much as can have come yet. late: the readings may have come late.
        """
        for level, slot in zip(self.plan.levels, self.slots or (), strict=False):
            rungs = level.ladder(slot.held)
            for rung in rungs if slot.open else ():
                since = standing.get(rung.rule.name)
                if since is None or not (min(slot.first, slot.unwell) <= since or slot.since <= start):
                    continue
                if self._has_come(slot, rung, since):
                    slot.step = rungs.index(rung) + 1
                    slot.standing = (*slot.standing, rung.rule)
                    if late and rung.audience is not Audience.WEEKLY:
                        slot.late = (*(each for each in slot.late if each.audience is not rung.audience), rung)
                    if rung.audience is Audience.STAFF:
                        slot.staff = max(rung.priority, slot.staff or rung.priority)
                    slot.due = self._due(level, slot)

    def _has_come(self, slot: Slot, rung: Rung, since: datetime) -> bool:
        """Whether a rung can have been told of an event. since: when the alert began that it holds up.

        The event may have begun with the alert, by limits that have been changed; but what is told each few hours is
        rather told twice than not.
        """
        began = _counts_from(slot, rung)
        if rung.rule is not HIGH_PROLONGED:
            began = min(began, since)
        hovered = rung.until_over and self.last_at and self.last_at - began >= rung.until_over - _GRACE
        return bool(hovered) or slot.last >= began + self._wait(rung)

    def _pause(self, last: datetime, reading: Reading) -> None:
        """A long interval: if it is a gap, what went on before does not go on, but for a high where it is short."""
        taken = reading.taken_at
        if taken - last <= self.rhythm.gap:
            return
        if taken - last >= _NEW_SENSOR and (began := _session_began(reading)) > last:
            self.started_at = began
        self.resumed_at = taken
        self.calm = 0
        self.points = ()
        self.moving = 0
        self.same = 0
        self.pressed_at = None
        well = self.rhythm.readings(EVENT)
        for index, slot in enumerate(self.slots or ()):
            if slot.open and not self.plan.levels[index].low and slot.back < well and taken - last <= _LOST_HIGH:
                slot.back = 0
                continue
            self._end(index, slot)
            if slot.back >= well or taken - last > _LOST:
                slot.unwell = taken
            slot.run = slot.back = 0

    def _end(self, index: int, slot: Slot) -> None:
        if slot.open:
            end = slot.back_at if slot.back else slot.last
            self.ended[index] = Ended(slot.since, slot.first, slot.last, end, slot.worst, slot.worst_at, slot.held)
        slot.open = False
        slot.step = 0
        slot.late = ()
        slot.held = slot.staff = slot.worst = None

    def _judge(self, reading: Reading, value: Value, before: datetime | None, now: datetime | None) -> Sequence[Told]:
        """Hold the value against every limit; before: when the last reading was taken."""
        taken = reading.taken_at
        if self.slots is None:
            self.slots = tuple(Slot(self.calm, taken) for _ in self.plan.levels)
            self.calm = 0
        told: Sequence[Told] = NOTHING
        shown = value.shown
        for (place, limit, clear, low, includes, share), slot in zip(
            self.plan.bounds[value.unit], self.slots, strict=True
        ):
            if slot.back == _SETTLED and (clear <= shown if low else limit > shown <= clear) and not slot.standing:
                continue  # Nothing goes on, and nothing begins.
            if slot.run and slot.open and not share and (shown < limit if low else shown > limit):
                # What goes on and has nothing to tell yet: the usual case of those who are not well.
                slot.run += 1
                slot.last = taken
                if _worse(value.mg_dl, slot.worst, low=low):
                    slot.worst, slot.worst_at = value, taken
                if taken >= slot.due or slot.late:
                    told = (*told, *self._climb(place, slot, reading, value, now))
                continue
            if low:
                beyond, recovered = shown < limit, shown >= clear
            else:
                beyond = shown > limit or (includes and shown == limit)
                recovered = shown <= clear and not beyond
            if share and (beyond or slot.run):
                _count_cells(slot, before, taken, beyond=beyond)
            if beyond:
                self._beyond(place, slot, value, taken)
                if slot.open and (taken >= slot.due or slot.late):
                    told = (*told, *self._climb(place, slot, reading, value, now))
            elif slot.open or slot.standing or slot.run:
                told = (*told, *self._back(place, slot, reading, value, now, recovered=recovered))
            elif not recovered:
                self._sicken(slot, taken)
            elif slot.back < _SETTLED:
                slot.back += 1
        if self.slots[0].back == _SETTLED == self.slots[-1].back:
            self._rest()
        return told

    def _sicken(self, slot: Slot, taken: datetime) -> None:
        """A reading that is not on the right side of the clear limit."""
        if slot.back and slot.back >= self.rhythm.readings(EVENT):
            slot.unwell = taken
        slot.back = 0

    def _beyond(self, place: int, slot: Slot, value: Value, taken: datetime) -> None:
        level = self.plan.levels[place]
        self._sicken(slot, taken)
        slot.last = taken
        if not level.share:
            slot.run += 1
            if slot.run == 1:
                slot.run_since = taken
        if (not slot.open and (slot.run == 1 or slot.worst is None)) or _worse(
            value.mg_dl, slot.worst, low=level.low
        ):
            slot.worst, slot.worst_at = value, taken
        if slot.open:
            if slot.run == 1 and not level.share:
                slot.due = self._due(level, slot)
        elif slot.run.bit_count() >= level.share if level.share else slot.run >= self.rhythm.readings(level.hold):
            slot.open = True
            slot.step = 0
            slot.since = taken - (slot.run.bit_length() - 1) * CELL if level.share else slot.run_since
            slot.held = self._reason_to_wait(slot) if level.held else None
            self._go_on(place, slot)

    def _go_on(self, place: int, slot: Slot) -> None:
        """An event begins: it may go on with a low from before a gap, or with what another sensor shows."""
        level, before = self.plan.levels[place], self.ended.get(place)
        slot.first = slot.since
        if level.low and before and before.last >= slot.unwell:
            slot.first = before.first
        unbroken = slot.run_since == slot.since
        elsewhere = self._shown_elsewhere(place, slot)
        for other in elsewhere:
            slot.first = min(slot.first, other.first)
            if unbroken and other.run:
                slot.run_since = min(slot.run_since, other.run_since)
        left = self._left_by_another(place, slot)
        for other in left:
            slot.first = min(slot.first, other.first if other.open else other.run_since)
        if any(other.held is None for other in (*elsewhere, *left)):
            slot.held = None  # two sensors do not err in the same way
        slot.due = self._due(level, slot)

    def _shown_elsewhere(self, place: int, slot: Slot) -> list[Slot]:
        """The same event in the eyes of the patient's other sensors, none of which has shown its end."""
        others = [each.slots[place] for each in self.worn.values() if each.device != self.device and each.slots]
        return [each for each in others if each.open and slot.since - each.last <= _LOST]

    def _left_by_another(self, place: int, slot: Slot) -> list[Slot]:
        """What other sensors showed when this one took over, if it shows the same from its first readings on."""
        if self.first_at is None or slot.since - self.first_at >= EVENT:
            return []
        first, others = self.first_at, [each for each in self.worn.values() if each.device != self.device]
        slots = [each.slots[place] for each in others if each.slots and each.last_at and each.last_at < first]
        share = self.plan.levels[place].share
        goes_on = [each for each in slots if each.open or (each.run and not share)]
        return [each for each in goes_on if first - each.last <= _LOST + _WARM_UP]

    def _reason_to_wait(self, slot: Slot) -> Rule | None:
        if self.started_at is not None:
            if slot.since - self.started_at < self.plan.first_day:
                return SENSOR_WARM_UP
            self.started_at = None
        return SENSOR_COMPRESSION if self._is_pressed(slot.since) else None

    def _due(self, level: Level, slot: Slot) -> datetime:
        """When the next rung may be told."""
        rungs = level.ladder(slot.held)
        if slot.step >= len(rungs):
            return NEVER
        rung = rungs[slot.step]
        return _counts_from(slot, rung) + self._wait(rung)

    def _wait(self, rung: Rung) -> timedelta:
        """So long after its beginning an event may be told by this rung."""
        return rung.after - (1.5 * self.rhythm.cadence if rung.covers else _GRACE)

    def _climb(self, place: int, slot: Slot, reading: Reading, value: Value, now: datetime | None) -> Iterator[Told]:
        """Tell the rungs that the event has reached, and those told late again, once a reading of now shows it."""
        yield from self._reach(place, slot, reading, value, now)
        level, late = self.plan.levels[place], slot.late
        if not late or now is None or self.known is not None or slot.last != reading.taken_at:
            return
        if not is_late(reading) and now - reading.taken_at <= LATE[Vital.CGM]:
            slot.late = ()
            for rung in late:
                yield self._event(level, slot, rung, reading, value)._replace(audience=rung.audience, again=True)

    def _reach(self, place: int, slot: Slot, reading: Reading, value: Value, now: datetime | None) -> Iterator[Told]:
        """Tell the rungs that the event has reached, but for what was told of another sensor's showing."""
        level = self.plan.levels[place]
        rungs = level.ladder(slot.held)
        while slot.step < len(rungs):
            rung = rungs[slot.step]
            if slot.last < slot.due and not self._hovers(level, slot, reading.taken_at):
                return
            if self.known is not None or now is None or now - reading.taken_at > self.plan.fresh[rung.rule.name]:
                return
            known = [each for each in self._shown_elsewhere(place, slot) if _has_told(level, each, rung)]
            if known:
                slot.staff = max((each.staff for each in (slot, *known) if each.staff is not None), default=None)
            else:
                told = self._event(level, slot, rung, reading, value)
                if told.audience is rung.audience is not Audience.WEEKLY:
                    others = tuple(each for each in slot.late if each.audience is not rung.audience)
                    slot.late = (*others, rung) if is_late(reading) else others
                yield told
            slot.step += 1
            slot.standing = (*slot.standing, rung.rule)
            slot.due = self._due(level, slot)

    def _hovers(self, level: Level, slot: Slot, taken: datetime) -> bool:
        """Whether what is due has not come about by the limit itself, and is not averted by a recovery for long.

        That takes 15 minutes off the limit, by which the event is over in one consensus (Battelino 2023), and of a
        very low one so long since its beginning that it is an extended low, for it is not in the other (Danne 2017).
        """
        rungs = level.ladder(slot.held)
        after = rungs[slot.step].until_over if slot.step < len(rungs) else None
        if after is None or not slot.open or slot.back:
            return False
        return taken - slot.first >= after - _GRACE and taken - EVENT >= slot.due

    def _event(self, level: Level, slot: Slot, rung: Rung, reading: Reading, value: Value) -> Told:
        audience, emergency = rung.audience, rung.rule in (LOW_CRITICAL, HIGH_PROLONGED)
        if audience is Audience.STAFF:
            # Staff have this trouble already, and it has not become worse; whether whoever has answered it could
            # know of an emergency, the alert knows.
            known = [
                each.staff
                for each, other in (*zip(self.slots or (), self.plan.levels, strict=True), (slot, level))
                if each.staff is not None and other.rule.problem == level.rule.problem
            ]
            if known and max(known) >= rung.priority and not emergency:
                audience = Audience.WEEKLY
            slot.staff = max(rung.priority, slot.staff or rung.priority)
        since = _counts_from(slot, rung)
        before = self.ended.get(self.plan.levels.index(level)) if self.resumed_at == slot.since else None
        return Told(
            rule=rung.rule,
            verdict=Verdict.RAISE,
            audience=audience,
            priority=rung.priority,
            since=since,
            reading=reading,
            value=value,
            level=level,
            worst=slot.worst,
            numbers=self._rate(value, reading.taken_at),
            held=slot.held if audience is Audience.PATIENT else None,
            evidence=(slot.since, slot.worst_at, reading.taken_at),
            emergency=emergency,
            began=self._very_low_since() if rung.rule is LOW_CRITICAL and audience is Audience.STAFF else None,
            broken=(not level.share and slot.run_since > since) or self._paused_since(since),
            before=before if before and before.end == before.last and before.first < since else None,
        )

    def _paused_since(self, since: datetime) -> bool:
        return self.resumed_at is not None and self.resumed_at > since

    def _very_low_since(self) -> datetime | None:
        slot = self.slots[self.plan.level_of[LOW_EVENT_2.name]] if self.slots else None
        return slot.first if slot and slot.open else None

    def still_low(self, reading: Reading, now: datetime) -> Told | None:
        """That the last 15 minutes, of which this is the newest reading, show a very low event that goes on."""
        place = self.plan.level_of[LOW_EVENT_2.name]
        slot, value = self.slots[place] if self.slots else None, _value(reading)
        if (
            value is None
            or slot is None
            or self.known is not None
            or not slot.open
            or slot.last != reading.taken_at
            or slot.run < self.rhythm.readings(EVENT)
            or not self._fresh(LOW_EVENT_2, reading, now)
        ):
            return None
        level = self.plan.levels[place]
        rung = Rung(LOW_EVENT_2, timedelta(), Audience.STAFF, Priority.HIGH)
        return self._event(level, slot, rung, reading, value)._replace(audience=Audience.STAFF, emergency=True)

    def _rate(self, value: Value, taken: datetime) -> tuple[float, ...]:
        """The rate of the last minutes (mg/dL/min); nothing where it is not known."""
        since = None if math.isinf(value.shown) else _rate_since(self.points, taken)
        return (_per_minute(value, taken, since),) if since else ()

    def _back(
        self, place: int, slot: Slot, reading: Reading, value: Value, now: datetime | None, *, recovered: bool
    ) -> Iterator[Told]:
        """Not beyond the limit any more, while something goes on."""
        level = self.plan.levels[place]
        if not level.share:
            slot.run = 0
        if slot.open and slot.held is SENSOR_COMPRESSION and (seen := self._compression(slot, reading, value, now)):
            yield seen
        if not recovered:
            self._sicken(slot, reading.taken_at)
            if self._hovers(level, slot, reading.taken_at):
                yield from self._climb(place, slot, reading, value, now)
            return
        if not slot.back:
            slot.back_at = reading.taken_at
        slot.back = min(_SETTLED, slot.back + 1)
        if slot.back < self.rhythm.readings(EVENT):
            return
        yield from self._over(level, slot, reading, value)
        self._end(place, slot)
        slot.run = 0

    def _over(self, level: Level, slot: Slot, reading: Reading, value: Value) -> Iterator[Told]:
        for rule in {rule.name: rule for rule in slot.standing}.values():
            yield _over(rule, level, reading, value)._replace(staff=slot.staff is not None)
        slot.standing = ()

    def _compression(self, slot: Slot, reading: Reading, value: Value, now: datetime | None) -> Told | None:
        """The rebound that tells pressure on the sensor from a low; told once for an event."""
        rise, within = _REBOUND
        if self.pressed_at is None or slot.worst is None or not self._fresh(SENSOR_COMPRESSION, reading, now):
            return None
        if value.mg_dl - slot.worst.mg_dl < rise or reading.taken_at - slot.worst_at > within:
            return None
        self.pressed_at = None
        return self._note(
            SENSOR_COMPRESSION,
            reading,
            value,
            slot.since,
            (slot.since, slot.worst_at, reading.taken_at),
            ((reading.taken_at - slot.worst_at) / _GRACE,),
            slot.worst,
        )

    def _look_ahead(self, number: int, reading: Reading, value: Value, now: datetime | None) -> Told | None:
        """The low ahead, of a level by its number. now: None counts as told what was fresh when it came."""
        ahead = self.plan.ahead[number]
        if (
            ahead.on
            and self._fresh(ahead.rule, reading, now or reading.received_at)
            and not self.hides_what_is_ahead(number, reading.taken_at)
            and (warning := self.forecast.warning(number))
            and now is not None
        ):
            return self._warned(ahead, warning, reading, value)
        return None

    def hides_what_is_ahead(self, number: int, taken: datetime) -> bool:
        """Whether nothing is foretold of a level (by its number in `Plan.ahead`) from the reading of this moment.

        The sensor warms up, or its value has just jumped; or the low goes on already.
        """
        if self.started_at is not None and taken - self.started_at < self.plan.ahead[number].warm_up:
            return True
        return len(self.points) < 2 or (self.slots is not None and self.slots[number].open)

    def _warned(self, ahead: Ahead, warning: Forewarning, reading: Reading, value: Value) -> Told:
        at, low = reading.taken_at, warning.since_low
        numbers = (warning.rate, warning.expected, *(() if low is None else (low,)))
        told = self._note(ahead.rule, reading, value, at, (at,), numbers)
        return told._replace(held=SENSOR_COMPRESSION) if self._is_pressed(at) else told

    def _is_pressed(self, at: datetime) -> bool:
        """Whether a low that begins now may be pressure on the sensor."""
        return self.pressed_at is not None and at - self.pressed_at <= _REBOUND[1]

    def _move(self, reading: Reading, value: Value, now: datetime | None) -> Told | None:
        """Judge a change over the last points: a jump, a fast fall or rise, the beginning of a compression low."""
        taken, points = reading.taken_at, self.points
        step, seconds = value.mg_dl - points[0][1], (taken - points[0][0]).total_seconds()
        before = points[1][1] if len(points) > 1 else points[0][1]
        sudden = abs(step) > self.plan.jump * max(seconds, SPACED_S) / 60 and abs(step) > _SUDDEN * abs(
            points[0][1] - before
        )
        if seconds <= _JUMP_S and sudden:
            self.points = ()
            self.moving = 0
            self.forecast.begin(taken.timestamp() / 60, value.mg_dl)
            if not self._fresh(SENSOR_JUMP, reading, now):
                return None
            at, mg_dl = points[0]
            return self._note(SENSOR_JUMP, reading, value, at, (at, taken), (mg_dl, seconds / 60))
        if value.mg_dl < points[0][1]:
            self._feel_pressure(value, taken)
        since = _rate_since(points, taken)
        if since is None:
            return None
        at, mg_dl = since
        rate = _per_minute(value, taken, since)
        if self.moving:
            if abs(rate) < _CALMED or rate * self.moving < 0:
                self.moving = 0
        elif rate >= self.plan.rising or (rate <= self.plan.falling and self._nears_low(value, rate)):
            rule = FALLING_FAST if rate < 0 else RISING_FAST
            self.moving = -1 if rate < 0 else 1
            if self._fresh(rule, reading, now):
                return self._note(rule, reading, value, at, (at, taken), (rate, mg_dl))
        return None

    def _nears_low(self, value: Value, rate: float) -> bool:
        """Whether a fall at this rate (mg/dL/min) would soon come to a low; from far above it is no news."""
        return value.mg_dl + _REACH * rate < self.plan.ahead[0].level

    def _feel_pressure(self, value: Value, taken: datetime) -> None:
        """A steep fall at night from a steady trace."""
        points = self.points
        for (top_at, top), (_, _middle), (before_at, before) in zip(points, points[1:], points[2:], strict=False):
            fell = (taken - top_at).total_seconds()
            steep = value.mg_dl - top <= self.plan.fall * fell / 60
            if steep and fell <= _FALL_S and abs(top - before) <= _STEADY * (top_at - before_at).total_seconds() / 60:
                if taken.astimezone(self.zone).hour in _NIGHT:
                    self.pressed_at = taken
                return

    def _stand_still(self, reading: Reading, value: Value, now: datetime | None) -> Told | None:
        """Told once, when both the count and the time are reached."""
        since = self.flat_since
        if since is None or value.mg_dl in _STUCK_EDGES or math.isinf(value.shown):
            return None
        if reading.taken_at - since < self.plan.stuck_hold or not self._fresh(SENSOR_STUCK, reading, now):
            return None
        self.flat_since = None
        lasted = (reading.taken_at - since) / _GRACE
        return self._note(SENSOR_STUCK, reading, value, since, (since, reading.taken_at), (self.same, lasted))

    def _fresh(self, rule: Rule, reading: Reading, now: datetime | None) -> bool:
        return now is not None and now - reading.taken_at <= self.plan.fresh[rule.name]

    def _note(
        self,
        rule: Rule,
        reading: Reading,
        value: Value,
        since: datetime,
        evidence: tuple[datetime, ...],
        numbers: tuple[float, ...],
        worst: Value | None = None,
    ) -> Told:
        return Told(
            rule=rule,
            verdict=Verdict.RAISE,
            audience=rule.audience,
            priority=rule.priority,
            since=since,
            reading=reading,
            value=value,
            worst=worst,
            evidence=evidence,
            numbers=numbers,
        )

    # Readings that come together, or late

    def hold(self) -> None:
        """Tell of no limit until `judged`."""
        if self.known is None:
            self.known = self._events()

    def judged(self, newest: Reading, now: datetime) -> list[Told]:
        """What is to be told of the readings taken since `hold`, of which this is the newest."""
        known, self.known = self.known or self._events(), None
        value = _value(newest)
        told: list[Told] = []
        if value is not None:
            for place, slot in enumerate(self.slots or ()):
                told += self._catch_up(place, slot, known[place], newest, value, now)
        return told

    def _events(self) -> list[list[Ended]]:
        running = map(_running, self.slots) if self.slots else repeat(None, len(self.plan.levels))
        return [[each for each in (self.ended.get(at), goes) if each] for at, goes in enumerate(running)]

    def _catch_up(
        self, place: int, slot: Slot, known: list[Ended], newest: Reading, value: Value, now: datetime
    ) -> list[Told]:
        """Of one limit: what goes on, or an event that nobody has known, and what is over."""
        if slot.open:
            return list(self._climb(place, slot, newest, value, now))
        told: list[Told] = []
        passed = self.ended.get(place)
        if passed and not any(_meet(event, passed) for event in known):
            told += self._passed(place, slot, passed, newest, value, now)
        if slot.standing and slot.back >= self.rhythm.readings(EVENT):
            told += self._over(self.plan.levels[place], slot, newest, value)
        return told

    def rebuilt(self, readings: Sequence[Reading], now: datetime) -> tuple[Sensor, list[Told]]:
        """The state that these readings make, with what was told before carried over; what is to be told of it.

        readings: the stored ones of this sensor since HISTORY before now and one from before, oldest first.
        """
        started = self.started_at or _LONG_AGO
        if readings:
            started = min(started, readings[0].taken_at)
        new = built(self.plan, self.device, self.zone, readings, started=started)
        new.join(self.worn)
        if new.rhythm.total < self.rhythm.total:
            new.rhythm.adopt(self.rhythm)
        # It knows more than a day, and what came late is no news of what is ahead.
        new.forecast = self.forecast
        if not readings:
            return new, []
        newest = readings[-1]
        value = _value(newest) or Value(math.nan, Unit.MG_DL, math.nan)
        told: list[Told] = []
        old_slots = self.slots or _slots(self)
        new_slots = new.slots or _slots(new)
        new.slots = new_slots
        known = self.known or self._events()
        for index, (level, old, slot) in enumerate(zip(self.plan.levels, old_slots, new_slots, strict=True)):
            slot.standing = old.standing
            if slot.open and (before := _running(old)) and _meet(before, slot):
                slot.step, slot.staff, slot.late = old.step, old.staff, old.late
                slot.due = new._due(level, slot)
            told += new._catch_up(index, slot, known[index], newest, value, now)
        if self.same >= self.plan.stuck and self.flat_since is None:
            new.flat_since = None
        new._rest()
        return new, told

    def _passed(
        self, place: int, slot: Slot, event: Ended, newest: Reading, value: Value, now: datetime
    ) -> list[Told]:
        """An event that came and went in readings that came late; told unless it has been over for 15 minutes."""
        if now - event.end > EVENT:
            return []
        shadow = Slot(0, event.since)
        shadow.since = shadow.run_since = event.since
        shadow.first = event.first
        shadow.last, shadow.worst, shadow.worst_at, shadow.held = event.last, event.worst, event.worst_at, event.held
        shadow.due = self._due(self.plan.levels[place], shadow)
        told = list(self._climb(place, shadow, newest, value, now))
        slot.standing = (*slot.standing, *shadow.standing)
        return told

    def _rest(self) -> None:
        """Forget the slots when nothing goes on and each has recovered in any rhythm."""
        if self.slots and all(slot.back == _SETTLED and slot.idle for slot in self.slots):
            self.calm = _SETTLED
            self.slots = None


def built(
    plan: Plan,
    device: str,
    zone: tzinfo,
    readings: Sequence[Reading],
    earlier: Iterable[tuple[float, float]] = (),
    started: datetime | None = None,
    known: Forecast | None = None,
) -> Sensor:
    """The state that stored readings make, oldest first; nothing of them counts as told.

    earlier: (minutes since 1970, mg/dL) of those before them, for the forecast, which knows a patient over days, and
    for the sensor's start; started: that start, where it is known; known: what is known of the patient by the sensor
    before.
    """
    sensor = Sensor(plan, device, zone)
    if known is not None:
        sensor.forecast.follow(known)
    last = None
    for minute, mg_dl in earlier:
        moment = datetime.fromtimestamp(60 * minute, UTC)
        if last is None or moment - last >= _NEW_SENSOR:
            started = moment
        last = moment
        sensor.forecast.take(minute, mg_dl)
    if last is None or not readings or readings[0].taken_at - last < _NEW_SENSOR:
        sensor.started_at = started
    for reading in readings:
        sensor.take(reading, None)
    return sensor


def is_late(reading: Reading) -> bool:
    """Whether it came so late that by then it may have been otherwise."""
    return reading.received_at - reading.taken_at > LATE[Vital.CGM]


def _session_began(reading: Reading) -> datetime:
    """At the latest."""
    return reading.taken_at - timedelta(minutes=min(reading.sequence or 0, _LONGEST_KNOWN))


def _counts_from(slot: Slot, rung: Rung) -> datetime:
    """The patient hears of each event for itself, staff of a trouble that goes on."""
    if rung.unbroken:
        return slot.run_since
    return slot.first if rung.audience is Audience.STAFF else slot.since


def _has_told(level: Level, slot: Slot, rung: Rung) -> bool:
    told = level.ladder(slot.held)[: slot.step]
    return any(
        (each.rule, each.audience, each.priority) == (rung.rule, rung.audience, rung.priority) for each in told
    )


def _over(rule: Rule, level: Level, reading: Reading, value: Value) -> Told:
    return Told(
        rule=rule,
        verdict=Verdict.CLEAR,
        audience=Audience.STAFF,
        priority=rule.priority,
        since=reading.taken_at,
        reading=reading,
        value=value,
        level=level,
        evidence=(reading.taken_at,),
    )


def _slots(sensor: Sensor) -> tuple[Slot, ...]:
    at = sensor.last_at or NEVER
    return tuple(Slot(sensor.calm, at) for _ in sensor.plan.levels)


def _with(told: Sequence[Told], more: Told | None) -> Sequence[Told]:
    return (*told, more) if more else told


def _rate_since(points: Sequence[tuple[datetime, float]], taken: datetime) -> tuple[datetime, float] | None:
    """The point from which a rate is taken: the farthest in the span of rates."""
    shortest, longest = RATE_SPAN_S
    for each in reversed(points):
        if shortest <= (taken - each[0]).total_seconds() <= longest:
            return each
    return None


def _per_minute(value: Value, taken: datetime, since: tuple[datetime, float]) -> float:
    at, mg_dl = since
    return (value.mg_dl - mg_dl) / (taken - at).total_seconds() * 60


def _running(slot: Slot) -> Ended | None:
    if not slot.open:
        return None
    return Ended(slot.since, slot.first, slot.last, slot.last, slot.worst, slot.worst_at, slot.held)


def _meet(one: Ended, other: Ended | Slot) -> bool:
    return one.since <= other.last and other.since <= one.last


def _count_cells(slot: Slot, before: datetime | None, taken: datetime, *, beyond: bool) -> None:
    """Move the cells of a share on to this moment; a reading stands for the time since the one before it."""
    cell = _cell(taken)
    slot.run = (slot.run << min(_CELLS, cell - slot.cell)) & _ALL_CELLS
    slot.cell = cell
    if beyond:
        covered = cell - _cell(before) if before else 1
        slot.run |= (1 << max(1, min(covered, 3))) - 1


def _cell(moment: datetime) -> int:
    return int(moment.timestamp()) // int(_CELL_S)


def _worse(mg_dl: float, worst: Value | None, *, low: bool) -> bool:
    return worst is None or (mg_dl < worst.mg_dl if low else mg_dl > worst.mg_dl)


def _value(reading: Reading) -> Value | None:
    """The value in the unit family received; None where the device gives none or doubts it."""
    if not UNRELIABLE.isdisjoint(reading.flags):
        return None
    sent, mg_dl = reading.sent[0], reading.values[0]
    shown, unit = family(math.nan if sent is None else sent, reading.unit)
    if sent is not None and mg_dl is not None:
        return Value(shown, unit, mg_dl)
    for flag, (beyond, stands_for) in _OFF_SCALE.items():
        if flag in reading.flags:
            return Value(beyond, unit, stands_for)
    return None
