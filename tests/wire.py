"""A network that a test can cut: a TCP proxy on a port of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """Passes octets between whoever connects to `port` and a port of this machine, while it is whole.

    port: where it listens. target: the port it leads to. carried: octets since the start. cuts: how often `cut_after`
    came about; was_cut: that the last one did.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.carried = 0
        self.cuts = 0
        self.was_cut = asyncio.Event()
        self.whole = True
        self._cut_after: int | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await server.wait_closed()

    def cut(self) -> None:
        """Every connection ends at once, and no new one comes about."""
        self.whole = False
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        self.whole = True
        self._cut_after = None

    def cut_after(self, octets: int) -> None:
        """Cut so many octets later, wherever in a message that is; the next connection finds the wire whole."""
        self._cut_after = self.carried + octets
        self.was_cut.clear()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        self._ends -= {writer, far_writer}

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while block := await source.read(4096):
                self.carried += len(block)
                if self._cut_after is not None and self.carried >= self._cut_after:
                    sink.write(block[: random.randrange(len(block))])
                    self._cut_after = None
                    self.cut()
                    self.whole = True
                    self.cuts += 1
                    self.was_cut.set()
                    return
                sink.write(block)
                await sink.drain()
        except OSError:
            return
        finally:
            sink.transport.abort() if not self.whole else sink.close()
