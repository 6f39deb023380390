"""`homeward pair` as a program, beside a hub that runs and without one; and devices that are retired."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import Config, load
from gateway.house import Radio as HouseRadio
from gateway.language import Language
from gateway.pair import Wishes, language_code, pair
from gateway.people import Device, DeviceKind, DeviceLink, Patient
from gateway.register import RegisterError, open_register
from ingest.links.ble_faults import BOND_LOST
from ingest.links.ble_session import Timings
from simulators.air import Air
from simulators.bleak_backend import Central
from simulators.bluez import FakeBluez
from simulators.encode import GlucoseRecord
from simulators.gatt_server import STANDARD, DeviceClock, Make, Security
from simulators.meter import GlucoseMeter
from tests.bluetooth.radio import bluez_bus
from tests.bluetooth.terminal import Scripted
from tests.real_house import NOW, HandClock, enrol, real_house, stored, until

__all__ = ["bluez_bus"]

PATIENCE_S = 60.0
METER = "C4:00:00:00:00:01"
NOON = NOW.replace(tzinfo=None)
WANG = Patient(id="wang", name="王芳", zone="Asia/Shanghai")
NEEDS_PASSKEY = replace(STANDARD, security=Security.PASSKEY, passkey=907312)


async def a_meter(air: Air, make: Make = STANDARD) -> GlucoseMeter:
    meter = GlucoseMeter(await air.device("meter+1", METER), DeviceClock(lambda: NOON + timedelta(hours=8)), make)
    meter.add(GlucoseRecord(sequence=1, base_time=NOON + timedelta(hours=7), concentration=Decimal("0.00112")))
    await meter.start()
    return meter


def written(folder: Path, text: str = "") -> Path:
    path = folder / "homeward.toml"
    path.write_text(f'data = "data"\n[bluetooth]\n{text}', encoding="utf-8")
    return path


@pytest.fixture
async def bluez(bluez_bus: str) -> AsyncIterator[Air]:
    async with Air() as air, FakeBluez(air, bluez_bus):
        yield air


async def homeward(*arguments: str, answers: str = "") -> tuple[int, str]:
    """Run the program with answers on its standard input; its exit status, and what it said."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.cli",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": ""},
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await program.communicate(answers.encode())
    except BaseException:
        program.kill()
        await program.wait()
        raise
    assert program.returncode is not None
    return program.returncode, said.decode()


async def test_the_program_pairs_a_meter_through_bluez(bluez: Air, tmp_path: Path) -> None:
    await a_meter(bluez, NEEDS_PASSKEY)
    arguments = ("pair", "-c", str(written(tmp_path)), "--seconds", "1")
    status, said = await homeward(*arguments, answers="1\n123\n907312\nn\nLi Na\n\nAsia/Shanghai\n")
    assert status == 0, said
    assert "These are not six digits." in said
    assert "112 mg/dL (6.2 mmol/L), 2026-03-02 19:00" in said
    assert said.endswith("belongs to Li Na (p-001). The hub reads it whenever it is on.\n")
    async with open_register(load(tmp_path / "homeward.toml"), NOW) as register:
        entry = await register.entry(METER)
    assert entry is not None
    assert (entry.device.kind, entry.wearer) == (DeviceKind.METER, "p-001")
    assert "\x1b" not in said
    assert "Traceback" not in said


async def test_the_program_says_in_one_sentence_what_is_missing(bluez_bus: str, tmp_path: Path) -> None:
    status, said = await homeward("pair", "-c", str(written(tmp_path)), "--lang", "zh")
    assert status == 1
    assert said.splitlines()[-1] == "蓝牙服务 BlueZ 没有运行；请安装 `bluez` 并执行 `systemctl start bluetooth`。"


