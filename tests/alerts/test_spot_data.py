"""The rules for cuffs on the readings of real people: see vectors/bp.md, and ../shared/data where it is there."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.alert import Audience, Finding, Verdict
from alerts.cuff import reaches
from alerts.cuff_review import Mean, rising
from alerts.rule import MMHG, Group, Key
from alerts.scene import Scene
from alerts.spot_rules import BP_NOT_AT_GOAL
from ingest.reading import Reading
from tests.alerts.spot_ward import START, ZONE, Home, cuff, limits, minute
from tests.conftest import RECORDED

VECTORS = Path(__file__).parents[1] / "vectors"
STAFF, PATIENT, RAISE = Audience.STAFF, Audience.PATIENT, Verdict.RAISE


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def told(home: Home, readings: Iterable[Reading], rule: str) -> list[Finding]:
    """What the rule raises at every reading and at every deadline, each once."""
    found: dict[tuple[object, ...], Finding] = {}
    ahead = sorted(readings, key=lambda each: each.taken_at)
    moments = [(each.taken_at - START) / timedelta(minutes=1) for each in ahead]
    for place, (now, reading) in enumerate(zip(moments, ahead, strict=True)):
        home.take(reading)
        coming: float | None = now
        while coming is not None and (place + 1 == len(ahead) or coming < moments[place + 1]):
            judged = home.judged(coming)
            for each in judged.findings:
                if each.rule == rule and each.verdict is RAISE:
                    found[each.since, each.audience, each.priority] = each
            again = judged.again
            coming = None if again is None else (again - START) / timedelta(minutes=1)
    return list(found.values())


# A day-assessment clinic for pregnant women: readings every half hour


def clinic(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    women: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row in rows(path):
        if row["minute"].isdigit() and row["systolic"] and row["diastolic"]:
            women[row["subject"]].append((float(row["minute"]), float(row["systolic"]), float(row["diastolic"])))
    return women


def staff_hear_of(women: dict[str, list[tuple[float, float, float]]], *groups: Group) -> tuple[set[str], set[str]]:
    """(of whom staff hear by a pair, of whom by a single reading)."""
    pairs, alone = set(), set()
    for woman, series in women.items():
        for found in told(Home(*groups), [cuff(*each) for each in series], "bp-severe"):
            if found.audience is STAFF:
                (pairs if len(found.evidence) == 2 else alone).add(woman)
    return pairs, alone


def test_in_pregnancy_a_single_severe_reading_never_reaches_staff_when_the_next_is_below() -> None:
    women = clinic(VECTORS / "bp_preg.csv")
    pairs, alone = staff_hear_of(women, Group.PREGNANCY)
    # 279, 347 and 441 have two in a row; of 73, 125 and 319 the severe reading is the last, and none comes.
    assert pairs == {"279", "347", "441"}
    assert alone == {"73", "125", "319"}
    assert {woman: women[woman][-1][1:] for woman in sorted(alone)} == {
        "125": (160, 100),
        "319": (160, 90),
        "73": (160, 85),
    }


def test_as_an_adult_the_one_reading_of_140_over_110_asks_and_is_forgotten() -> None:
    women = clinic(VECTORS / "bp_preg.csv")
    assert staff_hear_of(women) == (set(), set())
    (asked,) = told(Home(), [cuff(*each) for each in women["127"]], "bp-severe")
    assert (asked.audience, asked.since) == (PATIENT, minute(0))


@pytest.mark.recorded
def test_the_whole_clinic_is_told_as_the_excerpt() -> None:
    pairs, alone = staff_hear_of(clinic(RECORDED / "bp-preg" / "bp.csv"), Group.PREGNANCY)
    assert pairs == {"279", "347", "441"}
    assert alone == {"73", "125", "319"}


# One man at home


def man_at_home() -> list[Reading]:
    out = []
    for row in rows(VECTORS / "bp_jhs.csv"):
        at = datetime.fromisoformat(row["time"]).replace(tzinfo=ZONE).astimezone(UTC)
        out.append(cuff((at - START) / timedelta(minutes=1), float(row["systolic"]), float(row["diastolic"])))
    return out


def at_the_end_of(day: str) -> float:
    end = datetime.fromisoformat(f"{day}T23:59:59").replace(tzinfo=ZONE)
    return (end - START) / timedelta(minutes=1)


def test_a_man_at_home_by_the_weeks() -> None:
    home = Home().take(*man_at_home())
    # A week of 132.4/81.1 (14 readings) after one of 134.1/82.7: neither at goal nor above the limit, and falling.
    june = home.review(at_the_end_of("2019-06-16"))
    assert june["bp-not-at-goal"].verdict is Verdict.HOLD
    assert june["bp-rising"].verdict is Verdict.CLEAR
    # Diastolic up by 7.3, 75.8 to 83.1.
    may = home.review(at_the_end_of("2019-05-29"))["bp-rising"]
    assert may.verdict is RAISE
    assert may.because.en.startswith(
        "Home blood pressure 134/83 mmHg in the last 7 days (18 readings) after 128/76 mmHg in the 7 days before "
        "(14): a change of +6.5/+7.3, at or above 7 mmHg diastolic"
    )
    july = home.review(at_the_end_of("2019-07-28"))["bp-not-at-goal"]
    assert (july.verdict, july.audience) == (RAISE, Audience.WEEKLY)
    assert july.because.en.startswith(
        "Home blood pressure 138/87 mmHg, mean of 13 readings of 2019-07-22 to 2019-07-28: at or above 135/85 mmHg"
    )
    # The week before had 10 readings: too few for a home mean, enough for a trend of 5.3/4.6, which is noise.
    assert home.review(at_the_end_of("2019-07-21"))["bp-not-at-goal"].verdict is Verdict.HOLD
    assert "a change of +5.3/+4.6" in home.review(at_the_end_of("2019-07-28"))["bp-rising"].because.en


def test_a_man_at_home_asks_nothing_of_a_doctor() -> None:
    home, readings = Home(), man_at_home()
    for rule in ("bp-severe", "bp-low"):
        assert told(home, readings, rule) == []
        home = Home()
    days = [at_the_end_of(f"{day:%Y-%m-%d}") for day in days_from("2019-05-27", 66)]
    home.take(*readings)
    found = [each for now in days for each in home.review(now).values() if each.verdict is RAISE]
    assert {each.rule for each in found} == {"bp-not-at-goal", "bp-rising", "bp-morning"}
    assert {each.audience for each in found} == {Audience.WEEKLY}


def days_from(first: str, count: int) -> list[datetime]:
    return [datetime.fromisoformat(first) + timedelta(days=each) for each in range(count)]


# Treated adults, three visits to the office

OFFICE = {
    Key("bp-not-at-goal", name, MMHG): value
    for name, value in (
        ("systolic", 140.0),
        ("diastolic", 90.0),
        ("clear-systolic", 140.0),
        ("clear-diastolic", 90.0),
    )
}


def visits(path: Path) -> dict[str, dict[str, Mean]]:
    out: dict[str, dict[str, Mean]] = defaultdict(dict)
    for row in rows(path):
        if row["systolic"] and row["diastolic"]:
            out[row["subject"]][row["visit"]] = Mean(float(row["systolic"]), float(row["diastolic"]), 8)
    return out


def not_at_goal(scene: Scene, patients: dict[str, dict[str, Mean]], visit: str) -> list[str]:
    return [
        who
        for who, known in patients.items()
        if visit in known and reaches(scene, BP_NOT_AT_GOAL, known[visit].systolic, known[visit].diastolic)
    ]


def rise(scene: Scene, patients: dict[str, dict[str, Mean]], before: str, after: str) -> list[str]:
    return [
        who
        for who, known in patients.items()
        if {before, after} <= known.keys() and rising(scene, known[before], known[after], []).verdict is RAISE
    ]


def test_the_rules_for_home_say_nothing_on_visits_half_a_year_apart() -> None:
    for known in visits(VECTORS / "bp_ghana.csv").values():
        home = Home()
        for place, (systolic, diastolic, _) in enumerate(known.values()):
            home.take(cuff(place * 182 * 1440, systolic, diastolic))
        found = home.review(2 * 182 * 1440 + 60)
        assert found["bp-not-at-goal"].verdict is found["bp-rising"].verdict is Verdict.HOLD
        assert home.verdict("bp-session-high", 2 * 182 * 1440) is Verdict.HOLD


def test_goal_and_trend_of_the_first_ten_at_the_office_limits() -> None:
    scene, patients = Scene("p-1", limits(given=OFFICE), minute(0), ZONE), visits(VECTORS / "bp_ghana.csv")
    assert not_at_goal(scene, patients, "Baseline") == list(patients)
    assert not_at_goal(scene, patients, "6Months") == ["1010H3", "1013H3", "1015H3", "1016H3"]
    assert not_at_goal(scene, patients, "12Months") == ["1010H3", "1013H3"]
    assert rise(scene, patients, "Baseline", "6Months") == ["1016H3"]  # 95.3 to 107.3 diastolic
    assert rise(scene, patients, "6Months", "12Months") == ["1006H3", "1008H3"]  # 107 to 121.7, 107.7 to 129.7


@pytest.mark.recorded
def test_goal_and_trend_of_all_at_the_office_limits() -> None:
    scene, patients = Scene("p-1", limits(given=OFFICE), minute(0), ZONE), visits(RECORDED / "bp-ghana" / "bp.csv")

    def count(found: Sequence[str], *needed: str) -> tuple[int, int]:
        return len(found), sum(known.keys() >= set(needed) for known in patients.values())

    assert count(not_at_goal(scene, patients, "Baseline"), "Baseline") == (748, 756)
    assert count(not_at_goal(scene, patients, "6Months"), "6Months") == (310, 603)
    assert count(not_at_goal(scene, patients, "12Months"), "12Months") == (315, 638)
    assert count(rise(scene, patients, "Baseline", "6Months"), "Baseline", "6Months") == (73, 603)
    assert count(rise(scene, patients, "6Months", "12Months"), "6Months", "12Months") == (179, 547)
