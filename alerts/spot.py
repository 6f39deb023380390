"""Spot measurements, a few a day: what to judge at each new one, at deadlines, and in the review of the days. Pure.

`judge` looks at a short list of recent readings, whenever one more has come and when `Judged.again` has passed.
`review` looks at two weeks, once a day or once a week; what it asks the patient for waits for the waking hours
(`reminders`). Nothing is remembered: the same readings and the same moment give the same findings, in whatever order
they came. A reading that came twice is to be given once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from alerts import contradiction, cuff, cuff_review, meter, plan
from alerts.alert import Audience, Finding, Verdict
from alerts.plan import Plan
from alerts.scene import Judged, Scene
from ingest.reading import Reading
from ingest.vital import Vital

# How far back `judge` looks. A trouble of most days is told once a week, so most readings reach back for one.
SPAN: Final[Mapping[Vital, timedelta]] = {
    Vital.GLUCOSE: timedelta(days=8),
    Vital.KETONE: timedelta(days=2),
    Vital.BLOOD_PRESSURE: timedelta(days=8),
    Vital.CGM: timedelta(minutes=30),
}
# The newest of a vital that are judged, so that a device gone mad, which sends one after the other, keeps nobody else
# waiting. Of one that sends every second they reach back for the half hour after which staff hear of a very low.
MOST: Final = 2000
REVIEW_SPAN: Final = timedelta(days=15)

Taken = Mapping[Vital, Sequence[Reading]]


def judge(
    scene: Scene,
    taken: Taken,
    *,
    raising: Collection[str] | None = None,
    low_since: Callable[[datetime], datetime] = meter.as_measured,
) -> Judged:
    """Judge recent readings, oldest first, by vital.

    A sensor's are those about the newest reading of the meter and the newest one; they only end and contradict here.
    raising: the rules that hold up an alert of the patient; of the others only a RAISE is found, for nothing else of
    them is heard. None: every finding. low_since: as in `meter`.
    """
    glucose, sensor, pressures = (taken.get(vital, ()) for vital in (Vital.GLUCOSE, Vital.CGM, Vital.BLOOD_PRESSURE))
    newest = sensor[-1] if sensor else None
    ketones = taken.get(Vital.KETONE, ())
    of_meter = meter.judge(scene, glucose, ketones, newest, raising=raising, low_since=low_since)
    of_cuff = cuff.judge(scene, pressures, raising=raising)
    against = contradiction.judge(scene, glucose, sensor, pressures, raising=raising)
    moments = [each.again for each in (of_meter, of_cuff) if each.again]
    findings = (*of_meter.findings, *of_cuff.findings, *against)
    return Judged(_heard(findings, raising), min(moments, default=None))


def review(
    scene: Scene,
    taken: Taken,
    plans: Iterable[Plan] = (),
    *,
    failed: Sequence[datetime] = (),
    raising: Collection[str] | None = None,
) -> Judged:
    """Judge the readings of `REVIEW_SPAN`, oldest first, by vital; `again`: the next reminder of a plan.

    plans: what the patient agreed to measure, at most one for each vital. failed: when the patient's cuffs reported
    measurements that gave no value. raising: as for `judge`.
    """
    findings = [
        *meter.review(scene, taken.get(Vital.GLUCOSE, ())),
        *cuff_review.review(scene, taken.get(Vital.BLOOD_PRESSURE, ()), failed),
    ]
    moments = []
    of_plans: list[Finding] = []
    for each in plans:
        readings = taken.get(each.vital, ())
        reminder = plan.judge(scene, each, readings)
        of_plans += [*reminder.findings, plan.review(scene, each, readings)]
        moments += [reminder.again] if reminder.again else []
    findings += plan.together(of_plans)
    return Judged(_heard(findings, raising), min(moments, default=None))


def asks_patient(finding: Finding) -> bool:
    """Whether the patient is asked for something; of what `review` finds, it never is urgent."""
    return finding.verdict is Verdict.RAISE and finding.audience is Audience.PATIENT


def reminders(scene: Scene, reviewed: Judged) -> Judged:
    """What the patient is to be asked for now, of what `review` has found for this moment; nothing out of hours.

    again: when to review once more for it.
    """
    asked = tuple(filter(asks_patient, reviewed.findings))
    wakes = plan.awake(scene)
    if not asked or wakes <= scene.now:
        return Judged(asked, reviewed.again)
    return Judged((), min(wakes, reviewed.again or wakes))


def _heard(findings: Iterable[Finding], raising: Collection[str] | None) -> tuple[Finding, ...]:
    if raising is None:
        return tuple(findings)
    return tuple(
        each
        for each in findings
        if each.verdict is Verdict.RAISE or (each.verdict is Verdict.CLEAR and each.rule in raising)
    )
