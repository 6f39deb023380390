"""The journal: what it was given is on disk, each reading once, and nothing else is lost either."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.path import judge
from ingest import checkpoint
from ingest.accounts import Aside, Followed, balance
from ingest.admit import Roster, Wearing
from ingest.journal import Appended, Arrival, Journal, JournalError, Letter, LetterState, Span
from ingest.journal_care import compact, verify
from ingest.journal_format import prepare
from ingest.progress import Progress
from ingest.reading import (
    UPLINK,
    DecodeError,
    Flag,
    Packet,
    Reading,
    Refusal,
    RefusalReason,
    Session,
    TimeBasis,
    to_us,
)
from ingest.rows import from_row, to_row
from ingest.vital import Unit, Vital, canonical

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LATER = START + timedelta(days=100)
FORMAT_1 = Path(__file__).parents[1] / "vectors" / "journal_format_1.sql"
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


def test_what_came_after_a_number_is_known_by_its_key(journal: Journal) -> None:
    append(journal, reading(0), reading(5))
    append(journal, reading(10), reading(15, patient="bo"), reading(20, device="cgm-2"))
    keys = {("cgm-1", to_us(START + timedelta(minutes=10)), 0), ("cgm-2", to_us(START + timedelta(minutes=20)), 0)}
    assert journal.arrived(2, ["anna"], Vital.CGM, START) == (5, keys)
    assert journal.arrived(2, ["anna", "bo"], Vital.CGM, START + timedelta(minutes=20))[1] == {max(keys)}
    assert journal.arrived(2, ["anna"], Vital.GLUCOSE, START) == (5, set())
    assert journal.arrived(5, [], Vital.CGM, START) == (5, set())


def test_twice_in_one_batch_is_once(journal: Journal) -> None:
    appended = append(journal, reading(0), reading(0))
    assert (len(appended.new), appended.duplicates) == (1, 1)


def test_what_a_home_post_forwards_again_is_known_also_without_number_and_time(journal: Journal) -> None:
    forwarded = replace(PACKET, link="uplink home")
    alike = {"device_time": None, "time_basis": TimeBasis.ARRIVAL, "named": True}
    parts = [reading(0, 100.0, **alike), reading(0, 110.0, **alike)]
    assert [one.rev for _, one in append(journal, *parts, packet=forwarded).new] == [1, 1], "no revisions"
    assert append(journal, *parts, packet=forwarded).duplicates == 2
    assert {one.sent for one in journal.readings("anna", Vital.CGM, START, START + timedelta(hours=1))} == {
        (100.0,),
        (110.0,),
    }


def test_another_value_under_the_same_identity_is_a_revision(journal: Journal) -> None:
    append(journal, reading(0, 100.0))
    later = START + timedelta(hours=1)
    (second,) = append(journal, reading(0, 101.0, received_at=later)).new
    (third,) = append(journal, reading(0, None, flags=frozenset({Flag.ABOVE_RANGE}))).new
    assert [(seq, one.rev, one.values) for seq, one in (second, third)] == [(2, 2, (101.0,)), (3, 3, (None,))]
    assert second[1].received_at == later
    assert [(one.values[0], one.rev) for one in stored(journal)] == [(100.0, 1), (101.0, 2), (None, 3)]
    (believed,) = journal.readings("anna", Vital.CGM, START, START + timedelta(hours=1))
    assert (believed.values, believed.rev, believed.taken_at) == ((None,), 3, START)
    assert journal.letters() == []


def test_what_was_revised_and_comes_again_late_changes_nothing(journal: Journal) -> None:
    append(journal, reading(0, 100.0), reading(0, 101.0), reading(0, 102.0))
    assert append(journal, *(reading(0, value) for value in (100.0, 101.0, 102.0))).duplicates == 3
    (believed,) = journal.readings("anna", Vital.CGM, START, START + timedelta(hours=1))
    assert (believed.values, believed.rev) == ((102.0,), 3)


def test_a_revision_stands_where_the_first_one_stood(journal: Journal) -> None:
    claim = datetime(2026, 3, 2, 20, 0)
    first = reading(0, 100.0, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED)
    append(journal, first)
    moved = reading(3, 99.0, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED, patient="bo")
    ((_, revised),) = append(journal, moved).new
    assert revised == replace(first, values=(99.0,), sent=(99.0,), received_at=moved.received_at)
    assert stored(journal)[1] == revised


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
    ((_, revised),) = append(journal, reading(0.05, 55.0, sequence=9, device_time=claim)).new
    assert (revised.rev, revised.taken_at) == (2, corrected.taken_at)


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


def test_glucose_is_read_as_the_displays_showed_it(journal: Journal) -> None:
    """0.0039 mol/L is shown as 3.9 mmol/L and 0.00054 kg/L as 54 mg/dL; HI and LO are beyond every number."""
    sent = ((0, 3.9, Unit.MMOL_L), (5, 0.0039, Unit.MOL_L), (10, 0.00054, Unit.KG_L), (15, 250.0, Unit.MG_DL))
    for minute, value, unit in sent:
        values = canonical(Vital.CGM, (value,), unit)
        append(journal, reading(minute, sent=(value,), values=values, unit=unit))
    append(journal, reading(20, None, flags=frozenset({Flag.BELOW_RANGE, Flag.BATTERY_LOW})))
    append(journal, reading(25, None, flags=frozenset({Flag.ABOVE_RANGE})))
    append(journal, reading(30, None, flags=frozenset({Flag.SENSOR_MALFUNCTION})))
    append(journal, reading(0, 99.0, device="cgm-2", received_at=START + timedelta(hours=1)))
    append(journal, reading(40, 99.0, device="cgm-2"), reading(45, patient="bo"))
    found = journal.glucose("anna", Vital.CGM, START, START + timedelta(hours=1))
    assert found.shown.tolist() == [3.9, 3.9, 54.0, 250.0, -np.inf, np.inf, 99.0]
    assert found.mmol.tolist() == [True, True, False, False, False, False, False]
    assert ((found.taken_us - to_us(START)) // 60_000_000).tolist() == [0, 5, 10, 15, 20, 25, 40]
    assert found.devices == ("cgm-1",) * 6 + ("cgm-2",)
    assert journal.glucose("anna", Vital.CGM, START, START).devices == ()


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


def test_in_which_spans_a_vital_was_measured(journal: Journal) -> None:
    spot = reading(130, vital=Vital.GLUCOSE, device="meter-1")
    append(journal, reading(0), reading(59), spot, reading(70, patient="bo", device="cgm-2"))
    hours = [(START + timedelta(hours=n), START + timedelta(hours=n + 1)) for n in range(4)]
    assert journal.measured("anna", hours) == [True, False, True, False]
    assert journal.measured("anna", hours, Vital.CGM) == [True, False, False, False]
    assert journal.measured("anna", hours, Vital.GLUCOSE) == [False, False, True, False]
    assert journal.measured("anna", hours, Vital.BLOOD_PRESSURE) == [False] * 4


def test_the_newest_and_the_extremes_of_many_spans_each_in_its_place(journal: Journal) -> None:
    low, again, late = reading(0, 60.0), reading(5, 60.0), reading(10, 90.0)
    off_scale = reading(2, None, flags=frozenset({Flag.BELOW_RANGE, Flag.SENSOR_MALFUNCTION}))
    of_bo = reading(0, 250.0, patient="bo", device="cgm-2")
    append(journal, low, off_scale, again, late, of_bo)

    def minutes(patient: str, vital: Vital, until: int) -> Span:
        return Span(patient, vital, START, START + timedelta(minutes=until))

    spans = [
        minutes("anna", Vital.CGM, 10),
        minutes("nobody", Vital.CGM, 10),
        minutes("bo", Vital.CGM, 60),
        minutes("anna", Vital.GLUCOSE, 60),
        minutes("anna", Vital.CGM, 60),
        minutes("anna", Vital.CGM, 0),
    ]
    assert journal.newest(spans) == [again, None, of_bo, None, late, None]
    doubts = [Flag.SENSOR_MALFUNCTION]
    lowest = [[again, off_scale], [], [of_bo], [], [again, off_scale], []]
    assert journal.extremes(spans, doubts, low=True) == lowest
    highest = [[again, off_scale], [], [of_bo], [], [late, off_scale], []]
    assert journal.extremes(spans, doubts, low=False) == highest
    assert journal.newest([]) == journal.extremes([], doubts, low=True) == []


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
    (replaced,) = journal.letters(LetterState.REPLACED)
    assert (replaced.id, replaced.followed_by) == (letter.id, (left.id,))
    journal.readmit([(left, (reading(0), reading(5), reading(7)))])
    assert [one.id for one in journal.letters(LetterState.ADMITTED)] == [left.id]


def test_a_failed_measurement_counts_once_however_often_its_packet_is_tried(journal: Journal) -> None:
    failed = Refusal(reason=RefusalReason.NO_VALUE, because="a fault of the cuff", device="cgm-1")
    at = PACKET.received_at
    append(journal, failed, failed)
    assert journal.failures("cgm-1", at, at + timedelta(seconds=1)) == [at, at]
    assert journal.failures("cgm-1", at - timedelta(days=1), at) == []
    (letter,) = journal.letters()
    journal.readmit([(letter, (reading(0), failed))])
    (left,) = journal.letters()
    for _ in ("waiting", "discarded"):
        assert journal.failures("cgm-1", at, at + timedelta(seconds=1)) == [at]
        journal.discard(left.id, "seen")


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


def test_a_letter_that_waits_on_says_why_it_does_now(journal: Journal) -> None:
    def unassigned(because: str) -> Refusal:
        return Refusal(reason=RefusalReason.UNASSIGNED, because=because, device="cgm-1")

    append(journal, unassigned("pair it"))
    (letter,) = journal.letters()
    journal.readmit([(letter, (unassigned("correct since when it is worn"),))])
    (kept,) = journal.letters()
    assert (kept.id, kept.because) == (letter.id, "correct since when it is worn")
    append(journal, unassigned("pair it"))
    assert len(journal.letters()) == 1, "the sentence does not tell one letter from another"


def test_a_letter_tells_the_sentence_of_each_of_its_parts(journal: Journal) -> None:
    def impossible(because: str) -> Refusal:
        return Refusal(reason=RefusalReason.IMPOSSIBLE, because=because, device="cgm-1")

    append(journal, reading(0), impossible("4000 mg/dL"), impossible("80/120 mmHg"), impossible("4000 mg/dL"))
    (letter,) = journal.letters()
    assert (letter.parts, letter.because) == ((1, 2, 3), "4000 mg/dL; 80/120 mmHg")
    many = Packet(link="listener", sender="cgm-1", channel="json", data=b"[]", received_at=START)
    append(journal, *(impossible(f"{number} mg/dL") for number in range(4000, 5000)), packet=many)
    assert journal.letters()[0].because == (
        "4000 mg/dL; 4001 mg/dL; 4002 mg/dL; 4003 mg/dL; 4004 mg/dL; and 995 more of this kind"
    )


def test_equal_measurements_without_number_and_time_are_a_letter_each(journal: Journal) -> None:
    cuff = replace(PACKET, sender="cuff-1", channel="2a35", data=bytes.fromhex("00780050005d00"))
    for day in range(3):
        packet = replace(cuff, received_at=START + timedelta(days=day))
        append(journal, *judge(packet, Roster([])), packet=packet)
    assert [letter.packet.received_at.day for letter in journal.letters()] == [4, 3, 2]
    worn = Roster([Wearing(device="cuff-1", patient="anna", zone=ZoneInfo("UTC"))])
    journal.readmit([(letter, judge(letter.packet, worn)) for letter in reversed(journal.letters())])
    assert [one.taken_at.day for one in stored(journal)] == [2, 3, 4]
    assert journal.letters() == []


def test_of_a_device_of_which_too_much_waits_the_rest_is_counted_and_said(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.journal.MOST_WAITING", 5000)
    monkeypatch.setattr("ingest.journal._LETTER", 0)
    unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cgm-1")
    packets = [replace(PACKET, data=bytes([n]) * 1000, received_at=START + timedelta(hours=n)) for n in range(9)]
    for packet in (*packets[:4], packets[0], packets[0]):
        append(journal, unknown, packet=packet)
    assert len(journal.letters()) == 4  # what comes again waits once
    for packet in packets[4:]:
        append(journal, unknown, DecodeError("invalid", "junk"), packet=packet)
    note, *kept = journal.letters()
    assert [letter.packet.data for letter in kept] == [packets[4].data, *(one.data for one in packets[4::-1])]
    assert (note.reason, note.device, note.parts, note.packet.data) == ("too-many", "cgm-1", (), b"")
    assert note.because.startswith(
        "4 packets of device cgm-1 were counted and not kept, the last of 2026-03-02 16:00"
    )
    assert journal.counts()["aside.unkept"] == 8
    other = replace(unknown, device="cgm-2")
    append(journal, other, packet=packets[0])
    assert [letter.device for letter in journal.letters(device="cgm-2")] == ["cgm-2"]
    with closing(Journal(path)) as again:
        append(again, unknown, packet=packets[5])
        assert again.counts()["aside.unkept"] == 9
        found = again.accounts({})
        assert (found.aside.unkept, found.aside.repeated, found.aside.waiting) == (
            9,
            2,
            {"unassigned": 6, "invalid": 1},
        )
        assert balance(found) == []
        # What waited is worth more than what did not: the rest of a letter that was tried again always waits.
        impossible = Refusal(reason=RefusalReason.IMPOSSIBLE, because="no", device="cgm-1")
        assert again.readmit([(note, (impossible,)), (kept[-1], (impossible,))]).new == []
        assert [letter.packet.data for letter in again.letters(reason="impossible")] == [packets[0].data]
        for letter in again.letters(device="cgm-1"):
            again.discard(letter.id, "seen")
        append(again, unknown, packet=packets[5])
        assert [letter.packet.data for letter in again.letters(device="cgm-1")] == [packets[5].data]


def test_letters_that_wait_no_more_are_dropped(journal: Journal) -> None:
    for hour in range(4):
        packet = replace(PACKET, data=bytes(9000 + hour), received_at=START + timedelta(hours=hour))
        append(journal, DecodeError("invalid", "junk"), packet=packet)
    late, _, early, waiting = journal.letters()
    journal.readmit([(late, (reading(0),))])
    journal.discard(early.id, "junk")
    before = journal.accounts({}).aside
    assert (before.readings, before.discarded, before.waiting) == (1, 1, {"invalid": 2})
    assert journal.drop_letters(START + timedelta(hours=2), 100) == 1
    assert journal.letter(early.id) is None
    assert journal.counts()["aside.discarded"] == 1
    assert journal.drop_letters(None, 100) == 1
    assert journal.drop_letters(None, 100) == 0
    assert journal.accounts({}).aside == before
    assert balance(journal.accounts({})) == []
    assert not journal.take_back(early.id)
    assert len(journal.letters()) == 2
    assert journal.letter(waiting.id) == waiting


def test_discarding_a_letter_keeps_it_out_of_the_list(journal: Journal) -> None:
    append(journal, DecodeError("invalid", "junk"))
    (letter,) = journal.letters()
    assert journal.discard(letter.id, "a test message") is True
    assert journal.discard(letter.id, "again") is False
    assert journal.letters() == []
    (kept,) = journal.letters(LetterState.DISCARDED)
    assert "a test message" in kept.because


def test_a_discarded_letter_is_taken_back_unless_the_same_waits_by_now(journal: Journal) -> None:
    append(journal, DecodeError("invalid", "junk"))
    (letter,) = journal.letters()
    assert journal.take_back(letter.id) is False
    journal.discard(letter.id, "a test message")
    assert journal.take_back(letter.id) is True
    (waiting,) = journal.letters()
    assert (waiting.id, waiting.because) == (letter.id, "junk")
    journal.discard(letter.id, "once more")
    append(journal, DecodeError("invalid", "junk"))
    assert journal.take_back(letter.id) is False
    assert balance(journal.accounts({"watch": Progress()})) == []


def test_each_part_that_was_set_aside_is_somewhere(journal: Journal) -> None:
    unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="-", device="cgm-1")
    impossible = replace(unknown, reason=RefusalReason.IMPOSSIBLE)

    def waiting(data: bytes) -> Letter:
        return next(letter for letter in journal.letters(limit=-1) if letter.packet.data == data)

    for data in (b"a", b"b", b"c", b"d", b"a", b"a"):
        append(journal, unknown, unknown, unknown, packet=replace(PACKET, data=data))
    append(journal, DecodeError("invalid", "-"), reading(0), packet=replace(PACKET, data=b"e"))
    journal.readmit([(waiting(b"a"), (reading(0), reading(5), impossible))])
    journal.readmit([(waiting(b"b"), (reading(0, 120.0), unknown, unknown))])
    journal.readmit([(waiting(b"c"), (unknown, unknown, unknown))])
    journal.discard(waiting(b"d").id, "a test")
    found = journal.accounts({"watch": Progress()})
    assert found.refused == {"unassigned": 18}
    assert found.aside == Aside(
        readings=2,
        duplicate=1,
        repeated=6,
        unkept=0,
        discarded=3,
        waiting={"impossible": 1, "unassigned": 5, "invalid": 1},
        untold=0,
    )
    assert found.aside.total == 19
    assert balance(found) == []
    journal.take_back(journal.letters(LetterState.DISCARDED)[0].id)
    assert balance(journal.accounts({"watch": Progress()})) == []
    with closing(sqlite3.connect(journal._path)) as db:
        db.execute("DELETE FROM letters WHERE state='waiting' AND reason='invalid'").connection.commit()
    (said,) = balance(journal.accounts({"watch": Progress()}))
    assert said.startswith("19 refused and undecodable are not 18 became readings, known already")


def test_the_accounts_balance(journal: Journal) -> None:
    refusal = Refusal(reason=RefusalReason.NO_VALUE, because="-", device="cgm-1")
    unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="-", device="cgm-1")
    append(journal, reading(0), reading(0), reading(0, 7.0), refusal, unknown, DecodeError("too_short", "-"))
    journal.confirm("influx", (0, 1), came_from=Progress())
    found = journal.accounts({"influx": journal.progress("influx"), "watch": Progress()})
    assert (found.parts, found.decoded, found.undecodable) == (6, 5, 1)
    assert (found.admitted, found.revised, found.duplicate) == (1, 1, 1)
    assert (found.refused, found.letters) == ({"no-value": 1, "unassigned": 1}, 3)
    assert found.followers["influx"] == Followed(confirmed=1, waiting=1)
    assert balance(found) == []
    (waiting,) = journal.letters(reason="unassigned")
    journal.readmit([(waiting, (reading(0),) * 4 + (reading(5),) + (reading(0),))])
    found = journal.accounts({"watch": Progress()})
    assert (found.aside.readings, found.journaled) == (1, 3)
    assert balance(found) == []


def test_accounts_that_do_not_balance_are_told(journal: Journal) -> None:
    append(journal, reading(0))
    found = journal.accounts({"watch": Progress(upto=5)})
    said = balance(replace(found, decoded=2))
    assert len(said) == 3
    assert "1 arrived are not 2 decoded" in said[0]
    assert "confirmed by watch (5)" in said[2]


def test_the_accounts_balance_at_every_moment(journal: Journal) -> None:
    batches = [[reading(number * 10 + part, 90.0 + number) for part in range(10)] for number in range(60)]

    def work() -> None:
        for batch in batches:
            append(journal, *batch, batch[0], DecodeError("invalid", "-"))
            before, tail = journal.progress("influx"), journal.tail()
            journal.confirm("influx", (tail - 6, tail - 3), came_from=before)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        while not working.done():
            assert balance(journal.accounts({"influx": journal.progress("influx")})) == []
        working.result()
    assert journal.accounts({}).journaled == 600


def test_what_is_old_and_confirmed_is_dropped_in_order(journal: Journal) -> None:
    claim = datetime(2026, 3, 2, 20, 0)
    corrected = reading(1, sequence=9, device_time=claim, time_basis=TimeBasis.CORRECTED)
    append(journal, reading(0), corrected, reading(0, 101.0), reading(60), reading(2), reading(3))
    soon = START + timedelta(minutes=30)
    assert journal.drop(0, soon, 100, now=LATER) == 0  # nothing is confirmed
    assert journal.drop(2, soon, 1, now=LATER) == 1
    assert [one.rev for one in stored(journal)][:2] == [1, 2]
    assert journal.drop(6, soon, 100, now=LATER) == 2  # up to the one that came at minute 60
    assert stored(journal) == [reading(60), reading(2), reading(3)]
    assert journal.drop(6, soon, 100, now=LATER) == 0
    found = journal.accounts({"new": Progress(), "watch": Progress(upto=5)})
    assert (found.journaled, found.dropped) == (6, 3)
    assert found.followers == {"new": Followed(confirmed=3, waiting=3), "watch": Followed(confirmed=5, waiting=1)}
    assert balance(found) == []
    assert append(journal, corrected).new[0][1].rev == 1  # its claim went with it
    assert journal.tail() == 7


def test_what_came_while_the_clock_was_ahead_goes_when_what_came_after_it_is_old(journal: Journal) -> None:
    ahead = START + timedelta(days=4000)
    wrong = [reading(minute, received_at=ahead) for minute in range(4)]
    append(journal, *wrong[:2], reading(10), wrong[2], reading(60), wrong[3])
    soon = START + timedelta(minutes=30)
    assert journal.drop(1, soon, 100, now=LATER) == 1  # what is behind it may wait for a follower
    assert journal.drop(6, soon, 1, now=LATER) == 1
    assert journal.drop(6, soon, 100, now=LATER) == 1
    assert stored(journal) == [wrong[2], reading(60), wrong[3]]
    assert journal.drop(6, START + timedelta(days=1), 100, now=LATER) == 2
    assert journal.drop(6, LATER, 100, now=LATER) == 0  # nothing says that it is not new
    assert stored(journal) == [wrong[3]]


def test_the_log_is_taken_into_the_file_when_nobody_is_at_work(journal: Journal) -> None:
    append(journal, *(reading(minute) for minute in range(100)))
    assert journal.size().wal > 0
    assert journal.checkpoint()
    assert journal.size().wal == 0
    assert len(stored(journal)) == 100


def test_a_follower_that_was_set_back_meanwhile_is_not_moved(journal: Journal) -> None:
    journal.confirm("influx", (0, 5), came_from=Progress())
    journal.confirm("influx", (7, 9), came_from=Progress(upto=5))
    before = journal.progress("influx")
    assert before == Progress(upto=5, ahead=((7, 9),))
    journal.start_over("influx")  # a person asked for everything again
    journal.confirm("influx", (9, 12), came_from=before)
    assert journal.progress("influx") == Progress()
    journal.confirm("influx", (0, 3), came_from=Progress())
    assert journal.progress("influx") == Progress(upto=3)


def test_what_a_follower_has_ahead_of_a_gap_counts(journal: Journal, path: Path) -> None:
    append(journal, *(reading(minute) for minute in range(100)))
    journal.confirm("influx", (80, 90), came_from=Progress())
    journal.confirm("influx", (0, 10), came_from=journal.progress("influx"))
    followers = {"influx": journal.progress("influx")}
    found = journal.accounts(followers)
    assert found.followers["influx"] == Followed(confirmed=20, waiting=80, older=70)
    assert balance(found) == []
    # Another follower is in force meanwhile, and what it has is dropped, the gap of this one with it.
    assert journal.drop(85, START + timedelta(days=1), 1000, now=LATER) == 85
    found = journal.accounts(followers)
    assert found.followers["influx"] == Followed(confirmed=90, waiting=10, older=0)
    assert balance(found) == []
    journal.close()
    with closing(Journal(path)) as again:
        assert again.progress("influx") == Progress(upto=10, ahead=((80, 90),))


def test_a_journal_of_the_first_format_is_upgraded(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FORMAT_1.read_text(encoding="utf-8"))
    with closing(Journal(path)) as upgraded:
        assert [(one.values, one.sequence, one.twin, one.rev) for one in stored(upgraded)] == [
            ((100.0,), None, 0, 1),
            ((105.5,), None, 0, 1),
            ((106.0,), 7, 1, 1),
            ((60.0,), 9, 0, 1),
        ]
        follower = "influx http://x o/b"
        assert upgraded.progress(follower).upto > 0
        found = upgraded.accounts({"influxdb": upgraded.progress(follower)})
        assert balance(found) == []
        assert (found.rejected, found.aside.untold) == ({"influxdb": 1}, 0)
        assert found.aside.waiting == {"conflict": 1, "invalid": 1, "unassigned": 1}
        (rejected,) = upgraded.letters(reason="rejected")
        assert (rejected.device, rejected.packet.link) == ("cgm-1", "influxdb")
        assert rejected.packet.received_at == reading(0).received_at
        assert upgraded.rejected("influxdb") == 1
        (conflict,) = upgraded.letters(reason="conflict")
        ((_, revised),) = upgraded.readmit([(conflict, (reading(0, 101.0),))]).new
        assert (revised.rev, revised.values) == (2, (101.0,))
        assert upgraded.letters(reason="conflict") == []
        assert append(upgraded, reading(0, 100.0), reading(0, 101.0)).duplicates == 2
        assert balance(upgraded.accounts({"watch": Progress()})) == []
    assert verify(path) == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_journal_of_an_earlier_format_is_verified_as_it_is(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FORMAT_1.read_text(encoding="utf-8"))
        # The same came again and waited once, which nobody counted.
        db.execute("UPDATE counters SET n=n+4 WHERE name IN ('refused.unassigned', 'parts', 'decoded')")
        db.commit()
        with monkeypatch.context() as earlier:
            earlier.setattr("ingest.journal_format.FORMAT", number)
            prepare(db)
    before = path.read_bytes()
    path.chmod(0o400)
    assert verify(path) == []
    assert path.read_bytes() == before
    path.chmod(0o600)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM readings WHERE taken_us=(SELECT min(taken_us) FROM readings)")
        db.execute("UPDATE counters SET n=n+1 WHERE name='admitted'")
    said = " ".join(verify(path))
    assert "2 readings and revisions are kept, but 4 are listed" in said
    assert "2 of the listed readings are missing" in said
    assert "decoded are not" in said


@pytest.mark.parametrize(("number", "says"), [(0, "holds no journal"), (99, "update Homeward")])
def test_a_file_that_is_no_journal_of_ours_is_not_verified(path: Path, number: int, says: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={number}")
        db.execute("CREATE TABLE something(n)")
    (said,) = verify(path)
    assert says in said


def test_what_an_older_journal_did_not_count_is_told(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FORMAT_1.read_text(encoding="utf-8"))
        # The same came again and waited once; one that nobody wanted was discarded.
        db.execute("UPDATE counters SET n=n+4 WHERE name IN ('refused.unassigned', 'parts')")
        db.execute("UPDATE letters SET state='discarded' WHERE reason='invalid'")
        db.commit()
    with closing(Journal(path)) as upgraded:
        found = upgraded.accounts({"watch": Progress()})
        assert (found.aside.untold, found.aside.discarded, found.aside.repeated) == (4, 1, 0)
        assert balance(found) == []
        again = Refusal(reason=RefusalReason.UNASSIGNED, because="-", device="cgm-7")
        append(upgraded, again)
        append(upgraded, again)
        assert upgraded.accounts({}).aside.repeated == 1
    assert verify(path) == []


def test_an_upgrade_that_is_interrupted_leaves_the_file_as_it_was(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(FORMAT_1.read_text(encoding="utf-8"))
        db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_INSERT else 0)
        with pytest.raises(sqlite3.DatabaseError):
            prepare(db)
        db.set_authorizer(None)
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert "rev" not in [row[1] for row in db.execute("PRAGMA table_info(readings)")]
    with closing(Journal(path)) as upgraded:
        assert len(stored(upgraded)) == 4


@pytest.mark.parametrize("cut", [1, 24, 5000])
def test_a_torn_log_is_read_up_to_the_last_whole_commit(journal: Journal, path: Path, cut: int) -> None:
    for minute in range(20):
        append(journal, reading(minute))
    torn = path.parent / "torn.db"
    torn.write_bytes(path.read_bytes())
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{torn}-wal").write_bytes(log[:-cut])
    with closing(Journal(torn)) as after:
        kept = stored(after)
        assert 1 <= len(kept) < 20
        assert kept == [reading(minute) for minute in range(len(kept))]
        assert balance(after.accounts({"watch": Progress()})) == []
        append(after, *(reading(minute) for minute in range(20)))
        assert len(stored(after)) == 20
    assert verify(torn) == []


def test_what_append_returned_from_outlives_a_kill(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ingest.journal import Journal;"
        "from tests.ingest.test_journal import append, reading\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for minute in range(int(sys.argv[2]), 10**6, 3):\n"
        "    append(journal, *(reading(minute + part) for part in range(3)))\n"
        "    print(minute + 3, flush=True)\n"
    )
    kept = 0
    for lines in (1, 40, 7):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(kept)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(lines)][-1]
            writer.kill()
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        with closing(Journal(path)) as after:
            found = stored(after)
            kept = len(found)
            assert kept >= acknowledged
            assert found == [reading(minute) for minute in range(kept)]
            assert balance(after.accounts({"watch": Progress()})) == []
        assert verify(path) == []


def test_damage_is_found(journal: Journal, path: Path) -> None:
    append(journal, *(reading(minute) for minute in range(10)))
    journal.close()
    assert verify(path) == []
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM readings WHERE taken_us=(SELECT min(taken_us) FROM readings)")
        db.execute("UPDATE counters SET n=n+1 WHERE name='parts'")
    said = " ".join(verify(path))
    assert "9 readings" in said
    assert "11 arrived are not 10 decoded" in said
    octets = bytearray(path.read_bytes())
    octets[4096 * 2 : 4096 * 6] = b"\xff" * (4096 * 4)
    path.write_bytes(octets)
    assert verify(path) != []


def test_compacting_gives_the_room_back(journal: Journal, path: Path) -> None:
    append(journal, *(reading(minute, raw=b"x" * 2000) for minute in range(1000)))
    journal.drop(900, START + timedelta(days=9), 900, now=LATER)
    journal.checkpoint()
    assert journal.size().spare > 1_000_000
    journal.close()
    before, after = compact(path)
    assert after < before / 5
    with closing(Journal(path)) as again:
        assert stored(again) == [reading(minute, raw=b"x" * 2000) for minute in range(900, 1000)]
        assert again.size().spare == 0


def test_followers_go_on_where_they_were(journal: Journal, path: Path) -> None:
    append(journal, *(reading(minute) for minute in range(10)))
    assert journal.progress("influx") == Progress()
    first = journal.since(0, 4)
    journal.confirm("influx", (0, first[-1][0]), came_from=Progress())
    journal.close()
    again = Journal(path)
    rest = again.since(again.progress("influx").upto, 100)
    assert [one for _, one in [*first, *rest]] == [reading(minute) for minute in range(10)]
    assert rest[-1][0] == again.tail()
    again.close()


def test_what_a_store_refused_is_set_aside_with_its_answer(journal: Journal) -> None:
    append(journal, reading(0), reading(5))
    journal.set_aside("influxdb", 2, b"glucose value=1i", 422, "field type conflict")
    (letter,) = journal.letters()
    assert (letter.reason, letter.packet.data) == ("rejected", b"glucose value=1i")
    assert (letter.device, letter.packet.link) == ("cgm-1", "influxdb")
    assert letter.packet.received_at == reading(5).received_at
    assert letter.because == (
        "influxdb refused arrival 2, cgm_glucose of patient anna, for good with status 422: field type conflict"
    )
    assert (journal.rejected("influxdb"), journal.rejected("another")) == (1, 0)
    found = journal.accounts({"watch": Progress()})
    assert (found.rejected, found.letters, found.aside.total) == ({"influxdb": 1}, 1, 0)
    assert balance(found) == []


def test_a_packet_whose_last_record_has_no_number_leaves_the_resume_point_where_it_is(journal: Journal) -> None:
    append(journal, reading(0, sequence=5))
    append(journal, reading(5, sequence=6), reading(10, sequence=None))
    assert journal.resume_point("cgm-1") == 5


def test_the_resume_point_follows_what_is_safe(journal: Journal) -> None:
    assert journal.resume_point("AA") is None
    append(journal, reading(0, device="AA", sequence=4, device_time=datetime(2026, 3, 2, 16, 0)))
    append(journal, Refusal(reason=RefusalReason.NO_VALUE, because="-", device="AA", sequence=5))
    assert journal.resume_point("AA") == 5
    assert journal.last_arrival("AA") == START
    assert journal.last_arrival("BB") is None


def test_a_letter_that_is_admitted_later_leaves_the_last_arrival_where_it_is(journal: Journal) -> None:
    append(journal, Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cgm-1"))
    later = START + timedelta(hours=1)
    append(journal, reading(60), packet=replace(PACKET, received_at=later))
    (letter,) = journal.letters()
    journal.readmit([(letter, (reading(0),))])
    assert len(stored(journal)) == 2
    assert journal.last_arrival("cgm-1") == later


def test_what_a_home_post_had_first_leaves_the_last_arrival_where_it_is(journal: Journal) -> None:
    later = START + timedelta(hours=1)
    append(journal, reading(60), packet=replace(PACKET, received_at=later))
    append(journal, reading(0), packet=replace(PACKET, link=f"{UPLINK}home", received_at=START))
    assert journal.last_arrival("cgm-1") == later
    # What comes here directly says it anew: the clock was ahead before.
    append(journal, reading(5), packet=replace(PACKET, received_at=START + timedelta(minutes=5)))
    assert journal.last_arrival("cgm-1") == START + timedelta(minutes=5)


def test_a_failed_commit_writes_nothing_and_the_next_one_works(journal: Journal) -> None:
    with pytest.raises(OverflowError):
        append(journal, reading(0), reading(5, sequence=2**64))
    assert stored(journal) == []
    append(journal, reading(0), reading(5))
    assert len(stored(journal)) == 2


class SickDisk:
    """A connection whose next commit fails, and after it the reading of what is numbered."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._faults = ["COMMIT", "SELECT id, patient, vital FROM series"]

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._faults and statement == self._faults[0]:
            raise sqlite3.OperationalError(f"disk I/O error: {self._faults.pop(0)}")
        return self._db.execute(statement, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def test_after_a_fault_of_the_disk_nobody_gets_the_readings_of_another(journal: Journal) -> None:
    append(journal, reading(0, patient="zoe", device="cgm-z"))
    journal._db = SickDisk(journal._db)  # type: ignore[assignment]
    anna, bob = reading(1, patient="anna", device="cgm-a"), reading(2, patient="bob", device="cgm-b")
    with pytest.raises(sqlite3.OperationalError, match="COMMIT"):
        append(journal, anna)
    with pytest.raises(sqlite3.OperationalError, match="series"):
        append(journal, bob)  # nothing is written before it is known again who is who
    append(journal, bob)
    append(journal, anna)
    assert [(one.patient, one.device) for one in stored(journal)] == [
        ("zoe", "cgm-z"),
        ("bob", "cgm-b"),
        ("anna", "cgm-a"),
    ]


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
    back = from_row((*to_row(one, 1, 2), 1, one.patient, one.vital.value, one.device))
    assert back == one
    assert back.device_time is None or claim is None or back.device_time.utcoffset() == claim.utcoffset()


@pytest.mark.parametrize(("checkpoints", "grows"), [("by the writer", True), ("by nobody", False)])
def test_a_command_beside_a_hub_leaves_the_log_to_it(
    path: Path, checkpoints: Literal["by the writer", "by nobody"], grows: bool
) -> None:
    """SQLite before 3.51.3 could lose what a hub commits while another program takes the log in."""
    with (
        closing(Journal(path, checkpoints="by nobody")) as hub,
        closing(Journal(path, checkpoints=checkpoints)) as other,
    ):
        assert hub.checkpoint()
        size = path.stat().st_size
        for number in range(20):  # 5 MB, five times what is taken in at once
            packet = replace(PACKET, data=bytes([number]) * 262_144)
            append(other, DecodeError("invalid", "no JSON"), packet=packet)
        assert (path.stat().st_size > size) is grows
        assert hub.count_letters() == 20


def test_what_a_thread_beside_the_writer_takes_in_is_all_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PAUSE_S", 0.0)
    monkeypatch.setattr(checkpoint, "LONG", 50)
    with closing(Journal(path, checkpoints="beside it")) as hub:
        for minute in range(500):
            append(hub, reading(minute, 100.0 + minute % 50))
    with closing(Journal(path)) as again:
        assert [each.values for each in stored(again)] == [(100.0 + minute % 50,) for minute in range(500)]
    assert verify(path) == []
