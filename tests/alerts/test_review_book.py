"""What was written of the weeks is read again as it was, and a week that was reviewed stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy.dialects import postgresql

from alerts.alert import IllegalAct, Verdict
from alerts.review import Done, Review
from alerts.review_book import ASKS_AT_US, ReviewBook
from alerts.risk import Standing
from alerts.sensor import NEVER
from gateway.schema import open_database
from tests.alerts.test_review import MONDAY, START, judged, week
from tests.alerts.test_risk import CALM, STANDINGS

WEEK = timedelta(days=7)


def of(patient: str, review: Review) -> Review:
    """The same week of another patient."""
    findings = tuple(replace(finding, patient=patient) for finding in review.findings)
    return replace(review, patient=patient, findings=findings)


BAD = judged(week((672, 300.0), start=START - WEEK) | week((300, 40.0), (372, 90.0)))
GOOD = of("p-2", judged(week((672, 100.0))))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[ReviewBook]:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    yield ReviewBook(engine)
    engine.dispose()


def test_a_review_is_read_as_it_was_written(book: ReviewBook) -> None:
    book.write(CALM, BAD)
    book.write(replace(CALM, patient="p-2"), GOOD)
    book.write(replace(CALM, patient="p-3"), None)
    assert book.of_patient("p-1") == [BAD]
    assert book.weekly_list(MONDAY) == [BAD]  # the other has nothing to say
    assert book.of_patient("p-2") == [GOOD]
    assert book.of_patient("p-3") == []
    assert book.weeks() == [MONDAY]
    assert book.days() == dict.fromkeys(("p-1", "p-2", "p-3"), date(2026, 3, 9))


def test_who_is_to_be_asked_is_found_on_every_database(book: ReviewBook) -> None:
    book.write(CALM, None)
    book.write(replace(CALM, patient="p-2", asks_at=NEVER), None)
    assert book.waiting() == {"p-2": NEVER}
    assert str(ASKS_AT_US.compile(dialect=postgresql.dialect())).endswith("AS BIGINT)")


def test_a_week_is_reviewed_once_and_the_standing_is_renewed(book: ReviewBook) -> None:
    assert not book.reviewed("p-1", MONDAY)
    book.write(CALM, BAD)
    assert book.reviewed("p-1", MONDAY)
    assert not book.reviewed("p-1", MONDAY - WEEK)
    tomorrow = replace(CALM, day=date(2026, 3, 10), made_at=datetime(2026, 3, 10, tzinfo=UTC), night_lows=True)
    book.write(tomorrow, of("p-1", GOOD))
    assert book.of_patient("p-1") == [BAD]
    assert book.standings() == {"p-1": tomorrow}
    book.write(tomorrow, replace(of("p-1", GOOD), monday=MONDAY + WEEK))
    assert book.weeks() == [MONDAY + WEEK, MONDAY]
    assert [review.monday for review in book.of_patient("p-1", 1)] == [MONDAY + WEEK]


def test_a_line_is_ticked_off_once_and_stays_so(book: ReviewBook, tmp_path: Path) -> None:
    book.write(CALM, BAD)
    rule = BAD.raised[0].rule
    done = book.tick("p-1", MONDAY, rule, by="Dr Li", at=CALM.made_at)
    assert done == replace(BAD, done={rule: Done("Dr Li", CALM.made_at)})
    with pytest.raises(IllegalAct, match="Dr Li has dealt with"):
        book.tick("p-1", MONDAY, rule, by="Nurse Wu", at=CALM.made_at)
    for patient, monday, name in (("p-9", MONDAY, rule), ("p-1", MONDAY + WEEK, rule), ("p-1", MONDAY, "week-none")):
        with pytest.raises(KeyError):
            book.tick(patient, monday, name, by="Dr Li", at=CALM.made_at)
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    assert ReviewBook(engine).weekly_list(MONDAY) == [done]
    engine.dispose()


def test_standings_that_another_process_renews_are_read_anew(book: ReviewBook, tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    other = ReviewBook(engine)
    book.write(CALM, None)
    book.write(replace(CALM, patient="p-2"), None)
    assert set(book.standings()) == {"p-1", "p-2"}
    renewed = replace(CALM, made_at=CALM.made_at + timedelta(days=1), night_lows=True)
    other.write(renewed, None)
    other.write(replace(CALM, patient="p-3"), None)
    assert book.standings() == other.standings()
    assert book.standings()["p-1"] == renewed
    engine.dispose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(STANDINGS)
def test_any_standing_is_read_as_it_was_written(book: ReviewBook, standing: Standing | None) -> None:
    if standing is not None:
        book.write(standing, None)
        assert book.standings(["p-1", "p-9"]) == {"p-1": standing}
        assert book.standings(["p-9"]) == {}


def test_the_fixture_has_every_verdict() -> None:
    assert {finding.verdict for finding in BAD.findings} >= {Verdict.RAISE, Verdict.CLEAR}
