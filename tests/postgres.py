"""A real PostgreSQL server for tests: made by initdb, reached by a socket in its own folder, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import create_engine, text

# Debian keeps them off the search path, a folder for each version.
_DEBIAN = Path("/usr/lib/postgresql")
# What a crash of the machine would do to it is not asked here.
_OPTIONS = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c max_connections=60"


@dataclass(frozen=True, slots=True)
class Server:
    """folder: with the socket. restart: ends all connections, as an upgrade of the server does."""

    folder: Path
    pg_ctl: str

    def url(self, database: str) -> str:
        """By the driver that Homeward uses."""
        return f"postgresql+psycopg://homeward@/{database}?host={quote(str(self.folder))}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, empty database; by its URL."""
        name = f"hub_{uuid4().hex}"
        self._say(f'CREATE DATABASE "{name}"')
        try:
            yield self.url(name)
        finally:
            self._say(f'DROP DATABASE "{name}" WITH (FORCE)')

    def restart(self) -> None:
        _run(self.pg_ctl, "restart", "-w", "-m", "fast", "-D", self.folder / "data", folder=self.folder)

    def _say(self, statement: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(text(statement))
        engine.dispose()


def running_server() -> AbstractContextManager[Server]:
    """Raises FileNotFoundError where PostgreSQL is not installed."""
    return _running(_program("initdb"), _program("pg_ctl"))


@contextmanager
def _running(initdb: str, pg_ctl: str) -> Iterator[Server]:
    # Not in tmp_path: no other user may enter it, and the name of a socket is to be short.
    with TemporaryDirectory(prefix="homeward-pg-", ignore_cleanup_errors=True) as name:
        folder, data = Path(name), Path(name) / "data"
        if os.geteuid() == 0:
            shutil.chown(folder, *_NOBODY)
        _run(initdb, "-D", data, "-U", "homeward", "-A", "trust", "-E", "UTF8", "--no-sync", folder=folder)
        _run(pg_ctl, "start", "-w", "-D", data, "-l", folder / "log", "-o", f"{_OPTIONS} -k {folder}", folder=folder)
        try:
            yield Server(folder, pg_ctl)
        finally:
            _run(pg_ctl, "stop", "-w", "-m", "immediate", "-D", data, folder=folder)


_NOBODY = ("nobody", "nogroup")


def _run(*words: str | Path, folder: Path) -> None:
    """The server refuses to be root."""
    user: dict[str, Any] = {"user": _NOBODY[0], "group": _NOBODY[1], "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)


def _program(name: str) -> str:
    newest = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if found := shutil.which(name) or next((str(path) for path in reversed(newest)), None):
        return found
    raise FileNotFoundError(f"{name} is neither on the search path nor under {_DEBIAN}")
