"""Other people's programs that tests talk to: a real Mosquitto, and certificates for it and for us."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import ipaddress
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A Mosquitto broker on a port of its own that can be stopped, killed and started again with its state."""

    def __init__(self, program: str, directory: Path, *settings: str) -> None:
        self.port = free_port()
        self._file = directory / "mosquitto.conf"
        self._command = (program, "-c", str(self._file))
        self._process: subprocess.Popen[str] | None = None
        self.configure(
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {directory}/",
            "max_inflight_messages 1000",
            "max_queued_messages 100000",
            *([] if any(setting.startswith("allow_anonymous") for setting in settings) else ["allow_anonymous true"]),
            *settings,
        )

    def configure(self, *settings: str) -> None:
        """What it is told at its next start."""
        ours = [
            f"user {getpass.getuser()}",  # root would become one who may not read the directory
            "log_dest stderr",
            "log_type information",
            "log_type error",
            "connection_messages false",
        ]
        self._file.write_text("\n".join([*settings, *ours]) + "\n", encoding="utf-8")

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if line.rstrip().endswith("running"):
                self._wait_for_its_loop()
                return
        raise AssertionError(f"Mosquitto did not start: {''.join(said)}")

    def _wait_for_its_loop(self) -> None:
        """A SIGTERM between the word "running" and the main loop is forgotten: wait until octets are read."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as stranger:
            stranger.sendall(bytes(16))
            with contextlib.suppress(ConnectionResetError):
                stranger.recv(1)

    def save(self) -> None:
        """Have it write a snapshot, as it does every `autosave_interval`; back when it is written."""
        assert self._process is not None
        snapshot = self._file.parent / "mosquitto.db"
        snapshot.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        while not snapshot.exists():
            time.sleep(0.01)  # another program's work has no event to wait for

    def stop(self) -> None:
        """End it in order: it writes its sessions and messages down."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it like a power cut."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.communicate(timeout=10)


@contextmanager
def mosquitto_broker(program: str, directory: Path, *settings: str) -> Iterator[Mosquitto]:
    """A running Mosquitto; `settings` are further lines of its configuration."""
    broker = Mosquitto(program, directory, *settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of a server for localhost and 127.0.0.1, signed by itself."""

    certificate: Path
    key: Path


def certificate(directory: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + dt.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = Certificate(directory / "server.pem", directory / "server.key")
    files.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
