"""A disk that is really full: a small file system of its own, in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 8
_BLOCK = bytes(4096)


@dataclass(frozen=True)
class FullDisk:
    """path: where it is mounted. It is empty until it is filled."""

    path: Path

    def fill(self, *, spare: int = 0) -> None:
        """Take every block that is left but these octets."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_BLOCK)
            except OSError:
                ballast.truncate(ballast.tell() - spare)

    def clear(self) -> None:
        """Give them back."""
        (self.path / "ballast").unlink()


@contextmanager
def mounted(path: Path) -> Iterator[FullDisk]:
    """Mount it; raises CalledProcessError or FileNotFoundError where this user may not."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    owner = f"size={MIB}m,uid={os.getuid()},mode=700"
    subprocess.run(
        [*as_root, "mount", "-t", "tmpfs", "-o", owner, "none", str(path)], check=True, capture_output=True
    )
    try:
        yield FullDisk(path)
    finally:
        subprocess.run([*as_root, "umount", "--lazy", str(path)], check=True)
