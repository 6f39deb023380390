"""The sign of life by which others see that Homeward is at work.

A house that stands still can tell nobody. systemd, which waits for its sign, starts it again
(deploy/homeward.service); a service elsewhere, which waits for a request to a web address, calls people when none
comes (a "dead man's switch").
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

import httpx

from gateway.language import Sentence

logger: Final = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
READY: Final = "READY=1"
_ALIVE: Final = "WATCHDOG=1"


class Heartbeat:
    """`beat` is called at every tick.

    moves: whether nothing hangs that a new start would free; what only waits for a store that is away does not.
    works: whether Homeward does what it is for. url: where a service elsewhere is asked at every tick while both is
    so; None: nowhere.
    trouble: why that was not taken the last time, in a sentence; None where it was.
    """

    def __init__(self, url: str | None, *, moves: Callable[[], bool], works: Callable[[], bool]) -> None:
        self.url = url
        self.trouble: str | None = None
        self._moves = moves
        self._works = works
        self._moved = True

    async def beat(self) -> None:
        """Give the sign, where there is something to be seen alive."""
        moves = self._moves()
        if not moves and self._moved:
            logger.critical("escalation hangs; no heartbeat is given until it goes on")
        self._moved = moves
        if moves:
            notify(_ALIVE)
        if moves and self.url is not None and self._works():
            self.trouble = await self._ask(self.url)

    async def _ask(self, url: str) -> str | None:
        """The address holds a secret mostly, so no sentence names it."""
        try:
            async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient() as client:
                answer = await client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            said = Sentence("The heartbeat does not arrive: {error}.", error=type(error).__name__)
        else:
            if answer.is_success:
                return None
            said = Sentence("The heartbeat is refused: HTTP {status}.", status=answer.status_code)
        if self.trouble is None:
            logger.warning("%s", said)
        return Sentence(
            "{said} Who waits for it will think that Homeward stands still: see to `url` in [heartbeat].", said=said
        )


def notify(state: str) -> None:
    """Tell systemd, as sd_notify(3) says it; nothing where it is not systemd that started this."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        try:
            door.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            logger.warning("systemd cannot be told %s: %s", state, error)
