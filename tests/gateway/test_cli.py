"""The command line as people and scripts use it."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from gateway.check import check
from gateway.cli import LETTER_REASONS, LETTER_STATES, main
from gateway.config import load
from gateway.people import People
from gateway.schema import open_database
from gateway.words import REASONS
from ingest.journal import Arrival, Journal, JournalError, LetterState
from ingest.reading import DecodeError, Packet, Refusal, RefusalReason
from tests.full_disk import FullDisk
from tests.peers import certificate
from tests.real_house import NOW, HandClock, real_house

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


@pytest.mark.parametrize("written", ["ff07", "FF 07", "ff:07", "0xFF 0x07", "ff-07"])
def test_octets_may_be_written_as_people_copy_them(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "sfloat", written]) == 0
    assert json.loads(capsys.readouterr().out) == {"value": "NaN"}


def test_half_an_octet_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "sfloat", "ff0"]) == 2
    assert "3 hexadecimal digits, but an octet needs two" in capsys.readouterr().err


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


@pytest.fixture
def letter(tmp_path: Path) -> int:
    """A letter that waits in a journal in `tmp_path`; its text would steer a terminal."""
    journal = Journal(tmp_path / "journal.db")
    packet = Packet(link="listener", sender="d-1", channel="json", data=b"\x1b[2Jno\nJSON", received_at=NOW)
    journal.append([Arrival(packet=packet, outcomes=(DecodeError("invalid", "not JSON", 4),))])
    (letter,) = journal.letters()
    journal.close()
    return letter.id


def test_a_letter_is_shown_whole(tmp_path: Path, letter: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["letters", "--data", str(tmp_path), "show", str(letter)]) == 0
    shown = capsys.readouterr().out
    for said in (f"{letter}, waiting", "d-1", "not JSON (at offset 4)", "1b 5b 32 4a", r"\x1b[2Jno\x0aJSON"):
        assert said in shown
    assert "\x1b" not in shown
    assert main(["letters", "show", str(letter), "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == b"\x1b[2Jno\nJSON".hex()
    assert main(["letters", "show", str(letter + 1), "--data", str(tmp_path)]) == 2
    assert f"there is no letter {letter + 1}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["letters"], ["journal", "status"]])
def test_before_the_first_start_nobody_asks_for_the_configuration_that_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text(f'data = "{tmp_path / "data"}"\n')
    assert main([*command, "-c", str(config)]) == 2
    said = capsys.readouterr().err
    assert "`homeward run` makes it at its first start" in said
    assert "-c" not in said.split("there is no journal at")[1].split(":", 1)[1]


def test_a_letter_without_octets_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Journal(tmp_path / "journal.db")) as journal:
        packet = Packet(link="listener", sender="d-1", channel="json", data=b"", received_at=NOW)
        journal.append([Arrival(packet=packet, outcomes=(DecodeError("invalid", "not MQTT as it should be"),))])
    assert main(["letters", "--data", str(tmp_path), "show", "1"]) == 0
    assert "octets   none\n" in capsys.readouterr().out


def test_the_parts_of_a_letter_are_counted_from_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Journal(tmp_path / "journal.db")) as journal:
        packet = Packet(link="listener", sender="d-1", channel="json", data=b"[]", received_at=NOW)
        fault = DecodeError("invalid", "value: is missing")
        unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="d-1")
        journal.append([Arrival(packet=packet, outcomes=(unknown, fault, fault))])
    assert main(["letters", "--data", str(tmp_path), "show", "2"]) == 0
    assert "parts    2, 3\n" in capsys.readouterr().out


def test_a_letter_is_discarded_once_and_with_a_reason(
    tmp_path: Path, letter: int, capsys: pytest.CaptureFixture[str]
) -> None:
    discard = ["letters", "discard", str(letter), "--data", str(tmp_path)]
    for refused in (discard, [*discard, "--because", " "], [*discard[:2], "x", "--because", "y"]):
        with pytest.raises(SystemExit) as stopped:
            main(refused)
        assert stopped.value.code == 2
    capsys.readouterr()
    assert main([*discard, "--because", "a test of the installer"]) == 0
    assert main(["letters", "--data", str(tmp_path)]) == 0
    assert "No letters are waiting." in capsys.readouterr().out
    assert main(["letters", "--data", str(tmp_path), "--state", "discarded"]) == 0
    assert "discarded: a test of the installer" in capsys.readouterr().out
    assert main([*discard, "--because", "again"]) == 1
    assert "does not wait: it is discarded" in capsys.readouterr().err


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Five letters of d-1 and d-2, of two reasons, in a journal in `tmp_path`; nothing is known of the devices."""
    with closing(Journal(tmp_path / "journal.db")) as journal:
        for number, device in enumerate(("d-1", "d-1", "d-2", "d-1", "d-2")):
            packet = Packet(link="listener", sender=device, channel="json", data=b"%d" % number, received_at=NOW)
            unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device=device)
            journal.append([Arrival(packet=packet, outcomes=(DecodeError("invalid", "-") if number else unknown,))])
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str]) -> list[int]:
    return [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]


