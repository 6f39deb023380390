"""What a meter has ends in the journal, each record once and at its right time, whatever happens on the way.

The whole house stands behind every radio: link, door, decoder, admission and journal are those of a clinic.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from bumble.device import Connection, Device

from gateway.house import House, Radio
from gateway.people import DeviceKind, DeviceLink
from ingest.reading import Reading, TimeBasis
from simulators.encode import GlucoseContext, GlucoseRecord
from simulators.gatt_server import STANDARD, DeviceClock, Make
from simulators.meter import GlucoseMeter
from simulators.record_access import Fault, Misbehaviour
from tests.bluetooth.radio import Radio as Air
from tests.bluetooth.ward import BRISK
from tests.real_house import HandClock, enrol, real_house, stored, until

METER = "C4:00:00:00:00:01"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
FACTORY = datetime(2019, 1, 1)
TIMINGS = replace(BRISK, rest=0.05, retry=0.05)


def value(at: int) -> Decimal:
    return Decimal(70 + at % 300).scaleb(-5)


@dataclass(kw_only=True)
class Bench:
    """A meter whose clock runs by itself, and what is true of its records."""

    meter: GlucoseMeter
    clock: HandClock
    truth: dict[datetime, float] = field(default_factory=dict)
    sessions: int = 0

    @classmethod
    async def with_meter(
        cls, radio: Air, clock: HandClock, *, ahead: timedelta = timedelta(hours=8), make: Make = STANDARD
    ) -> "Bench":
        """ahead: how far the meter's clock is ahead of UTC."""
        watch = DeviceClock(lambda: clock.now().replace(tzinfo=None), ahead)
        bench = cls(meter=GlucoseMeter(await radio.air.device("meter+1", METER), watch, make), clock=clock)

        def ended(_reason: int) -> None:
            bench.sessions += 1

        bench.meter.device.on(Device.EVENT_CONNECTION, lambda link: link.on(Connection.EVENT_DISCONNECTION, ended))
        await bench.meter.start()
        return bench

    def fill(self, *numbers: int, until: datetime = NOW, ahead: timedelta | None = None) -> None:
        """A record every 20 minutes until then, by a clock so far ahead of UTC; each fourth has a context."""
        shown = self.meter.clock.error if ahead is None else ahead
        for at, number in enumerate(numbers):
            moment = until - timedelta(minutes=20) * (len(numbers) - 1 - at)
            self.truth[moment] = float(value(at) * 100_000)
            self.meter.add(
                GlucoseRecord(
                    sequence=number & 0xFFFF,
                    base_time=(moment + shown).replace(tzinfo=None),
                    concentration=value(at),
                    context=GlucoseContext(meal=at % 5 + 1) if at % 4 == 0 else None,
                )
            )

    async def more_sessions(self, count: int = 1) -> None:
        """Wait until so many more sessions have ended, the one that runs included; none runs then."""
        enough = self.sessions + count
        await until(lambda: self.sessions >= enough and self.meter.connection is None)

    def check(self, house: House) -> list[Reading]:
        """The journal holds what is true, each record once, with its context, and nothing waits as a letter."""
        readings = [reading for _, reading in house.journal.since(0, 1_000_000)]
        assert {reading.taken_at: reading.values[0] for reading in readings} == self.truth
        assert len(readings) == len(self.truth)
        assert sum("meal" in reading.context for reading in readings) == (len(self.truth) + 3) // 4
        assert house.journal.letters() == []
        return readings


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@asynccontextmanager
async def opened(folder: Path, clock: HandClock, radio: Air, zone: str = "Asia/Shanghai") -> AsyncIterator[House]:
    wiring = Radio(scanner_kwargs=radio.scanner_kwargs, client_kwargs=radio.client_kwargs, timings=TIMINGS)
    async with real_house(folder, clock, radio=wiring, bluetooth={}) as house:
        if house.people.patient("anna") is None:
            await enrol(house, "anna", METER, DeviceKind.METER, DeviceLink.BLE, zone=zone)
        yield house


Plot = Callable[[Bench], None]
"""Gives a meter its records, and what goes wrong while they are read for the first time."""


def plain(bench: Bench) -> None:
    bench.fill(*range(1, 1001))


def link_lost(bench: Bench) -> None:
    bench.fill(*range(1, 1001))
    bench.meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=400)


def silent(bench: Bench) -> None:
    bench.fill(*range(1, 1001))
    bench.meter.access.fault = Fault(kind=Misbehaviour.SILENCE, after=600)


def code_8(bench: Bench) -> None:
    bench.fill(*range(1, 1001))
    bench.meter.access.fault = Fault(kind=Misbehaviour.FAIL, after=300)


def wrapped(bench: Bench) -> None:
    bench.fill(*range(65030, 66030))


def wrapped_and_link_lost(bench: Bench) -> None:
    bench.fill(*range(65030, 66030))
    bench.meter.access.fault = Fault(kind=Misbehaviour.HANG_UP, after=508)


def downwards(bench: Bench) -> None:
    bench.fill(*range(1100, 100, -1))


def downwards_newest_first(bench: Bench) -> None:
    bench.fill(*range(1100, 100, -1))
    bench.meter.access.newest_first = True


def clock_reset(bench: Bench) -> None:
    """A battery change: the first 500 by a clock that was right, the others by one that began at the factory date."""
    right = bench.meter.clock.error
    reset_at = NOW - timedelta(minutes=20) * 499 - timedelta(minutes=5)
    bench.meter.clock.error = FACTORY - reset_at.replace(tzinfo=None)
    bench.fill(*range(1, 501), until=NOW - timedelta(minutes=20) * 500, ahead=right)
    bench.fill(*range(501, 1001))


