"""When a record was really taken: clocks kept, left alone, reset; summer time and journeys."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from ingest.device_clock import (
    ahead_of_utc,
    current_time_octets,
    date_time_octets,
    offset_of,
    place,
    session_start_octets,
)
from ingest.gatt import cgm_session_start, clock, current_time
from ingest.reading import TimeBasis

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
H = timedelta(hours=1)
M = timedelta(minutes=1)
WINTER = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def placed(claim: datetime, ahead: timedelta | None, zone: ZoneInfo, now: datetime) -> tuple[datetime, str]:
    found = place(claim, ahead, zone, now)
    assert found is not None
    return found[0], found[1].value


def test_how_far_a_clock_is_ahead() -> None:
    assert ahead_of_utc(datetime(2026, 12, 1, 13, 3), WINTER) == H + 3 * M
    assert offset_of(BERLIN, WINTER) == H
    assert offset_of(BERLIN, SUMMER) == 2 * H


def test_a_clock_kept_at_local_time_kept_it_at_the_claim_too() -> None:
    """Somebody puts it forward and back: a July record read in December was taken by summer time."""
    assert placed(datetime(2026, 7, 1, 14, 0), H, BERLIN, WINTER) == (SUMMER, "device")
    assert placed(datetime(2026, 7, 1, 14, 0), H + 5 * M, BERLIN, WINTER) == (SUMMER - 5 * M, "corrected")


def test_a_clock_left_alone_at_the_change_shows_the_same_difference_all_the_time() -> None:
    assert placed(datetime(2026, 7, 1, 14, 0), 2 * H, BERLIN, WINTER) == (SUMMER, "corrected")
    assert placed(datetime(2026, 12, 1, 13, 0), 2 * H, BERLIN, WINTER) == (WINTER - H, "corrected")
    after = utc(2026, 7, 2, 12, 0)
    assert placed(datetime(2026, 7, 1, 13, 0), H, BERLIN, after) == (SUMMER, "corrected")


def test_the_smallest_summer_time_is_half_an_hour() -> None:
    now = utc(2026, 7, 1)  # winter there: +10:30
    assert placed(datetime(2026, 6, 30, 12, 0), 11 * H, LORD_HOWE, now) == (utc(2026, 6, 30, 1, 0), "corrected")


def test_a_travellers_records_stay_where_they_were() -> None:
    """From Shanghai to Berlin with the meter; the patient's zone is Berlin now."""
    assert placed(datetime(2026, 11, 30, 8, 0), 8 * H, BERLIN, WINTER) == (utc(2026, 11, 30, 0, 0), "corrected")
    assert placed(datetime(2026, 12, 1, 20, 0), 8 * H, BERLIN, WINTER) == (WINTER, "corrected")


@pytest.mark.parametrize(("ahead", "moment"), [(2 * H, utc(2026, 10, 25, 0, 30)), (H, utc(2026, 10, 25, 1, 30))])
def test_in_the_repeated_hour_the_clock_says_which(ahead: timedelta, moment: datetime) -> None:
    claim = datetime(2026, 10, 25, 2, 30)
    now = moment + timedelta(minutes=10)
    assert placed(claim, ahead, BERLIN, now) == (moment, "device")
    assert placed(claim, None, BERLIN, utc(2026, 10, 25, 6)) == (utc(2026, 10, 25, 0, 30), "device")


def test_in_the_hour_left_out_the_clock_had_not_been_put_forward() -> None:
    claim, moment = datetime(2026, 3, 29, 2, 30), utc(2026, 3, 29, 1, 30)
    assert placed(claim, 2 * H, BERLIN, utc(2026, 3, 29, 9)) == (moment, "device")
    assert placed(claim, H, BERLIN, utc(2026, 3, 29, 9)) == (moment, "corrected")


def test_what_was_measured_before_a_reset_is_believed_as_claimed() -> None:
    now = utc(2026, 11, 21, 4)
    ahead = datetime(2019, 1, 11, 12, 0, tzinfo=UTC) - now
    assert placed(datetime(2026, 11, 5, 9, 0), ahead, SHANGHAI, now) == (utc(2026, 11, 5, 1), "before-reset")
    assert placed(datetime(2019, 1, 10, 12, 0), ahead, SHANGHAI, now) == (now - 24 * H, "corrected")


@pytest.mark.parametrize("ahead", [None, 8 * H, 5 * H, -timedelta(days=2000)])
@pytest.mark.parametrize("claim", [datetime(2020, 1, 1), datetime(2031, 1, 1), datetime.min, datetime.max])
def test_what_fits_no_way_has_no_moment(claim: datetime, ahead: timedelta | None) -> None:
    now = utc(2026, 11, 21, 4)
    fits = ahead == -timedelta(days=2000) and claim.year == 2020
    assert (place(claim, ahead, SHANGHAI, now) is not None) == fits


def test_a_claim_with_a_zone_is_a_moment_and_its_clock_may_still_be_wrong() -> None:
    claim = datetime(2026, 12, 1, 19, 0, tzinfo=timezone(8 * H))
    true = utc(2026, 12, 1, 11)
    assert placed(claim, None, BERLIN, WINTER) == (true, "device")
    assert placed(claim, 8 * H, BERLIN, WINTER) == (true, "device"), "a traveller's sensor"
    assert placed(claim, H, BERLIN, WINTER) == (true, "device"), "its clock was put to the wearer's time"
    assert placed(claim, 8 * H + 7 * M, BERLIN, WINTER) == (true - 7 * M, "corrected")
    with_no_offset = datetime(2026, 12, 1, 11, 0, tzinfo=UTC)
    assert placed(with_no_offset, timedelta(0), SHANGHAI, WINTER) == (true, "device")


def test_a_sensors_minutes_are_counted_from_its_start_and_not_on_the_wall() -> None:
    """Started in summer time; its records of the next day know nothing of the change."""
    found = place(datetime(2026, 10, 24, 12, 0), None, BERLIN, utc(2026, 10, 25, 12), since_start=24 * H)
    assert found == (utc(2026, 10, 25, 10), TimeBasis.DEVICE)


def test_octets_of_the_time_are_those_that_decode() -> None:
    local = datetime(2026, 11, 22, 23, 59, 58, 500_000)
    assert clock(date_time_octets(local)).value == local.replace(microsecond=0)
    told = current_time(current_time_octets(local))
    assert (told.value, told.day_of_week, told.fractions256) == (local.replace(microsecond=0), 7, 128)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/Dublin", "Asia/Kathmandu", "America/St_Johns", "UTC"])
@pytest.mark.parametrize("now", [WINTER, SUMMER])
def test_a_sensor_is_told_zone_and_summer_time(zone: str, now: datetime) -> None:
    told = cgm_session_start(session_start_octets(now, ZoneInfo(zone)))
    assert told.moment == now
    assert told.dst in (0, 4)
