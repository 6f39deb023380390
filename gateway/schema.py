"""The schema of the house's database: it is brought to what this program needs before anything is read from it.

A change of a table is a migration in `gateway/migrations/versions` (docs/architecture.md says how one is made). There
is no way back: before an upgrade there is a backup.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config as Alembic
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import DatabaseError

from alerts import audit, book, escalation_book, follow_up_book, outbox, quality_book, review_book, team_book
from alerts.database import METADATA, connect
from gateway import device_book, people, replies, signed

logger = logging.getLogger(__name__)

# Each of these rooms has put its tables there.
_ROOMS: Final = (
    audit,
    book,
    escalation_book,
    follow_up_book,
    outbox,
    quality_book,
    review_book,
    team_book,
    device_book,
    people,
    replies,
    signed,
)
TABLES: Final = METADATA
# Two hubs that start at once on one PostgreSQL upgrade it one after the other. The number is ours alone by chance.
_ADVISORY_LOCK: Final = 4_707_171_305


class SchemaError(Exception):
    """The database cannot be used. The text says which, why, and what to do."""


def open_database(url: str | URL) -> Engine:
    """The engine of a database whose schema is the one of this program, made or upgraded. Raises SchemaError."""
    url = make_url(url)
    engine = driven(url)
    try:
        _upgrade(engine, url)
    except DatabaseError as error:
        engine.dispose()
        raise SchemaError(f"cannot use {shown(url)}: {said(error)}; {remedy(url)}") from error
    except BaseException:  # whatever it is, the caller gets no engine to dispose of
        engine.dispose()
        raise
    return engine


def driven(url: URL) -> Engine:
    """The engine of a database as it is. Raises SchemaError where its driver is not installed."""
    try:
        return connect(url)
    except ModuleNotFoundError as error:
        raise SchemaError(
            f'{shown(url)} needs the driver {error.name}, which is not installed: pip install "homeward[postgresql]"'
        ) from error


def is_filled(url: URL) -> bool:
    """Whether there is anything in the file of a database."""
    path = Path(str(url.database))
    return path.exists() and path.stat().st_size > 0


def shown(url: URL) -> str:
    """A database as it may be named in a sentence: without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    where = url.host or url.query.get("host") or "this computer"
    return f"the PostgreSQL database {url.database} at {where}{f':{url.port}' if url.port else ''}"


def said(error: DatabaseError) -> str:
    """The database's own words in one line."""
    return " ".join(str(error.orig).split())


def remedy(url: URL) -> str:
    """What to look at where a database cannot be used."""
    if url.get_backend_name() == "sqlite":
        return "check the file, its owner and the disk"
    return "check the server, and url in [database]: its host, user, password and database"


def describe(engine: Engine, url: URL) -> str | None:
    """What will be done with the schema at the next start, in words; None where it is the one of this program.

    Raises SchemaError where a newer program has made it.
    """
    with engine.connect() as db:
        found, head = _revision(db), _head()
    _refuse_newer(url, found)
    if found == head:
        return None
    return f"its schema is {found or 'without a number'} and becomes {head} at the next start"


def _upgrade(engine: Engine, url: URL) -> None:
    with engine.connect() as db:
        if _revision(db) == _head():
            return
    with engine.begin() as db:
        if engine.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN IMMEDIATE")  # sqlite3 itself begins nothing before a change of the schema
        else:
            db.execute(text("SET LOCAL lock_timeout = 0"))
            db.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
        found = _revision(db)
        _refuse_newer(url, found)
        config = _alembic()
        config.attributes["connection"] = db
        command.upgrade(config, "head")
    logger.info("%s: schema %s, was %s", shown(url), _head(), found or "without a number")


def _refuse_newer(url: URL, found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaError(
            f"{shown(url)} was made by a newer Homeward: its schema is {found}, and this program knows those "
            f"up to {_head()}; install the newer Homeward again, or restore a backup made before it"
        )


def _revision(db: Connection) -> str | None:
    return MigrationContext.configure(db).get_current_revision()


def _head() -> str:
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def _alembic() -> Alembic:
    config = Alembic()
    config.set_main_option("script_location", "gateway:migrations")
    return config