@pytest.mark.parametrize(
    "plot",
    [
        plain,
        link_lost,
        silent,
        code_8,
        wrapped,
        wrapped_and_link_lost,
        downwards,
        downwards_newest_first,
        clock_reset,
    ],
)
async def test_a_thousand_records_arrive_each_once_at_its_time(
    radio: Air, tmp_path: Path, clock: HandClock, plot: Plot
) -> None:
    bench = await Bench.with_meter(radio, clock)
    plot(bench)
    async with opened(tmp_path, clock, radio) as house:
        fault = bench.meter.access.fault
        if fault is not None and fault.kind is not Misbehaviour.FAIL:
            await stored(house, fault.after)
            bench.meter.access.fault = None
        await stored(house, 1000)
        await bench.more_sessions()
        bench.check(house)
        assert bench.meter.clock.error == timedelta(hours=8), "it is set when all is read"


async def test_new_records_of_every_kind_of_meter_are_found(radio: Air, tmp_path: Path, clock: HandClock) -> None:
    """A meter that counts downwards, wraps, and is emptied and begins anew beyond the number that is known."""
    bench = await Bench.with_meter(radio, clock)
    bench.fill(3, 2, 1, until=NOW - timedelta(days=3))
    async with opened(tmp_path, clock, radio) as house:
        await stored(house, 3)
        bench.fill(0, 65535, until=NOW - timedelta(days=2))
        await stored(house, 5)
        bench.meter.records.clear()
        bench.fill(*range(65530, 65537), until=NOW - timedelta(days=1))
        await stored(house, 12)
        bench.meter.records.clear()
        bench.fill(*range(65520, 65530), until=NOW)
        await stored(house, 22)
        await bench.more_sessions(2)
        readings = [reading for _, reading in house.journal.since(0, 1_000_000)]
    assert len(readings) == 22
    assert {reading.taken_at for reading in readings} == bench.truth.keys()


# Clocks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "basis"),
    [
        (timedelta(hours=8), TimeBasis.DEVICE),
        (timedelta(hours=8, minutes=-7), TimeBasis.CORRECTED),
        (timedelta(hours=2), TimeBasis.CORRECTED),
        (timedelta(days=-900), TimeBasis.CORRECTED),
        (timedelta(days=200), TimeBasis.CORRECTED),
    ],
)
async def test_nothing_is_moved_when_the_clock_is_set_and_all_is_read_again(
    radio: Air, tmp_path: Path, clock: HandClock, ahead: timedelta, basis: TimeBasis
) -> None:
    bench = await Bench.with_meter(radio, clock, ahead=ahead)
    bench.fill(*range(1, 41))
    async with opened(tmp_path, clock, radio) as house:
        await stored(house, 40)
        await bench.more_sessions()
        before = bench.check(house)
        assert {reading.time_basis for reading in before} == {basis}
    assert bench.meter.clock.error == timedelta(hours=8)
    async with opened(tmp_path, clock, radio) as house:  # a new process knows no meter yet, and reads all of it
        await bench.more_sessions(2)
        assert house.journal.counts()["duplicate"] >= 40
        bench.fill(41, until=NOW + timedelta(minutes=1))
        await stored(house, 41)
        assert [reading for _, reading in house.journal.since(0, 40)] == before


async def test_nothing_is_moved_by_the_end_of_summer_time_nor_by_a_journey(
    radio: Air, tmp_path: Path, clock: HandClock
) -> None:
    clock.set(datetime(2026, 10, 24, 20, 0, tzinfo=UTC))
    bench = await Bench.with_meter(radio, clock, ahead=timedelta(hours=2))
    bench.fill(*range(1, 13), until=clock.now())
    async with opened(tmp_path, clock, radio, zone="Europe/Berlin") as house:
        await stored(house, 12)
        summer = bench.check(house)
        await bench.more_sessions()
        # The night of the change: every 20 minutes, by a clock that knows nothing of it.
        clock.set(datetime(2026, 10, 25, 4, 0, tzinfo=UTC))
        bench.fill(*range(13, 25), until=clock.now())
        await stored(house, 24)
        night = bench.check(house)
        assert night[:12] == summer
        await bench.more_sessions()
        assert bench.meter.clock.error == timedelta(hours=1), "set to winter time when all was read"
        await house.change_patient("anna", lambda anna: replace(anna, zone="Asia/Shanghai"))
    async with opened(tmp_path, clock, radio) as house:
        await bench.more_sessions()
        assert bench.check(house) == night
        bench.fill(25, until=clock.now() + timedelta(minutes=1), ahead=timedelta(hours=8))
        await stored(house, 25)


async def test_a_clock_that_refuses_to_be_set_is_reckoned_with(radio: Air, tmp_path: Path, clock: HandClock) -> None:
    make = replace(STANDARD, clock_refuses=True)
    bench = await Bench.with_meter(radio, clock, ahead=timedelta(hours=3), make=make)
    bench.fill(*range(1, 9))
    async with opened(tmp_path, clock, radio) as house:
        await stored(house, 8)
        await bench.more_sessions()
        bench.check(house)
        assert house.ble is not None
        assert house.ble.health().devices[0].error is None
    assert bench.meter.clock.error == timedelta(hours=3)
