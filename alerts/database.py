"""The house's database: one engine, and one list of all tables, whichever room they belong to.

SQLite by default (WAL, synchronous=FULL, foreign keys), PostgreSQL by URL. `gateway.schema` makes the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Self

from pydantic_core import from_json
from sqlalchemy import (
    ARRAY,
    URL,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    MetaData,
    String,
    Text,
    TypeDecorator,
    bindparam,
    create_engine,
    event,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()

# How long what another program holds is waited for, ms. A person is answered within 5 s: by the database's own error,
# which says that nothing was done, rather than by the end of that time.
_PATIENT_MS: Final = 30_000
_HURRIED_MS: Final = 4_000
_busy_ms: ContextVar[int] = ContextVar("busy_ms", default=_PATIENT_MS)
# PostgreSQL cannot be told for each caller: nobody waits longer than a person does, and the house tries again.
_POSTGRESQL: Final = {"connect_timeout": 4, "options": f"-c lock_timeout={_HURRIED_MS}"}


def connect(url: str | URL) -> Engine:
    """An engine for the house's database, with SQLite made durable.

    Raises sqlalchemy.exc.ArgumentError, or ModuleNotFoundError where the driver is not installed.
    """
    if not str(url).startswith("sqlite"):
        # A server that was started again has ended the connections that wait here.
        return create_engine(url, connect_args=_POSTGRESQL, pool_pre_ping=True, json_deserializer=from_json)
    engine = create_engine(url, json_deserializer=from_json)
    event.listen(engine, "connect", _make_durable)
    event.listen(engine, "checkout", _be_patient)
    return engine


@contextmanager
def hurried() -> Iterator[None]:
    """In the block, and in the threads it starts, SQLite waits no longer for a locked file than a person does."""
    token = _busy_ms.set(_HURRIED_MS)
    try:
        yield
    finally:
        _busy_ms.reset(token)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection on which each statement is by itself.

    At READ COMMITTED each sees what is committed when it begins, in a transaction or not; without one PostgreSQL is
    spared two journeys there and back.
    """
    with engine.connect() as db:
        yield db.execution_options(isolation_level="AUTOCOMMIT") if engine.dialect.name == "postgresql" else db


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is alone with what it reads: SQLite takes the lock to write before the first read."""
    with engine.begin() as db:
        if engine.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN IMMEDIATE")
        yield db


@contextmanager
def still(engine: Engine) -> Iterator[Connection]:
    """A transaction in which every statement reads what is there at its first one, whatever others write."""
    with engine.connect() as db:
        if engine.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN")
        else:
            db.execution_options(isolation_level="REPEATABLE READ")
        yield db


def among(column: ColumnElement[str], names: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column of text is one of these names, however many: they are one value, and the words stay the same.

    `in_` makes a parameter of each. A thousand of them cost SQLAlchemy, the driver and PostgreSQL more than the rows
    do, and SQLite takes no more than 32 766.
    """
    return _Among(column, bindparam("names", list(names), type_=_Names(), unique=True))


class _Among(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> Self:  # noqa: ARG002
        """It is a comparison, not a number to be compared with 1, by which SQLite would find no index."""
        return self


class _Names(TypeDecorator[list[str]]):
    """An array where there are any, else JSON."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(String()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


@compiles(_Among)
def _among_json(element: _Among, compiler: SQLCompiler, **how: Any) -> str:
    column, names = (compiler.process(part, **how) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({names}))"


@compiles(_Among, "postgresql")
def _among_array(element: _Among, compiler: SQLCompiler, **how: Any) -> str:
    column, names = (compiler.process(part, **how) for part in element.clauses)
    return f"{column} = ANY ({names})"


def _make_durable(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_PATIENT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _be_patient(connection: Any, record: Any, _: Any) -> None:
    wanted = _busy_ms.get()
    if record.info.get("busy_ms", _PATIENT_MS) != wanted:
        connection.execute(f"PRAGMA busy_timeout={wanted}")
        record.info["busy_ms"] = wanted
