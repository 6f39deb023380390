"""What a sensor has to tell, in sentences: what, how much, since when, against which limit from which source."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from alerts.alert import Alert, Audience, Finding, Text, Verdict
from alerts.devices import LATE
from alerts.first_aid import FOR_STAFF, advice, advice_ahead, advice_late
from alerts.forecast import HORIZON
from alerts.rule import COUNT, MIN, RATE, Comparison, Rule
from alerts.scene import MINUTE, VITALS, Scene, for_staff, late_words, span
from alerts.sensor import Told, Value, is_late
from alerts.sensor_rules import (
    FALLING_FAST,
    GLUCOSE_REFERRAL,
    HIGH_EXTENDED,
    HIGH_PROLONGED,
    LOW_CRITICAL,
    LOW_EVENT_1,
    LOW_EVENT_2,
    PREDICTED_LOW,
    PREDICTED_URGENT_LOW,
    RISING_FAST,
    SENSOR_COMPRESSION,
    SENSOR_JUMP,
    SENSOR_STUCK,
    SENSOR_WARM_UP,
)
from alerts.shown import limit_words, value_words
from ingest.reading import reading_key
from ingest.vital import MG_DL_PER_MMOL_L, Unit, Vital

_VITAL: Final = VITALS[Vital.CGM]
_FLAT: Final = 1.0  # mg/dL/min
_WORDS: Final = {
    Comparison.BELOW: Text(en="below", zh="低于"),
    Comparison.ABOVE: Text(en="above", zh="高于"),
    Comparison.AT_LEAST: Text(en="at or above", zh="不低于"),
}


def finding(scene: Scene, told: Told) -> Finding:
    """The finding that is heard of it."""
    reading, because = told.reading, _because(scene, told)
    # Of what the patient was told late this is another notice; staff have the same trouble, in words of now.
    since = reading.taken_at if told.again and told.audience is Audience.PATIENT else told.began or told.since
    return Finding(
        patient=scene.patient,
        rule=told.rule.name,
        problem=told.rule.problem,
        verdict=told.verdict,
        priority=told.priority,
        audience=told.audience,
        because=for_staff(because, scene.zone) if told.audience is Audience.STAFF else because,
        since=since,
        known_at=reading.received_at,
        evidence=tuple(dict.fromkeys(reading_key(Vital.CGM, at, reading.device) for at in sorted(told.evidence))),
        emergency_at=reading.received_at if told.emergency else None,
        renews=told.again,
    )


def still_low(scene: Scene, told: Told, closed: Alert) -> tuple[Finding, Finding]:
    """What staff and the patient hear of a low that goes on after a person has closed the alert about it."""
    assert closed.closed_at is not None  # noqa: S101  as its caller found
    at, note = scene.clock(closed.closed_at), closed.closing_note or ""
    staff = finding(scene, told)
    said = Text(
        en=f"The alert was closed by {closed.closed_by} at {at} with “{note}”, but it is still low. "
        f"{staff.because.en}",
        zh=f"{closed.closed_by} 已于 {at} 关闭该警报（“{note}”），但血糖仍低。{staff.because.zh}",
    )
    patient = finding(scene, told._replace(audience=Audience.PATIENT))
    return replace(staff, because=said), replace(patient, since=closed.closed_at)


def _because(scene: Scene, told: Told) -> Text:
    if told.level is None:
        return _ARTEFACTS[told.rule.name](scene, told)
    return _over(scene, told) if told.verdict is Verdict.CLEAR else _event(scene, told)


def _say(scene: Scene, value: Value) -> Text:
    return value_words(scene, value.shown, value.unit)


def _event(scene: Scene, told: Told) -> Text:
    assert told.level is not None  # noqa: S101  as its caller found
    base, unit = told.level.rule, told.value.unit
    words, limit = _WORDS[base.comparison], limit_words(scene, base, "limit", unit)
    source = scene.limits.source(base.name, "limit", unit)
    since, now, worst = scene.clock(told.since), _say(scene, told.value), _say(scene, told.worst or told.value)
    extreme = Text(en="lowest", zh="最低") if told.level.low else Text(en="highest", zh="最高")
    # The sentence is read later as well, so it says when it was so.
    at, lasted, trend = (
        scene.clock(told.reading.taken_at),
        span(told.reading.taken_at - told.since),
        _trend(scene, told),
    )
    if _has_recovered(scene, told):
        said = Text(
            en=f"{_VITAL.en} was {words.en} {limit.en} from {since} on, {extreme.en} {worst.en}; {now.en}{trend.en} "
            f"at {at}.",
            zh=f"{_VITAL.zh}自 {since} 起曾{words.zh} {limit.zh}，{extreme.zh} {worst.zh}；"
            f"{at} 为 {now.zh}{trend.zh}。",
        )
    elif told.broken or (told.level.low and told.value.shown >= scene.limits.value(base.name, "limit", unit)):
        went = Text(en="went", zh="降至") if told.level.low else Text(en="went", zh="升至")
        said = Text(
            en=f"{_VITAL.en} {went.en} {words.en} {limit.en} at {since}, not recovered by {at} ({lasted.en}): "
            f"{extreme.en} {worst.en}, then {now.en}{trend.en}.",
            zh=f"{_VITAL.zh}于 {since} {went.zh}{words.zh} {limit.zh}，至 {at}（{lasted.zh}）尚未恢复："
            f"{extreme.zh} {worst.zh}，当时 {now.zh}{trend.zh}。",
        )
    elif told.reading.taken_at > told.since:
        said = Text(
            en=f"{_VITAL.en} {words.en} {limit.en} since {since}, not recovered by {at} ({lasted.en}): "
            f"{extreme.en} {worst.en}, then {now.en}{trend.en}.",
            zh=f"{_VITAL.zh}自 {since} 起{words.zh} {limit.zh}，至 {at}（{lasted.zh}）尚未恢复："
            f"{extreme.zh} {worst.zh}，当时 {now.zh}{trend.zh}。",
        )
    else:
        said = Text(
            en=f"{_VITAL.en} {now.en}{trend.en} at {since}: {words.en} {limit.en}.",
            zh=f"{since} {_VITAL.zh} {now.zh}{trend.zh}：{words.zh} {limit.zh}。",
        )
    after, late, before = _after(scene, told), _late(scene, told), _before_gap(scene, told, extreme)
    todo = _advice(scene, told)
    if told.held:
        waits = _waits(scene, told.level.rule, told.held, scene.now - told.since)
        todo = Text(en=todo.en + waits.en, zh=todo.zh + waits.zh)
    return Text(
        en=f"{said.en}{before.en} Limit: {source.en}{after.en}.{late.en}{todo.en}",
        zh=f"{said.zh}{before.zh}限值依据：{source.zh}{after.zh}。{late.zh}{todo.zh}",
    )


def _before_gap(scene: Scene, told: Told, extreme: Text) -> Text:
    """What is known of how it was before a gap; what it was in the gap nobody knows."""
    if told.before is None or told.before.worst is None:
        return Text(en="", zh="")
    worst, since, last = _say(scene, told.before.worst), scene.clock(told.before.since), scene.clock(told.before.last)
    return Text(
        en=f" It was so before a gap in the data as well, from {since} to {last}, {extreme.en} {worst.en}.",
        zh=f"数据中断前亦如此：{since} 至 {last}，{extreme.zh} {worst.zh}。",
    )


def _trend(scene: Scene, told: Told) -> Text:
    """The direction of the last minutes, where it is known; an arrow is flat below 1 mg/dL/min on every sensor."""
    if not told.numbers:
        return Text(en="", zh="")
    (rate,), unit = told.numbers, scene.unit(told.value.unit)
    if abs(rate) < _FLAT:
        return Text(en=", steady", zh="，平稳")
    way = Text(en="rising", zh="上升") if rate > 0 else Text(en="falling", zh="下降")
    speed = _rate_words(rate, unit)
    return Text(en=f", {way.en} by {speed}", zh=f"，{way.zh} {speed}")


_OF_A_HIGH: Final = Text(
    en=" Please drink water; if you feel ill, measure ketones too.", zh="请饮水；如有不适，请同时测血酮。"
)
_OF_HOURS: Final = Text(
    en=" Please drink water, measure by finger and ketones too, now, and call your doctor or clinic; if you vomit, "
    "breathe hard or feel drowsy, call the emergency number (120 in China) now.",
    zh="请饮水，立即测指尖血糖和血酮，并联系医生或诊所；"
    "如有呕吐、呼吸费力或嗜睡，请立即拨打急救电话（中国大陆 120）。",
)
_OF_A_HIGH_LATE: Final = Text(en=" Please look at your newest value.", zh="请查看最新读数。")


def _late(scene: Scene, told: Told) -> Text:
    """When the newest value came, where it may be otherwise by then."""
    return late_words(scene, told.reading, LATE[Vital.CGM])


def _advice(scene: Scene, told: Told) -> Text:
    """What a patient can do now, while it may be so; of a low staff are reminded of it, and decide themselves."""
    assert told.level is not None  # noqa: S101  as its caller found
    if _has_recovered(scene, told):
        return Text(en="", zh="")
    if told.audience is Audience.PATIENT:
        if not told.level.low:
            of_now = _OF_HOURS if told.rule is HIGH_PROLONGED else _OF_A_HIGH
            return _OF_A_HIGH_LATE if is_late(told.reading) else of_now
        very_low = told.level.rule in (LOW_EVENT_2, LOW_CRITICAL)
        return advice_late(very_low=very_low) if is_late(told.reading) else advice(very_low=very_low)
    if told.level.low and told.audience is Audience.STAFF and not is_late(told.reading):
        return FOR_STAFF
    return Text(en="", zh="")


def _has_recovered(scene: Scene, told: Told) -> bool:
    """Whether the newest value is on the right side of the clear limit, as of an event known only afterwards."""
    assert told.level is not None  # noqa: S101  as its caller found
    clear = scene.limits.value(told.level.rule.name, "clear", told.value.unit)
    return told.value.shown >= clear if told.level.low else told.value.shown <= clear


def _after(scene: Scene, told: Told) -> Text:
    """For what is told because it lasts: how long, and who says so."""
    assert told.level is not None  # noqa: S101  as its caller found
    if told.rule is told.level.rule and told.rule is not GLUCOSE_REFERRAL:
        return Text(en="", zh="")
    count, source = _sourced(scene, told.rule, "hold", MIN)
    if told.rule is HIGH_EXTENDED:
        return Text(en=f"; {count:g} of 120 min: {source.en}", zh=f"；120 分钟内 {count:g} 分钟：{source.zh}")
    hold = span(count * MINUTE)
    if told.rule is HIGH_PROLONGED:
        return Text(en=f"; for {hold.en}: {source.en}", zh=f"；达 {hold.zh}：{source.zh}")
    return Text(
        en=f"; for {hold.en}, each reading with its interval: {source.en}",
        zh=f"；持续 {hold.zh}（含每次读数的间隔）：{source.zh}",
    )


_REASONS: Final = {
    SENSOR_WARM_UP.name: Text(en="the sensor is in its first day", zh="传感器处于首日"),
    SENSOR_COMPRESSION.name: Text(
        en="a steep fall at night from a steady trace may be pressure on the sensor",
        zh="夜间由平稳骤降，可能为传感器受压",
    ),
}


def _waits(scene: Scene, low: Rule, held: Rule, lasted: timedelta) -> Text:
    """Why staff are told later than of other lows; where they are told by now, only that it may be no low."""
    critical, reason = low is LOW_CRITICAL, _REASONS[held.name]
    staff_after = scene.minutes(*((LOW_CRITICAL, "staff-after-doubt") if critical else (held, "staff-after")))
    wait = staff_after // MINUTE
    if lasted >= staff_after:
        return Text(en=f" Please measure by finger: {reason.en}.", zh=f"请测指尖血糖：{reason.zh}。")
    if critical:
        return Text(
            en=f" Staff are told after {wait} min instead of at once: {reason.en}. Please measure by finger.",
            zh=f"{reason.zh}，{wait} 分钟后（而非立即）通知医护；请测指尖血糖。",
        )
    usual = scene.minutes(LOW_EVENT_2, "staff-after") // MINUTE
    return Text(
        en=f" Staff are told after {wait} min instead of {usual}: {reason.en}. Please measure by finger.",
        zh=f"{reason.zh}，{wait} 分钟（而非 {usual} 分钟）后通知医护；请测指尖血糖。",
    )


def _over(scene: Scene, told: Told) -> Text:
    assert told.level is not None  # noqa: S101  as its caller found
    base, unit = told.level.rule, told.value.unit
    now, clear = _say(scene, told.value), limit_words(scene, base, "clear", unit)
    source, at = scene.limits.source(base.name, "clear", unit), scene.clock(told.reading.taken_at)
    stand = Text(en="at or above", zh="不低于") if told.level.low else Text(en="at or below", zh="不高于")
    corrected = Text(en="", zh="")
    if told.reading.rev > 1:
        corrected = Text(en=" The device has corrected its readings.", zh="设备已更正其读数。")
    return Text(
        en=f"{_VITAL.en} {now.en} at {at}, {stand.en} {clear.en} for 15 min.{corrected.en} Limit: {source.en}.",
        zh=f"{at} {_VITAL.zh} {now.zh}，已 15 分钟{stand.zh} {clear.zh}。{corrected.zh}限值依据：{source.zh}。",
    )


def _amount(mg_dl: float, unit: Unit) -> str:
    """A difference in the unit that is read."""
    return f"{mg_dl:.0f} {unit}" if unit is Unit.MG_DL else f"{mg_dl / MG_DL_PER_MMOL_L:.1f} {unit}"


def _level(scene: Scene, mg_dl: float, unit: Unit) -> Text:
    """A value of which only mg/dL are known, as a sensor shows it in this unit."""
    whole = round(mg_dl) if unit is Unit.MG_DL else round(mg_dl / MG_DL_PER_MMOL_L, 1)
    return value_words(scene, whole, unit)


def _sourced(scene: Scene, rule: Rule, parameter: str, unit: str) -> tuple[float, Text]:
    return scene.limits.value(rule.name, parameter, unit), scene.limits.source(rule.name, parameter, unit)


_OF_A_FALL: Final = Text(
    en=" Please have sugar at hand, do not drive, and look again in 15 min.",
    zh="请备好糖，勿驾车，15 分钟后再看读数。",
)
_OF_A_RISE: Final = Text(
    en=" Please look again in 30 min, and do what you have agreed with your doctor for such a rise.",
    zh="请 30 分钟后再看读数；请按医生事先交代的方法处理。",
)


def _rate(scene: Scene, told: Told) -> Text:
    rate, before = told.numbers
    unit, minutes = scene.unit(told.value.unit), (told.reading.taken_at - told.since) // MINUTE
    limit, source = _sourced(scene, told.rule, "limit", RATE)
    speed = _rate_words(rate, unit)
    falls = Text(en="falls", zh="下降") if rate < 0 else Text(en="rises", zh="上升")
    todo = _OF_A_FALL if rate < 0 else _OF_A_RISE
    start, now = _level(scene, before, told.value.unit), _say(scene, told.value)
    return Text(
        en=f"{_VITAL.en} {falls.en} fast: from {start.en} to {now.en} within {minutes} min since "
        f"{scene.clock(told.since)} ({speed}). Limit: {_rate_words(limit, unit)}, {source.en}.{todo.en}",
        zh=f"{_VITAL.zh}快速{falls.zh}：自 {scene.clock(told.since)} 起 {minutes} 分钟内由 {start.zh}至 {now.zh}"
        f"（{speed}）。限值：{_rate_words(limit, unit)}，{source.zh}。{todo.zh}",
    )


def _ahead(scene: Scene, told: Told) -> Text:
    rate, expected, *since_low = told.numbers
    base = LOW_EVENT_1 if told.rule is PREDICTED_LOW else LOW_EVENT_2
    unit = told.value.unit
    limit, source = limit_words(scene, base, "limit", unit), scene.limits.source(base.name, "limit", unit)
    now, then, at = _say(scene, told.value), _level(scene, round(expected), unit), scene.clock(told.since)
    speed = f"{'-' if rate < 0 else '+'}{_rate_words(rate, scene.unit(unit))}"
    pressed, todo = Text(en="", zh=""), advice_ahead(very_low=base is LOW_EVENT_2)
    why = _why_ahead(since_low[0] if since_low else None, rises=round(rate, 1) > 0)
    if told.held is not None:
        reason = _REASONS[told.held.name]
        pressed = Text(en=f" But {reason.en}: please measure by finger.", zh=f"但{reason.zh}：请测指尖血糖。")
    return Text(
        en=f"{_VITAL.en} {now.en} at {at}, changing by {speed}; about {then.en} is expected in {HORIZON:.0f} min, "
        f"and it may fall below {limit.en} within 60 min.{why.en}{pressed.en} Limit: {source.en}.{todo.en}",
        zh=f"{at} {_VITAL.zh} {now.zh}，变化 {speed}；预计 {HORIZON:.0f} 分钟后约 {then.zh}，"
        f"60 分钟内可能低于 {limit.zh}。{why.zh}{pressed.zh}限值依据：{source.zh}。{todo.zh}",
    )


def _why_ahead(since_low: float | None, *, rises: bool) -> Text:
    """What speaks for a low beside the change just now (`alerts.forecast`), which does not where the value rises."""
    if since_low is None:
        if not rises:
            return Text(en="", zh="")
        return Text(
            en=" It rises just now, but its course over the last 80 min and your values of the last three days speak "
            "for a low.",
            zh="目前虽在上升，但根据近 80 分钟的走势和近三天的血糖水平，仍可能出现低血糖。",
        )
    before = span(since_low * MINUTE)
    if not rises:
        return Text(en=f" The last value below it was {before.en} before.", zh=f"{before.zh}前曾低于此值。")
    return Text(
        en=f" It rises just now, but the last value below it was only {before.en} before, and a "
        "further low can follow.",
        zh=f"目前虽在上升，但 {before.zh}前曾低于此值，可能再次出现低血糖。",
    )


def _rate_words(rate: float, unit: Unit) -> str:
    rate = abs(rate)
    return f"{rate:.1f} {unit}/min" if unit is Unit.MG_DL else f"{rate / MG_DL_PER_MMOL_L:.2f} {unit}/min"


def _compression(scene: Scene, told: Told) -> Text:
    (minutes,) = told.numbers
    worst = told.worst or told.value
    rise, lowest = _amount(told.value.mg_dl - worst.mg_dl, scene.unit(told.value.unit)), _say(scene, worst)
    fall, source = _sourced(scene, told.rule, "fall", RATE)
    return Text(
        en=f"{_VITAL.en} fell at night from a steady trace to {lowest.en} at {scene.clock(told.since)} and came "
        f"back by {rise} within {minutes:.0f} min: this looks like pressure on the sensor. "
        f"Limit: a fall of {_rate_words(fall, scene.unit(told.value.unit))}, {source.en}.",
        zh=f"{scene.clock(told.since)} {_VITAL.zh}夜间由平稳骤降至 {lowest.zh}，{minutes:.0f} 分钟内"
        f"回升 {rise}：疑为传感器受压。限值：下降 {_rate_words(fall, scene.unit(told.value.unit))}，{source.zh}。",
    )


def _jump(scene: Scene, told: Told) -> Text:
    before, minutes = told.numbers
    start, now, at = (
        _level(scene, before, told.value.unit),
        _say(scene, told.value),
        scene.clock(told.reading.taken_at),
    )
    limit, source = _sourced(scene, told.rule, "limit", RATE)
    return Text(
        en=f"{_VITAL.en} jumped from {start.en} to {now.en} within {minutes:.0f} min at {at}: not taken as a trend. "
        f"Limit: {_rate_words(limit, scene.unit(told.value.unit))}, {source.en}.",
        zh=f"{at} {_VITAL.zh} {minutes:.0f} 分钟内由 {start.zh}跳至 {now.zh}：不视为趋势。"
        f"限值：{_rate_words(limit, scene.unit(told.value.unit))}，{source.zh}。",
    )


def _stuck(scene: Scene, told: Told) -> Text:
    count, minutes = told.numbers
    limit, source = _sourced(scene, told.rule, "count", COUNT)
    now, since = _say(scene, told.value), scene.clock(told.since)
    lasted = span(minutes * MINUTE)
    return Text(
        en=f"{_VITAL.en} has been {now.en} without any change since {since}: {count:.0f} readings, {lasted.en}. "
        f"Please check the sensor and measure by finger. Limit: {limit:g} readings, {source.en}.",
        zh=f"{_VITAL.zh}自 {since} 起一直为 {now.zh}：{count:.0f} 次读数，{lasted.zh}。"
        f"请检查传感器并测指尖血糖。限值：{limit:g} 次读数，{source.zh}。",
    )


_ARTEFACTS: Final = {
    FALLING_FAST.name: _rate,
    RISING_FAST.name: _rate,
    PREDICTED_LOW.name: _ahead,
    PREDICTED_URGENT_LOW.name: _ahead,
    SENSOR_COMPRESSION.name: _compression,
    SENSOR_JUMP.name: _jump,
    SENSOR_STUCK.name: _stuck,
}
