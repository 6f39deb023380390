"""A bus of one's own, with a real dbus-daemon."""

import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from simulators.private_bus import private_bus
from tests.conftest import need

PATIENCE_S = 10.0


@pytest.fixture
def dbus_daemon() -> str:
    return need("dbus-daemon", "`apt-get install dbus-daemon`")


def socket_of(address: str) -> Path:
    return Path(address.removeprefix("unix:path=").partition(",")[0])


def connected(address: str) -> socket.socket:
    """A client of the bus, who hears of its end."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(str(socket_of(address)))
    return client


def await_end(client: socket.socket) -> None:
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""


def test_the_bus_ends_with_its_context(dbus_daemon: str) -> None:
    with private_bus(dbus_daemon) as address:
        client = connected(address)
    await_end(client)
    assert not socket_of(address).parent.exists()


def test_the_bus_ends_with_an_owner_that_is_killed(dbus_daemon: str) -> None:
    program = (
        "import sys; from simulators.private_bus import private_bus\n"
        "with private_bus(sys.argv[1]) as address:\n"
        "    print(address, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, dbus_daemon], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        client = connected(owner.stdout.readline().strip())
        owner.send_signal(signal.SIGKILL)
        await_end(client)


def test_a_daemon_that_does_not_start_is_told_in_its_own_words() -> None:
    with pytest.raises(RuntimeError, match=r"did not start: .*not found"), private_bus("/nonexistent/dbus-daemon"):
        pass
