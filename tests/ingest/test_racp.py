"""Record access, driven by hand: events in, actions out, the clock moved by the test; and meters to talk with."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.racp import (
    ABORT,
    EVERY,
    FIRST,
    LAST,
    Action,
    Answer,
    Conversation,
    Ending,
    Mark,
    Op,
    Outcome,
    Pair,
    Progress,
    RecordAccess,
    Request,
    Sieve,
    Subscribe,
    Write,
    between,
    count,
    delete,
    everything,
    from_number,
    later,
    mark_of,
    newer,
    report,
    up_to,
)

SUCCESS = bytes.fromhex("06000101")
NO_RECORDS = bytes.fromhex("06000106")
NOT_COMPLETED = bytes.fromhex("06000108")
ABORTED = bytes.fromhex("06000301")
TOO_LATE = bytes.fromhex("06000307")
ALL = Write(bytes.fromhex("0101"))
STOP = Write(ABORT.octets)


def running(request: Request | None = None) -> RecordAccess:
    procedure = RecordAccess(request or report())
    procedure.start()
    assert procedure.written(now=0.0) == ()
    return procedure


def ending(procedure: RecordAccess) -> Ending | None:
    return procedure.outcome.ending if procedure.outcome else None


@pytest.mark.parametrize(
    ("request_", "octets"),
    [
        (report(), "0101"),
        (report(up_to(0x0102)), "0102010201"),
        (report(from_number(0xFFFF)), "010301ffff"),
        (report(between(1, 0x0203)), "01040101000302"),
        (report(FIRST), "0105"),
        (report(LAST), "0106"),
        (count(), "0401"),
        (delete(up_to(7)), "0202010700"),
        (ABORT, "0300"),
    ],
)
def test_requests(request_: Request, octets: str) -> None:
    assert request_.octets.hex() == octets
    assert RecordAccess(request_).start() == (Write(bytes.fromhex(octets)),)


def test_a_request_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 65535"):
        from_number(0x10000)
    with pytest.raises(ValueError, match="between 3 and 2"):
        between(3, 2)


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
    procedure = running(report(from_number(8)))
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
    procedure = RecordAccess(report())
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


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (2, "operation not supported"),
        (4, "operator not supported"),
        (9, "operand not supported"),
        (10, "server busy"),
        (99, "unknown"),
    ],
)
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


def test_a_count_is_told_and_of_none_it_is_0() -> None:
    for octets, stored in (("0500e803", 1000), ("05000000", 0)):
        procedure = running(count())
        procedure.answered(bytes.fromhex(octets), now=1.0)
        assert procedure.outcome is not None
        assert (procedure.outcome.complete, procedure.outcome.count) == (True, stored)


def test_a_deletion_is_over_with_its_answer() -> None:
    procedure = running(delete(EVERY))
    procedure.answered(SUCCESS, now=1.0)
    assert procedure.outcome is None, "that was about a report"
    procedure.answered(bytes.fromhex("06000201"), now=1.0)
    assert ending(procedure) is Ending.COMPLETE


@pytest.mark.parametrize(("code", "remedy"), [(0x05, Pair()), (0x0F, Pair()), (0xFD, Subscribe())])
def test_a_remedy_is_tried_once(code: int, remedy: Action) -> None:
    procedure = RecordAccess(report())
    procedure.start()
    assert procedure.refused(code) == (remedy, ALL)
    assert procedure.refused(code) == ()
    assert ending(procedure) is Ending.REFUSED


def test_a_procedure_left_over_is_aborted_first() -> None:
    procedure = RecordAccess(report(from_number(4)))
    (request,) = procedure.start()
    assert procedure.refused(0xFE) == (STOP,)
    procedure.written(now=1.0)
    procedure.record(now=2.0)
    assert procedure.deadline == 32.0
    assert procedure.answered(SUCCESS, now=3.0) == ()
    assert procedure.answered(ABORTED, now=4.0) == (request,)
    assert procedure.refused(0xFE) == ()
    assert ending(procedure) is Ending.REFUSED


def test_an_abort_that_is_refused_or_never_answered_ends_the_procedure() -> None:
    refused = RecordAccess(report())
    refused.start()
    refused.refused(0xFE)
    refused.refused(0x0E)
    assert ending(refused) is Ending.REFUSED
    silent = RecordAccess(report())
    silent.start()
    silent.refused(0xFE)
    silent.written(now=0.0)
    silent.elapsed()
    assert ending(silent) is Ending.SILENT


class TestAbort:
    """Somebody does not want the rest."""

    @staticmethod
    def aborting() -> RecordAccess:
        procedure = running()
        procedure.record(now=1.0)
        assert procedure.abort() == (STOP,)
        assert procedure.abort() == (), "once is enough"
        assert procedure.deadline is None
        procedure.written(now=2.0)
        return procedure

    def test_it_ends_with_the_aborts_answer_and_none_for_the_report(self) -> None:
        procedure = self.aborting()
        procedure.record(now=3.0)
        assert procedure.deadline == 33.0
        procedure.answered(ABORTED, now=4.0)
        assert ending(procedure) is Ending.ABORTED
        assert procedure.outcome is not None
        assert not procedure.outcome.complete

    def test_a_report_that_ended_before_the_abort_arrived_is_complete(self) -> None:
        procedure = self.aborting()
        procedure.answered(SUCCESS, now=3.0)
        assert procedure.outcome is None, "the abort is answered as well"
        procedure.answered(TOO_LATE, now=4.0)
        procedure.elapsed()
        assert ending(procedure) is Ending.COMPLETE

    @pytest.mark.parametrize("end", ["elapsed", "lost"])
    def test_an_abort_that_came_too_late_needs_no_answer(self, end: str) -> None:
        procedure = self.aborting()
        procedure.answered(SUCCESS, now=3.0)
        getattr(procedure, end)()
        assert ending(procedure) is Ending.COMPLETE

    def test_a_device_that_will_not_stop_is_heard_to_its_end(self) -> None:
        procedure = self.aborting()
        procedure.answered(TOO_LATE, now=3.0)
        assert procedure.outcome is None
        procedure.answered(SUCCESS, now=4.0)
        procedure.elapsed()
        assert ending(procedure) is Ending.COMPLETE

    def test_silence_has_the_same_limit(self) -> None:
        procedure = self.aborting()
        procedure.elapsed()
        assert ending(procedure) is Ending.SILENT

    def test_while_an_old_procedure_is_cleared_away_nothing_new_is_begun(self) -> None:
        procedure = RecordAccess(report())
        procedure.start()
        procedure.refused(0xFE)
        procedure.written(now=0.0)
        assert procedure.abort() == ()
        assert procedure.answered(ABORTED, now=1.0) == ()
        assert ending(procedure) is Ending.ABORTED


_EVENTS = st.one_of(
    st.tuples(st.just("refused"), st.sampled_from([0x05, 0x0F, 0xFD, 0xFE, 0x0E, 0x80])),
    st.tuples(st.just("written"), st.none()),
    st.tuples(st.just("record"), st.none()),
    st.tuples(st.just("abort"), st.none()),
    st.tuples(st.just("answered"), st.binary(max_size=6) | st.sampled_from([SUCCESS, NO_RECORDS, ABORTED, TOO_LATE])),
)


@given(st.lists(_EVENTS, max_size=40), st.sampled_from([report(), report(from_number(7)), count(), delete(EVERY)]))
def test_whatever_a_device_does_silence_ends_it(events: list[tuple[str, object]], request: Request) -> None:
    """A device may do anything; the machine never raises, never asks for ever, and ends when nothing more comes."""
    procedure = RecordAccess(request)
    writing = bool(procedure.start())
    writes = aborts = 1
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
            case "abort", _:
                aborts += 1
                actions = procedure.abort()
            case _:
                actions = procedure.record(float(now))
        writes += sum(isinstance(action, Write) for action in actions)
        writing = bool(actions)
        assert (procedure.deadline is None) == (writing or procedure.outcome is not None)
    assert writes <= 8 + aborts
    if not procedure.outcome:
        if writing:
            procedure.written(100.0)
        procedure.elapsed()
    assert procedure.outcome


# Conversations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Meter:
    """What a meter has, in the order in which it took it, and how it reports it.

    newest_first: the order of its reports. breaks_after: code 8 after so many records of each report.
    refuses: operators that it does not know. hangs_up_after: the link is lost after so many records in all.
    """

    memory: tuple[Mark, ...]
    newest_first: bool = False
    breaks_after: int | None = None
    refuses: frozenset[int] = frozenset()

    def answer(self, request: Request) -> Answer:
        assert request.op is Op.REPORT
        if request.which.operator in self.refuses:
            return Answer(Outcome(ending=Ending.REFUSED, because="operator not supported"), ())
        found = self._select(request)
        if self.newest_first:
            found = found[::-1]
        if not found:
            return Answer(Outcome(ending=Ending.NO_RECORDS, because="none"), ())
        if self.breaks_after is not None and len(found) > self.breaks_after:
            return Answer(Outcome(ending=Ending.PARTIAL, because="broken"), found[: self.breaks_after])
        return Answer(Outcome(ending=Ending.COMPLETE, because="all"), found)

    def _select(self, request: Request) -> tuple[Mark, ...]:
        which, numbers = request.which, request.which.numbers
        if which == LAST:
            return self.memory[-1:]
        low, high = 0, 0xFFFF
        if which.operator == from_number(0).operator:
            (low,) = numbers
        elif which.operator == up_to(0).operator:
            (high,) = numbers
        return tuple(mark for mark in self.memory if low <= mark.number <= high)


class Collector:
    """Reads a meter again and again, and keeps what a journal keeps."""

    def __init__(self) -> None:
        self.kept: list[Mark] = []
        self.progress = Progress()
        self.requests: list[str] = []

    def read(self, meter: Meter, *, lost_after: int | None = None, restarted: bool = False) -> Outcome:
        """One session. lost_after: the link breaks after so many records. restarted: the last record is not known."""
        if restarted:
            self.progress = Progress()
        known = self.progress.known
        conversation = newer(known) if known else everything()
        sure, told = self.progress.begin(), list[Mark]()
        self.requests = []
        left = 10**9 if lost_after is None else lost_after
        step = next(conversation)
        for _ in range(20_000):
            self.requests.append(step.request.octets.hex())
            answer = meter.answer(step.request)
            if len(answer.told) > left:
                answer = Answer(Outcome(ending=Ending.LOST, because="lost"), answer.told[:left])
            left -= len(answer.told)
            sieve = Sieve(step)
            self._keep(answer.told, sieve)
            told += () if sieve.threw_away else answer.told
            try:
                step = conversation.send(answer)
            except StopIteration as end:
                outcome: Outcome = end.value
                self.progress.ended(outcome, told, sure=sure)
                return outcome
        raise AssertionError("it asks for ever")

    def _keep(self, told: tuple[Mark, ...], sieve: Sieve) -> None:
        for mark in told:
            if sieve.keeps(mark):
                if mark not in self.kept:
                    self.kept.append(mark)
                self.progress.kept("2a18", b"\0" + mark.number.to_bytes(2, "little") + mark.base_time)


def marks(*numbers: int, since: int = 0) -> tuple[Mark, ...]:
    """Records in the order in which they were taken; base times count upwards."""
    return tuple(Mark(number, (since + at).to_bytes(7, "big")) for at, number in enumerate(numbers))


def wrapped(first: int, many: int) -> tuple[Mark, ...]:
    return marks(*((first + at) & 0xFFFF for at in range(many)))


def test_only_what_is_newer_is_asked_for_and_the_last_record_proves_it() -> None:
    collector = Collector()
    assert collector.read(Meter(memory=marks(1, 2, 3))).complete
    assert collector.requests == ["0101"]
    assert collector.read(Meter(memory=marks(1, 2, 3))).complete
    assert collector.requests == ["0103010300", "0106"]
    assert collector.read(Meter(memory=marks(1, 2, 3, 4, 5))).complete
    assert collector.requests == ["0103010300", "0106"]
    assert collector.kept == list(marks(1, 2, 3, 4, 5))


def test_a_sensors_offsets_only_rise_so_nothing_is_proved() -> None:
    def talk(conversation: Conversation, *answers: Answer) -> list[str]:
        asked = [next(conversation).request.octets.hex()]
        for answer in answers:
            try:
                asked.append(conversation.send(answer).request.octets.hex())
            except StopIteration:
                break
        return asked

    done = Answer(Outcome(ending=Ending.COMPLETE, because=""), (Mark(60),))
    refused = Answer(Outcome(ending=Ending.REFUSED, because=""), ())
    assert talk(later(55), done) == ["0103013800"]
    assert talk(later(55), refused, done) == ["0103013800", "0101"]
    assert talk(later(0xFFFF), done) == ["0101"]


@pytest.mark.parametrize("operator", [3, 6])
def test_a_meter_that_cannot_select_or_tell_its_last_is_asked_for_everything(operator: int) -> None:
    collector = Collector()
    collector.read(Meter(memory=marks(1, 2, 3)))
    meter = Meter(memory=marks(1, 2, 3, 4), refuses=frozenset({operator}))
    assert collector.read(meter).complete
    assert collector.requests[-1] == "0101"
    assert collector.kept == list(marks(1, 2, 3, 4))


@pytest.mark.parametrize("known_to", [5, 6, 7, 8])
@pytest.mark.parametrize("restarted", [False, True])
def test_after_65535_comes_0(known_to: int, restarted: bool) -> None:
    memory = wrapped(65530, 9)
    collector = Collector()
    collector.read(Meter(memory=memory[:known_to]))
    assert collector.read(Meter(memory=memory), restarted=restarted).complete
    assert collector.kept == list(memory)


def test_a_meter_that_still_holds_numbers_from_before_the_wrap() -> None:
    memory = marks(*range(65000, 65536), *range(14))
    collector = Collector()
    collector.read(Meter(memory=memory[:-3]))
    assert collector.progress.known == memory[-4]
    assert collector.read(Meter(memory=memory)).complete
    assert collector.kept == list(memory)


@pytest.mark.parametrize("lost_after", range(1, 10))
def test_a_link_lost_anywhere_around_the_wrap(lost_after: int) -> None:
    memory = wrapped(65530, 10)
    collector = Collector()
    assert not collector.read(Meter(memory=memory), lost_after=lost_after).complete
    assert collector.read(Meter(memory=memory)).complete
    assert collector.kept == list(memory)


@pytest.mark.parametrize("lost_after", [None, 1, 2, 5])
@pytest.mark.parametrize("again", [1, 19, 20, 21, 29])
def test_a_meter_whose_numbers_were_reset_is_read_from_its_beginning(again: int, lost_after: int | None) -> None:
    """Also when it has by now given more numbers than are known: 21 would be newer than 20, and is not all."""
    collector = Collector()
    collector.read(Meter(memory=marks(*range(1, 21))))
    memory = marks(*range(1, again + 1), since=1000)
    collector.read(Meter(memory=memory), lost_after=lost_after)
    assert collector.read(Meter(memory=memory)).complete
    assert collector.kept[20:] == list(memory)


def test_of_a_meter_that_was_emptied_nothing_is_missed() -> None:
    collector = Collector()
    collector.read(Meter(memory=marks(1, 2, 3)))
    assert collector.read(Meter(memory=())).ending is Ending.NO_RECORDS
    assert collector.requests == ["0103010300", "0101"]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("lost_after", [None, 1, 4, 9, 10, 11])
def test_a_meter_that_counts_downwards(newest_first: bool, lost_after: int | None) -> None:
    memory = marks(*range(20, 2, -1))
    collector = Collector()
    collector.read(Meter(memory=memory[:10], newest_first=newest_first), lost_after=lost_after)
    for have in (11, 12, 18, 18):
        assert collector.read(Meter(memory=memory[:have], newest_first=newest_first)).complete
        assert sorted(collector.kept, key=lambda mark: mark.base_time) == list(memory[:have])


def test_a_report_broken_off_is_gone_on_with_on_the_same_link() -> None:
    collector = Collector()
    assert collector.read(Meter(memory=marks(*range(1, 11)), breaks_after=4)).complete
    assert collector.requests == ["0101", "0103010500", "0103010900", "0102010000"]
    assert collector.kept == list(marks(*range(1, 11)))


def test_a_report_broken_off_before_its_first_record_waits_for_the_next_session() -> None:
    collector = Collector()
    outcome = collector.read(Meter(memory=marks(1, 2), breaks_after=0))
    assert (outcome.ending, collector.requests) == (Ending.PARTIAL, ["0101"])


def test_a_meter_that_begins_anew_whatever_is_asked_and_breaks_off_is_not_asked_for_ever() -> None:
    class Stuck(Meter):
        def _select(self, request: Request) -> tuple[Mark, ...]:
            return self.memory

    assert Collector().read(Stuck(memory=marks(1, 2, 3), breaks_after=2)).ending is Ending.PARTIAL


@pytest.mark.parametrize("ending_", [Ending.LOST, Ending.SILENT, Ending.ABORTED])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_nothing_more_is_asked_on_a_link_that_died_or_when_it_is_not_wanted(ending_: Ending, at: int) -> None:
    """At whichever request it happens: from the known record on, for the last one, for everything."""
    known, other = marks(5, 6)
    conversation = newer(known)
    next(conversation)
    complete = Outcome(ending=Ending.COMPLETE, because="")
    for reply in [Answer(complete, (known,)), Answer(complete, (other,))][:at]:
        conversation.send(reply)
    with pytest.raises(StopIteration) as stopped:
        conversation.send(Answer(Outcome(ending=ending_, because=""), ()))
    assert stopped.value.value.ending is ending_


@given(
    first=st.integers(0, 0xFFFF),
    step=st.sampled_from([1, -1]),
    newest_first=st.booleans(),
    breaks_after=st.none() | st.integers(2, 9),
    growth=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    losses=st.lists(st.none() | st.integers(0, 40), min_size=6, max_size=6),
    restarted=st.booleans(),
)
def test_a_session_that_says_complete_has_left_nothing_behind(
    first: int,
    step: int,
    newest_first: bool,
    breaks_after: int | None,
    growth: list[int],
    losses: list[int | None],
    restarted: bool,
) -> None:
    """Whichever way the numbers go, wherever they wrap, however often the link is lost."""
    memory = marks(*((first + step * at) & 0xFFFF for at in range(sum(growth))))
    collector = Collector()
    have = 0
    for more, lost_after in zip(growth, losses, strict=False):
        have += more
        meter = Meter(memory=memory[:have], newest_first=newest_first, breaks_after=breaks_after)
        if collector.read(meter, lost_after=lost_after, restarted=restarted).complete:
            assert set(collector.kept) == set(memory[:have])
    sound = Meter(memory=memory, newest_first=newest_first)
    assert collector.read(sound, restarted=restarted).complete
    assert set(collector.kept) == set(memory)


def test_a_record_is_told_by_its_number_and_its_base_time() -> None:
    record = bytes.fromhex("03 0600 e407040d10260a 0000 78b0 f1")
    assert mark_of("2a18", record) == Mark(6, bytes.fromhex("e407040d10260a"))
    assert mark_of("2aa7", bytes.fromhex("0600 5a00 0500 0600 5a00 0a00")) == Mark(10)
    for channel, data in (("2a18", record[:9]), ("2aa7", b"\x06"), ("2a34", record), ("2aa7", b"")):
        assert mark_of(channel, data) is None
