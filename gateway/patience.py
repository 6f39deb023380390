"""A store that is locked or full is waited for: what has to be written is written when it can be."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, ParamSpec, TypeVar

import sqlalchemy.exc

from gateway.clock import Clock
from gateway.language import Sentence

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

_FIRST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(seconds=30)
PROMPT_S: Final = 5.0  # a call that takes longer is told: SQLite itself waits half a minute for a locked file


class Patience:
    """Calls a store off the loop, again and again while the store is locked, full or away. One call at a time."""

    def __init__(self, store: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._trouble: str | None = None
        self._begun: float | None = None  # the call that is under way, monotonic seconds
        self._hurried = False

    @property
    def refusal(self) -> str | None:
        """What the store said to the last try, in a sentence; None unless somebody waits for the next."""
        return self._trouble

    @property
    def trouble(self) -> str | None:
        """What is in the way, in a sentence; None while the calls succeed in good time."""
        waited = 0.0 if self._begun is None else time.monotonic() - self._begun
        if self._trouble is None and waited > PROMPT_S:
            return Sentence(
                "the {store} has not answered for {waited:.0f} s; end what holds the file, or see to the disk",
                store=self._store,
                waited=waited,
            )
        return self._trouble

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """In the block a call is tried once, for somebody waits for the answer, and is told."""
        self._hurried = True
        try:
            yield
        finally:
            self._hurried = False

    async def call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The result of the work, once it could be done. Any error that waiting does not mend is raised."""
        pause = _FIRST
        while True:
            self._begun = time.monotonic()
            try:
                result = await asyncio.to_thread(work, *args, **kwargs)
            except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError) as error:
                if self._hurried:
                    raise
                self._complain(getattr(error, "orig", None) or error)
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST)
            else:
                self._note_success()
                return result
            finally:
                self._begun = None

    def _complain(self, error: BaseException) -> None:
        sentence = Sentence(
            "the {store} cannot be used: {error}; free the disk, or end what holds the file",
            store=self._store,
            error=error,
        )
        if sentence != self._trouble:
            _log.error("%s", sentence)
        self._trouble = sentence

    def _note_success(self) -> None:
        if self._trouble is not None:
            _log.warning("the %s can be used again: what waited is written", self._store)
        self._trouble = None
