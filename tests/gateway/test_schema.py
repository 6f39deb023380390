"""The schema: made, upgraded from what older Homewards left, refused where it is newer; on both kinds of database."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, text

from alerts.alert import Act, ActKind, Audience, Outcome, Reason
from alerts.book import Book
from alerts.escalation_book import EscalationBook
from alerts.follow_up import follow, replay
from alerts.follow_up_book import FollowUpBook
from alerts.machine import hear
from gateway.check import check
from gateway.cli import main
from gateway.config import Config, ConfigError, load
from gateway.device_book import DeviceBook
from gateway.people import People
from gateway.schema import TABLES, SchemaError, open_database, shown
from ingest.journal import Journal
from ingest.vital import Vital
from tests.alerts.ward import finding, minute

VECTORS = Path(__file__).parents[1] / "vectors"


def old_database(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        db.executescript((VECTORS / "hub_db_0.sql").read_text(encoding="utf-8"))
    return f"sqlite:///{path}"


def test_models_and_migrations_agree(database_url: str) -> None:
    engine = open_database(database_url)
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), TABLES) == []
    engine.dispose()


def test_a_database_of_before_the_numbers_is_upgraded_and_keeps_its_rows(tmp_path: Path) -> None:
    engine = open_database(old_database(tmp_path / "hub.db"))
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), TABLES) == []
    people, book = People(engine), Book(engine, routes={Audience.STAFF: ("log", "desk")})
    assert [(one.id, one.name, one.pseudonym) for one in people.patients()] == [("p-1", "王波", "0123456789abcdef")]
    assert [(worn.device, worn.patient) for worn in people.worn()] == [("cgm-1", "p-1")]
    assert [(plan.vital, plan.author) for plan in people.plans(["p-1"])["p-1"]] == [(Vital.GLUCOSE, "Dr Li")]
    assert DeviceBook(engine).states()["cgm-1"].failures == 2
    (alert,) = book.open_alerts()
    assert (alert.problem, alert.opened_at) == ("glucose-low", minute(0))
    assert [fact.what for fact in book.history(alert.id)] == ["opened"]
    assert [(delivery.tries, delivery.notice.alert) for delivery in book.pending_notices("desk", minute(2))] == [
        (1, alert.id)
    ]
    assert book.cursor() == 7
    engine.dispose()


def test_notices_of_before_their_numbers_are_numbered_as_they_were_written(tmp_path: Path) -> None:
    url = old_database(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        (first,) = db.execute("SELECT * FROM notices WHERE alert IS NOT NULL")
        names = [column[1] for column in db.execute("PRAGMA table_info(notices)")]
        for name, later in (("aa", 2), ("zz", 1)):
            row = dict(zip(names, first, strict=True))
            row |= {"id": name, "written_at_us": row["written_at_us"] + later}
            db.execute(f"INSERT INTO notices VALUES ({', '.join('?' * len(names))})", tuple(row.values()))
        db.commit()
    engine = open_database(url)
    notices = Book(engine, routes={}).notices(dict(zip(names, first, strict=True))["alert"])
    assert [each.id for each in notices[1:]] == ["zz", "aa"]
    with engine.connect() as db:
        numbers = db.exec_driver_sql("SELECT number FROM notices WHERE alert IS NOT NULL ORDER BY written_at_us")
        assert numbers.scalars().all() == [1, 2, 3]
    engine.dispose()


def test_alerts_of_before_can_be_put_off_and_follow_ups_of_before_become_overdue(tmp_path: Path) -> None:
    engine = open_database(old_database(tmp_path / "hub.db"))
    book, follow_ups = Book(engine, routes={}), FollowUpBook(engine)
    (alert,) = book.open_alerts()
    assert (alert.snoozed_until, alert.snoozed_by, alert.emergency_at) == (None, None, None)
    assert [fact.until for fact in book.history(alert.id)] == [None]
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=minute(5))
    changes = hear(alert, act, minute(5)).changes
    book.record(changes, also=follow_ups.writing(follow(changes[-1].alert, act, None)))
    escalation = EscalationBook(engine, channels={}, patients_of=lambda _names: {})
    assert [escalation.note_overdue(minute(at), book.put_for_house) for at in (6, 10_000, 10_001)] == [0, 1, 0]
    found = follow_ups.of_alert(alert.id)
    assert found is not None
    assert found.overdue_at == minute(10_000)
    engine.dispose()


def without_reasons(db: Connection) -> None:
    """As it was before 0015."""
    db.execute(text("DROP INDEX ix_put_off_notices_timer"))  # of 0016
    for table in ("alerts", "follow_ups", "follow_up_facts"):
        db.execute(text(f"ALTER TABLE {table} DROP COLUMN reason"))


def test_what_was_closed_before_reasons_were_asked_for_has_none(database_url: str) -> None:
    engine = open_database(database_url)
    book = Book(engine, routes={})
    (opened,) = hear(None, finding(), minute(0)).changes
    act = Act(kind=ActKind.CLOSE, alert=opened.alert.id, by="Dr Li", at=minute(5), note="slept")
    act = replace(act, outcome=Outcome.NO_ACTION, reason=Reason.OTHER)
    closed = hear(opened.alert, act, minute(5)).changes
    book.record([opened])
    book.record(closed, also=FollowUpBook(engine).writing(follow(closed[-1].alert, act, None)))
    with engine.begin() as db:
        without_reasons(db)
        db.execute(text("UPDATE alembic_version SET version_num = '0014'"))
    engine.dispose()
    engine = open_database(database_url)
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), TABLES) == []
    (alert,) = Book(engine, routes={}).alerts()
    follow_up = FollowUpBook(engine).of_alert(alert.id)
    assert (alert.outcome, alert.reason, alert.closing_note) == (Outcome.NO_ACTION, None, "slept")
    assert follow_up is not None
    assert (follow_up.outcome, follow_up.reason) == (Outcome.NO_ACTION, None)
    assert replay(FollowUpBook(engine).history(follow_up.id)) == follow_up
    engine.dispose()


def test_a_database_of_before_the_hubs_noted_what_they_hear_keeps_its_rows(database_url: str) -> None:
    engine = open_database(database_url)
    Book(engine, routes={}, hub="hub-a").record(cursor=7)
    with engine.begin() as db:
        without_reasons(db)
        db.execute(text("DROP TABLE device_heard"))
        db.execute(text("ALTER TABLE appointments DROP COLUMN whom"))
        db.execute(text("ALTER TABLE appointments DROP COLUMN kept"))
        db.execute(text("ALTER TABLE surveys DROP COLUMN answered_by"))
        for column in ("alarmed_at_us", "alarm_en", "alarm_zh"):
            db.execute(text(f"ALTER TABLE care_plans DROP COLUMN {column}"))
        db.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    engine.dispose()
    engine = open_database(database_url)
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), TABLES) == []
    book = Book(engine, routes={}, hub="hub-a")
    assert (book.cursor(), book.heard_elsewhere(minute(0))) == (7, {})
    engine.dispose()


def test_a_database_that_lacks_tables_of_that_time_gets_them(tmp_path: Path) -> None:
    url = old_database(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        db.executescript("DROP TABLE plan_ends; DROP TABLE standings; DROP INDEX notices_of_patient")
    engine = open_database(url)
    with engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), TABLES) == []
    engine.dispose()


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    url = old_database(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        db.executescript("CREATE TABLE audit (mine INTEGER); DROP TABLE standings")
    with pytest.raises(SchemaError, match=r"hub\.db: table audit already exists; check the file"):
        open_database(url)
    with closing(sqlite3.connect(tmp_path / "hub.db")) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert tables & {"audit", "standings", "alembic_version"} == {"audit"}


def test_a_database_of_a_newer_homeward_is_refused(database_url: str) -> None:
    engine = open_database(database_url)
    with engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaError, match=r"made by a newer Homeward: its schema is 9999, .* up to 0\d\d\d; install"):
        open_database(database_url)


def test_two_hubs_that_start_at_once_make_one_schema(postgresql_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for engine in pool.map(open_database, [postgresql_url] * 4):
            assert set(inspect(engine).get_table_names()) == {*TABLES.tables, "alembic_version"}
            engine.dispose()


async def findings(config: Config) -> list[tuple[bool, str]]:
    return [(finding.ok, finding.says) for finding in await check(config) if finding.part == "database"]


async def test_check_names_what_it_found(tmp_path: Path, postgresql_url: str) -> None:
    file = tmp_path / "hub.db"
    here = Config(data=tmp_path)
    assert await findings(here) == [(True, f"{file} is made at the first start")]
    url = old_database(file)
    (found,) = await findings(here)
    assert found[0]
    assert found[1].startswith(f"{file} lets us in; its schema is without a number and becomes 0")
    open_database(url).dispose()
    assert await findings(here) == [(True, f"{file} lets us in")]
    with closing(sqlite3.connect(file)) as db:
        db.executescript("UPDATE alembic_version SET version_num = '9999'")
    (found,) = await findings(here)
    assert (found[0], found[1].split(":")[0]) == (False, f"{file} was made by a newer Homeward")

    server = Config.model_validate({"data": tmp_path, "database": {"url": postgresql_url}})
    open_database(postgresql_url).dispose()
    assert await findings(server) == [(True, f"{shown(make_url(postgresql_url))} lets us in")]
    away = {"url": "postgresql+psycopg://homeward:pass%40word@127.0.0.1:1/hub"}
    ((ok, says),) = await findings(Config.model_validate({"data": tmp_path, "database": away}))
    assert not ok
    assert says.startswith("cannot use the PostgreSQL database hub at 127.0.0.1:1: connection failed: ")
    assert says.endswith("; check the server, and url in [database]: its host, user, password and database")
    assert "word" not in says.replace("password and", "")


def configured(tmp_path: Path, said: str) -> Config:
    path = tmp_path / "homeward.toml"
    path.write_text(said, encoding="utf-8")
    return load(path)


def test_the_url_may_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg://hub:s3cret@db.clinic:5433/homeward\n", encoding="utf-8")
    config = configured(tmp_path, '[database]\nurl = "file:url"\n')
    assert config.database_url.password == "s3cret"
    assert shown(config.database_url) == "the PostgreSQL database homeward at db.clinic:5433"
    assert "s3cret" not in repr(config)
    assert Config(data=tmp_path).database_url.database == str(tmp_path / "hub.db")


@pytest.mark.parametrize(
    "url", ["s3cret", "mysql://hub:s3cret@db/homeward", "postgresql+psycopg://hub:s3cret@db", "sqlite:///s3cret"]
)
def test_another_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, f'[database]\nurl = "{url}"\n')
    assert "[database] url: it is no address of a PostgreSQL database; write postgresql+psycopg://USER" in str(
        refused.value
    )
    assert "s3cret" not in str(refused.value)


def test_a_backup_says_that_the_server_is_not_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    Journal(tmp_path / "data" / "journal.db").close()
    (tmp_path / "data" / "hub-name").write_text("0123456789abcdef")
    (tmp_path / "homeward.toml").write_text(
        'data = "data"\n[database]\nurl = "postgresql+psycopg://hub:s3cret@db.clinic/homeward"\n', encoding="utf-8"
    )
    assert main(["backup", str(tmp_path / "copy"), "-c", str(tmp_path / "homeward.toml")]) == 0
    assert (tmp_path / "copy" / "hub-name").read_text() == "0123456789abcdef"
    assert capsys.readouterr().out.splitlines()[1] == (
        "the PostgreSQL database homeward at db.clinic is not in it: copy it with pg_dump first, see docs/backup.md"
    )
