"""A backup is made while the hub runs, and a house opens on it; the unit of systemd is one."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from alerts.book import Book
from gateway.backup import _empty, backup
from gateway.cli import _parser, main
from gateway.house import HouseError
from gateway.people import DeviceKind
from gateway.schema import open_database
from ingest.accounts import balance
from ingest.journal import Journal
from ingest.journal_care import verify
from ingest.progress import Progress
from tests.conftest import need
from tests.gateway.test_accounts_and_letters import send
from tests.real_house import HandClock, enrol, real_house, stored

UNIT = Path(__file__).parents[2] / "deploy" / "homeward.service"


async def test_a_running_hub_is_copied_and_a_house_goes_on_with_the_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, 5.6, 5.7)
        await send(house, 5.5, device="cgm-unknown")
        copy = tmp_path / "backups" / "one"
        assert await asyncio.to_thread(main, ["backup", str(copy), "--data", str(tmp_path / "data")]) == 0
        size = (copy / "hub.db").stat().st_size / 1e6
        assert capsys.readouterr().out.startswith(f"{copy}: hub.db {size:.1f} MB, sessions.db 0.0 MB, journal.db ")
        await send(house, 9.9, minute=10)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["one"]
    assert {path.stat().st_mode & 0o077 for path in (copy, *copy.iterdir())} == {0}
    assert verify(copy / "journal.db") == []
    shutil.copytree(copy, tmp_path / "new" / "data")
    async with real_house(tmp_path / "new", HandClock()) as restored:
        assert [patient.id for patient in restored.people.patients()] == ["anna"]
        assert len(await stored(restored, 2)) == 2
        assert [letter.device for letter in restored.journal.letters()] == ["cgm-unknown"]
        await send(restored, 9.9, minute=10)
        assert [one.sent for one in await stored(restored, 3)] == [(5.6,), (5.7,), (9.9,)]
        await restored.tick()
        assert balance(restored.accounts()) == []


async def test_copies_that_are_made_under_load_are_each_of_one_moment(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)

        async def load() -> None:
            for minute in range(10_000):
                await send(house, 5.0 + minute % 50 / 10, minute=-minute)

        loading = asyncio.create_task(load())
        for number in range(5):
            before = house.journal.tail()
            await stored(house, before + 3)
            await asyncio.to_thread(backup, tmp_path / "data", tmp_path / f"copy-{number}")
        loading.cancel()
    for number in range(5):
        copy = tmp_path / f"copy-{number}"
        engine = open_database(f"sqlite:///{copy / 'hub.db'}")
        watched = Book(engine, routes={}).cursor()
        engine.dispose()
        with closing(Journal(copy / "journal.db")) as journal:
            assert journal.tail() >= 3 * (number + 1)
            assert watched <= journal.tail(), "a reading with a number that was watched already would never be"
            assert balance(journal.accounts({"watch": Progress(upto=watched)})) == []
        assert verify(copy / "journal.db") == []


def test_a_backup_that_cannot_be_made_leaves_nothing_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    assert main(["backup", str(copy), "--data", str(data)]) == 2
    assert "there is no journal in" in capsys.readouterr().err
    Journal(data / "journal.db").close()
    (data / "hub.db").write_bytes(b"no database at all" * 100)
    assert main(["backup", str(copy), "--data", str(data)]) == 2
    assert "could not be copied" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    copy.mkdir()
    assert main(["backup", str(copy), "--data", str(data)]) == 2
    assert f"{copy} is there already" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(HouseError, match="cannot write a backup"):
        backup(data, tmp_path / "file" / "copy")


def test_what_a_killed_backup_left_is_removed_by_the_next_one_and_nothing_else_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy, left = tmp_path / "data", tmp_path / "copy", tmp_path / "copy.partial"
    Journal(data / "journal.db").close()
    command = ["backup", str(copy), "--data", str(data)]
    program = (
        "import os, sys, gateway.backup as b; b._sync = lambda _: os.kill(os.getpid(), 9); "
        "b.backup(*map(b.Path, sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(data), str(copy)], check=False)
    assert killed.returncode == -9
    assert [path.name for path in left.iterdir()] == ["journal.db"]
    (left / "journal.db-journal").touch()
    (left / "letter.txt").touch()
    assert main(command) == 2
    assert f"{left} holds letter.txt, which is of no backup; move it away" in capsys.readouterr().err
    assert (left / "journal.db").exists()
    (left / "letter.txt").unlink()
    with _empty(left):
        (left / "hub.db").touch()
        assert main(command) == 2
        assert f"another backup writes to {left}; wait for its end" in capsys.readouterr().err
        assert (left / "hub.db").exists()
    left.mkdir()
    (left / "hub.db").touch()
    assert main(command) == 0
    assert [path.name for path in copy.iterdir()] == ["journal.db"]
    assert not left.exists()


def test_a_backup_into_the_data_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(tmp_path / "journal.db").close()
    for folder in (tmp_path / "copy", tmp_path / "deep" / "copy", tmp_path / "x" / ".." / "copy"):
        assert main(["backup", str(folder), "--data", str(tmp_path)]) == 2
        assert "is in the data directory, and would be lost with it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_unit_is_one_that_systemd_takes_and_runs_the_hub(tmp_path: Path) -> None:
    analyze = need("systemd-analyze", "`apt-get install systemd`")
    text = UNIT.read_text(encoding="utf-8")
    (program, *arguments) = (
        next(line for line in text.splitlines() if line.startswith("ExecStart=")).split("=")[1].split()
    )
    assert _parser().parse_args(arguments).command == "run"
    unit = tmp_path / "homeward.service"
    unit.write_text(text.replace(program, shutil.which("true") or ""), encoding="utf-8")
    said = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in said.stderr.splitlines() if "homeward" in line] == []
    command = [analyze, "security", "--offline=yes", "--threshold=25", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout
