"""The detectors: a patient's recent readings become findings. Pure; the only memory is the window.

Three verdicts carry the hysteresis. RAISE: the trouble is present, from the reading that completes its hold time
until the readings that end it. CLEAR: it is over or was never there. HOLD: the readings cannot tell, and what was
believed before stays.

- **Freshness.** A trouble is raised only while the newest reading of its device is recent ("fresh-sensor",
  "fresh-meter", by the moment it was taken). Late readings fill the history, so an event that began and ended in them
  is over when it becomes known, and one that is long past says HOLD. Silence itself is the rule no-data.
- **Gaps.** A sensor's gap (over 20 min and 2.5 cadences) breaks a run: what was low before it is not "still" low.
- **Spot readings.** What a meter or a cuff saw lasts until a newer reading says otherwise: a stale reading is HOLD,
  neither raised again nor over, for silence is no recovery. A reading beyond the limit more than 2 h after the last
  one has an onset of its own (`since`), and so is a new episode for `alerts.machine`.
- **Late data.** A device whose readings come too late to be fresh, because its clock is behind or something keeps
  them, is watched by nobody: late-data says so after three such arrivals in a row. Readings stored during an outage
  come faster than they were taken, and are not meant.
- **Several devices.** Each is judged alone. The newest decides, except that a trouble seen by another one within the
  last 15 min stands, so that a meter and a sensor that disagree do not open and clear in turn. The trouble began when
  the first of them saw it.
- **Units.** Glucose is compared in the unit received; HI and LO are beyond every limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from alerts import glucose, pressure
from alerts.alert import Audience, Finding, Text, Verdict
from alerts.rules import (
    GLUCOSE_HIGH,
    GLUCOSE_LOW,
    GLUCOSE_REFERRAL,
    GLUCOSE_VERY_HIGH,
    GLUCOSE_VERY_LOW,
    LATE_DATA,
    NO_DATA,
    Limits,
)
from alerts.scene import MINUTE, VITALS, Scene
from alerts.window import LATE, LATE_COUNT, Window
from ingest.vital import Vital

_GLUCOSE_RULES: Final = (GLUCOSE_LOW, GLUCOSE_VERY_LOW, GLUCOSE_HIGH, GLUCOSE_VERY_HIGH, GLUCOSE_REFERRAL)
AGREE: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A device that ought to be heard.

    no-data is raised when nothing came for `silence`, counted from the newest arrival, or from `since` (when it was
    paired, or this house began to listen) if that is later.
    """

    device: str
    vital: Vital
    silence: timedelta
    since: datetime


