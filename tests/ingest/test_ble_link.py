"""What the Bluetooth link can tell without a radio."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
)

from ingest.links.ble import BleLink, KnownDevice, Wiring, probe
from ingest.links.ble_faults import adapter_fault, session_fault
from ingest.links.ble_gatt import Heard
from ingest.links.ble_session import ContextJoin, session_start
from simulators import encode
from tests.ingest.house import House, until

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 21, 12, 0)  # the same moment on a clock in Shanghai
A_METER = KnownDevice(address="C4:00:00:00:00:01", kind="meter")


@pytest.fixture
def no_system_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")


@pytest.mark.usefixtures("no_system_bus")
async def test_the_probe_says_what_is_wrong_with_a_real_adapter() -> None:
    assert "install and start `dbus` and `bluez`" in (await probe() or "")


@pytest.mark.usefixtures("no_system_bus")
async def test_a_house_without_bluetooth_goes_on() -> None:
    wiring = Wiring(
        deliver=House().deliver, now=lambda: NOW, zone_of=lambda _address: SHANGHAI, resume=lambda _address: None
    )
    link = BleLink(lambda: [A_METER], wiring)
    running = asyncio.create_task(link.run())
    await until(lambda: link.health().adapter is not None)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BleakDBusError("org.freedesktop.DBus.Error.ServiceUnknown", ["gone"]), "BlueZ is not running"),
        (BleakDBusError("org.bluez.Error.NotReady", []), "switched off"),
        (BleakBluetoothNotAvailableError("", BleakBluetoothNotAvailableReason.NO_BLUETOOTH), "plug one in"),
        (BleakBluetoothNotAvailableError("", BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM), "denied"),
        (TimeoutError(), "does not answer"),
        (BleakError("odd"), "odd"),
    ],
)
def test_a_fault_of_the_adapter_is_told_in_words(error: Exception, words: str) -> None:
    assert words in adapter_fault(error)


def test_a_refused_pairing_is_told_in_words() -> None:
    error = BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"])
    assert "pairing mode" in session_fault(error, bonded=False).says
    assert "no longer knows its pairing" in session_fault(error, bonded=True).says


class TestContextJoin:
    MEASUREMENT = bytes.fromhex("10 0700 ea070b150c0000")
    PLAIN = bytes.fromhex("00 0800 ea070b150c0000")
    CONTEXT = bytes.fromhex("02 0700 03")

    @staticmethod
    def heard(channel: str, data: bytes) -> Heard:
        return Heard(channel, data, NOW, 0.0)

    def test_a_context_goes_with_its_measurement(self) -> None:
        join = ContextJoin()
        measurement = self.heard("2a18", self.MEASUREMENT)
        assert join.hear(measurement) == []
        assert join.hear(self.heard("2a34", self.CONTEXT)) == [(measurement, self.CONTEXT)]
        assert join.release() == []

    def test_an_announced_context_that_does_not_come_holds_nothing_up(self) -> None:
        join = ContextJoin()
        measurement, plain = self.heard("2a18", self.MEASUREMENT), self.heard("2a18", self.PLAIN)
        join.hear(measurement)
        assert join.hear(plain) == [(measurement, None), (plain, None)]
        join.hear(measurement)
        assert join.release() == [(measurement, None)]

    def test_a_context_of_no_measurement_is_passed_on_by_itself(self) -> None:
        context = self.heard("2a34", self.CONTEXT)
        assert ContextJoin().hear(context) == [(context, None)]


def test_a_session_start_that_cannot_be_used_is_none() -> None:
    assert session_start(b"") is None
    assert session_start(bytes.fromhex("e20704180d08180804e0c3")) is None, "a wrong CRC"
    assert session_start(bytes.fromhex("000000000000008000")) is None, "never set"
    assert session_start(encode.cgm_session_start(NOON, -128, 255, crc=False)) == NOON
