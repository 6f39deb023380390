"""What a device's clock says, and when its records were really taken.

A device's clock runs by itself: it knows neither summer time nor journeys. It is read before the records, all of
these are read to the end, and only then is it set to the wearer's local time. So what is left unread was measured by
the clock as it will be found next time, unless somebody set or reset it meanwhile.

`ahead` is how far the clock was ahead of UTC when it was read (shown time less true UTC). Its error is `ahead` less
the offset of the wearer's zone at that moment. A record without zone claims a wall-clock time:

1. error within CLOCK_TOLERANCE: somebody keeps the clock at local time. The claim is local time in the wearer's zone
   as it was at the claim, summer time included. In the hour that the end of summer time repeats, it is the pass in
   which the zone was as far ahead as the clock. (DEVICE)
2. error under LEFT_ALONE: the same, less the error. (CORRECTED)
3. a larger error: the clock was left alone when the time changed, on a journey, or since it was reset. The claim less
   `ahead` is UTC, whatever the zone. (CORRECTED)
4. what would then lie in the future, or years back, but is believable as claimed was measured before the clock was
   reset: it is local time in the wearer's zone. (BEFORE_RESET)
5. what fits neither way has no moment: nothing is returned.

A claim with a zone (a CGM that knows its own) names a moment; its clock's error is told against that zone or the
wearer's, whichever it keeps better, and taken off when it is above the tolerance.
The records of a CGM count from the start of its session, so that start is placed and the minutes since are added.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from ingest.reading import TimeBasis

# A clock this close is believed as it is: meters show whole minutes, and correcting by a second or two would give
# one record a slightly different moment each time it is read.
CLOCK_TOLERANCE: Final = timedelta(seconds=60)
# The smallest step between two local times is half an hour (Lord Howe Island's summer time).
LEFT_ALONE: Final = timedelta(minutes=30)
# Nobody measures in the future; the slack is for a device whose clock error could not be read.
FUTURE_TOLERANCE: Final = timedelta(minutes=10)
# Older than any meter's memory: the clock has fallen back to its factory date.
OLDEST: Final = timedelta(days=3 * 366)

_NOTHING: Final = timedelta(0)
_DEVICE: Final = TimeBasis.DEVICE  # looked up once: there is one for each reading
_QUARTER: Final = timedelta(minutes=15)
_SUMMER_TIMES: Final = frozenset({0, 2, 4, 8})  # quarters of an hour that 2AAA can say


def ahead_of_utc(shown: datetime, now: datetime) -> timedelta:
    """How far a clock that shows a naive time at `now` (aware) is ahead of UTC."""
    return shown.replace(tzinfo=UTC) - now


def offset_of(zone: tzinfo, now: datetime) -> timedelta:
    """How far local time in the zone is ahead of UTC at `now` (aware)."""
    return now.astimezone(zone).utcoffset() or timedelta(0)


def place(
    claim: datetime, ahead: timedelta | None, zone: tzinfo, now: datetime, *, since_start: timedelta = timedelta(0)
) -> tuple[datetime, TimeBasis] | None:
    """The moment (UTC) of a record and how it is known, or None when nothing fits.

    claim: what the device's clock showed. ahead: see above, None when the clock cannot be read; then the claim is
    believed. zone: the wearer's. now: when it was read (aware). since_start: time between claim and record (CGM).
    """
    oldest, latest = now - OLDEST, now + FUTURE_TOLERANCE
    for wall, shift, basis in _interpretations(claim, ahead, zone, now):
        try:
            moment = _utc(wall, zone, ahead)
            if shift or since_start:
                moment += since_start - shift
        except OverflowError:  # before the year 1 or after 9999, which a device may well claim
            continue
        if oldest <= moment <= latest:
            return moment, basis
    return None


def _interpretations(
    claim: datetime, ahead: timedelta | None, zone: tzinfo, now: datetime
) -> tuple[tuple[datetime, timedelta, TimeBasis], ...]:
    """What the claim may mean, likeliest first: a wall clock (or moment), what to take off it, how that is known."""
    as_claimed = (claim, _NOTHING, _DEVICE)
    if ahead is None:
        return (as_claimed,)
    error = ahead - offset_of(zone, now)
    if (own := claim.utcoffset()) is not None:
        error = min(error, ahead - own, key=abs)
    if abs(error) <= CLOCK_TOLERANCE:
        return (as_claimed,)
    before_reset = (claim, _NOTHING, TimeBasis.BEFORE_RESET)
    if claim.tzinfo is not None or abs(error) < LEFT_ALONE:
        return (claim, error, TimeBasis.CORRECTED), before_reset
    return (claim.replace(tzinfo=UTC), ahead, TimeBasis.CORRECTED), before_reset


def _utc(wall: datetime, zone: tzinfo, ahead: timedelta | None) -> datetime:
    if wall.tzinfo is not None:
        return wall.astimezone(UTC)
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    before, after = (local.utcoffset() or timedelta(0) for local in (first, second))
    # Only in the repeated hour is the offset smaller after the change; in the one left out the first is meant.
    repeated = ahead is not None and after < before and abs(after - ahead) < abs(before - ahead)
    return (second if repeated else first).astimezone(UTC)


def date_time_octets(local: datetime) -> bytes:
    """Date Time (2A08) of a local time."""
    return local.year.to_bytes(2, "little") + bytes((local.month, local.day, local.hour, local.minute, local.second))


def current_time_octets(local: datetime) -> bytes:
    """Current Time (2A2B) of a local time, adjusted by hand as far as the device is concerned (bit 0)."""
    return date_time_octets(local) + bytes((local.isoweekday(), local.microsecond * 256 // 1_000_000, 0x01))


def session_start_octets(now: datetime, zone: tzinfo) -> bytes:
    """CGM Session Start Time (2AAA) that tells a sensor the wearer's time, zone and summer time; without its CRC."""
    local = now.astimezone(zone)
    offset, summer = (local.utcoffset() or timedelta(0)), (local.dst() or timedelta(0))
    quarters = summer // _QUARTER
    if quarters not in _SUMMER_TIMES:
        quarters = 0  # winter time that counts backwards (Dublin): the zone then says it all
    return (
        date_time_octets(local)
        + (offset // _QUARTER - quarters).to_bytes(1, "little", signed=True)
        + bytes((quarters,))
    )