def watch(
    window: Window,
    limits: Limits,
    expected: Sequence[Expected],
    now: datetime,
    *,
    zone: tzinfo,
    raising: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Judge a patient's readings at the moment `now` (aware). The same window and now give the same findings.

    zone: the patient's, for the moments in the sentences. A rule without any reading of its vitals says nothing;
    no-data and late-data always speak. CLEAR findings are for staff whoever heard of the trouble.
    raising: the rules that hold up an alert of the patient; of the other rules for glucose then only a RAISE is
    found, for nothing else of them is heard. None: every finding.
    """
    scene = Scene(window.patient, limits, now, zone)
    findings = [_no_data(scene, window, expected), _late_data(scene, window, expected)]
    traces = [
        glucose.Trace.of(vital, readings)
        for vital in (Vital.GLUCOSE, Vital.CGM)
        for _, readings in window.traces(vital)
    ]
    if traces:
        for rule in _GLUCOSE_RULES:
            only_raise = raising is not None and rule.name not in raising
            found = _newest_decides([glucose.judge(scene, rule, trace, only_raise=only_raise) for trace in traces])
            if found:
                findings.append(found)
    pressures = pressure.pressures(window.readings(Vital.BLOOD_PRESSURE))
    if pressures:
        findings += [pressure.high(scene, pressures), pressure.severe(scene, pressures)]
    return tuple(findings)


def _newest_decides(candidates: Sequence[tuple[datetime, Finding | None]]) -> Finding | None:
    latest = max(moment for moment, _ in candidates)
    raised = [
        (moment, finding)
        for moment, finding in candidates
        if finding and finding.verdict is Verdict.RAISE and latest - moment <= AGREE
    ]
    # Among those that raise, staff before patient and the worse first; all else equal the first device by name.
    if raised:
        worst = max(raised, key=lambda each: (each[1].audience is Audience.STAFF, each[1].priority, each[0]))[1]
        alike = [finding for _, finding in raised if finding.audience is worst.audience]
        return replace(
            worst,
            since=min(finding.since for _, finding in raised),
            known_at=min(finding.known_at for finding in alike),
        )
    return max(candidates, key=lambda each: each[0])[1]


def _no_data(scene: Scene, window: Window, expected: Sequence[Expected]) -> Finding:
    heard = {}
    for each in expected:
        arrivals = window.arrivals(each.device)
        heard[each] = max(each.since, arrivals.received_at) if arrivals else each.since
    silent = sorted(
        (each for each in expected if scene.now - heard[each] >= each.silence),
        key=lambda each: (heard[each], each.device),
    )
    if not silent:
        because = Text(en="Every expected device has been heard in its time.", zh="所有设备均按时上传数据。")
        return scene.finding(NO_DATA, Verdict.CLEAR, because, max(heard.values(), default=scene.now), ())
    parts = [
        Text(
            en=f"{VITALS[each.vital].en}: nothing from device {each.device} since {scene.clock(heard[each])} "
            f"({(scene.now - heard[each]) // MINUTE} min; expected within {each.silence // MINUTE} min)",
            zh=f"{VITALS[each.vital].zh}：设备 {each.device} 自 {scene.clock(heard[each])} 起无数据"
            f"（{(scene.now - heard[each]) // MINUTE} 分钟，应在 {each.silence // MINUTE} 分钟内）",
        )
        for each in silent
    ]
    # A device that falls silent while another one is silent already is news.
    overdue = max(heard[each] + each.silence for each in silent)
    return scene.finding(NO_DATA, Verdict.RAISE, _listed(parts), overdue, (), known_at=overdue)


def _late_data(scene: Scene, window: Window, expected: Sequence[Expected]) -> Finding:
    known = [(each, arrivals) for each in expected if (arrivals := window.arrivals(each.device))]
    late = [(each, arrivals) for each, arrivals in known if len(arrivals.late) == LATE_COUNT]
    if late:
        parts = [_comes_late(each, arrivals.behind) for each, arrivals in late]
        newest = max((arrivals.late for _, arrivals in late), key=lambda row: row[0])
        return scene.finding(LATE_DATA, Verdict.RAISE, _listed(parts), newest[0], (), known_at=newest[-1])
    if any(arrivals.late for _, arrivals in known) or (expected and not known):
        because = Text(
            en="Too little has come to say whether it comes in time.", zh="数据不足，无法判断是否按时到达。"
        )
        return scene.finding(LATE_DATA, Verdict.HOLD, because, scene.now, ())
    because = Text(en="What the expected devices send comes in time.", zh="所有设备的数据均按时到达。")
    return scene.finding(LATE_DATA, Verdict.CLEAR, because, scene.now, ())


def _comes_late(each: Expected, behind: timedelta) -> Text:
    days, minutes = behind.days, behind // MINUTE
    age = Text(en=f"{days} days", zh=f"{days} 天") if days > 1 else Text(en=f"{minutes} min", zh=f"{minutes} 分钟")
    vital, limit = VITALS[each.vital], LATE[each.vital] // MINUTE
    return Text(
        en=f"{vital.en}: what device {each.device} sends is {age.en} old when it comes (expected within {limit} min) "
        f"and may be too old to raise an alert; its clock is {age.en} behind, or something delays its data: "
        "set its clock, then check its connection",
        zh=f"{vital.zh}：设备 {each.device} 的数据到达时已过 {age.zh}（应在 {limit} 分钟内），"
        f"可能因过旧而无法触发报警；设备时钟慢了 {age.zh}，或数据传输有延迟：请校准设备时钟，再检查连接",
    )


def _listed(parts: Sequence[Text]) -> Text:
    return Text(en="; ".join(part.en for part in parts) + ".", zh="；".join(part.zh for part in parts) + "。")
