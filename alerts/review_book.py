"""The book of reviews: every weekly review that was made, and how each patient stood last, in the house's database.

A week is reviewed once: what is written of it stays. How a patient stands is replaced every day. Every call blocks
for one short transaction, so call it off the loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    cast,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from alerts.alert import Audience, Finding, IllegalAct, Priority, Text, Verdict
from alerts.database import METADATA, among, reading
from alerts.review import Done, Review
from alerts.risk import Standing
from alerts.rules import RULES
from alerts.week import Figures, Pressure
from ingest.reading import from_us, to_us

_CHUNK: Final = 1000  # names in one question

# Days are ISO dates, moments integer microseconds UTC: exact, sortable, the same on every database.
_reviews = Table(
    "reviews",
    METADATA,
    Column("patient", String(64), primary_key=True),
    Column("monday", String(10), primary_key=True),
    Column("made_at_us", BigInteger, nullable=False),
    Column("raised", Integer, nullable=False),
    Column("said", JSON, nullable=False),
)
Index("reviews_by_week", _reviews.c.monday, _reviews.c.raised)
_done = Table(
    "reviews_done",
    METADATA,
    Column("patient", String(64), primary_key=True),
    Column("monday", String(10), primary_key=True),
    Column("rule", String(64), primary_key=True),
    Column("by", String(200), nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
STANDINGS = Table(
    "standings",
    METADATA,
    Column("patient", String(64), primary_key=True),
    Column("day", String(10), nullable=False),
    Column("made_at_us", BigInteger, nullable=False),
    Column("figures", JSON, nullable=False),
)
# An integer by SQLAlchemy has 32 bits where the database says so (PostgreSQL), and microseconds need 64.
ASKS_AT_US: Final = cast(STANDINGS.c.figures["asks_at_us"].as_string(), BigInteger)


class ReviewBook:
    """The reviews and standings of all patients."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # As read last, by patient: all are asked for at each look at the ranking, and few are new.
        self._known: dict[str, Standing] = {}

    def write(self, standing: Standing, review: Review | None) -> None:
        """Write down how a patient stands, and the week's review if it was made now, all or nothing.

        A week that has been reviewed stays as it is.
        """
        with self._engine.begin() as db:
            db.execute(delete(STANDINGS).where(STANDINGS.c.patient == standing.patient))
            db.execute(insert(STANDINGS).values(**standing_row(standing)))
            if review is not None and not _is_reviewed(db, review.patient, review.monday):
                db.execute(insert(_reviews).values(**_review_row(review)))
        self._known.pop(standing.patient, None)

    def reviewed(self, patient: str, monday: date) -> bool:
        """Whether the week that begins with that day has been reviewed."""
        with reading(self._engine) as db:
            return _is_reviewed(db, patient, monday)

    def tick(self, patient: str, monday: date, rule: str, *, by: str, at: datetime) -> Review:
        """Write down who has dealt with a line of the weekly list; the review with it.

        Raises KeyError where the list of that week has no such line, IllegalAct where somebody has done it before.
        """
        query = select(_reviews).where(_reviews.c.patient == patient, _reviews.c.monday == monday.isoformat())
        found = self._found(query)
        if not found or rule not in {finding.rule for finding in found[0].raised}:
            raise KeyError(f"{patient} {monday} {rule}")
        row = {"patient": patient, "monday": monday.isoformat(), "rule": rule, "by": by, "at_us": to_us(at)}
        try:
            with self._engine.begin() as db:
                db.execute(insert(_done).values(**row))
        except IntegrityError as error:
            done = self._found(query)[0].done[rule]
            title = RULES[rule].title
            raise IllegalAct(
                Text(
                    en=f"{done.by} has dealt with {title.en} of that week already, at {{moment}}.",
                    zh=f"{done.by} 已于 {{moment}} 处理过该周的“{title.zh}”。",
                ),
                done.at,
            ) from error
        return self._found(query)[0]

    def weeks(self, limit: int = 12) -> list[date]:
        """The first days of the weeks that were reviewed, the newest first."""
        query = select(_reviews.c.monday).distinct().order_by(_reviews.c.monday.desc()).limit(limit)
        with reading(self._engine) as db:
            return [date.fromisoformat(monday) for monday in db.scalars(query)]

    def weekly_list(self, monday: date) -> list[Review]:
        """The reviews of a week that have something to say, by patient."""
        query = select(_reviews).where(_reviews.c.monday == monday.isoformat(), _reviews.c.raised > 0)
        return self._found(query.order_by(_reviews.c.patient))

    def of_patient(self, patient: str, limit: int = 12) -> list[Review]:
        """A patient's reviews, the newest first."""
        query = select(_reviews).where(_reviews.c.patient == patient)
        return self._found(query.order_by(_reviews.c.monday.desc()).limit(limit))

    def days(self) -> dict[str, date]:
        """On which day of theirs the standing of each patient was made."""
        with reading(self._engine) as db:
            rows = db.execute(select(STANDINGS.c.patient, STANDINGS.c.day))
            return {patient: date.fromisoformat(day) for patient, day in rows}

    def waiting(self) -> dict[str, datetime]:
        """Who was to be asked for something when their standing was made, and when."""
        with reading(self._engine) as db:
            rows = db.execute(select(STANDINGS.c.patient, ASKS_AT_US).where(ASKS_AT_US.is_not(None)))
            return {patient: from_us(moment_us) for patient, moment_us in rows}

    def standings(self, patients: Sequence[str] | None = None) -> dict[str, Standing]:
        """How these patients (None: all) stood last, by patient."""
        if patients is None:
            return self._all_standings()
        with reading(self._engine) as db:
            return _standings_of(db, patients)

    def _all_standings(self) -> dict[str, Standing]:
        """One made at another moment than the one known is read anew; another process may have written it."""
        known = self._known
        with reading(self._engine) as db:
            made = {
                row.patient: row.made_at_us for row in db.execute(select(STANDINGS.c.patient, STANDINGS.c.made_at_us))
            }
            standings = {name: known[name] for name in made.keys() & known.keys()}
            stale = [
                name for name, at in made.items() if name not in standings or to_us(standings[name].made_at) != at
            ]
            for first in range(0, len(stale), _CHUNK):
                standings |= _standings_of(db, stale[first : first + _CHUNK])
        self._known = dict(standings)
        return standings

    def _found(self, query: Select[Any]) -> list[Review]:
        with reading(self._engine) as db:
            rows = list(db.execute(query))
            done = _done_of(db, rows)
            return [_review(row, done[row.patient, row.monday]) for row in rows]


