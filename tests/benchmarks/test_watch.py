"""What a patient takes in memory. What watching takes in time, `python -m benchmarks.watch` says."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC

from alerts.bed import Bed
from alerts.ladder import Plan
from alerts.rules import DEFAULTS
from benchmarks.watch import memory


def test_a_patient_with_a_sensor_takes_no_more_than_is_promised() -> None:
    memory(60)  # what all share is made here: words of sentences, plans
    assert memory(240) <= 4096  # so many that what is made once for all weighs little: of 60 it was 150 B a patient


def test_a_bed_in_which_nothing_is_known_yet_takes_hardly_anything() -> None:
    """An empty frozenset takes 216 bytes and an empty dict 64, so what is empty is shared."""
    plan, made = Plan(DEFAULTS), 100
    gc.collect()
    tracemalloc.start()
    try:
        beds = [Bed("p-1", plan=plan, zone=UTC, expected=()) for _ in range(made)]
        held = tracemalloc.get_traced_memory()[0] / made
    finally:
        tracemalloc.stop()
    assert len(beds) == made
    assert held <= 450
