"""`homeward simulate mqtt`, as a program of its own, against the real listener."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from gateway.people import DeviceKind
from ingest.vital import Unit, Vital
from tests.peers import free_port
from tests.real_house import HandClock, enrol, real_house, stored


async def simulated(*arguments: str) -> tuple[int | None, str, str]:
    """Exit status, and what it said."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "simulate", "mqtt", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await program.communicate()
    return program.returncode, out.decode(), error.decode()


async def test_devices_of_each_kind_publish_and_are_kept(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sweet\n", encoding="utf-8")
    logins = {"cgm-1": "sweet", "cuff-sim": "sweet", "meter-1": "sweet"}
    async with real_house(tmp_path, HandClock(), listener={"port": 0, "logins": logins}) as house:
        for device, kind in (("cgm-1", "cgm"), ("cuff-sim", "cuff"), ("meter-1", "meter")):
            await enrol(house, "anna", device, DeviceKind(kind))
        assert house.listener is not None
        common = ("--port", str(house.listener.port), "--password-file", str(secret), "--every", "0.01")
        status, said, error = await simulated(*common, "--name", "cgm-1", "--count", "3", "--unit", "mmol/L")
        assert (status, error) == (0, "")
        assert said.count("mmol/L: acknowledged") == 3
        cuff = await simulated(*common, "--device", "cuff", "--count", "1", "--version", "3.1.1")
        assert (cuff[0], cuff[2]) == (0, "")
        meter = await simulated(*common, "--device", "meter", "--name", "meter-1", "--count", "1")
        assert "mg/dL: acknowledged" in meter[1]
        readings = await stored(house, 5)
        assert [one.vital for one in readings] == [Vital.CGM] * 3 + [Vital.BLOOD_PRESSURE, Vital.GLUCOSE]
        assert [one.unit for one in readings] == [Unit.MMOL_L] * 3 + [Unit.MMHG, Unit.MG_DL]
        refused = await simulated(*common, "--name", "nobody", "--count", "1")
        assert refused[0] == 2
        assert "refuses the device" in refused[2]
        assert "Traceback" not in refused[2]


@pytest.mark.parametrize("name", ["a b", "a/b", "+", "x" * 65])
async def test_a_name_that_no_device_may_have_is_told_before_it_connects(name: str) -> None:
    status, _, error = await simulated("--port", str(free_port()), "--name", name)
    assert status == 2
    assert "--name: 1 to 64 of A-Z a-z 0-9 . _ : -" in error


async def test_nobody_at_the_port_is_one_sentence() -> None:
    status, _, error = await simulated("--port", str(free_port()))
    assert status == 2
    assert "cannot be reached" in error
    assert len(error.splitlines()) == 1