def _standings_of(db: Connection, patients: Sequence[str]) -> dict[str, Standing]:
    query = select(STANDINGS).where(among(STANDINGS.c.patient, patients))
    return {row.patient: _standing(row) for row in db.execute(query).all()}


def _is_reviewed(db: Connection, patient: str, monday: date) -> bool:
    found = select(_reviews.c.monday).where(_reviews.c.patient == patient, _reviews.c.monday == monday.isoformat())
    return db.execute(found).first() is not None


def _review_row(review: Review) -> dict[str, Any]:
    return {
        "patient": review.patient,
        "monday": review.monday.isoformat(),
        "made_at_us": to_us(review.made_at),
        "raised": len(review.raised),
        "said": {
            "week": _plain(review.week),
            "before": _plain(review.before),
            "findings": [_finding_row(finding) for finding in review.findings],
        },
    }


def _done_of(db: Connection, reviews: Sequence[Row[Any]]) -> Mapping[tuple[str, str], Mapping[str, Done]]:
    """What was dealt with, by patient and Monday, and by rule."""
    found: defaultdict[tuple[str, str], dict[str, Done]] = defaultdict(dict)
    for first in range(0, len(reviews), _CHUNK):
        some = reviews[first : first + _CHUNK]
        query = select(_done).where(
            _done.c.patient.in_({row.patient for row in some}), _done.c.monday.in_({row.monday for row in some})
        )
        for row in db.execute(query):
            found[row.patient, row.monday][row.rule] = Done(row.by, from_us(row.at_us))
    return found


def _review(row: Row[Any], done: Mapping[str, Done]) -> Review:
    return Review(
        patient=row.patient,
        monday=date.fromisoformat(row.monday),
        made_at=from_us(row.made_at_us),
        week=_figures(row.said["week"]),
        before=_figures(row.said["before"]),
        findings=tuple(_finding(row.patient, said) for said in row.said["findings"]),
        done=done,
    )


def _finding_row(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "problem": finding.problem,
        "verdict": finding.verdict,
        "priority": int(finding.priority),
        "en": finding.because.en,
        "zh": finding.because.zh,
        "since_us": to_us(finding.since),
        "known_at_us": to_us(finding.known_at),
        "evidence": list(finding.evidence),
    }


def _finding(patient: str, said: Mapping[str, Any]) -> Finding:
    return Finding(
        patient=patient,
        rule=said["rule"],
        problem=said["problem"],
        verdict=Verdict(said["verdict"]),
        priority=Priority(said["priority"]),
        audience=Audience.WEEKLY,
        because=Text(en=said["en"], zh=said["zh"]),
        since=from_us(said["since_us"]),
        known_at=from_us(said["known_at_us"]),
        evidence=tuple(said["evidence"]),
    )


def standing_row(standing: Standing) -> dict[str, Any]:
    """How a standing is stored."""
    return {
        "patient": standing.patient,
        "day": standing.day.isoformat(),
        "made_at_us": to_us(standing.made_at),
        "figures": {
            "week": _plain(standing.week),
            "before": _plain(standing.before),
            "pressure": standing.pressure,
            "pressure_before": standing.pressure_before,
            "sensor": standing.sensor,
            "night_lows": standing.night_lows,
            "asks_at_us": None if standing.asks_at is None else to_us(standing.asks_at),
        },
    }


def _standing(row: Row[Any]) -> Standing:
    found = row.figures
    asks_at_us = found.get("asks_at_us")  # not in a book of before 2026-11-22
    return Standing(
        patient=row.patient,
        day=date.fromisoformat(row.day),
        made_at=from_us(row.made_at_us),
        week=_figures(found["week"]),
        before=_figures(found["before"]),
        pressure=_pressure(found["pressure"]),
        pressure_before=_pressure(found["pressure_before"]),
        sensor=found["sensor"],
        night_lows=found["night_lows"],
        asks_at=None if asks_at_us is None else from_us(asks_at_us),
    )


def _plain(figures: Figures | None) -> dict[str, float] | None:
    return None if figures is None else asdict(figures)


def _figures(plain: Mapping[str, Any] | None) -> Figures | None:
    return None if plain is None else Figures(**plain)


def _pressure(plain: Sequence[Any] | None) -> Pressure | None:
    return None if plain is None else Pressure(*plain)
