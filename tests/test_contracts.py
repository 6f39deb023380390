"""The directions of the house hold, and breaking one is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("gateway", "ingest", "alerts", "simulators")


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the packages that stand in `house`, not on the installed ones."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-P", "-c", program, "--no-cache"]
    search = os.pathsep.join([str(house), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command, cwd=house, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": search}, timeout=120
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("ingest/admit.py", "import alerts.alert", "Rooms look downward"),
        ("alerts/sensor.py", "import gateway.clock", "Rooms look downward"),
        ("alerts/sensor.py", "import ingest.journal", "alerts knows a reading and a vital"),
        ("simulators/encode.py", "import ingest.gatt", "simulators share no code"),
        ("gateway/clock.py", "import simulators.encode", "nothing that goes to a patient"),
        ("ingest/decode.py", "import asyncio", "the core does no I/O"),
        ("ingest/vital.py", "from time import monotonic", "the core does no I/O"),
    ],
)
def test_breaking_a_contract_is_noticed(copy: Path, file: str, line: str, contract: str) -> None:
    module = copy / file
    module.write_text(f"{module.read_text()}\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode != 0
    broken = [said for said in result.stdout.splitlines() if " BROKEN" in said]
    assert any(said.startswith(contract) for said in broken), result.stdout + result.stderr


def test_every_module_outside_the_shells_is_in_the_pure_contract() -> None:
    """A new module of the core must not stay outside by being forgotten."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [core] = [contract for contract in contracts if contract["name"].startswith("the core")]
    shells = {
        "ingest.influx",
        "ingest.journal",
        "ingest.journal_care",
        "ingest.journal_format",
        "ingest.checkpoint",
        "ingest.packet_log",
        "alerts.audit",
        "alerts.book",
        "alerts.channels",
        "alerts.database",
        "alerts.escalation_book",
        "alerts.follow_up_book",
        "alerts.messages",
        "alerts.outbox",
        "alerts.team_book",
        "alerts.quality_book",
        "alerts.record",
        "alerts.review_book",
    }
    found = {
        f"{room}.{path.stem}"
        for room in ("ingest", "alerts")
        for path in (ROOT / room).glob("*.py")
        if path.stem != "__init__"
    }
    pure_links = {
        "ingest.links.mqtt_wire",
        "ingest.links.refusals",
        "ingest.links.topics",
    }  # the other links are shells
    assert (found - shells) | pure_links == set(core["source_modules"])
