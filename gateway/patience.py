"""A store that is locked or full is waited for: what has to be written is written when it can be."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Final, ParamSpec, TypeVar

import sqlalchemy.exc

from gateway.clock import Clock

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

_FIRST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(seconds=30)


class Patience:
    """Calls a store off the loop, again and again while the store is locked, full or away.

    trouble: what is in the way, in a sentence; None when the last call succeeded.
    """

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.trouble: str | None = None

    async def call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The result of the work, once it could be done. Any error that waiting does not mend is raised."""
        pause = _FIRST
        while True:
            try:
                result = await asyncio.to_thread(work, *args, **kwargs)
            except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError) as error:
                self._complain(getattr(error, "orig", None) or error)
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST)
            else:
                self.trouble = None
                return result

    def _complain(self, error: BaseException) -> None:
        sentence = f"the {self._store} cannot be used: {error}; free the disk, or end what holds the file"
        if sentence != self.trouble:
            _log.error("%s", sentence)
        self.trouble = sentence
