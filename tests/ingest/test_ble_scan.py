"""The watchdog over an adapter that hears nothing: what it decides, and when. Pure."""

from ingest.links.ble_scan import Step, Watchdog, pause
from ingest.links.ble_session import Timings


def test_nothing_is_done_while_something_is_heard() -> None:
    dog = Watchdog(900.0, 0.0)
    for now in range(0, 7200, 60):
        dog.heard(now)
        assert dog.step(now + 59.0) is None


def test_first_the_adapter_is_switched_off_and_on_then_a_person_is_told() -> None:
    dog = Watchdog(900.0, 0.0)
    assert [dog.step(now) for now in (899.0, 900.0, 930.0, 1799.0, 1800.0, 1830.0, 2700.0)] == [
        None,
        Step.POWER_CYCLE,
        None,
        None,
        Step.TELL,
        None,
        Step.TELL,
    ]
    assert dog.given_up


def test_what_is_heard_ends_it_and_the_steps_begin_anew() -> None:
    dog = Watchdog(900.0, 0.0)
    dog.step(900.0)
    dog.step(1800.0)
    dog.heard(2000.0)
    assert not dog.given_up
    assert [dog.step(now) for now in (2899.0, 2900.0)] == [None, Step.POWER_CYCLE]


def test_the_pause_doubles_up_to_its_bound() -> None:
    timings = Timings(retry=5.0, retry_most=60.0)
    assert [pause(failures, timings) for failures in (1, 2, 3, 4, 5, 99)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
