"""`homeward simulate ble` with its radio in another process: HCI over TCP to a controller on the virtual air."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bumble.transport.tcp_server import open_tcp_server_transport_with_socket

from gateway.cli import main
from simulators.air import Air
from simulators.bleak_backend import Central
from tests.bluetooth.radio import Radio
from tests.bluetooth.terminal import ANNA, NOW, Scripted, people, walk
from tests.bluetooth.ward import PATIENCE_S, Ward, known

ADDRESS = "C4:AF:00:00:00:07"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plug:
    transport: str
    pull_out: Callable[[], None]


@asynccontextmanager
async def dongle(air: Air) -> AsyncIterator[Plug]:
    """A controller on the air whose HCI is a port of this computer, as a board with HCI firmware has it."""
    port = socket.create_server(("127.0.0.1", 0))
    transport = await open_tcp_server_transport_with_socket(port)
    controller = air.controller("dongle")
    transport.source.set_packet_sink(controller)
    controller.set_packet_sink(transport.sink)
    try:
        yield Plug(
            transport=f"tcp-client:127.0.0.1:{port.getsockname()[1]}",
            pull_out=lambda: transport.sink.transport.close(),  # type: ignore[attr-defined]
        )
    finally:
        air.silence(controller)
        await transport.close()
        transport.server.close()  # type: ignore[attr-defined]


class Program:
    """The simulator as a tester starts it. `said` grows line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def until(self, part: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while part not in "".join(self.said):
                line = await self.process.stdout.readline()
                assert line, "".join(self.said)
                self.said.append(line.decode())

    async def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(how)
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        async with asyncio.timeout(PATIENCE_S):
            rest, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, "".join(self.said) + rest.decode()


@asynccontextmanager
async def simulating(*arguments: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "simulate", "ble", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def radio() -> AsyncIterator[Radio]:
    async with Air() as air:
        central = await Central.open(air)
        yield Radio(
            level="A",
            air=air,
            offer=central.offer,
            scanner_kwargs=central.scanner_kwargs,
            client_kwargs=central.client_kwargs,
        )


@pytest.mark.parametrize(("kind", "packets"), [("meter", 7), ("cgm", 6), ("cuff", 2)])
async def test_a_device_in_another_process_is_paired_and_read(
    radio: Radio, tmp_path: Path, kind: str, packets: int
) -> None:
    people(tmp_path).add_patient(ANNA, now=NOW)
    every = "60" if kind == "cgm" else "1"
    async with dongle(radio.air) as plug:
        wanted = ("--transport", plug.transport, "--device", kind, "--address", ADDRESS, "--every", every)
        async with simulating(*wanted, "--passkey", "907312") as program:
            await program.until("Ctrl-C switches it off.")
            terminal = Scripted(six_digits="907312")
            status = await walk(tmp_path, radio, terminal, seconds=PATIENCE_S, address=ADDRESS, patient="anna")
            assert status == 0, terminal.said
            await program.until("paired")
            ward = Ward(radio)
            async with ward.reading(known(kind, ADDRESS)):  # type: ignore[arg-type]
                await ward.until(lambda: len(ward.packets) >= packets)
            status, said = await program.end()
    assert status == 0, said
    assert f"advertises at {ADDRESS}" in said
    assert "its passkey is 907312" in said
    assert f"homeward pair --address {ADDRESS}" in said
    assert said.endswith("The device is switched off.\n")


async def test_a_radio_that_is_pulled_out_ends_it_with_a_sentence(radio: Radio) -> None:
    async with dongle(radio.air) as plug, simulating("--transport", plug.transport) as program:
        await program.until("Ctrl-C")
        plug.pull_out()
        status, said = await program.ended()
    assert status == 2
    assert said.endswith("has gone; plug it in and start again\n")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flaw", "says"),
    [
        (["--transport", "tcp-client:127.0.0.1:1"], "cannot be opened"),
        (["--transport", "carrier-pigeon:1"], "carrier-pigeon:1 names no radio"),
    ],
)
async def test_a_radio_that_is_not_there(flaw: list[str], says: str) -> None:
    async with simulating(*flaw) as program:
        status, said = await program.ended()
    assert status == 2
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "flaw",
    [
        ["--address", "00:11:22:33:44:55"],
        ["--address", "C4"],
        ["--passkey", "000000"],
        ["--trace", "bp_quiet"],
        ["--device", "cgm", "--every", "5"],
        ["--every", "nan"],
    ],
)
def test_what_cannot_be_meant_is_refused(flaw: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", "ble", "--transport", "usb:0", *flaw])
    assert stopped.value.code == 2
    assert "error: --" in capsys.readouterr().err


def test_without_the_simulators_one_sentence_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.find_spec", lambda name: None if name == "bumble" else object())
    assert main(["simulate", "ble", "--transport", "usb:0"]) == 2
    assert "pip install '.[simulators]'" in capsys.readouterr().err
