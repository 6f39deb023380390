"""What staff are owed of one trouble of one patient, by what was found and done alone.

The table of `alerts.machine` a second time, in few words: it reads nothing that Homeward has written down, no fact
and no timer. So a run of a ladder that never began, or was forgotten, cannot go unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from alerts.alert import Audience, Finding, Priority, Verdict
from alerts.rules import RULES


@dataclass(kw_only=True)
class Trouble:
    """All moments are aware UTC. owed_since: since when staff are to be told of it as it is, and were not; of high
    priority alone, and None where nothing is owed."""

    priority: Priority
    raising: set[str]
    since: datetime
    opened_at: datetime
    changed_at: datetime
    is_emergency: bool
    owed_since: datetime | None
    alert: str = ""
    is_closed: bool = False
    is_untold: bool = False
    seen_at: datetime | None = None
    put_off_at: datetime | None = None
    put_off_until: datetime | None = None

    @classmethod
    def hears(cls, known: Trouble | None, finding: Finding, now: datetime) -> Trouble | None:
        """What there is after a finding; None: nothing of which staff are told."""
        if finding.verdict is Verdict.RAISE and finding.audience is Audience.STAFF:
            if known is None or (known.is_closed and known._is_over_with(finding)):
                return cls._opened(finding, now, known.raising if known else set())
            known._raise(finding, now)
        elif known and finding.verdict is Verdict.RAISE:
            known._ask(finding, now)
        elif known and finding.verdict is Verdict.CLEAR and finding.rule in known.raising:
            known.raising.remove(finding.rule)
            known.is_untold = known.is_untold and bool(known.raising)
            known.changed_at = now
        return known

    @classmethod
    def _opened(cls, finding: Finding, now: datetime, raising: set[str]) -> Trouble:
        return cls(
            priority=finding.priority,
            raising=raising | {finding.rule},
            since=finding.since,
            opened_at=now,
            changed_at=now,
            is_emergency=finding.emergency_at is not None,
            owed_since=now if finding.priority is Priority.HIGH else None,
        )

    def sees(self, at: datetime) -> None:
        """Somebody acknowledges it."""
        self.seen_at = self.changed_at = at
        self.put_off_at = self.put_off_until = self.owed_since = None

    def closes(self, at: datetime) -> None:
        """Somebody closes it."""
        self.sees(at)
        self.is_closed, self.is_untold = True, False

    def waits(self, at: datetime, until: datetime) -> None:
        """Somebody puts it off."""
        self.put_off_at = self.changed_at = at
        self.put_off_until, self.is_untold = until, False

    def wakes(self, now: datetime) -> None:
        """What was put off until now is put off no longer."""
        if self.put_off_until and self.put_off_until <= now:
            self.put_off_at = self.put_off_until = None
            self.changed_at = now

    def _is_anew(self, finding: Finding) -> bool:
        return finding.since > self.since and finding.known_at > self.changed_at

    def _is_again(self, finding: Finding) -> bool:
        """Whether it is another episode that is told."""
        quiet_since = max(self.opened_at, self.since, self.seen_at or self.since)
        return self._is_anew(finding) and finding.known_at >= quiet_since + RULES[finding.rule].quiet

    def _comes_after(self, act: datetime | None, finding: Finding) -> bool:
        return bool(act and finding.emergency_at and finding.emergency_at > act)

    def _is_over_with(self, finding: Finding) -> bool:
        """Whether, closed as it is, it opens another one."""
        return (
            not self.raising
            or finding.priority > self.priority
            or self._is_again(finding)
            or self._comes_after(self.seen_at, finding)
        )

    def _raise(self, finding: Finding, now: datetime) -> None:
        is_new = finding.rule not in self.raising
        if self.is_closed:
            self.changed_at = now if is_new else self.changed_at
            self.raising.add(finding.rule)
            return
        is_back = not self.raising or self.is_untold or self._is_again(finding)
        is_worse = finding.priority > self.priority
        is_told = is_back or is_worse or self._comes_after(self.seen_at or self.put_off_at, finding)
        is_first = finding.emergency_at is not None and not self.is_emergency and self.seen_at is None
        if is_told or is_new or is_first or self._is_anew(finding):
            self.changed_at = now
        self.priority = finding.priority if is_back and self.seen_at else max(self.priority, finding.priority)
        self.is_emergency = bool(finding.emergency_at) or (self.is_emergency and not is_back)
        self.since = finding.since if is_back else self.since
        self.raising.add(finding.rule)
        if is_told or (self.put_off_until and is_new and finding.priority == self.priority):
            self.put_off_at = self.put_off_until = None
        if is_told:
            self.seen_at, self.is_untold = None, False
            self.owed_since = now if self.priority is Priority.HIGH else None

    def _ask(self, finding: Finding, now: datetime) -> None:
        """The patient alone is told."""
        if (self.is_closed and not self.raising) or finding.rule in self.raising:
            return
        if not self.raising:
            self.is_untold = self.put_off_until is None
            self.put_off_at = self.put_off_until = None
        self.raising.add(finding.rule)
        self.changed_at = now
        if not self.is_closed:
            self.is_emergency = self.is_emergency or finding.emergency_at is not None
