"""Fixtures that stand real programs beside the tests."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from tests.full_disk import FullDisk, mounted
from tests.postgres import Server, running_server

if TYPE_CHECKING:
    from tests.influx_facade import Bucket

# Of real people, under licences of their own; what may be copied is in tests/vectors.
RECORDED: Final = Path(__file__).parents[2] / "shared" / "data"

# How fast the machine is, and what else it does meanwhile, says nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def need(program: str, how: str) -> str:
    """Path of an external program: $NAME_BIN (INFLUXD_BIN, MOSQUITTO_PUB_BIN), else the search path.

    Without it the test skips and says `how` to get it; under CI=true it fails, for there nothing may skip.
    """
    variable = f"{program.upper().replace('-', '_')}_BIN"
    wanted = os.environ.get(variable, program)
    # Debian keeps daemons in /usr/sbin, which is not on the path of ordinary users.
    found = shutil.which(wanted, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if not found:
        go_without(f"{wanted} NOT FOUND: {how}, or set {variable}")
    return found


def go_without(missing: str) -> NoReturn:
    """Skip loudly, or fail where nothing may skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what reads recorded series that are not here; it is no program that could be fetched."""
    left_out = [] if RECORDED.is_dir() else [item for item in items if item.get_closest_marker("recorded")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tell what the tasks of a test that hangs wait for, before faulthandler ends the run: it knows threads only."""
    limit = 0.9 * float(item.config.getini("faulthandler_timeout"))
    timer = Timer(limit, _tell_what_tasks_wait_for, [item])
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def _tell_what_tasks_wait_for(item: pytest.Item) -> None:
    lines = [f"\n{item.nodeid} hangs. Its tasks, each with what it waits for, the innermost last:"]
    for task in [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]:
        lines.append(f"- {task.get_name()}, cancelled {task.cancelling()} times")
        waiting: Any = task.get_coro()
        while frame := getattr(waiting, "cr_frame", None):
            lines.append(f"    {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            waiting = waiting.cr_await
    capture = item.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        sys.stderr.write("\n".join([*lines, ""]))


@pytest.fixture(scope="session")
def influx_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real InfluxDB 1.6.7 engine that lives for the session."""
    from tests.influx_facade import running_engine  # here: it imports more than all the other tests need together

    influxd = need(
        "influxd", "`apt-get download influxdb && dpkg-deb -x influxdb_*.deb DIR` gives DIR/usr/bin/influxd"
    )
    with running_engine(influxd, tmp_path_factory.mktemp("influxd")) as url:
        yield url


@pytest.fixture
def influx_bucket(influx_engine: str) -> Iterator[Bucket]:
    """A fresh database of the engine behind a v2 facade of its own."""
    from tests.influx_facade import Bucket, Facade, statement

    name = f"ward_{uuid4().hex}"
    statement(
        influx_engine, f'CREATE DATABASE "{name}" WITH DURATION INF REPLICATION 1 SHARD DURATION 7d NAME "autogen"'
    )
    with Facade(influx_engine).serving() as facade:
        yield Bucket(engine=influx_engine, name=name, facade=facade)
    statement(influx_engine, f'DROP DATABASE "{name}"')


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A real PostgreSQL server of its own that lives for the session."""
    try:
        server = running_server()
    except FileNotFoundError as error:
        go_without(f"NO POSTGRESQL TO START ({error}): `apt-get install postgresql` gives initdb and pg_ctl")
    with server as started:
        yield started


@pytest.fixture
def postgresql_url(postgresql: Server) -> Iterator[str]:
    """A fresh, empty database of the PostgreSQL server."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for the house: every test that asks for one runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hub.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[FullDisk]:
    """A small disk of its own to be filled."""
    where = tmp_path / "disk"
    where.mkdir()
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(where))
        except (OSError, subprocess.CalledProcessError):
            go_without("NO DISK TO FILL: mounting a tmpfs takes root, or sudo without a password")
        yield disk


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the Mosquitto broker."""
    return need("mosquitto", "`apt-get install mosquitto`")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium."""
    return need("chromium", "`apt-get install chromium`")
