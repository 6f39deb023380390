"""Whether alerts and follow-ups are as their records make them: the audit makes an alert, its facts a follow-up.

What somebody has changed past Homeward, or a disk has, differs from what was only ever added to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, func, select

from alerts import book, follow_up_book
from alerts.audit import began_us, opened_after
from alerts.database import METADATA, among, still

_PAGE: Final = 1000  # read at once, however many there are
_TOLD_EVERY: Final = 50_000
_KINDS: Final = {
    "alert": (METADATA.tables["alerts"], book.beside_record),
    "follow-up": (METADATA.tables["follow_ups"], follow_up_book.beside_record),
}


@dataclass(slots=True)
class Tally:
    """How many there are in all, how many of them were compared, and could not be: they are of before the audit."""

    total: int
    compared: int = 0
    older: int = 0

    @property
    def done(self) -> int:
        """How many were looked at."""
        return self.compared + self.older


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """subject: as in the audit. names: the columns that are not as the record makes them.

    No names: it is in the record only, or in the table only (`is_there`).
    """

    subject: str
    names: tuple[str, ...] = ()
    is_there: bool = True


def tally(engine: Engine) -> Tally:
    """What there is to compare."""
    with still(engine) as db:
        return Tally(
            sum(db.execute(select(func.count()).select_from(table)).scalar_one() for table, _ in _KINDS.values())
        )


def differences(engine: Engine, tally: Tally, told: Callable[[Tally], None]) -> Iterator[Difference]:
    """Every alert and follow-up that differs from its record. told: called now and then while it goes on.

    It may be asked beside a house at work: each page is read as it is at one moment.
    """
    for kind in _KINDS:
        yield from _changed(engine, kind, tally, told)
    yield from _lost(engine)


def _changed(engine: Engine, kind: str, tally: Tally, told: Callable[[Tally], None]) -> Iterator[Difference]:
    _, beside_record = _KINDS[kind]
    last = ""
    while True:
        with still(engine) as db:
            page, began = beside_record(db, last, _PAGE), began_us(db)
        if not page:
            return
        before = tally.done
        for now, made in page:
            last, subject = now["id"], f"{kind}:{now['id']}"
            if made is None and kind == "alert" and (began is None or now["opened_at_us"] < began):
                tally.older += 1
                continue
            tally.compared += 1
            names = tuple(name for name in now if made is not None and now[name] != made[name])
            if made is None or names:
                yield Difference(subject=subject, names=names)
        if tally.done // _TOLD_EVERY > before // _TOLD_EVERY:
            told(tally)


def _lost(engine: Engine) -> Iterator[Difference]:
    """What was opened by the audit and is not there any more."""
    last = 0
    while True:
        with still(engine) as db:
            opened = opened_after(db, last, list(_KINDS), _PAGE)
            known: set[str] = set()
            for kind, (table, _) in _KINDS.items():
                ids = [subject.removeprefix(f"{kind}:") for subject in opened.values() if subject.startswith(kind)]
                there = select(table.c.id).where(among(table.c.id, ids))
                known.update(f"{kind}:{name}" for name in db.scalars(there))
        if not opened:
            return
        last = max(opened)
        yield from (Difference(subject=each, is_there=False) for each in opened.values() if each not in known)
