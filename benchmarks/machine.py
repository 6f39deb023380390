"""The machine under the benchmarks: processes and their CPU time, the disk, and what is fetched once and kept."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeward-bench"
_PATIENCE_S: Final = 60.0
_IDLE: Final = 0.25  # of a processor at work is no more than a desktop does by itself
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """A measurement cannot be made or must not count. The text says why."""


class Missing(Exception):
    """A program that is not Homeward's cannot be had here. The text says which and why."""


class Program:
    """A program in a process of its own, with its output in a file; it is killed when the block is left."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_for(self, text: str, seconds: float = _PATIENCE_S) -> str:
        """The first line of its output that has the text in it. Raises BenchError when it ends or takes too long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            said = self.log.read_text(errors="replace")
            if (found := next((line for line in said.splitlines() if text in line), None)) is not None:
                return found
            if self._process.poll() is not None:
                raise BenchError(f"{self.log.stem} ended with {self._process.returncode}: {said[-2000:]}")
            time.sleep(0.005)
        raise BenchError(f"{self.log.stem} did not say {text!r} within {seconds:.0f} s; its output is {self.log}")

    def wait(self, seconds: float) -> None:
        """Until it ends well. Raises BenchError."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(
                f"{self.log.stem} did not end within {seconds:.0f} s; its output is {self.log}"
            ) from None
        if status:
            raise BenchError(f"{self.log.stem} ended with {status}: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End it in order, as an administrator would."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """End it like a power cut (kill -9)."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def cpu(self) -> float:
        """CPU seconds used so far, user and system, of all its threads."""
        return cpu_of(self.pid)

    def resident(self) -> int:
        """Octets in memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def settle(self, seconds: float = _PATIENCE_S) -> None:
        """Until it rests: less than 5 ms of CPU in 0.1 s. What follows from a load belongs to its cost."""
        until = time.monotonic() + seconds
        before = self.cpu()
        while time.monotonic() < until:
            time.sleep(0.1)
            now = self.cpu()
            if now - before < 0.005:
                return
            before = now


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of ours with this Python."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def script(python: Path, name: str, *arguments: object) -> list[str]:
    """The command that runs a script of this folder, which needs nothing of ours, with a Python."""
    return [str(python), str(ROOT / "benchmarks" / name), *map(str, arguments)]


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond: the kernel's clock of that process (/proc counts in 10 ms)."""
    return time.clock_gettime((~pid << 3) | 2)


def sync_times(directory: Path, count: int = 300) -> list[float]:
    """Milliseconds of `count` small writes, each with fdatasync: what one commit costs this disk at least."""
    path = directory / "sync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            before = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - before) * 1000)
    path.unlink()
    return times


def others_at_work(load: float, processors: int) -> str | None:
    """A warning where other programs work as well. load: how many were at work in the last minute."""
    if load <= _IDLE * processors:
        return None
    return (
        f"OTHER PROGRAMS ARE AT WORK: load {load:.1f} on {processors} processors. It takes longer, and rates and "
        "latencies are worse than this machine can do; only ratios inside one case mean something."
    )


def described(directory: Path) -> dict[str, str]:
    """What the figures were measured on."""
    syncs = sorted(sync_times(directory))
    told = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1] for line in told if line.startswith("model name")), "of an unnamed kind")
    return {
        "processor": f"{os.cpu_count()} x {cpu.strip()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "fdatasync_ms": f"p50 {median(syncs):.2f}, p99 {syncs[len(syncs) * 99 // 100]:.2f}",
        "load_average": f"{os.getloadavg()[0]:.1f} at the start",
    }


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile of values in any order."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def external(name: str, how: str) -> str:
    """Path of an external program: $NAME_BIN, else the search path and /usr/sbin. Raises Missing, saying `how`."""
    wanted = os.environ.get(f"{name.upper()}_BIN", name)
    if found := shutil.which(wanted, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"):
        return found
    raise Missing(f"{name} is not here: {how}, or set {name.upper()}_BIN")


def floor_python() -> Path:
    """A Python with what the floors are made of (floors.txt), in the cache. Raises Missing."""
    return _environment("floors", ROOT / "benchmarks" / "floors.txt")


def gateway_python() -> Path:
    """A Python with thingsboard-gateway (thingsboard.txt), in the cache. Raises Missing."""
    return _environment("thingsboard", ROOT / "benchmarks" / "thingsboard.txt")


def node_red() -> Path:
    """The start script of Node-RED of the pinned version, in the cache. Raises Missing."""
    wanted = "node-red@4.1.15"
    home = CACHE / wanted
    script = home / "node_modules" / "node-red" / "red.js"
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("Node-RED: there is no npm; install Node.js 20")
    with _fetched(home) as fresh:
        if fresh:
            _fetch([npm, "install", "--no-audit", "--no-fund", "--prefix", home, wanted], "Node-RED")
    return script


def _environment(name: str, requirements: Path) -> Path:
    home = CACHE / name
    python = home / "bin" / "python"
    wanted = requirements.read_text()
    with _fetched(home, wanted) as fresh:
        if fresh:
            _fetch([sys.executable, "-m", "venv", home], name)
            _fetch([python, "-m", "pip", "install", "-q", "-r", requirements], name)
    return python


@contextmanager
def _fetched(home: Path, wanted: str = "") -> Iterator[bool]:
    """Whether it has to be fetched; what broke off half-way is fetched anew the next time."""
    mark = home / ".complete"
    fresh = not (mark.exists() and mark.read_text() == wanted)
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        print(f"fetching {home.name} into {CACHE}, once", flush=True)
    yield fresh
    if fresh:
        mark.write_text(wanted)


def _fetch(command: Sequence[str | Path], what: str) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{what}: {(done.stderr or done.stdout).strip()[-300:]}")
