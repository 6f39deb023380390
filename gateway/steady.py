"""Whether the clock may be believed where something is deleted for its age.

A clock that was set wrongly makes everything old at once. So it has to agree with itself: between two looks it must
go as far as a count does that nobody can set, and over a restart no further than a hub is usually away. After a
step nothing is deleted until the clock has gone evenly for EVEN, which leaves a person the time to set it right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.language import Sentence

EVEN: Final = timedelta(days=1)
STEP: Final = timedelta(hours=1)  # a smaller one makes no reading old: all are kept for a month at least
AWAY: Final = timedelta(days=1)  # a hub that comes back after less time need not wait
WRITTEN_EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gait:
    """How the clock has gone until the moment `seen`, by itself (aware UTC).

    even_since: from when on evenly. step: by how much it went wrong then, 0 where its story begins.
    """

    seen: datetime
    even_since: datetime
    step: timedelta = timedelta()

    def at(self, now: datetime, elapsed: timedelta | None) -> Gait:
        """The same some time later. elapsed: what nobody can set says of how much later; None over a restart."""
        least, most = (timedelta(), AWAY) if elapsed is None else (elapsed, elapsed)
        off = min(now - self.seen - least, timedelta()) or max(now - self.seen - most, timedelta())
        if abs(off) <= STEP:
            return Gait(seen=now, even_since=self.even_since, step=self.step)
        return Gait(seen=now, even_since=now, step=off)

    @property
    def is_believed(self) -> bool:
        """Whether it has gone evenly for long enough."""
        return self.seen - self.even_since >= EVEN


class Steady:
    """Looks at the clock at each tick, and keeps in a file what it has seen, for the next start.

    now: the clock. elapsed: how long this program runs, as nothing can set it.
    """

    def __init__(self, file: Path, now: Callable[[], datetime], elapsed: Callable[[], timedelta]) -> None:
        self._file = file
        self._now = now
        self._elapsed = elapsed
        self._looked = elapsed()
        self._gait: Gait | None = None
        self._written: Gait | None = None

    @property
    def doubt(self) -> str | None:
        """Why not, in a sentence with what to do; None where the clock is believed, or nothing speaks against it."""
        gait = self._gait
        if gait is None or gait.is_believed or not gait.step:
            return None
        hours, forward = abs(gait.step) / timedelta(hours=1), gait.step > timedelta()
        went = Sentence("the clock went forward by {n:.0f} h", n=hours)
        return Sentence(
            "{went} and says {now:%Y-%m-%d %H:%M} UTC now: set it right if that is wrong; nothing is dropped for its "
            "age before it says {then:%Y-%m-%d %H:%M}",
            went=went if forward else Sentence("the clock went back by {n:.0f} h", n=hours),
            now=gait.seen,
            then=gait.even_since + EVEN,
        )

    def look(self) -> datetime | None:
        """See how the clock goes: the present moment, if something may be deleted for its age then. Blocks."""
        now, elapsed = self._now(), self._elapsed()
        if self._gait is not None:
            self._gait = self._gait.at(now, elapsed - self._looked)
        elif (before := self._read()) is not None:
            self._gait = before.at(now, None)
        else:
            self._gait = Gait(seen=now, even_since=now)
        self._looked = elapsed
        self._write(self._gait)
        return now if self._gait.is_believed else None

    def _read(self) -> Gait | None:
        try:
            found = json.loads(self._file.read_text(encoding="ascii"))
            return Gait(
                seen=datetime.fromisoformat(found["seen"]),
                even_since=datetime.fromisoformat(found["even_since"]),
                step=timedelta(seconds=found["step_s"]),
            )
        except (OSError, ValueError, LookupError, TypeError):
            return None  # never written, or not to be read: then nothing is known of the clock

    def _write(self, gait: Gait) -> None:
        old = self._written
        if old and old.even_since == gait.even_since and gait.seen - old.seen < WRITTEN_EVERY:
            return
        said = {"seen": f"{gait.seen}", "even_since": f"{gait.even_since}", "step_s": gait.step.total_seconds()}
        fresh = self._file.with_suffix(".new")
        with suppress(OSError):  # the disk is full: what was written before is older, which only takes longer
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(said), encoding="ascii")
            fresh.replace(self._file)
            self._written = gait
