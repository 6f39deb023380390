"""Who was refused at the listener's door: told to the log now and then, and to the health while it goes on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

AGAIN: Final = timedelta(minutes=1)  # so long the same one is not told once more
REMEMBERED: Final = timedelta(days=1)
KEEPS_TRYING: Final = 3  # refusals that are no slip of the finger
MOST: Final = 100  # that are told apart; whoever tries names at random shall fill neither memory nor log
_OTHERS: Final = ("others", "several addresses")


@dataclass(slots=True, kw_only=True)
class Refused:
    """Logins of one name from one address: how many, the first and the last of them, and when they were last told."""

    name: str
    address: str
    since: datetime
    last: datetime
    told: datetime
    count: int = 1


class Refusals:
    """The refused logins of the last day. Moments are aware UTC."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Refused] = {}

    def note(self, name: str, address: str, now: datetime) -> Refused | None:
        """One more; what is to be told of it now, None while that was done a moment ago."""
        self._forget(now)
        key = (name, address)
        if key not in self._known and len(self._known) >= MOST:
            key = _OTHERS
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Refused(name=key[0], address=key[1], since=now, last=now, told=now)
            return known
        known.count += 1
        known.last = now
        if now - known.told < AGAIN:
            return None
        known.told = now
        return known

    def forgive(self, name: str) -> None:
        """Somebody of this name has come in."""
        for key in [key for key in self._known if key[0] == name]:
            del self._known[key]

    def lasting(self, now: datetime) -> list[Refused]:
        """Those who keep trying, the one that tried last first."""
        self._forget(now)
        found = [one for one in self._known.values() if one.count >= KEEPS_TRYING]
        return sorted(found, key=lambda one: one.last, reverse=True)

    def _forget(self, now: datetime) -> None:
        for key in [key for key, one in self._known.items() if now - one.last >= REMEMBERED]:
            del self._known[key]