def test_letters_are_chosen_by_device_reason_and_number(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(many)]
    assert main(["letters", *data, "--limit", "2"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert said.err == "2 of 5 shown; --before 4 shows older ones\n"
    assert main(["letters", *data, "--limit", "2", "--before", "4"]) == 0
    assert capsys.readouterr().err == "2 of 3 shown; --before 2 shows older ones\n"
    for choice, expected in (
        (["--before", "4"], [3, 2, 1]),
        (["--device", "d-2"], [5, 3]),
        (["--reason", "invalid", "--device", "d-1"], [4, 2]),
        (["--reason", "unassigned"], [1]),
    ):
        assert main(["letters", "list", *data, *choice]) == 0
        assert (said := capsys.readouterr()).err == "", "all of them are shown"
        assert [int(line.split()[0]) for line in said.out.splitlines()] == expected
        assert main(["letters", *choice, "list", *data]) == 0
        assert listed(capsys) == expected
    assert main(["letters", *data, "--device", "d-9"]) == 0
    assert capsys.readouterr().out == "No such letters are waiting.\n"
    for action in ("list", "retry"):
        with pytest.raises(SystemExit):
            main(["letters", action, *data, "--reason", "bogus"])
        assert "choose from 'unassigned', 'no-value'" in capsys.readouterr().err


def test_the_reasons_of_the_command_line_are_those_of_letters() -> None:
    assert set(LETTER_REASONS) == set(REASONS)


def test_several_letters_are_discarded_after_a_question(
    many: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    discard = ["letters", "discard", "--data", str(many), "--because", "a test"]
    assert main(discard) == 2
    assert "by their numbers, or with --device or --reason" in capsys.readouterr().err
    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert main([*discard, "--device", "d-1", "--reason", "invalid"]) == 1
        said = capsys.readouterr()
        assert said.out == "Discard 2 letters? [y/N] "
        assert said.err == "Nothing was discarded.\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main([*discard, "--device", "d-1", "--reason", "invalid"]) == 0
    assert main([*discard, "3", "1", "--yes"]) == 0
    capsys.readouterr()
    assert main(["letters", "--data", str(many)]) == 0
    assert listed(capsys) == [5]
    assert main(["letters", "--data", str(many), "--state", "discarded"]) == 0
    assert listed(capsys) == [4, 3, 2, 1]


def test_a_discarded_letter_is_taken_back_by_trying_it_again(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(many)]
    People(open_database(f"sqlite:///{many / 'hub.db'}"))
    assert main(["letters", "discard", "2", *data, "--because", "a test"]) == 0
    assert main(["letters", "retry", "2", *data]) == 1
    assert "Letter 2 still waits" in capsys.readouterr().out
    assert main(["letters", *data]) == 0
    assert listed(capsys) == [5, 4, 3, 2, 1]
    assert main(["letters", "discard", "2", *data, "--because", "a test"]) == 0
    with closing(Journal(many / "journal.db")) as journal:
        same = Packet(link="listener", sender="d-1", channel="json", data=b"1", received_at=NOW)
        journal.append([Arrival(packet=same, outcomes=(DecodeError("invalid", "-"),))])
    capsys.readouterr()
    assert main(["letters", "retry", "2", *data]) == 1
    assert capsys.readouterr().out == "Letter 2 is still discarded: the same waits as another letter\n"


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


@pytest.mark.parametrize(
    ("host", "base_url", "warned"),
    [
        ("0.0.0.0", "", True),
        ("0.0.0.0", "http://hub.example", True),
        ("0.0.0.0", "https://hub.example", False),
        ("127.0.0.1", "", False),
    ],
)
def test_check_warns_of_a_page_that_others_reach_without_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, base_url: str, warned: bool
) -> None:
    config = tmp_path / "homeward.toml"
    named = f'base_url = "{base_url}"\n' if base_url else ""
    config.write_text(
        f'[web]\nhost = "{host}"\nport = 0\ntoken = "t"\n{named}[listener]\nport = 0\n', encoding="utf-8"
    )
    lines = check_lines(config, capsys)
    assert ("FAIL page TLS" in lines) is warned
    if warned:
        assert "put a reverse proxy with TLS before it" in lines["FAIL page TLS"]


@pytest.mark.parametrize(
    ("web", "channel", "mark"),
    [
        ("", '[[channel]]\nname = "app"\nkind = "webhook"\nurl = "https://app.example"\n', "FAIL"),
        ("", '[webhook]\nurl = "https://chat.example"\n', "FAIL"),
        ('host = "0.0.0.0"\ntoken = "t"\n', '[webhook]\nurl = "https://chat.example"\n', "FAIL"),
        ('base_url = "http://localhost:8080"\n', '[webhook]\nurl = "https://chat.example"\n', "FAIL"),
        ('base_url = "https://hub.example"\n', '[webhook]\nurl = "https://chat.example"\n', "ok  "),
        ("", "", None),
    ],
)
def test_check_warns_of_links_that_nobody_else_can_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], web: str, channel: str, mark: str | None
) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text(f"[web]\nport = 0\n{web}[listener]\nport = 0\n{channel}", encoding="utf-8")
    lines = check_lines(config, capsys)
    assert [line for line in lines if line.endswith(" links")] == ([f"{mark} links"] if mark else [])
    if mark == "FAIL":
        assert "which nobody can open on another computer" in lines["FAIL links"]
        assert 'write under [web] how this Homeward is reached from there, as in base_url = "' in lines["FAIL links"]


