"""`make demo` as a person runs it: a process of its own, its page, a stop, and a second start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 60.0


@contextmanager
def demo(data: Path, *arguments: str) -> Iterator[httpx.Client]:
    """The demonstration; ends with Ctrl-C, and must end well."""
    command = [sys.executable, "-m", "simulators.demo", "--data", str(data), "--port", "0", "--speed", "240"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = next(line for line in process.stdout if "The ward is open" in line)
        address = next(word for word in said.split() if word.startswith("http://"))
        with httpx.Client(base_url=address, timeout=10, trust_env=False) as page:
            yield page
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
        assert process.returncode == 0, rest
        assert "Closing the ward" in rest
        assert "kept from BLE" in rest
    finally:
        process.kill()
        process.communicate()


def alerts(page: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.get("/api/v1/alerts").json()
    return found


def wait_for_glucose_alert(page: httpx.Client) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for alert in alerts(page):
            if alert["problem"].startswith("glucose"):
                return alert
    raise AssertionError(f"no glucose alert opened within {PATIENCE_S:g} s")


def wait_for_message(mailbox: Path, said: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if mailbox.exists() and said in mailbox.read_text(encoding="utf-8"):
            return
    raise AssertionError(f"no message {said!r} came within {PATIENCE_S:g} s")


def test_the_ward_opens_alerts_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with demo(tmp_path / "ward", "--fresh") as page:
        alert = wait_for_glucose_alert(page)
        devices = {device["id"]: device for device in page.get("/api/v1/devices").json()}
        heard = {devices[one]["link"] for one in devices if _readings_of(page, devices[one])}
        assert heard == {"ble", "mqtt"}
        answer = page.post(f"/api/v1/alerts/{alert['id']}/acknowledge", json={"by": "李医生", "note": "calling"})
        assert answer.status_code == 200, answer.text
        assert page.get("/").status_code == 200
        nurse = next(each for each in page.get("/api/v1/duty").json() if each["role"] == "nurse")
        assert (len(nurse["now"]), nurse["gaps"]) == (1, [])
        on_duty = nurse["now"][0]["staff"]
        trial = {"channel": "app", "address": on_duty, "by": "Dr. Li"}
        assert page.post(f"/api/v1/staff/{on_duty}/contacts/trials", json=trial).status_code == 201
        wait_for_message(tmp_path / "ward" / "messages.txt", f"to {on_duty}: Homeward 测试消息")
    with demo(tmp_path / "ward") as page:
        again = page.get(f"/api/v1/alerts/{alert['id']}").json()
        assert again["alert"]["acknowledged_by"] == "李医生"
        assert len(page.get("/api/v1/staff").json()) == 4


def _readings_of(page: httpx.Client, device: dict[str, Any]) -> bool:
    if device["wearing"] is None:
        return False
    vital = {"meter": "glucose", "cgm": "cgm_glucose", "cuff": "blood_pressure"}[device["kind"]]
    answer = page.get(f"/api/v1/patients/{device['wearing']['patient']}/readings", params={"vital": vital})
    return any(reading["device"] == device["id"] for reading in answer.json())
