"""What was last known of each device: how it follows from the link's health, and that it outlasts a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.device_book import DeviceBook, DeviceState
from gateway.schema import open_database
from ingest.links.ble import Bond, DeviceHealth
from ingest.links.ble_faults import BOND_LOST, Fault
from ingest.links.ble_session import DeviceFacts

NOW = datetime(2026, 3, 3, 6, 30, tzinfo=UTC)
DAY = timedelta(days=1)
METER = "C4:00:00:00:00:01"
FULL = DeviceState(
    last_seen=NOW,
    bond=Bond.BONDED,
    failures=2,
    fault=BOND_LOST,
    facts=DeviceFacts(
        manufacturer="Maker",
        model="M-1",
        serial="7",
        firmware="1.0",
        battery_pct=80,
        clock_offset=timedelta(seconds=-90, microseconds=5),
        clock_set=True,
        session_ends=NOW + DAY,
        sensor="no session runs",
        quirk="contour-next",
    ),
    battery_low=NOW - DAY,
    battery_flag=NOW - DAY,
)


def health(**told: object) -> DeviceHealth:
    return DeviceHealth(address=METER, kind="meter", **told)  # type: ignore[arg-type]


def test_all_of_it_outlasts_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    DeviceBook(open_database(url)).write({METER: FULL, "other": DeviceState()})
    DeviceBook(open_database(url)).write({"other": DeviceState(failures=1)})
    assert DeviceBook(open_database(url)).states() == {METER: FULL, "other": DeviceState(failures=1)}


def test_what_the_link_has_not_heard_yet_stays_as_it_was() -> None:
    assert FULL.followed_by(health(), NOW) == FULL
    later = FULL.followed_by(health(last_seen=NOW + DAY, facts=DeviceFacts(model="M-2")), NOW)
    assert (later.last_seen, later.facts.model, later.fault, later.failures) == (NOW + DAY, "M-2", None, 0)
    failed = FULL.followed_by(health(failures=1, fault=Fault(says="away")), NOW)
    assert (failed.fault, failed.facts) == ("away", FULL.facts)


def test_a_battery_is_low_until_it_is_new() -> None:
    state = DeviceState()
    for pct, since in ((16, None), (15, NOW), (12, NOW), (20, NOW), (29, NOW), (30, None), (100, None)):
        state = state.followed_by(health(facts=DeviceFacts(battery_pct=pct)), NOW)
        assert state.battery_low == since
        assert state.followed_by(health(facts=DeviceFacts()), NOW + DAY).battery_low == since


def test_a_flag_is_believed_for_a_day() -> None:
    low = DeviceState().with_flag(low=True, now=NOW)
    assert low.battery_low == NOW
    assert low.with_flag(low=False, now=NOW + DAY / 2).with_flag(low=True, now=NOW + DAY / 2).battery_low == NOW
    assert low.with_flag(low=False, now=NOW + DAY).battery_low is None
    weak = low.followed_by(health(facts=DeviceFacts(battery_pct=10)), NOW)
    assert weak.with_flag(low=False, now=NOW + DAY).battery_low == NOW, "the charge itself says so too"


def test_a_battery_that_calls_itself_full_and_low_is_told_once() -> None:
    """A sensor whose charge is said to be 80 % and whose every value calls the battery low."""
    state = DeviceState()
    for hour in range(5):
        now = NOW + timedelta(hours=hour)
        state = state.followed_by(health(facts=DeviceFacts(battery_pct=80)), now).with_flag(low=True, now=now)
        assert state.battery_low == NOW
    later = state.with_flag(low=False, now=NOW + 2 * DAY)
    assert later.followed_by(health(facts=DeviceFacts(battery_pct=80)), NOW + 2 * DAY).battery_low is None


def test_that_it_still_advertises_is_written_down_now_and_then() -> None:
    state = DeviceState(last_seen=NOW)
    assert not DeviceState(last_seen=NOW + timedelta(minutes=59)).differs(state)
    assert DeviceState(last_seen=NOW + timedelta(minutes=60)).differs(state)
    assert DeviceState(last_seen=NOW, failures=1).differs(state)
    assert not DeviceState().differs(DeviceState())