def test_check_says_where_no_data_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also to root, whom every directory calls its owner."""
    config = tmp_path / "homeward.toml"
    config.write_text('data = "/proc/nope"\n[web]\nport = 0\n[listener]\nport = 0\n', encoding="utf-8")
    lines = check_lines(config, capsys)
    assert re.search("^/proc cannot be written: .*choose another `data`", lines["FAIL data directory"])


def test_check_finds_a_store_that_run_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text('data = "data"\n[web]\nport = 0\n[listener]\nport = 0\n', encoding="utf-8")
    path = tmp_path / "data" / "journal.db"
    Journal(path).close()
    assert main(["check", "-c", str(config)]) == 0
    assert "FAIL" not in capsys.readouterr().out
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(JournalError):
        Journal(path)
    assert main(["check", "-c", str(config)]) == 1
    said = capsys.readouterr().out
    assert f"FAIL journal.db: {path} cannot be read: database disk image is malformed" in said
    assert "restore it from a backup" in said


def test_check_says_that_the_disk_is_full(full_disk: FullDisk, capsys: pytest.CaptureFixture[str]) -> None:
    config = full_disk.path / "homeward.toml"
    config.write_text('data = "data"\n[web]\nport = 0\n[listener]\nport = 0\n', encoding="utf-8")
    assert "make room" in check_lines(config, capsys)["FAIL disk"], "8 MiB are few"
    full_disk.fill()
    assert "No space left on device" in check_lines(config, capsys)["FAIL data directory"]


def check_lines(config: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    main(["check", "-c", str(config)])
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def test_check_says_what_is_wrong_with_certificate_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    encrypted = tmp_path / "encrypted.key"
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    locked = serialization.BestAvailableEncryption(b"x")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    config = tmp_path / "homeward.toml"
    for chain, own_key, mark, says in (
        (files.certificate, files.key, "ok  ", "fit together"),
        (tmp_path / "none.pem", files.key, "FAIL", "certificate .*none.pem cannot be read: No such file"),
        (files.certificate, tmp_path, "FAIL", "key .* cannot be read: Is a directory"),
        (files.certificate, other.key, "FAIL", "KEY_VALUES_MISMATCH"),
        (files.key, files.key, "FAIL", "they have to be the PEM certificate"),
        (files.certificate, encrypted, "FAIL", "without a password"),
    ):
        config.write_text(
            f'[web]\nport = 0\n[listener]\nport = 0\ntls_certificate = "{chain}"\ntls_key = "{own_key}"\n',
            encoding="utf-8",
        )
        assert re.search(says, check_lines(config, capsys)[f"{mark} listener TLS"])


def test_check_does_not_call_the_webhook_and_does_not_show_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text(
        '[web]\nport = 0\n[listener]\nport = 0\n[webhook]\nurl = "https://u:s3cret@chat.clinic/s3cret?k=s3cret"\n',
        encoding="utf-8",
    )
    said = check_lines(config, capsys)["ok   webhook"]
    assert said.startswith("https://chat.clinic was not tried")
    assert "s3cret" not in said


@pytest.mark.parametrize(("arguments", "says"), [((), "required: what\n"), (("--help",), "simulate ble --help")])
def test_simulate_says_what_it_can_be(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", *arguments])
    said = capsys.readouterr()
    assert says in said.out + said.err


async def test_the_address_of_a_page_that_listens_everywhere_can_be_opened(tmp_path: Path) -> None:
    web = {"host": "0.0.0.0", "port": 0, "token": "t"}
    async with real_house(tmp_path, HandClock(), web=web) as house, httpx.AsyncClient(trust_env=False) as client:
        assert house.address.startswith("http://127.0.0.1:")
        assert (await client.get(f"{house.address}/login")).status_code == 200


async def test_check_beside_a_running_hub_says_so(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        assert house.listener is not None
        port = house.address.rpartition(":")[2]
        (tmp_path / "homeward.toml").write_text(
            f"[web]\nport = {port}\n[listener]\nport = {house.listener.port}\n", encoding="utf-8"
        )
        config = load(tmp_path / "homeward.toml")
        beside = {finding.part: finding for finding in await check(config.model_copy(update={"data": tmp_path}))}
        same = {
            finding.part: finding for finding in await check(config.model_copy(update={"data": tmp_path / "data"}))
        }
    assert {part: finding.ok for part, finding in same.items()} == dict.fromkeys(
        ("data directory", "disk", "database", "listener", "page"), True
    )
    assert "by a Homeward that runs now" in same["data directory"].says
    assert "as it should be" in same["page"].says
    assert not beside["page"].ok
    assert beside["page"].says == (
        f"127.0.0.1:{port} cannot be opened: Address already in use; stop the program there, or choose another port"
    )
    assert not beside["listener"].ok


def test_a_mistake_in_the_configuration_is_told_and_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "homeward.toml"
    config.write_text("[web]\nprot = 1\n", encoding="utf-8")
    for command in ("run", "check", "letters"):
        assert main([command, "-c", str(config)]) == 2
        assert "[web] prot: unknown key; did you mean port?" in capsys.readouterr().err


def test_every_reason_and_state_of_a_letter_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "letters.md").read_text(encoding="utf-8")
    described = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert re.findall("`([a-z_-]+)`", "".join(described)) == [*LETTER_REASONS, *LETTER_STATES]
