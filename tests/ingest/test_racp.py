"""The record-access procedure, driven by hand: events in, actions out, the clock moved by the test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.racp import ABORT, ALL, Action, Ending, Pair, RecordAccess, Subscribe, Write, newer_than

SUCCESS = bytes.fromhex("06000101")
NO_RECORDS = bytes.fromhex("06000106")
NOT_COMPLETED = bytes.fromhex("06000108")
ABORTED = bytes.fromhex("06000301")


def running(after: int | None = None) -> RecordAccess:
    procedure = RecordAccess(after=after)
    procedure.start()
    assert procedure.written(now=0.0) == ()
    return procedure


def ending(procedure: RecordAccess) -> Ending | None:
    return procedure.outcome.ending if procedure.outcome else None


def test_without_a_resume_point_everything_is_asked_for() -> None:
    assert RecordAccess().start() == (Write(bytes.fromhex("0101")),)


def test_with_a_resume_point_only_what_is_newer_is_asked_for() -> None:
    assert RecordAccess(after=0x0102).start() == (Write(bytes.fromhex("0103010301")),)


def test_after_the_last_sequence_number_everything_is_asked_for() -> None:
    assert newer_than(0xFFFE) == bytes.fromhex("010301ffff")
    assert newer_than(0xFFFF) == ALL


def test_a_success_is_complete_only_after_late_notifications_had_time() -> None:
    procedure = running()
    procedure.record(now=1.0)
    procedure.answered(SUCCESS, now=2.0)
    assert procedure.outcome is None
    assert procedure.deadline == pytest.approx(2.2)
    procedure.record(now=2.1)
    assert procedure.deadline == pytest.approx(2.3)
    procedure.elapsed()
    assert ending(procedure) is Ending.COMPLETE
    assert procedure.outcome is not None
    assert procedure.outcome.complete


def test_no_records_is_a_success_with_none() -> None:
    procedure = running(after=7)
    procedure.answered(NO_RECORDS, now=1.0)
    assert ending(procedure) is Ending.NO_RECORDS
    assert procedure.outcome is not None
    assert procedure.outcome.complete


def test_a_report_broken_off_is_partial() -> None:
    procedure = running()
    procedure.record(now=1.0)
    procedure.answered(NOT_COMPLETED, now=2.0)
    procedure.elapsed()
    assert ending(procedure) is Ending.PARTIAL
    assert procedure.outcome is not None
    assert not procedure.outcome.complete


def test_each_record_restarts_the_timer() -> None:
    procedure = running()
    assert procedure.deadline == 30.0
    procedure.record(now=29.0)
    assert procedure.deadline == 59.0
    procedure.elapsed()
    assert ending(procedure) is Ending.SILENT


def test_no_timer_runs_while_a_write_is_under_way() -> None:
    procedure = RecordAccess()
    procedure.start()
    procedure.record(now=5.0)
    assert procedure.deadline is None


def test_a_lost_link_fails_the_procedure_but_not_one_that_was_answered() -> None:
    procedure = running()
    procedure.lost()
    assert ending(procedure) is Ending.LOST
    answered = running()
    answered.answered(SUCCESS, now=1.0)
    answered.lost()
    assert ending(answered) is Ending.COMPLETE


@pytest.mark.parametrize("code", [4, 9])
def test_a_meter_that_cannot_select_is_asked_for_everything(code: int) -> None:
    procedure = running(after=7)
    assert procedure.answered(bytes((6, 0, 1, code)), now=1.0) == (Write(ALL),)
    procedure.written(now=2.0)
    procedure.answered(bytes((6, 0, 1, code)), now=3.0)
    assert ending(procedure) is Ending.REFUSED


@pytest.mark.parametrize(("code", "reason"), [(2, "operation not supported"), (10, "server busy"), (99, "unknown")])
def test_another_code_is_a_refusal_with_its_reason(code: int, reason: str) -> None:
    procedure = running()
    procedure.answered(bytes((6, 0, 1, code)), now=1.0)
    assert ending(procedure) is Ending.REFUSED
    assert procedure.outcome is not None
    assert reason in procedure.outcome.because


@pytest.mark.parametrize("answer", ["", "06", "060001", "0600010100", "05000700", "06000401", "06000301", "01010101"])
def test_an_answer_to_something_else_changes_nothing(answer: str) -> None:
    procedure = running()
    assert procedure.answered(bytes.fromhex(answer), now=1.0) == ()
    assert procedure.outcome is None
    assert procedure.deadline == 30.0


@pytest.mark.parametrize(("code", "remedy"), [(0x05, Pair()), (0x0F, Pair()), (0xFD, Subscribe())])
def test_a_remedy_is_tried_once(code: int, remedy: Action) -> None:
    procedure = RecordAccess()
    procedure.start()
    assert procedure.refused(code) == (remedy, Write(ALL))
    assert procedure.refused(code) == ()
    assert ending(procedure) is Ending.REFUSED


def test_a_procedure_left_over_is_aborted_first() -> None:
    procedure = RecordAccess(after=3)
    (request,) = procedure.start()
    assert procedure.refused(0xFE) == (Write(ABORT),)
    procedure.written(now=1.0)
    procedure.record(now=2.0)
    assert procedure.deadline == 32.0
    assert procedure.answered(SUCCESS, now=3.0) == ()
    assert procedure.answered(ABORTED, now=4.0) == (request,)
    assert procedure.refused(0xFE) == ()
    assert ending(procedure) is Ending.REFUSED


def test_an_abort_that_is_refused_or_never_answered_ends_the_procedure() -> None:
    refused = RecordAccess()
    refused.start()
    refused.refused(0xFE)
    refused.refused(0x0E)
    assert ending(refused) is Ending.REFUSED
    silent = RecordAccess()
    silent.start()
    silent.refused(0xFE)
    silent.written(now=0.0)
    silent.elapsed()
    assert ending(silent) is Ending.SILENT


_EVENTS = st.one_of(
    st.tuples(st.just("refused"), st.sampled_from([0x05, 0x0F, 0xFD, 0xFE, 0x0E, 0x80])),
    st.tuples(st.just("written"), st.none()),
    st.tuples(st.just("record"), st.none()),
    st.tuples(st.just("answered"), st.binary(max_size=6) | st.sampled_from([SUCCESS, NO_RECORDS, ABORTED])),
)


@given(st.lists(_EVENTS, max_size=40), st.none() | st.integers(0, 0xFFFF))
def test_whatever_a_device_does_silence_ends_it(events: list[tuple[str, object]], after: int | None) -> None:
    """A device may do anything; the machine never raises, never asks for ever, and ends when nothing more comes."""
    procedure = RecordAccess(after=after)
    writing = bool(procedure.start())
    writes = 1
    for now, (event, detail) in enumerate(events):
        if procedure.outcome:
            break
        if writing:
            event = event if event in ("refused", "written") else "written"
        elif event in ("refused", "written"):
            event = "record"
        match event, detail:
            case "refused", int(code):
                actions = procedure.refused(code)
            case "written", _:
                actions = procedure.written(float(now))
            case "answered", bytes(data):
                actions = procedure.answered(data, float(now))
            case _:
                actions = procedure.record(float(now))
        writes += sum(isinstance(action, Write) for action in actions)
        writing = bool(actions)
        assert (procedure.deadline is None) == (writing or procedure.outcome is not None)
    assert writes <= 8
    if not procedure.outcome:
        if writing:
            procedure.written(100.0)
        procedure.elapsed()
    assert procedure.outcome
