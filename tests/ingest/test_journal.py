"""The journal: what it was given is on disk, each reading once, and nothing else is lost either."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.journal import Appended, Arrival, Journal, JournalError, LetterState
from ingest.reading import DecodeError, Flag, Packet, Reading, Refusal, RefusalReason, Session, TimeBasis
from ingest.rows import from_row, to_row
from ingest.vital import Unit, Vital, canonical

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
PACKET = Packet(link="listener", sender="cgm-1", channel="json", data=b"{}", received_at=START)


def reading(minute: float = 0, value: float | None = 100.0, **changes: object) -> Reading:
    taken_at = START + timedelta(minutes=minute)
    plain = Reading(
        patient="anna",
        device="cgm-1",
        vital=Vital.CGM,
        values=(value,),
        sent=(value,),
        unit=Unit.MG_DL,
        taken_at=taken_at,
        time_basis=TimeBasis.DEVICE,
        received_at=taken_at + timedelta(seconds=3),
        device_time=taken_at,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def append(journal: Journal, *outcomes: Reading | Refusal | DecodeError, packet: Packet = PACKET) -> Appended:
    return journal.append([Arrival(packet=packet, outcomes=outcomes)])


def stored(journal: Journal) -> list[Reading]:
    return [kept for _, kept in journal.since(0, 1_000_000)]


def test_a_reading_comes_back_as_it_went_in_also_after_reopening(journal: Journal, path: Path) -> None:
    full = reading(
        patient="bo",
        device="AA:BB",
        vital=Vital.BLOOD_PRESSURE,
        sent=(18.9, 11.0, None, 60.0),
        values=canonical(Vital.BLOOD_PRESSURE, (18.9, 11.0, None, 60.0), Unit.KPA),
        unit=Unit.KPA,
        sequence=65535,
        device_time=datetime(2031, 1, 1, 0, 0, 0, 7),
        clock_offset=timedelta(days=3, microseconds=-1),
        time_basis=TimeBasis.CORRECTED,
        flags=frozenset({Flag.IRREGULAR_PULSE, Flag.CUFF_LOOSE}),
        context={"arm": "left", "user": 2},
        raw=b"\x00\xff",
    )
    high = reading(5, None, flags=frozenset({Flag.ABOVE_RANGE}), device_time=None, sequence=3)
    append(journal, full, high)
    assert stored(journal) == [full, high]
    journal.close()
    again = Journal(path)
    assert stored(again) == [full, high]
    again.close()


def test_a_redelivery_is_the_same_reading(journal: Journal) -> None:
    append(journal, reading(0), reading(5))
    later = reading(0, received_at=START + timedelta(days=2))
    assert append(journal, later).duplicates == 1
    assert stored(journal) == [reading(0), reading(5)]


def test_twice_in_one_batch_is_once(journal: Journal) -> None:
    appended = append(journal, reading(0), reading(0))
    assert (len(appended.new), appended.duplicates) == (1, 1)


def test_another_value_under_the_same_identity_is_kept_as_a_conflict(journal: Journal) -> None:
    append(journal, reading(0, 100.0))
    assert append(journal, reading(0, 101.0)).letters == 1
    assert stored(journal) == [reading(0, 100.0)]
    (letter,) = journal.letters()
    assert letter.reason == RefusalReason.CONFLICT
    assert "101 mg/dL instead of 100 mg/dL" in letter.because


def test_two_records_of_one_second_are_two_readings(journal: Journal) -> None:
    append(journal, reading(0, 100.0, sequence=1), reading(0, 100.0, sequence=2), reading(0, 99.0, sequence=3))
    append(journal, reading(0, 100.0, sequence=2))
    assert [kept.sequence for kept in stored(journal)] == [1, 2, 3]


def test_a_corrected_record_read_again_with_another_correction_is_the_same(journal: Journal) -> None:
    claim = datetime(2026, 3, 2, 20, 0)
    corrected = reading(0, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED)
    append(journal, corrected)
    again = reading(0.05, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED)
    believed = reading(240, sequence=9, device_time=claim)
    assert append(journal, again, believed).duplicates == 2
    assert append(journal, reading(0.05, 55.0, sequence=9, device_time=claim)).letters == 1
    assert stored(journal) == [corrected]


def test_a_record_believed_first_and_corrected_later_is_the_same(journal: Journal) -> None:
    claim = datetime(2026, 3, 2, 16, 0)
    append(journal, reading(0, sequence=9, device_time=claim))
    moved = reading(-90, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED)
    assert append(journal, moved).duplicates == 1


def test_records_without_a_time_differ_by_their_number(journal: Journal) -> None:
    timeless = [reading(0, 90.0 + n, sequence=n, device_time=None, time_basis=TimeBasis.ARRIVAL) for n in range(20)]
    append(journal, *timeless)
    late = [replace(one, taken_at=START + timedelta(hours=3)) for one in timeless]
    assert append(journal, *late).duplicates == 20
    assert stored(journal) == timeless


def test_records_without_time_and_number_are_all_kept(journal: Journal) -> None:
    at_once = reading(0, 100.0, device_time=None, time_basis=TimeBasis.ARRIVAL)
    append(journal, at_once, at_once, reading(3, 190.0, device_time=None, time_basis=TimeBasis.ARRIVAL))
    append(journal, replace(at_once, taken_at=START + timedelta(hours=1)))
    assert [kept.values[0] for kept in stored(journal)] == [100.0, 100.0, 190.0, 100.0]
    assert journal.letters() == []


def test_a_record_read_again_after_its_wearer_moved_is_the_same(journal: Journal) -> None:
    claim = datetime(2026, 3, 2, 16, 0)
    append(journal, reading(0, sequence=9, device_time=claim))
    assert append(journal, reading(7 * 60, sequence=9, device_time=claim)).duplicates == 1
    assert append(journal, reading(7 * 60, sequence=10, device_time=claim)).duplicates == 0


def test_two_patients_do_not_share_a_series(journal: Journal) -> None:
    append(journal, reading(0), reading(0, patient="bo", device="cgm-2"))
    for patient in ("anna", "bo"):
        (found,) = journal.readings(patient, Vital.CGM, START, START + timedelta(days=1))
        assert found.patient == patient


def test_series_and_readings_of_a_span(journal: Journal) -> None:
    append(journal, reading(10, 110.0), reading(0, 100.0), reading(5, None, flags=frozenset({Flag.BELOW_RANGE})))
    end = START + timedelta(minutes=10)
    assert [one.values[0] for one in journal.readings("anna", Vital.CGM, START, end)] == [100.0, None]
    newest = journal.readings("anna", Vital.CGM, START, end + timedelta(minutes=1), limit=2)
    assert [one.values[0] for one in newest] == [None, 110.0]
    series = journal.series("anna", Vital.CGM, START, end)
    assert series.taken_us.tolist() == [1772438400_000000, 1772438700_000000]
    np.testing.assert_array_equal(series.values, [[100.0], [np.nan]])
    nobody = journal.series("nobody", Vital.BLOOD_PRESSURE, START, end)
    assert (nobody.taken_us.shape, nobody.values.shape) == ((0,), (0, 4))


def test_letters_keep_the_bytes_with_the_reason_once_per_reason(journal: Journal) -> None:
    packet = replace(
        PACKET, data=b"\x00" * 5000, session=Session(clock_offset=timedelta(seconds=9), session_start=START)
    )
    unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="device cgm-9 is not assigned", device="cgm-9")
    append(journal, unknown, DecodeError("invalid", "no such unit", 17), unknown, packet=packet)
    broken, waiting = journal.letters()
    assert (waiting.reason, waiting.parts, waiting.device) == ("unassigned", (0, 2), "cgm-9")
    assert (broken.reason, broken.parts, broken.because) == ("invalid", (1,), "no such unit (at offset 17)")
    assert broken.packet == packet
    assert journal.letters(device="cgm-9") == [waiting]
    assert journal.letters(reason="invalid") == [broken]
    assert journal.letters(before=waiting.id) == []


def test_an_unassigned_reading_is_admitted_with_its_own_times(journal: Journal) -> None:
    refusal = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cgm-1")
    append(journal, refusal, reading(5), refusal)
    (letter,) = journal.letters()
    impossible = Refusal(reason=RefusalReason.IMPOSSIBLE, because="no", device="cgm-1")
    appended = journal.readmit([(letter, (reading(0), reading(5), impossible))])
    assert [one for _, one in appended.new] == [reading(0)]
    assert stored(journal) == [reading(5), reading(0)]
    (left,) = journal.letters()
    assert (left.reason, left.parts, left.packet.received_at) == ("impossible", (2,), START)
    assert [one.id for one in journal.letters(LetterState.ADMITTED)] == [letter.id]


def test_what_comes_again_and_cannot_be_admitted_waits_once(journal: Journal) -> None:
    refusal = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cgm-1")
    for _ in range(3):
        append(journal, refusal)
    (letter,) = journal.letters()
    assert journal.readmit([(letter, (refusal,))]).new == []
    assert journal.letters() == [letter]
    assert journal.letter(letter.id) == letter
    assert journal.letter(999) is None
    journal.discard(letter.id, "a test")
    append(journal, refusal)
    assert len(journal.letters()) == 1


def test_discarding_a_letter_keeps_it_out_of_the_list(journal: Journal) -> None:
    append(journal, DecodeError("invalid", "junk"))
    (letter,) = journal.letters()
    assert journal.discard(letter.id, "a test message") is True
    assert journal.discard(letter.id, "again") is False
    assert journal.letters() == []
    (kept,) = journal.letters(LetterState.DISCARDED)
    assert "a test message" in kept.because


def test_counters_balance(journal: Journal) -> None:
    refusal = Refusal(reason=RefusalReason.NO_VALUE, because="-", device="cgm-1")
    append(journal, reading(0), reading(0), reading(0, 7.0), refusal, DecodeError("too_short", "-"))
    counts = journal.counts()
    assert counts["parts"] == 5
    assert counts["admitted"] + counts["duplicate"] + counts["undecodable"] == 3
    assert (counts["refused.no-value"], counts["refused.conflict"], counts["letters.waiting"]) == (1, 1, 3)


def test_followers_go_on_where_they_were(journal: Journal, path: Path) -> None:
    append(journal, *(reading(minute) for minute in range(10)))
    assert journal.cursor("influx") == 0
    first = journal.since(0, 4)
    journal.advance("influx", first[-1][0])
    journal.close()
    again = Journal(path)
    rest = again.since(again.cursor("influx"), 100)
    assert [one for _, one in [*first, *rest]] == [reading(minute) for minute in range(10)]
    assert rest[-1][0] == again.tail()
    again.close()


def test_what_a_store_refused_is_set_aside_with_its_answer(journal: Journal) -> None:
    journal.set_aside("influxdb", 12, b"glucose value=1i", 422, "field type conflict")
    (letter,) = journal.letters()
    assert (letter.reason, letter.packet.data) == ("rejected", b"glucose value=1i")
    assert "422: field type conflict" in letter.because


def test_the_resume_point_follows_what_is_safe(journal: Journal) -> None:
    assert journal.resume_point("AA") is None
    append(journal, reading(0, device="AA", sequence=4, device_time=datetime(2026, 3, 2, 16, 0)))
    append(journal, Refusal(reason=RefusalReason.NO_VALUE, because="-", device="AA", sequence=5))
    assert journal.resume_point("AA") == 5
    assert journal.last_arrival("AA") == START
    assert journal.last_arrival("BB") is None


def test_a_failed_commit_writes_nothing_and_the_next_one_works(journal: Journal) -> None:
    with pytest.raises(OverflowError):
        append(journal, reading(0), reading(5, sequence=2**64))
    assert stored(journal) == []
    append(journal, reading(0), reading(5))
    assert len(stored(journal)) == 2


def test_a_file_that_is_no_journal_is_refused_in_words(tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match="cannot use the journal"):
        Journal(junk)


def test_a_newer_journal_is_refused_in_words(journal: Journal, path: Path) -> None:
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="update Homeward"):
        Journal(path)


_maybe = st.none() | st.floats(min_value=-1e6, max_value=1e6)


@given(
    sent=st.tuples(_maybe, _maybe, _maybe, _maybe),
    unit=st.sampled_from([Unit.MMHG, Unit.KPA]),
    taken=st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),
    claim=st.none()
    | st.datetimes(
        datetime(1970, 1, 2),
        datetime(2200, 1, 1),
        timezones=st.none() | st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours))),
    ),
    sequence=st.none() | st.integers(0, 2**62),
    flags=st.frozensets(st.sampled_from(Flag)),
    raw=st.binary(max_size=20),
)
def test_a_row_is_the_reading(
    sent: tuple[float | None, ...],
    unit: Unit,
    taken: datetime,
    claim: datetime | None,
    sequence: int | None,
    flags: frozenset[Flag],
    raw: bytes,
) -> None:
    one = reading(
        vital=Vital.BLOOD_PRESSURE,
        sent=sent,
        unit=unit,
        values=canonical(Vital.BLOOD_PRESSURE, sent, unit),
        taken_at=taken,
        device_time=claim,
        sequence=sequence,
        flags=flags,
        raw=raw,
    )
    back = from_row((*to_row(one, 1, 2), one.patient, one.vital.value, one.device))
    assert back == one
    assert back.device_time is None or claim is None or back.device_time.utcoffset() == claim.utcoffset()
