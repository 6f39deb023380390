"""A person at a terminal: sentences go out, lines come in, without holding up the loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from typing import Final

_STANDARD_INPUT: Final = 0
_CHUNK: Final = 4096


class Nobody(Exception):
    """A question was asked and the input has ended: nobody is there to answer."""


def printable(text: str) -> str:
    """What came from outside must not steer a terminal, or stand unseen on a page."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


class Terminal:
    """Standard input and output."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reader: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Print a sentence."""
        sys.stdout.write(f"{printable(text)}\n")
        sys.stdout.flush()

    async def ask(self, question: str) -> str:
        """Print a question and wait for a line. Raises Nobody when the input has ended."""
        if self._reader is None:
            # A thread that may be left behind: a read of the terminal cannot be cancelled.
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()
        sys.stdout.write(f"{printable(question)} ")
        sys.stdout.flush()
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
            sys.stdout.write("\n")
            raise Nobody
        return line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Octets past `sys.stdin`, whose lock a thread that is left behind would hold when the program ends."""
        rest = b""
        with suppress(RuntimeError):  # the loop has closed: nobody asks any more
            while octets := os.read(_STANDARD_INPUT, _CHUNK):
                *lines, rest = (rest + octets).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._lines.put_nowait, line.decode("utf-8", "replace").strip())
            if rest:
                loop.call_soon_threadsafe(self._lines.put_nowait, rest.decode("utf-8", "replace").strip())
            loop.call_soon_threadsafe(self._lines.put_nowait, None)
