"""The command line as people and scripts use it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import LETTER_STATES, main
from ingest.journal import Arrival, Journal, LetterState
from ingest.reading import DecodeError, Packet
from tests.real_house import NOW

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ble.json").read_text(encoding="utf-8"))["vectors"]
PLAIN = [vector for vector in VECTORS if "quirk" not in vector]


@pytest.mark.parametrize("vector", PLAIN, ids=lambda vector: vector["id"])
def test_decode_prints_what_the_vectors_expect(vector: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["decode", vector["uuid"].upper(), vector["hex"], "--json-errors"])
    said = capsys.readouterr()
    printed = [json.loads(line) for line in said.out.splitlines()]
    if "error" in vector:
        assert status == 2
        assert printed[0]["error"] == vector["error"]
        assert said.err
        return
    expected = vector["expect"] if isinstance(vector["expect"], list) else [vector["expect"]]
    assert (status, said.err) == (0, "")
    assert [{name: found.get(name) for name in wanted} for found, wanted in zip(printed, expected, strict=True)] == (
        expected
    )


def test_a_refusal_is_a_reason_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "2A18", "0b"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "too_short: sequence number needs 2 octets" in said.err


def test_what_is_not_hexadecimal_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "2A18", "0z", "--json-errors"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "invalid"


def test_decoding_loads_no_database_and_no_web_server() -> None:
    program = "import sys, gateway.cli; gateway.cli.main(['decode', '2A18', '0b']); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"sqlalchemy", "fastapi", "numpy", "bleak", "plotly"} & set(loaded)


def test_letters_are_listed_by_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(LETTER_STATES) == {state.value for state in LetterState}
    journal = Journal(tmp_path / "journal.db")
    packet = Packet(link="listener", sender="d-1", channel="json", data=b"\xff", received_at=NOW)
    journal.append([Arrival(packet=packet, outcomes=(DecodeError("invalid", "not JSON", 4),))])
    journal.close()
    assert main(["letters", "--data", str(tmp_path)]) == 0
    assert "d-1  invalid: not JSON (at offset 4)" in capsys.readouterr().out
    assert main(["letters", "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == "ff"
    assert main(["letters", "--data", str(tmp_path), "--state", "discarded"]) == 0
    assert capsys.readouterr().out == "No letters are discarded.\n"


def test_letters_of_no_journal_say_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["letters", "--data", str(tmp_path)]) == 2
    assert "there is no journal" in capsys.readouterr().err


def test_check_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port, closed = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        config = tmp_path / "homeward.toml"
        config.write_text(
            f'[web]\nport = {port}\n[broker]\nhost = "127.0.0.1"\nport = {closed}\n'
            f'[influxdb]\nurl = "http://127.0.0.1:{closed}"\ntoken = "t"\nbucket = "b"\n'
            f'[email]\nhost = "127.0.0.1"\nport = {closed}\nsender = "a@b.c"\nrecipients = ["d@e.f"]\n',
            encoding="utf-8",
        )
        assert main(["check", "-c", str(config)]) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["ok   data directory"].endswith("can be written")
    assert "program" in lines["FAIL page"]
    for part in ("broker", "influxdb", "email"):
        assert str(closed) in lines[f"FAIL {part}"]


def test_a_mistake_in_the_configuration_is_told_and_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text("[web]\nprot = 1\n", encoding="utf-8")
    for command in ("run", "check", "letters"):
        assert main([command, "-c", str(config)]) == 2
        assert "[web] prot: unknown key; did you mean port?" in capsys.readouterr().err
