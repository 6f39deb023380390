"""Findings and texts are made by `ingest.quick` and stay what they were: frozen, compared by what they say."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest

from alerts.alert import Audience, Finding, Priority, Text, Verdict

AT = datetime(2026, 3, 1, tzinfo=UTC)
LOW = Finding(
    patient="p-1",
    rule="low-event-2",
    problem="glucose-low",
    verdict=Verdict.RAISE,
    priority=Priority.MEDIUM,
    audience=Audience.PATIENT,
    because=Text(en="low", zh="低"),
    since=AT,
    known_at=AT,
)


def test_nobody_changes_what_was_found_or_said() -> None:
    with pytest.raises(FrozenInstanceError):
        LOW.because = Text(en="high", zh="高")  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        LOW.because.en = "high"  # type: ignore[misc]


def test_one_that_is_replaced_differs_in_that_alone() -> None:
    staff = replace(LOW, audience=Audience.STAFF)
    assert type(staff) is Finding
    assert staff != LOW
    assert replace(staff, audience=Audience.PATIENT) == LOW
    assert (LOW.evidence, LOW.emergency_at) == ((), None)
    assert hash(LOW) == hash(replace(LOW, because=Text(en="low", zh="低")))


def test_what_is_left_out_is_asked_for() -> None:
    with pytest.raises(TypeError, match="zh"):
        Text(en="low")  # type: ignore[call-arg]
