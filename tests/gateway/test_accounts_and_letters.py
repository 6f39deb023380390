"""Accounts, metrics, letters and the journal's commands, on the real house and without it."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import VITALS, main
from gateway.house import House
from gateway.people import DeviceKind
from ingest.accounts import balance
from ingest.export import COLUMNS
from ingest.journal import Arrival, Journal
from ingest.progress import Progress
from ingest.reading import DecodeError, Packet, Refusal, RefusalReason, to_us
from ingest.vital import Unit, Vital
from tests.influx_facade import Bucket, statement
from tests.ingest.test_journal import append, reading
from tests.peers import free_port
from tests.real_house import NOW, HandClock, all_sent, enrol, real_house, stored, until

SAMPLE = re.compile(r'^([a-z_]+)(?:\{([a-z]+)="((?:[^"\\]|\\.)*)"\})? (\S+)$')


def figures(text: str) -> dict[tuple[str, str], float]:
    """(name, label's value) -> value; every line must be a sample of a family that was announced."""
    found, known = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            known[name] = kind
        elif not line.startswith("# HELP "):
            sample = SAMPLE.match(line)
            assert sample, line
            name, _, label, value = sample.groups()
            assert known[name] == ("counter" if name.endswith("_total") else "gauge")
            found[name, label or ""] = float(value)
    return found


def packet(value: float, minute: int = 0, device: str = "cgm-1") -> Packet:
    """A sensor's glucose in mmol/L, taken half an hour ago or so many minutes later."""
    time = NOW - timedelta(minutes=30 - minute)
    said = {"version": 1, "device": device, "kind": "cgm_glucose", "value": value, "unit": "mmol/L"}
    data = json.dumps({**said, "time": time.isoformat()}).encode()
    return Packet(link="listener", sender=device, channel="json", data=data, received_at=NOW)


async def send(house: House, *values: float, minute: int = 0, device: str = "cgm-1") -> None:
    """Payloads of a sensor; each is on disk when it returns."""
    for value in values:
        settled: list[bool] = []
        await house.path.deliver(packet(value, minute, device), lambda: settled.append(True))  # noqa: B023
        await until(lambda: bool(settled))  # noqa: B023


def config_of(tmp_path: Path, house: House, **influx: str) -> Path:
    path = tmp_path / "homeward.toml"
    port = house.address.rpartition(":")[2]
    section = "".join(f"{key} = {json.dumps(value)}\n" for key, value in influx.items())
    path.write_text(
        f'data = "data"\n[web]\nport = {port}\n' + (f"[influxdb]\n{section}" if influx else ""), encoding="utf-8"
    )
    return path


async def test_the_metrics_say_what_came_and_name_nobody(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, 5.6, 5.6, 5.7)
        await send(house, 5.5, device="cgm-unknown")
        await house.tick()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{house.address}/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert not re.search("anna|cgm-1|cgm-unknown", answer.text)
        found = figures(answer.text)
        assert found["homeward_packets_total", "listener"] == 4
        assert found["homeward_parts_arrived_total", ""] == found["homeward_parts_decoded_total", ""] == 4
        assert found["homeward_readings_admitted_total", ""] == 1
        assert found["homeward_readings_revised_total", ""] == 1
        assert found["homeward_readings_duplicate_total", ""] == 1
        assert found["homeward_readings_refused_total", "unassigned"] == 1
        assert found["homeward_follower_confirmed_total", "watch"] == 2
        assert found["homeward_letters_waiting", ""] == found["homeward_accounts_balanced", ""] == 1
        assert found["homeward_part_ok", "journal"] == 1


async def test_the_metrics_ask_for_the_token(tmp_path: Path) -> None:
    async with (
        real_house(tmp_path, HandClock(), web={"port": 0, "token": "t0ken"}) as house,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(f"{house.address}/metrics")).status_code == 401
        right = {"Authorization": "Bearer t0ken"}
        assert (await client.get(f"{house.address}/metrics", headers=right)).status_code == 200


async def test_a_revision_is_what_the_rules_and_the_charts_believe(tmp_path: Path) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        for minute in range(-150, 30, 5):
            await send(house, 2.5, minute=minute)
        await house.tick()
        assert {alert.problem for alert in house.book.standing(["anna"]).values()} >= {"glucose-low"}
        for minute in range(-150, 30, 5):
            await send(house, 7.5, minute=minute)
        series = await house.series("anna", Vital.CGM, NOW - timedelta(hours=4), NOW)
        assert set(series.values[:, 0]) == {135.116925}
        await house.tick()
        standing = house.book.standing(["anna"]).get(("anna", "glucose-low"))
        assert standing is None or standing.condition_gone_at == NOW


async def test_status_beside_a_running_hub_and_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, 5.6, 5.7)
        await house.tick()
        config = str(config_of(tmp_path, house))
        assert await in_a_thread(["status", "-c", config]) == 0
        said = capsys.readouterr().out
        assert "arrived   2: decoded 2, undecodable 0" in said
        assert "watch     confirmed 2, waiting 0" in said
        assert "ok   journal: Readings are kept as they come." in said
        assert "ok   accounts: everything" in said
        assert f"as of {NOW:%Y-%m-%d %H:%M:%SZ}" in said
        # The data directory is enough to find the hub that uses it.
        assert await in_a_thread(["status", "--data", str(tmp_path / "data")]) == 0
        again = capsys.readouterr().out
        assert [line for line in again.splitlines() if "disk" not in line] == [
            line for line in said.splitlines() if "disk" not in line
        ]
        await send(house, 5.5, device="cgm-unknown")
        assert await in_a_thread(["status", "-c", config]) == 1
        said = capsys.readouterr().out
        assert "letters   1 wait" in said
        assert "WAIT letters: 1 wait for a person; `homeward letters` says what helps" in said
        assert ("ok   letters" in said, "FAIL" in said) == (False, False)
        (tmp_path / "data" / "lock").write_text(f"http://127.0.0.1:{free_port()}", encoding="ascii")
        assert await in_a_thread(["status", "-c", config]) == 1
        said = capsys.readouterr().out
        assert "arrived   3" in said
        assert "FAIL hub: a hub uses this data directory but does not answer" in said
    assert main(["status", "-c", config]) == 2
    assert "FAIL hub: it does not run" in capsys.readouterr().out
    assert main(["status", "-c", config, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["health"], told["faults"], told["accounts"]["revised"]) == (None, [], 1)


async def in_a_thread(arguments: list[str]) -> int:
    """The command blocks, and the hub it asks runs on this loop."""
    return await asyncio.to_thread(main, arguments)


def conflict_of_old(journal: Journal, value: float) -> int:
    """A letter as a journal from before revisions holds it."""
    refusal = Refusal(reason=RefusalReason.IMPOSSIBLE, because="of old", device="cgm-1")
    journal.append([Arrival(packet=packet(value), outcomes=(refusal,))])
    return journal.letters()[0].id


async def test_letters_are_tried_again_beside_a_running_hub_and_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with real_house(tmp_path, HandClock()) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await send(house, 5.6)
        config = str(config_of(tmp_path, house))
        beside = conflict_of_old(house.journal, 5.8)
        assert await in_a_thread(["letters", "retry", str(beside), "-c", config]) == 0
        assert f"Letter {beside} is admitted" in capsys.readouterr().out
        assert [one.rev for one in await stored(house, 2)] == [1, 2]
        assert await in_a_thread(["letters", "retry", str(beside), "-c", config]) == 0
        assert capsys.readouterr().out == f"Letter {beside} does not wait: it is admitted\n"
        assert await in_a_thread(["letters", "retry", "99", "-c", config]) == 2
        without = conflict_of_old(house.journal, 5.9)
        unknown = Refusal(reason=RefusalReason.UNASSIGNED, because="pair it", device="cgm-9")
        append(house.journal, unknown, DecodeError("invalid", "junk"))
    assert main(["letters", "retry", "--reason", "impossible", "-c", config]) == 0
    assert f"Letter {without} is admitted" in capsys.readouterr().out
    assert main(["letters", "retry", "-c", config]) == 1
    said = capsys.readouterr().out
    assert said.count("still waits") == 2
    assert f"Letter {without + 1} still waits as letter {without + 3}: " in said
    with closing(Journal(tmp_path / "data" / "journal.db")) as journal:
        assert [one.rev for _, one in journal.since(0, 10)] == [1, 2, 3]
        assert balance(journal.accounts({"watch": Progress()})) == []
    assert main(["letters", "list", "--state", "admitted", "-c", config]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["letters", "list", "--state", "replaced", "-c", config]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f": pair it (it goes on as letter {without + 3})")
    assert main(["letters", "retry", str(without + 1), "-c", config]) == 0
    assert capsys.readouterr().out == f"Letter {without + 1} does not wait: it goes on as letter {without + 3}\n"


async def test_a_letter_that_was_discarded_is_tried_again_by_the_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with real_house(tmp_path, HandClock()) as house, httpx.AsyncClient(trust_env=False) as client:
        client.base_url = httpx.URL(f"{house.address}/api/v1")
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        number = conflict_of_old(house.journal, 5.8)
        for refused in ({}, {"by": "Wu", "because": " "}, {"by": "Wu", "because": "a test", "more": 1}):
            assert (await client.post(f"/letters/{number}/discard", json=refused)).status_code == 422
        discarded = (await client.post(f"/letters/{number}/discard", json={"by": "Wu", "because": "a test"})).json()
        assert (discarded["state"], discarded["because"]) == ("discarded", "of old | discarded: a test (Wu)")
        again = await client.post(f"/letters/{number}/discard", json={"by": "Wu", "because": "a test"})
        assert (again.status_code, again.json()["detail"]) == (409, f"letter {number} does not wait: it is discarded")
        assert (await client.post("/letters/99/discard", json={"by": "Wu", "because": "x"})).status_code == 404
        foreign = {"Origin": "https://elsewhere.example"}
        assert (await client.post(f"/letters/{number}/retry", headers=foreign)).status_code == 403
        assert await in_a_thread(["letters", "retry", str(number), "-c", str(config_of(tmp_path, house))]) == 0
        assert capsys.readouterr().out == f"Letter {number} is admitted\n"
        assert balance(house.accounts()) == []


async def test_a_reading_of_the_gap_is_admitted_when_the_start_of_the_wearing_is_corrected(tmp_path: Path) -> None:
    clock = HandClock()
    async with real_house(tmp_path, clock) as house, httpx.AsyncClient(trust_env=False) as client:
        client.base_url = httpx.URL(house.address)
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        await enrol(house, "bo", "cgm-2", DeviceKind.CGM)
        clock.advance(timedelta(minutes=-60))
        await house.unpair("cgm-1")
        clock.advance(timedelta(minutes=60))
        await house.pair("cgm-1", "anna")
        await send(house, 5.6)  # taken half an hour ago, when nobody wore it
        assert "correct since when it is worn" in house.journal.letters()[0].because
        refused = await client.post(
            "/api/v1/devices/cgm-1/pair", json={"patient": "anna", "since": (NOW - timedelta(hours=2)).isoformat()}
        )
        assert refused.status_code == 409
        detail = (await client.get("/api/v1/devices/cgm-1/wearings")).json()
        number = detail[1]["wearing"]["number"]
        here = f"/api/v1/devices/cgm-1/wearings/{number}"
        late = {"by": "Wu", "since": (NOW + timedelta(minutes=1)).isoformat()}
        assert (await client.patch(here, json=late)).status_code == 422
        assert (await client.patch("/api/v1/devices/cgm-1/wearings/99", json={"by": "Wu"})).status_code == 404
        too_early = {"by": "Wu", "since": (NOW - timedelta(hours=2)).isoformat()}
        assert (await client.patch(here, json=too_early)).status_code == 409
        right = {"by": "Wu", "since": (NOW - timedelta(minutes=45)).isoformat(), "note": "typed late"}
        corrected = (await client.patch(here, json=right)).json()
        assert corrected["wearing"]["since"] == "2026-03-02T19:15:00+08:00"
        assert corrected["stay"] == 0
        assert [one.patient for one in await stored(house, 1)] == ["anna"]
        assert house.journal.letters() == []
        later = {"by": "Wu", "since": (NOW - timedelta(minutes=10)).isoformat()}
        assert (await client.patch(here, json=later)).json()["stay"] == 1, "it was taken before that"
        assert (await client.patch(here, json=right)).json()["stay"] == 0
        # And on the page: it was bo all the time.
        shown = (await client.get("/devices/cgm-1")).text
        assert 'value="2026-03-02T19:15:00"' in shown
        form = {"by": "Li", "patient": "bo", "since": "2026-03-02T19:15:00", "note": "wrong patient"}
        answer = await client.post(f"/devices/cgm-1/wearings/{number}", data=form, follow_redirects=True)
        assert "1 reading that was admitted before is outside of what is corrected; it stays" in answer.text
        assert "wrong patient" in answer.text
        assert "typed late" in answer.text
        await send(house, 6.6, minute=5)
        assert [one.patient for one in await stored(house, 2)] == ["anna", "bo"]
        foreign = {"Origin": "https://elsewhere.example"}
        assert (await client.post(f"/devices/cgm-1/wearings/{number}", data=form, headers=foreign)).status_code == 403
        *_, (last) = (await client.get("/api/v1/devices/cgm-1/wearings")).json()
        assert [(one["by"], one["patient_before"], one["patient"]) for one in last["corrections"]] == [
            ("Wu", "anna", "anna"),
            ("Wu", "anna", "anna"),
            ("Wu", "anna", "anna"),
            ("Li", "anna", "bo"),
        ]
        assert balance(house.accounts()) == []


async def test_a_refused_line_is_sent_again_and_a_bucket_is_filled_again(
    tmp_path: Path, influx_bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = influx_bucket.settings
    influx = {"url": settings.url, "token": settings.token, "org": settings.org, "bucket": settings.bucket}
    influx_bucket.write(f"cgm_glucose,device=x,patient=y glucose=1i {to_us(NOW)}".encode())
    async with real_house(tmp_path, HandClock(), influxdb=influx) as house:
        await enrol(house, "anna", "cgm-1", DeviceKind.CGM)
        config = str(config_of(tmp_path, house, **influx))
        await send(house, 5.6)
        await all_sent(house)
        await house.feel()
        assert house.health()["parts"]["influxdb"]["status"] == "degraded"
        assert await in_a_thread(["letters", "retry", "-c", config]) == 1
        assert "still waits" in (said := capsys.readouterr().out)
        assert "refuses it still (422)" in said
        statement(influx_bucket.engine, 'DROP MEASUREMENT "cgm_glucose"', db=influx_bucket.name)
        assert await in_a_thread(["letters", "retry", "-c", config]) == 0
        assert len(influx_bucket.rows("cgm_glucose")) == 1
        await send(house, 5.9, minute=5)
        await all_sent(house)
        await house.feel()
        assert house.health()["parts"]["influxdb"]["status"] == "ok"

        statement(influx_bucket.engine, 'DROP MEASUREMENT "cgm_glucose"', db=influx_bucket.name)
        assert await in_a_thread(["journal", "refill", "influxdb", "-c", config]) == 0
        assert "will get all 2 readings again" in capsys.readouterr().out
        await house.upkeep()
        await all_sent(house)
        assert len(influx_bucket.rows("cgm_glucose")) == 2
        assert balance(house.journal.accounts(house.progress())) == []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with five readings of two patients and no hub."""
    with closing(Journal(tmp_path / "journal.db")) as journal:
        cuff: dict[str, Any] = {
            "patient": "bo",
            "device": "cuff",
            "vital": Vital.BLOOD_PRESSURE,
            "sent": (18.0, 11.0, None, 60.0),
            "values": (135.011, 82.5068, None, 60.0),
            "unit": Unit.KPA,
        }
        append(journal, reading(0, 100.0), reading(0, 101.0), reading(5, None), reading(6, **cuff))
    return tmp_path


def test_the_choices_of_the_command_line_are_the_vitals() -> None:
    assert set(VITALS) == set(Vital)


def test_export_as_csv_and_as_json_lines(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = data / "all.csv"
    assert main(["journal", "export", "--data", str(data), "-o", str(target)]) == 0
    assert "4 readings and revisions written" in capsys.readouterr().err
    assert target.stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(target.open(encoding="utf-8", newline="")))
    told = ("component", "value", "unit", "sent", "sent_unit", "revision")
    assert [tuple(row[column] for column in told) for row in rows] == [
        ("glucose", "100.0", "mg/dL", "100.0", "mg/dL", "1"),
        ("glucose", "101.0", "mg/dL", "101.0", "mg/dL", "2"),
        ("", "", "", "", "", "1"),
        ("systolic", "135.011", "mmHg", "18.0", "kPa", "1"),
        ("diastolic", "82.5068", "mmHg", "11.0", "kPa", "1"),
        ("pulse", "60.0", "1/min", "60.0", "1/min", "1"),
    ]
    assert rows[0]["taken_at"] == "2026-03-02T08:00:00+00:00"
    assert main(["journal", "export", "--data", str(data), "-o", str(target)]) == 2  # it is there already
    capsys.readouterr()
    chosen = ["--patient", "anna", "--vital", "cgm_glucose", "--since", "2026-03-02T16:01+08:00"]
    assert main(["journal", "export", "--data", str(data), "--format", "jsonl", *chosen]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["numbers"], json.loads(line)["taken_at"]) == ([], "2026-03-02T08:05:00+00:00")


@pytest.mark.parametrize(
    ("zone", "taken"), [("UTC", []), ("America/Anchorage", ["08:00", "08:00", "08:05", "08:06"])]
)
def test_a_day_of_an_export_begins_at_midnight_in_the_clinics_zone(
    data: Path, capsys: pytest.CaptureFixture[str], zone: str, taken: list[str]
) -> None:
    config = data / "homeward.toml"
    config.write_text(f'[clinic]\nzone = "{zone}"\n')
    before = ["-c", str(config), "--data", str(data), "--format", "jsonl", "--until", "2026-03-02"]
    assert main(["journal", "export", *before]) == 0
    assert [json.loads(line)["taken_at"][11:16] for line in capsys.readouterr().out.splitlines()] == taken
    assert main(["journal", "export", *before, "--since", "2026-03-02"]) == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        main(["journal", "export", *before, "--since", "2026-03-02T08:00"])
    assert "is no time such as 2026-03-02T08:00+08:00, and no day" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_an_export_in_silence(data: Path) -> None:
    with closing(Journal(data / "journal.db")) as journal:
        append(journal, *(reading(60 + minute, 100.0) for minute in range(5000)))
    command = [sys.executable, "-m", "gateway.cli", "journal", "export", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert export.stdout.readline().startswith("patient,")
        export.stdout.close()
        assert export.stderr.read() == ""
    assert export.returncode == 141


def test_an_export_of_somebody_unknown_writes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = data / "p-99.csv"
    assert main(["journal", "export", "--data", str(data), "--patient", "p-99", "-o", str(target)]) == 2
    assert capsys.readouterr().err == "no patient has the id p-99\n"
    assert not target.exists()


def test_the_columns_of_an_export_are_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    described = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert re.findall("`([a-z_]+)`", "".join(described)) == list(COLUMNS)


def test_a_damaged_journal_is_told_with_what_to_do(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "journal.db"
    with closing(Journal(path)) as journal:
        append(journal, *(reading(60 + minute, 100.0, raw=b"x" * 200) for minute in range(3000)))
    octets = bytearray(path.read_bytes())
    for page in range(12, len(octets) // 4096, 2):
        octets[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(octets)
    restore = "restore a backup, as docs/backup.md says"
    assert main(["journal", "compact", "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert restore in said
    assert len(said.splitlines()) == 1
    target = data / "all.csv"
    assert main(["journal", "export", "--data", str(data), "-o", str(target)]) == 2
    assert restore in capsys.readouterr().err
    assert sorted(data.glob("all*")) == []
    assert main(["journal", "verify", "--data", str(data)]) == 1
    *details, last = capsys.readouterr().out.splitlines()
    assert restore in last
    assert 1 <= len(details) <= 6


def test_status_verify_and_compact(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "verify", "--data", str(data)]) == 0
    assert "is whole" in capsys.readouterr().out
    assert main(["journal", "compact", "--data", str(data)]) == 0
    capsys.readouterr()
    assert main(["journal", "status", "--data", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["readings"], told["letters"], told["oldest_arrival"]) == (4, 0, "2026-03-02T08:00:03+00:00")
    assert main(["journal", "status", "--data", str(data)]) == 0
    said = capsys.readouterr().out
    assert "readings  4, each revision counted as one; 0 were dropped by age" in said
    assert "oldest    came 2026-03-02 08:00:03Z" in said
    assert main(["journal", "status", "--data", str(data / "none")]) == 2
    assert "there is no journal" in capsys.readouterr().err


async def test_compacting_is_refused_while_the_hub_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with real_house(tmp_path, HandClock()):
        assert await in_a_thread(["journal", "compact", "--data", str(tmp_path / "data")]) == 2
    assert "another Homeward uses" in capsys.readouterr().err
