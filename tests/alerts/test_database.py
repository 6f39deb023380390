"""What every room's tables are read by, on both databases."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select

from alerts.book import Book
from alerts.database import METADATA, among, reading
from gateway.schema import open_database

CONTACTS = METADATA.tables["contacts"]
# More than the parameters that SQLite (32 766) and PostgreSQL (65 535) take in one statement.
MANY = [f"patient:{number}" for number in range(70_000)]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    rows = [
        {"owner": owner, "position": 0, "channel": "sms", "address": "+49 1", "folded": "+49 1"}
        for owner in (MANY[0], MANY[-1], "patient:'\"; DROP TABLE contacts; --", "患者:王")
    ]
    with engine.begin() as db:
        db.execute(insert(CONTACTS), rows)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (MANY, {MANY[0], MANY[-1]}),
        (dict.fromkeys(["患者:王", "patient:x"]), {"患者:王"}),
        (["patient:'\"; DROP TABLE contacts; --"], {"patient:'\"; DROP TABLE contacts; --"}),
        ([], set()),
    ],
    ids=["more than a statement takes", "Chinese", "quotes", "none"],
)
def test_however_many_names_are_one_value(engine: Engine, names: Iterable[str], found: set[str]) -> None:
    with reading(engine) as db:
        assert set(db.scalars(select(CONTACTS.c.owner).where(among(CONTACTS.c.owner, names)))) == found


def test_by_names_a_table_is_read_from_its_index(engine: Engine) -> None:
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _db, _cursor, said, values, *_: asked.append((said, values)))
    with reading(engine) as db:
        db.execute(select(CONTACTS).where(among(CONTACTS.c.owner, MANY[:100])))
        ((said, values),) = asked
        if engine.dialect.name == "sqlite":
            plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", values).all()
            assert any(row[3].startswith("SEARCH contacts USING") for row in plan), plan
        else:
            db.exec_driver_sql("SET enable_seqscan = off")  # four rows are read faster without
            plan = db.exec_driver_sql(f"EXPLAIN {said}", values).all()
            assert any("Index Cond" in row[0] for row in plan)


def test_what_was_read_by_itself_leaves_the_next_transaction_whole(engine: Engine) -> None:
    """A connection comes back to the pool as it was: what is written after a read on it is undone together."""
    with reading(engine) as db:
        assert len(db.execute(select(CONTACTS)).all()) == 4
    with engine.connect() as db:
        db.execute(CONTACTS.delete())
        db.rollback()
    with reading(engine) as db:
        assert len(db.execute(select(CONTACTS)).all()) == 4


def test_a_worklist_of_nothing_has_two_empty_halves(engine: Engine) -> None:
    assert Book(engine, routes={}).worklist(3) == (([], 0), ([], 0))


def test_json_comes_back_as_it_was_written(engine: Engine) -> None:
    roles = ["nurse", "低血糖", 2.5, None, {"a": []}]
    staff = METADATA.tables["practitioners"]
    with engine.begin() as db:
        db.execute(insert(staff).values(id="n", name="王", roles=roles, language="en", zone="UTC", active=True))
    with reading(engine) as db:
        assert db.scalars(select(staff.c.roles)).one() == roles
