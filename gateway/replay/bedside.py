"""One subject's bed in a replay: readings and the time go in, news comes out. The only place that knows the watch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, tzinfo
from typing import Final, NamedTuple

from alerts.alert import Alert, Audience, Finding, Priority, Verdict
from alerts.bed import Bed
from alerts.delivery import worst_for_patients
from alerts.device_rules import NO_DATA
from alerts.devices import Expected, after_low
from alerts.ladder import Plan
from alerts.machine import FactKind, hear_findings
from alerts.review import RANGES
from alerts.rule import Group
from gateway.past import Past, round_of
from gateway.stored import StoredReadings
from ingest.journal import Journal
from ingest.reading import Reading
from ingest.vital import Vital


class _Known(NamedTuple):
    """What somebody knows of a trouble that is raised."""

    at: datetime
    since: datetime
    priority: Priority


class News(NamedTuple):
    """What is new. items: of the findings, what opened an item in the doctor's queue or brought one back."""

    findings: Sequence[Finding]
    items: Sequence[Finding]


NOTHING: Final = News((), ())


class Bedside:
    """The watch over one subject, who wears one device from `since` on, and the rounds at night.

    Every item in the doctor's queue is closed as soon as its condition is over. together: what a patient is told of
    one moment is the worst of it, as in a hub; else each rule tells of its own.
    """

    def __init__(
        self,
        subject: str,
        vital: Vital,
        plan: Plan,
        zone: tzinfo,
        journal: Journal,
        *,
        population: Group,
        since: datetime,
        together: bool,
    ) -> None:
        silence, staff_after = (
            plan.limits.minutes(NO_DATA.name, f"{name}-{vital}") for name in ("silence", "staff-after")
        )
        self._subject = subject
        self._told = worst_for_patients if together else list
        self._journal = journal
        self._bed = Bed(
            subject,
            plan=plan,
            zone=zone,
            expected=(
                Expected(
                    device=subject,
                    vital=vital,
                    silence=silence,
                    staff_after=staff_after,
                    staff_after_low=after_low(plan.limits, vital, staff_after),
                    since=since,
                    not_before=since,
                    worn_since=since,
                ),
            ),
        )
        self._past = Past(
            journal,
            subject,
            zone,
            population=RANGES[population],
            limits=lambda _: plan.limits,
            cuffs={},
            worn={subject: since},
        )
        self._zone = zone
        self._visit_at = round_of(subject, zone, since).next_at
        self._reviewed: date | None = None
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._known: defaultdict[str, dict[Audience, _Known]] = defaultdict(dict)

    def due(self, now: datetime) -> datetime:
        """When time alone may bring something about."""
        return min(self._bed.due(now), self._visit_at)

    def take(self, readings: Sequence[Reading], now: datetime) -> News:
        """Take readings in that have come at this moment; what is new by them."""
        groups = [found for reading in readings if (found := self._bed.take(reading, now))]
        if together := self._bed.taken_together(now):
            groups.append(together)
        if self._bed.asks:
            groups.append(self._bed.look(StoredReadings(self._journal, self._subject, now), now))
        return self._hear(groups, now) if groups else NOTHING

    def tick(self, now: datetime) -> News:
        """Look because it is due; what is new."""
        weekly: Sequence[Finding] = ()
        groups: list[Sequence[Finding]] = []
        if self._visit_at <= now:
            visit = round_of(self._subject, self._zone, now)
            self._visit_at = visit.next_at
            groups.append([each for each in self._past.spot(visit.day) if each.audience is not Audience.WEEKLY])
            if visit.monday != self._reviewed:
                self._reviewed = visit.monday
                review = self._past.review(visit, now)
                weekly = review.raised if review else ()
        groups.append(self._bed.look(StoredReadings(self._journal, self._subject, now), now))
        news = self._hear(groups, now)
        return news._replace(findings=(*news.findings, *weekly))

    def _hear(self, groups: Iterable[Sequence[Finding]], now: datetime) -> News:
        news: list[Finding] = []
        items: list[Finding] = []
        for group in self._told(groups):
            news += [finding for finding in group if self._is_news(finding, now)]
            items += self._queue(group, now)
        self._bed.settle({rule: alert.since for alert in self._alerts.values() for rule in alert.raising}, now)
        return News(news, items)

    def _queue(self, findings: Sequence[Finding], now: datetime) -> list[Finding]:
        brought = []
        for change in hear_findings(self._alerts, findings, now).changes:
            key = change.alert.patient, change.alert.problem
            if change.fact.what in {FactKind.OPENED, FactKind.RELAPSED}:
                brought += [each for each in findings if each.because == change.fact.because][:1]
            self._alerts[key] = change.alert
            if not change.alert.raising:
                del self._alerts[key]
        return brought

    def _is_news(self, finding: Finding, now: datetime) -> bool:
        """Whether a trouble is raised for whom it is told, raised anew, worse, or over.

        The patient and staff each hear of it, as in a hub; what is for the weekly list alone is no news where
        somebody has heard.
        """
        if finding.verdict is not Verdict.RAISE:
            return finding.verdict is Verdict.CLEAR and self._known.pop(finding.rule, None) is not None
        heard = self._known[finding.rule]
        known = heard.get(finding.audience)
        if known is None and finding.audience is Audience.WEEKLY:
            known = max(heard.values(), key=lambda each: each.since, default=None)
        if known is not None:
            anew = finding.since > known.since and finding.known_at > known.at
            if not (anew or finding.priority > known.priority):
                return False
        heard[finding.audience] = _Known(now, finding.since, finding.priority)
        return True
