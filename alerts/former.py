"""What held of a patient before the limits were changed: by it is judged what had come by then. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from alerts import spot
from alerts.alert import Verdict
from alerts.ladder import Plan
from alerts.rules import RULES
from alerts.scene import Judged, Scene

_JUDGED_FOR: Final = timedelta(days=1)  # the longest of "fresh-meter"


class Former(NamedTuple):
    """What held before the limits were changed, and until when."""

    plan: Plan
    until: datetime

    def beside(
        self, judged: Judged, scene: Scene, taken: spot.Taken, low_since: Callable[[datetime], datetime]
    ) -> Judged:
        """What is found of spot readings, those that came before the change judged by what held then.

        judged: all of them by the limits of the scene. taken, low_since: as for `spot.judge`. Where a vital was
        measured since, what is raised of it is raised by what was measured since.
        """
        if scene.now - self.until > _JUDGED_FOR:
            return judged
        old = {each.key for readings in taken.values() for each in readings if each.received_at <= self.until}
        before = spot.judge(scene._replace(limits=self.plan.limits), taken, raising=(), low_since=low_since)
        since = {vital for vital, readings in taken.items() if any(each.key not in old for each in readings)}
        raised = {
            (each.rule, each.audience): each
            for each in before.findings
            if old.issuperset(each.evidence) and since.isdisjoint(RULES[each.rule].vitals)
        }
        rules = {rule for rule, _ in raised}
        now = [
            each
            for each in judged.findings
            if not old.issuperset(each.evidence) or (each.verdict is Verdict.CLEAR and each.rule not in rules)
        ]
        said = {(each.rule, each.audience) for each in now}
        again = min(filter(None, (judged.again, before.again)), default=None)
        return Judged((*now, *(each for of, each in raised.items() if of not in said)), again)