@pytest.mark.parametrize(
    "flaw", [["--passkey", "12345"], ["--passkey", "1234567"], ["--kind", "scale"], ["--seconds", "nan"]]
)
def test_what_cannot_be_meant_is_refused(flaw: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pair", *flaw])
    assert stopped.value.code == 2
    assert flaw[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "environment", "code"),
    [
        (None, {}, "en"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        (None, {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ("zh", {"LANG": "C"}, "zh_CN"),
        ("en", {"LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_language_is_that_of_the_terminal(wanted: str | None, environment: dict[str, str], code: str) -> None:
    assert language_code(wanted, environment) == code


# Beside a hub


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.parametrize("token", [None, "a secret of the clinic"])
async def test_a_hub_that_runs_is_told_and_reads_the_device(tmp_path: Path, token: str | None) -> None:
    web: dict[str, Any] = {"port": free_port()} | ({"token": token} if token else {})
    async with Air() as air:
        await a_meter(air, NEEDS_PASSKEY)
        central = await Central.open(air)
        radio = HouseRadio(
            offer=central.offer,
            scanner_kwargs=central.scanner_kwargs,
            client_kwargs=central.client_kwargs,
            timings=Timings(roster=0.01, scan=0.5, rest=0.01, retry=0.01, retry_most=0.02),
        )
        async with real_house(tmp_path, HandClock(), radio=radio, web=web) as house:
            house.people.add_patient(WANG, now=house.now())
            config = Config.model_validate({"data": tmp_path / "data", "bluetooth": {}, "web": web})
            wishes = Wishes(address=METER, patient="wang", passkey=907312)
            terminal = Scripted()
            async with asyncio.timeout(PATIENCE_S):
                status = await pair(config, wishes, radio, terminal, Language("en"), house.now)
            assert status == 0, terminal.said
            (reading,) = await stored(house, 1)
            assert (reading.patient, reading.device) == ("wang", METER)
            assert (await pair_again(config, radio, house.now)) == 0
            assert [wearing.patient for wearing in house.people.wearings(device=METER)] == ["wang"]


async def pair_again(config: Config, radio: HouseRadio, now: Any) -> int:
    async with open_register(config, now()) as register:
        await register.give(Device(id=METER, kind=DeviceKind.METER, link=DeviceLink.BLE), "wang")
    return 0


async def test_a_device_that_is_paired_anew_is_read_at_once(tmp_path: Path) -> None:
    """The hub has given up on it until somebody helps, and must not make that person wait."""
    web = {"port": free_port()}
    async with Air() as air:
        meter = await a_meter(air, replace(STANDARD, security=Security.ENCRYPTED))
        central = await Central.open(air)
        radio = HouseRadio(
            offer=central.offer,
            scanner_kwargs=central.scanner_kwargs,
            client_kwargs=central.client_kwargs,
            timings=Timings(roster=0.01, scan=0.5, look=0.05, rest=0.01, retry=0.01, retry_person=3600.0),
        )
        async with real_house(tmp_path, HandClock(), radio=radio, web=web) as house, asyncio.timeout(PATIENCE_S):
            await enrol(house, "wang", METER, DeviceKind.METER, DeviceLink.BLE)
            await stored(house, 1)
            assert meter.device.keystore is not None
            await meter.device.keystore.delete_all()
            await until(lambda: house.device_states()[METER].fault == BOND_LOST)
            config = Config.model_validate({"data": tmp_path / "data", "bluetooth": {}, "web": web})
            wishes = Wishes(address=METER, patient="wang", yes=True)
            terminal = Scripted()
            assert await pair(config, wishes, radio, terminal, Language("en"), house.now) == 0, terminal.said
            await until(lambda: house.device_states()[METER].fault is None)


async def test_the_register_is_the_same_through_a_hub_and_in_its_files(tmp_path: Path) -> None:
    web = {"port": free_port(), "token": "t"}
    config = Config.model_validate({"data": tmp_path / "data", "web": web})
    device = Device(id=METER, kind=DeviceKind.METER, link=DeviceLink.BLE, model="Contour")
    anna = Patient(id="anna", name="Anna Berg", zone="Europe/Berlin")
    async with real_house(tmp_path, HandClock(), web=web):
        async with open_register(config, NOW) as hub:
            assert await hub.entry(METER) is None
            for patient in (WANG, anna):
                await hub.add_patient(patient)
            await hub.give(device, "anna")
            await hub.give(device, "wang")
            seen = await hub.patients(), await hub.entry(METER)
            with pytest.raises(RegisterError, match="a patient with the id anna exists already"):
                await hub.add_patient(anna)
            with pytest.raises(RegisterError, match="no patient has the id carl"):
                await hub.give(device, "carl")
        # The hub that uses the data says where it answers, whatever is configured now.
        elsewhere = config.model_copy(update={"web": config.web.model_copy(update={"port": free_port()})})
        async with open_register(elsewhere, NOW) as same:
            assert [patient.id for patient in await same.patients()] == ["anna", "wang"]
        wrong = Config.model_validate({"data": tmp_path / "data", "web": {"port": web["port"], "token": "other"}})
        async with open_register(wrong, NOW) as closed:
            with pytest.raises(RegisterError, match="Send the token"):
                await closed.patients()
        (tmp_path / "data" / "lock").write_text(f"http://127.0.0.1:{free_port()}", encoding="ascii")
        async with open_register(config, NOW) as nobody:
            with pytest.raises(RegisterError, match="does not answer at"):
                await nobody.patients()
    async with open_register(config, NOW) as files:
        again = await files.patients(), await files.entry(METER)
        assert [patient.id for patient in again[0]] == [patient.id for patient in seen[0]] == ["anna", "wang"]
        assert again[1] is not None
        assert again[1].device == device
        assert seen[1] is not None
        assert seen[1].device == device
        with pytest.raises(RegisterError, match="a patient with the id anna exists already"):
            await files.add_patient(anna)
        with pytest.raises(RegisterError, match="no patient has the id carl"):
            await files.give(device, "carl")
        await files.give(device, "anna")
        entry = await files.entry(METER)
        assert entry is not None
        assert entry.wearer == "anna"


async def test_a_device_known_as_another_kind_is_not_given_out(tmp_path: Path) -> None:
    async with Air() as air:
        await a_meter(air)
        central = await Central.open(air)
        radio = HouseRadio(scanner_kwargs=central.scanner_kwargs, client_kwargs=central.client_kwargs)
        config = Config.model_validate({"data": tmp_path / "data"})
        async with open_register(config, NOW) as register:
            await register.add_patient(WANG)
            await register.give(Device(id=METER, kind=DeviceKind.CUFF, link=DeviceLink.BLE), "wang")
        terminal = Scripted()
        async with asyncio.timeout(PATIENCE_S):
            wishes = Wishes(address=METER, patient="wang", yes=True)
            assert await pair(config, wishes, radio, terminal, Language("en"), lambda: NOW) == 1
    assert "as another kind (Blood-pressure cuff)" in terminal.said[-1]


async def test_what_is_no_address_is_not_looked_for(tmp_path: Path) -> None:
    terminal = Scripted()
    config = Config.model_validate({"data": tmp_path / "data"})
    wishes = Wishes(address="C0-26-DA-00-12-34")
    assert await pair(config, wishes, HouseRadio(), terminal, Language("en"), lambda: NOW) == 1
    assert len(terminal.said) == 1
    assert terminal.said[0].startswith("C0-26-DA-00-12-34 is no Bluetooth address")


# Retired


async def test_a_retired_device_is_not_read_and_not_missed_and_its_readings_stay(tmp_path: Path) -> None:
    clock = HandClock()
    async with Air() as air:
        meter = await a_meter(air)
        central = await Central.open(air)
        timings = Timings(roster=0.01, scan=0.5, rest=0.01, retry=0.01, retry_most=0.02)
        radio = HouseRadio(
            scanner_kwargs=central.scanner_kwargs, client_kwargs=central.client_kwargs, timings=timings
        )
        async with real_house(tmp_path, clock, radio=radio) as house:
            await enrol(house, "anna", METER, DeviceKind.METER, DeviceLink.BLE)
            await stored(house, 1)
            clock.advance(timedelta(days=3))
            await house.tick()
            assert [alert.problem for alert in house.book.open_alerts()] == ["no-data"]
            await house.retire(METER)
            assert house.ble is not None
            await until(lambda: not house.ble.health().devices)
            await house.tick()
            assert [alert.condition_gone_at for alert in house.book.open_alerts()] == [clock.now()]
            clock.advance(timedelta(days=30))
            await house.tick()
            assert len(house.book.open_alerts()) == 1
            meter.add(
                GlucoseRecord(sequence=2, base_time=NOON + timedelta(hours=8), concentration=Decimal("0.00099"))
            )
            assert len(await stored(house, 1)) == 1
            await house.pair(METER, "anna")
            await until(lambda: bool(house.ble.health().devices))
            assert house.people.device(METER) == Device(id=METER, kind=DeviceKind.METER, link=DeviceLink.BLE)
