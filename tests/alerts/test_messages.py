"""Every message in full, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

import alerts.messages
from alerts.alert import HOUSE, Alert, Audience, Notice, Priority, Text
from alerts.devices import Expected, no_data
from alerts.escalation import Result, Step, Timer, TimerKind
from alerts.first_aid import advice, advice_late
from alerts.follow_up import asked_to_call, opened
from alerts.machine import for_patient, hear
from alerts.messages import (
    CALL_ID,
    Situation,
    Written,
    alert_message,
    all_clear_message,
    call_message,
    overdue_message,
    please_call_message,
    reply_message,
    says_all_of,
    situation_of,
    untrusted_message,
    without_reply,
    write,
)
from alerts.rules import DEFAULTS, RULES
from alerts.scene import Scene
from alerts.team import Contact, Recipient, Role
from ingest.reading import Flag, Reading
from ingest.vital import Unit, Vital
from tests.alerts.spot_ward import ketone
from tests.alerts.ward import START, cgm, cuff, meter, minute

ZONE = "Asia/Shanghai"
ALERT = Alert(
    id="a-1",
    patient="p-1",
    problem="glucose-low",
    priority=Priority.HIGH,
    because=Text(en="Glucose below 3.0 mmol/L for 30 min.", zh="血糖低于 3.0 mmol/L 已 30 分钟。"),
    evidence=("r-1",),
    raising=frozenset({"low-event-2"}),
    since=START,
    opened_at=START,
    updated_at=START,
)
SITUATION = Situation(
    numbers=Text(en="02:00 3.1 mmol/L, 02:05 2.7 mmol/L", zh="02:00 3.1 mmol/L，02:05 2.7 mmol/L"),
    trend=Text(en="falling by 0.08 mmol/L per minute.", zh="每分钟下降 0.08 mmol/L。"),
)
NOTICE = Notice(
    id="n-1",
    alert="a-1",
    patient="p-1",
    audience=Audience.STAFF,
    priority=Priority.HIGH,
    subject=Text(en="Condition over: Very low glucose", zh="状况已解除：血糖严重偏低"),
    body=Text(en="Glucose is 5.2 mmol/L.", zh="血糖 5.2 mmol/L。"),
    written_at=START,
)

WHOSE = Recipient(owner="patient:p-1", name="张伟", language="zh_CN", zone=ZONE)


def step(to: str, number: int, result: Result, *who: str) -> Timer:
    return Timer(
        subject="a-1",
        kind=TimerKind.STEP,
        run=START,
        priority=Priority.HIGH,
        due=START,
        number=number,
        step=Step(to=to, after=timedelta()),
        done_at=minute(number),
        result=result,
        who=who,
    )


def test_the_first_of_staff() -> None:
    said = alert_message(ALERT, to_patient=False, zone=ZONE, situation=SITUATION)
    assert said.subject == Text(
        en="High priority: Very low glucose, patient p-1", zh="高优先级：血糖严重偏低，患者 p-1"
    )
    assert said.body.en == (
        "What happened: Glucose below 3.0 mmol/L for 30 min.\n"
        "Readings: 02:00 3.1 mmol/L, 02:05 2.7 mmol/L.\n"
        "Trend: falling by 0.08 mmol/L per minute.\n"
        "Nobody was told before you.\n"
        "What to do: Reach the patient now. Ask whether they are awake, can swallow, and have somebody with them; "
        "if not, call the emergency number (120 in China). Acknowledge with the link, or answer OK; then note what "
        "came of it."
    )
    assert said.body.zh == (
        "情况：血糖低于 3.0 mmol/L 已 30 分钟。\n"
        "读数：02:00 3.1 mmol/L，02:05 2.7 mmol/L。\n"
        "趋势：每分钟下降 0.08 mmol/L。\n"
        "在您之前尚未通知他人。\n"
        "请处理：请立即联系患者：询问是否清醒、能否吞咽、身边有无他人；如有不妥，请拨打急救电话（中国大陆 120）。"
        "请点击链接确认，或回复“收到”；随后记录处理结果。"
    )


def test_readings_are_of_the_patients_own_clock_as_the_sentence_is() -> None:
    situation = situation_of([meter(0, 60)], "Europe/Berlin")
    far = alert_message(ALERT, to_patient=False, zone=ZONE, situation=situation)
    assert "\nReadings (times of Europe/Berlin): 19:00 60 mg/dL.\n" in far.body.en
    assert "\n读数（时间按 Europe/Berlin 时区）：19:00 60 mg/dL。\n" in far.body.zh
    near = alert_message(ALERT, to_patient=False, zone="Europe/Berlin", situation=situation)
    assert "\nReadings: 19:00 60 mg/dL.\n" in near.body.en
    assert "\n读数：19:00 60 mg/dL。\n" in near.body.zh


def test_a_reading_of_another_day_has_its_day_and_a_trend_says_since_when() -> None:
    night, morning, again = cuff(0, 190, 128), cuff(700, 199, 125), cuff(701, 190, 126)
    said = situation_of([night, morning, again], "Europe/Berlin")
    assert said.numbers == Text(
        en="1 Mar 19:00 190/128 mmHg, 06:40 199/125 mmHg, 06:41 190/126 mmHg",
        zh="3月1日 19:00 190/128 mmHg，06:40 199/125 mmHg，06:41 190/126 mmHg",
    )
    assert said.trend == Text(en="systolic 9 mmHg lower than at 06:40.", zh="收缩压较 06:40 降低 9 mmHg。")
    steady = situation_of([night, again], "Europe/Berlin").trend
    assert steady == Text(en="systolic unchanged since 1 Mar 19:00.", zh="收缩压较 3月1日 19:00 无变化。")


def test_beside_ketones_the_newest_glucose_is_said() -> None:
    said = situation_of([ketone(-300, 1.7)], ZONE, Unit.MMOL_L, glucose=meter(40, 513))
    assert said.numbers == Text(
        en="02:00 1.7 mmol/L; newest glucose 02:40 28.5 mmol/L (513 mg/dL)",
        zh="02:00 1.7 mmol/L；最新血糖 02:40 28.5 mmol/L（513 mg/dL）",
    )


@pytest.mark.parametrize(
    ("sent", "reads", "numbers", "trend"),
    [
        (
            (cgm(0, 250), cgm(5, 231)),
            Unit.MMOL_L,
            ("02:00 13.9 mmol/L (250 mg/dL)", "02:05 12.8 mmol/L (231 mg/dL)"),
            Text(en="falling by 0.21 mmol/L per minute.", zh="每分钟下降 0.21 mmol/L。"),
        ),
        (
            (cgm(0, 3.1, Unit.MMOL_L), cgm(5, 3.5, Unit.MMOL_L)),
            Unit.MG_DL,
            ("02:00 56 mg/dL (3.1 mmol/L)", "02:05 63 mg/dL (3.5 mmol/L)"),
            Text(en="rising by 1.4 mg/dL per minute.", zh="每分钟上升 1.4 mg/dL。"),
        ),
        ((meter(0, 60),), Unit.MG_DL, ("02:00 60 mg/dL",), None),
        ((meter(0, None, flags=frozenset({Flag.BELOW_RANGE})),), Unit.MMOL_L, ("02:00 LO",), None),
        ((cuff(0, 170, 100),), Unit.MG_DL, ("02:00 170/100 mmHg",), None),
    ],
)
def test_readings_are_in_the_patients_own_unit_first(
    sent: tuple[Reading, ...], reads: Unit, numbers: tuple[str, ...], trend: Text | None
) -> None:
    said = situation_of(sent, ZONE, reads)
    chinese = "，".join(numbers).replace(" (", "（").replace(")", "）")
    assert said.numbers == Text(en=", ".join(numbers), zh=chinese)
    assert said.trend == trend


def test_who_comes_later_reads_what_was_tried() -> None:
    run = [
        step("patient", 0, Result.TOLD, "p-1"),
        step(Role.NURSE, 1, Result.NOT_DELIVERED, "王丽", "Bao"),
        step(Role.DOCTOR, 2, Result.NOBODY),
        step("staff:li", 3, Result.PUT_OFF, "Li"),
        step(Role.COORDINATOR, 4, Result.CLOSED),
    ]
    gone = replace(ALERT, problem="ketone", raising=frozenset({"ketone"}), condition_gone_at=minute(9))
    said = alert_message(gone, to_patient=False, zone=ZONE, situation=Situation(), run=run)
    assert said.body.en == (
        "What happened: Glucose below 3.0 mmol/L for 30 min.\n"
        "The condition is over, but nobody has acknowledged it yet.\n"
        "Told before:\n"
        "- 2 Mar 02:00, the patient (p-1): told, no answer yet\n"
        "- 2 Mar 02:01, nurse (王丽, Bao): the message was not delivered\n"
        "- 2 Mar 02:02, doctor: nobody could be told\n"
        "- 2 Mar 02:03, by name (Li): will be told after the quiet hours\n"
        "What to do: See whether the patient is well. Acknowledge with the link, or answer OK; then note what "
        "came of it."
    )
    assert said.body.zh == (
        "情况：血糖低于 3.0 mmol/L 已 30 分钟。\n"
        "状况已解除，但尚无人确认。\n"
        "此前已通知：\n"
        "- 3月2日 02:00，患者（p-1）：已通知，尚无回应\n"
        "- 3月2日 02:01，护士（王丽、Bao）：消息未送达\n"
        "- 3月2日 02:02，医生：无人可通知\n"
        "- 3月2日 02:03，指定人员（Li）：将在免打扰时段后通知\n"
        "请处理：请确认患者是否已无不适。"
        "请点击链接确认，或回复“收到”；随后记录处理结果。"
    )


def test_of_many_tries_the_newest_are_listed_and_the_others_counted() -> None:
    run = [step(Role.NURSE, number, Result.TOLD, "王丽") for number in range(7)]
    checks = [replace(each, kind=TimerKind.CHECK, result=Result.NOT_DELIVERED, who=()) for each in run]
    said = alert_message(ALERT, to_patient=False, zone=ZONE, situation=Situation(), run=[*checks, *run])
    lines = said.body.en.splitlines()
    assert lines[1:3] == [
        "Told before (the newest 6 of 7):",
        "- 2 Mar 02:01, nurse (王丽): told, no answer yet",
    ]
    assert [line[:13] for line in lines[2:-1]] == [f"- 2 Mar 02:0{number}" for number in range(1, 7)]
    assert "\n此前已通知（共 7 次，仅列最近 6 次）：\n- 3月2日 02:01，" in said.body.zh
    fewer = alert_message(ALERT, to_patient=False, zone=ZONE, situation=Situation(), run=[*checks, *run[1:]])
    assert "\nTold before:\n- 2 Mar 02:01," in fewer.body.en
    assert "\n此前已通知：\n- 3月2日 02:01，" in fewer.body.zh


def test_the_patient() -> None:
    said = alert_message(ALERT, to_patient=True, zone=ZONE, situation=SITUATION)
    assert said.subject == Text(en="Please look after yourself now: Very low glucose", zh="请立即关注：血糖严重偏低")
    assert said.body.en == (
        "Glucose below 3.0 mmol/L for 30 min.\n"
        "Readings: 02:00 3.1 mmol/L, 02:05 2.7 mmol/L.\n"
        "Please eat or drink 15 to 20 g of fast sugar (half a glass of juice, 150 ml, or 3 to 4 sugar cubes; with "
        "acarbose: glucose) now and measure again in 15 min; if it is not better, do so again and call for help. Do "
        "not stay alone. Who is drowsy or unconscious gets nothing by mouth: call the emergency number (120 in "
        "China) at once. Your clinic is being told."
    )
    assert said.body.zh == (
        "血糖低于 3.0 mmol/L 已 30 分钟。\n"
        "读数：02:00 3.1 mmol/L，02:05 2.7 mmol/L。\n"
        "请立即进食速效糖 15 至 20 克（如果汁半杯 150 ml，或方糖 3 至 4 块；服用阿卡波糖者须用葡萄糖），"
        "15 分钟后复测；如未好转，请再次补糖并呼救。请勿独处。"
        "如嗜睡或意识不清，切勿喂食，请他人立即拨打急救电话（中国大陆 120）。正在通知您的诊所。"
    )
    other = alert_message(replace(ALERT, problem="ketone"), to_patient=True, zone=ZONE, situation=Situation())
    assert other.body == Text(
        en="Glucose below 3.0 mmol/L for 30 min.\nYour clinic is being told. If you feel unwell, call the emergency "
        "number (120 in China).",
        zh="血糖低于 3.0 mmol/L 已 30 分钟。\n正在通知您的诊所。如感不适，请拨打急救电话（中国大陆 120）。",
    )


@pytest.mark.parametrize(
    ("newest", "at_once"),
    [
        (meter(0, 1.7, Unit.MMOL_L), True),
        (meter(0, 1.7, Unit.MMOL_L, arrives=minute(48)), False),
        (meter(0, 3.8, Unit.MMOL_L), True),
        (meter(0, 3.9, Unit.MMOL_L), False),
        (meter(0, 69), True),
        (meter(0, 231), False),
        (cgm(0, 69, arrives=minute(16)), False),
        (meter(0, None, flags=frozenset({Flag.BELOW_RANGE})), True),
        (meter(0, None, flags=frozenset({Flag.ABOVE_RANGE})), False),
    ],
)
def test_a_patient_who_may_be_low_no_more_is_asked_to_measure_first(newest: Reading, *, at_once: bool) -> None:
    said = alert_message(ALERT, to_patient=True, zone=ZONE, situation=situation_of([newest], ZONE))
    assert ("Please eat or drink 15 to 20 g" in said.body.en) is at_once
    assert ("Please measure by finger now, and eat or drink 15 to 20 g" in said.body.en) is not at_once
    assert ("请立即进食" in said.body.zh.replace("如仍偏低或有不适，请立即进食", "")) is at_once
    assert ("请现在测指尖血糖" in said.body.zh) is not at_once


_SUGAR = advice(very_low=True)


@pytest.mark.parametrize(
    ("said", "changed", "is_there"),
    [
        (_SUGAR, {}, True),
        (_SUGAR, {"priority": Priority.LOW}, True),
        (Text(en="", zh=""), {}, True),
        (advice_late(very_low=True), {}, False),
        (replace(_SUGAR, en=f"{_SUGAR.en} Please measure by finger."), {}, False),
        (replace(_SUGAR, zh=f"{_SUGAR.zh}请测指尖血糖。"), {}, False),
        # The message about the alert is milder, or is about another rule.
        (_SUGAR, {"priority": Priority.HIGH}, False),
        (_SUGAR, {"subject": Text(en="For you: Low glucose", zh="请注意：血糖偏低")}, False),
    ],
)
def test_a_message_says_all_that_a_rule_says_or_is_no_substitute(
    said: Text, changed: dict[str, Any], is_there: bool
) -> None:
    alert = replace(ALERT, priority=Priority.MEDIUM)
    written = alert_message(alert, to_patient=True, zone=ZONE, situation=SITUATION)
    message = replace(NOTICE, priority=alert.priority, subject=written.subject, body=written.body)
    because = Text(en=ALERT.because.en + said.en, zh=ALERT.because.zh + said.zh)
    subject = Text(en="For you: Very low glucose", zh="请注意：血糖严重偏低")
    rule = replace(NOTICE, alert=None, priority=alert.priority, subject=subject, body=because)
    notice = replace(rule, **changed)
    assert says_all_of(notice, message, alert) is is_there


def test_it_is_over() -> None:
    end = Written(subject=NOTICE.subject, body=NOTICE.body)
    staff = all_clear_message(ALERT, end, to_patient=False, zone=ZONE)
    assert staff.subject == Text(
        en="Condition over: Very low glucose, patient p-1", zh="状况已解除：血糖严重偏低，患者 p-1"
    )
    assert staff.body == Text(
        en="Glucose is 5.2 mmol/L.\nNobody has acknowledged the alert yet: it stays open until somebody closes it.",
        zh="血糖 5.2 mmol/L。\n该警报尚无人确认：在有人关闭之前保持未结状态。",
    )
    seen = all_clear_message(replace(ALERT, acknowledged_by="Li"), end, to_patient=False, zone=ZONE)
    assert seen.body == Text(
        en="Glucose is 5.2 mmol/L.\nLi has acknowledged the alert.", zh="血糖 5.2 mmol/L。\nLi 已确认该警报。"
    )
    ended = all_clear_message(
        replace(ALERT, acknowledged_by="Li", closed_by="王丽"), end, to_patient=False, zone=ZONE
    )
    assert ended.body == Text(
        en="Glucose is 5.2 mmol/L.\n王丽 has closed the alert.", zh="血糖 5.2 mmol/L。\n王丽 已关闭该警报。"
    )
    own = all_clear_message(ALERT, end, to_patient=True, zone=ZONE)
    assert own.subject == NOTICE.subject
    assert own.body == Text(
        en="Glucose is 5.2 mmol/L.\nIf you feel unwell, call your clinic, or the emergency number (120 in China).",
        zh="血糖 5.2 mmol/L。如仍感不适，请联系您的诊所或拨打急救电话（中国大陆 120）。",
    )


def test_without_trust() -> None:
    raised = replace(NOTICE, subject=Text(en="High priority: Very low glucose", zh="高优先级：血糖严重偏低"))
    staff = untrusted_message(raised, has_link=True)
    assert staff.subject == Text(en="An alert needs your attention", zh="有一条提醒需要您处理")
    assert staff.body == Text(
        en="High priority, patient p-1. Details only after signing in. Acknowledge with the link, or answer OK.",
        zh="高优先级，患者 p-1。详情请登录查看。请点击链接确认，或回复“收到”。",
    )
    other = untrusted_message(replace(raised, alert=None), has_link=True)
    assert other.subject == Text(en="A message needs your attention", zh="有一条消息需要您处理")
    assert other.body == Text(
        en="High priority, patient p-1. Details only after signing in.", zh="高优先级，患者 p-1。详情请登录查看。"
    )
    over = untrusted_message(NOTICE, has_link=True)
    assert over.subject == Text(en="The condition of an alert is over", zh="一项警报的状况已解除")
    assert over.body == Text(en="Patient p-1. Details only after signing in.", zh="患者 p-1。详情请登录查看。")
    call = untrusted_message(replace(NOTICE, id=f"{CALL_ID}1"), has_link=True)
    assert call.subject == Text(en="Somebody is to be telephoned", zh="有一个电话需要您拨打")
    assert call.body == Text(
        en="High priority, patient p-1. Whom to call, and the number, only after signing in. Acknowledge with the "
        "link, or answer OK.",
        zh="高优先级，患者 p-1。致电对象和号码请登录查看。请点击链接确认，或回复“收到”。",
    )
    own = untrusted_message(replace(NOTICE, audience=Audience.PATIENT), has_link=True)
    assert own.subject == Text(en="A message from your clinic", zh="来自您诊所的消息")
    assert own.body == Text(
        en="Your clinic has a message for you. Please open the link now and read it: nobody has to sign in. If it "
        "does not open, call your clinic. If you feel unwell, call your clinic, or the emergency number (120 in "
        "China).",
        zh="诊所有一条消息给您。请立即打开链接查看，无需登录；如无法打开，请致电诊所。"
        "如感不适，请联系诊所或拨打急救电话（中国大陆 120）。",
    )
    assert untrusted_message(replace(NOTICE, audience=Audience.PATIENT), has_link=False).body == Text(
        en="Your clinic has a message for you. Please call your clinic now and ask for it. If you feel unwell, call "
        "your clinic, or the emergency number (120 in China).",
        zh="诊所有一条消息给您。请立即致电诊所询问。如感不适，请联系诊所或拨打急救电话（中国大陆 120）。",
    )


def test_a_patient_who_has_read_a_message_asks_to_be_called() -> None:
    wish = opened(asked_to_call(NOTICE, minute(5))).follow_up
    contacts = (Contact(channel="wecom", address="zw"), Contact(channel="telephone", address="010-6655 4433"))
    said = please_call_message(wish, replace(WHOSE, contacts=contacts), zone=ZONE)
    assert said.subject == Text(en="Please call patient p-1", zh="请致电患者 p-1")
    assert said.body == Text(
        en="Patient: 张伟; telephone 010-6655 4433.\n"
        "The patient asks to be called about the message “Condition over: Very low glucose”. It is in the list of "
        "follow-ups: take it, call, and note what came of it.",
        zh="患者：张伟；电话 010-6655 4433。\n"
        "患者阅读消息“状况已解除：血糖严重偏低”后请求回电。已列入随访列表：请领取、致电并记录结果。",
    )
    wrong = Text(en="The number is wrong.", zh="号码有误。")
    marked = please_call_message(wish, replace(WHOSE, contacts=contacts), zone=ZONE, doubts=[(minute(3), wrong)]).body
    assert "4433.\nTake care (2 Mar 02:03): The number is wrong.\nThe patient asks" in marked.en
    assert "4433。\n请注意（3月2日 02:03）：号码有误。\n患者阅读" in marked.zh
    nobody = please_call_message(wish, WHOSE, zone=ZONE)
    assert "Patient: 张伟; no telephone number is entered. Enter one on the patient's page.\n" in nobody.body.en
    assert "患者：张伟；未登记电话号码，请在患者页面登记。\n" in nobody.body.zh


def test_staff_read_who_the_patient_is_and_the_number() -> None:
    contacts = (Contact(channel="sms", address="+86 138 0000 0006"), Contact(channel="app", address="zw"))
    whose = replace(WHOSE, contacts=contacts)
    said = alert_message(ALERT, to_patient=False, zone=ZONE, situation=SITUATION, whose=whose)
    assert said.body.en.startswith("Patient: 张伟; telephone +86 138 0000 0006.\nWhat happened: ")
    assert said.body.zh.startswith("患者：张伟；电话 +86 138 0000 0006。\n情况：")
    own = alert_message(ALERT, to_patient=True, zone=ZONE, situation=SITUATION, whose=whose)
    assert "138" not in own.body.en
    house = alert_message(
        replace(ALERT, patient=HOUSE), to_patient=False, zone=ZONE, situation=SITUATION, whose=whose
    )
    assert "138" not in house.body.en


def test_who_has_another_clock_than_the_patient_reads_moments_with_their_offset() -> None:
    run = [step(Role.NURSE, 0, Result.TOLD, "王丽")]
    for situation in (replace(SITUATION, zone="Asia/Shanghai"), Situation()):
        said = alert_message(ALERT, to_patient=False, zone="Europe/London", situation=situation, run=run, whose=WHOSE)
        assert "- 1 Mar 18:00 UTC, nurse" in said.body.en
        assert "- 3月1日 18:00 UTC，护士" in said.body.zh
    follow_up = opened(asked_to_call(NOTICE, minute(5))).follow_up
    late = overdue_message(follow_up, zone="Europe/London", now=follow_up.due_at, elsewhere=True)
    assert re.search(r"overdue since \d+ Mar \d\d:\d\d UTC, ", late.subject.en)
    asked = call_message(
        NOTICE,
        None,
        name="张伟",
        number="1",
        zone=ZONE,
        situation=Situation(),
        failed=False,
        of_patient="Europe/Berlin",
    )
    assert "What happened: Glucose is 5.2 mmol/L.\nTimes are of Europe/Berlin.\n" in asked.body.en
    assert "情况：血糖 5.2 mmol/L。\n时间按 Europe/Berlin 时区。\n" in asked.body.zh


def test_a_reading_of_another_day_is_told_with_its_day() -> None:
    said = situation_of([meter(0, 1.7, Unit.MMOL_L)], ZONE, now=minute(24 * 60))
    assert said.numbers == Text(en="2 Mar 02:00 1.7 mmol/L", zh="3月2日 02:00 1.7 mmol/L")


def test_what_is_not_urgent_is_not_told_as_urgent() -> None:
    silent = replace(ALERT, problem="no-data", priority=Priority.LOW)
    said = alert_message(silent, to_patient=False, zone=ZONE, situation=Situation())
    assert "What to do: Contact the patient; it is not urgent. " in said.body.en
    assert "请处理：请联系患者（不紧急）。" in said.body.zh


def test_several_in_one() -> None:
    items = [{"at": minute(5), "patient": "p-1", "subject": NOTICE.subject, "body": NOTICE.body, "link": "https://x"}]
    said = write("digest", ZONE, items=items * 2, since=None)
    line = "- 2 Mar 02:05, patient p-1: Condition over: Very low glucose\nGlucose is 5.2 mmol/L.\nhttps://x"
    assert (said.subject.en, said.body.en) == (
        "2 messages in one",
        f"Each was written at the time given; things may be otherwise now.\n{line}\n{line}",
    )
    line = "- 3月2日 02:05，患者 p-1：状况已解除：血糖严重偏低\n血糖 5.2 mmol/L。\nhttps://x"
    assert (said.subject.zh, said.body.zh) == (
        "2 条消息汇总",
        f"各条写于所示时间，目前情况可能已有变化。\n{line}\n{line}",
    )


@pytest.mark.parametrize(
    "subject",
    [
        Text(en="For you: Very low glucose", zh="请注意：血糖严重偏低"),
        alert_message(ALERT, to_patient=True, zone=ZONE, situation=SITUATION).subject,
    ],
    ids=["of a rule", "of an alert"],
)
def test_who_is_to_telephone_reads_what_it_is_about_without_the_patients_greeting(subject: Text) -> None:
    about = replace(NOTICE, audience=Audience.PATIENT, subject=subject)
    said = call_message(about, None, name="张伟", number="1", zone=ZONE, situation=Situation(), failed=False).body
    assert "It was about: Very low glucose.\n" in said.en
    assert "内容：血糖严重偏低。\n" in said.zh


def test_a_telephone_call_is_asked_for() -> None:
    def asked(alert: Alert | None, about: Notice = NOTICE, *, failed: bool = False) -> Written:
        situation = replace(SITUATION, zone="Europe/Berlin") if alert else Situation()
        return call_message(
            about, alert, name="张伟", number="010-1234", zone=ZONE, situation=situation, failed=failed
        )

    said = asked(ALERT, failed=True)
    assert said.subject == Text(en="Please telephone 张伟: 010-1234", zh="请致电 张伟：010-1234")
    assert said.body == Text(
        en="No message could be delivered to 张伟 in time. It was about: Condition over: Very low glucose.\n"
        "What happened: Glucose below 3.0 mmol/L for 30 min.\n"
        "Readings (times of Europe/Berlin): 02:00 3.1 mmol/L, 02:05 2.7 mmol/L.\n"
        "Trend: falling by 0.08 mmol/L per minute.\n"
        "Please telephone 010-1234, say what it is about, and note what came of it.",
        zh="未能及时将消息送达 张伟。内容：状况已解除：血糖严重偏低。\n"
        "情况：血糖低于 3.0 mmol/L 已 30 分钟。\n"
        "读数（时间按 Europe/Berlin 时区）：02:00 3.1 mmol/L，02:05 2.7 mmol/L。\n"
        "趋势：每分钟下降 0.08 mmol/L。\n"
        "请拨打 010-1234 告知，并记录结果。",
    )
    assert asked(None).body == Text(
        en="张伟 is to be told by telephone. It was about: Condition over: Very low glucose.\n"
        "What happened: Glucose is 5.2 mmol/L.\n"
        "Please telephone 010-1234, say what it is about, and note what came of it.",
        zh="需电话通知 张伟。内容：状况已解除：血糖严重偏低。\n情况：血糖 5.2 mmol/L。\n"
        "请拨打 010-1234 告知，并记录结果。",
    )
    assert "5.2" not in asked(None, replace(NOTICE, id="s-1")).body.en


@pytest.mark.parametrize(
    ("problem", "priority", "plain"),
    [
        ("For you: No data", Priority.LOW, True),
        ("For you: Measurements are missing", Priority.LOW, True),
        ("Condition over: No data", Priority.LOW, True),
        ("For you: Low glucose", Priority.LOW, False),
        ("For you: Low blood pressure", Priority.LOW, False),
        ("For you: A value was corrected", Priority.MEDIUM, False),
        ("Condition over: Very low glucose", Priority.MEDIUM, False),
    ],
)
def test_only_what_is_not_urgent_is_said_to_be_so_to_a_patient(problem: str, priority: Priority, plain: bool) -> None:
    titles = {each.en: each for each in (for_patient(rule.title) for rule in RULES.values())}
    subject = titles.get(problem, Text(en=problem, zh=problem))
    notice = replace(NOTICE, audience=Audience.PATIENT, priority=priority, subject=subject)
    said = untrusted_message(notice, has_link=True).body
    assert ("it is not urgent" in said.en) is plain
    assert ("emergency number" in said.en) is not plain


@pytest.mark.parametrize(("unwell", "plain"), [(False, True), (True, False)])
def test_a_sensor_that_is_silent_after_a_low_is_not_said_to_be_not_urgent(unwell: bool, plain: bool) -> None:
    hours = timedelta(hours=6)
    sensor = Expected(
        device="cgm-1",
        vital=Vital.CGM,
        silence=hours,
        staff_after=2 * hours,
        staff_after_low=2 * hours,
        since=START,
        not_before=START,
    )
    found = no_data(Scene("p-1", DEFAULTS, START + hours, UTC), [replace(sensor, unwell=unwell)], {})
    (notice,) = hear(None, found[0], START + hours).notices
    assert notice.subject.en == "For you: No data"
    said = untrusted_message(notice, has_link=True).body
    assert ("it is not urgent" in said.en, "不紧急" in said.zh) == (plain, plain)


def test_of_the_house_itself() -> None:
    answer = reply_message("Who?", who="Li", zone=ZONE, alert="a-1")
    assert answer.subject == Text(en="Li has answered about alert a-1", zh="Li 已回复（警报 a-1）")
    assert answer.body == Text(
        en="“Who?”\nIt acknowledged nothing. Please see to it.", zh="“Who?”\n该回复未确认任何警报，请跟进。"
    )


def test_without_trust_what_is_of_no_patient_is_said_to_be_so() -> None:
    own = untrusted_message(
        replace(NOTICE, patient=HOUSE, alert=None, subject=Text(en="2 messages", zh="2 条")), has_link=True
    )
    assert own.body == Text(
        en="High priority, Homeward itself. Details only after signing in.",
        zh="高优先级，Homeward 系统。详情请登录查看。",
    )
    answer = reply_message("Who?", who="+4999", zone=ZONE)
    reply = untrusted_message(replace(NOTICE, patient=HOUSE, alert=None, subject=answer.subject), has_link=False)
    assert reply.subject == Text(en="A message needs your attention", zh="有一条消息需要您处理")
    assert reply.body == Text(
        en="High priority, a reply that is of no patient. Its text is in the audit (GET /api/v1/audit).",
        zh="高优先级，一条不属于任何患者的回复。内容见审计记录（GET /api/v1/audit）。",
    )


def test_there_is_a_template_in_each_language_for_each_kind() -> None:
    folder = Path(alerts.messages.__file__).parent / "messages"
    kinds = {path.name.split(".")[0] for path in folder.iterdir() if path.suffix == ".jinja"}
    assert {path.name for path in folder.iterdir() if path.suffix == ".jinja"} == {
        f"{kind}.{language}.jinja" for kind in kinds for language in ("en", "zh_CN")
    }
    assert len(kinds) == 24


@pytest.mark.parametrize(
    ("values", "unit", "numbers", "trend"),
    [
        (
            (3.5, 3.1, 2.7),
            Unit.MMOL_L,
            "02:00 3.5 mmol/L, 02:05 3.1 mmol/L, 02:10 2.7 mmol/L",
            "falling by 0.08 mmol/L",
        ),
        ((100, 90), Unit.MG_DL, "02:00 100 mg/dL, 02:05 90 mg/dL", "falling by 2.0 mg/dL per minute."),
        ((90, 100), Unit.MG_DL, "02:00 90 mg/dL, 02:05 100 mg/dL", "rising by 2.0 mg/dL per minute."),
        ((90, 91), Unit.MG_DL, "02:00 90 mg/dL, 02:05 91 mg/dL", "steady."),
        ((60,), Unit.MG_DL, "02:00 60 mg/dL", None),
    ],
)
def test_the_last_readings_and_how_they_move(
    values: tuple[float, ...], unit: Unit, numbers: str, trend: str | None
) -> None:
    said = situation_of([cgm(5 * number, value, unit) for number, value in enumerate(values)], ZONE)
    assert said.numbers is not None
    assert said.numbers.en == numbers
    assert said.trend is None if trend is None else said.trend is not None and said.trend.en.startswith(trend)


def test_over_a_gap_and_of_a_meter_no_trend_is_told() -> None:
    assert situation_of([cgm(0, 100), cgm(21, 60)], ZONE).trend is None
    assert situation_of([meter(0, 100), meter(5, 60)], ZONE).trend is None
    assert situation_of([], ZONE) == Situation()


def test_pressures_are_told_beside_the_one_before() -> None:
    said = situation_of([cuff(0, 170, 100), cuff(2, 186, 112)], ZONE)
    assert said.numbers == Text(
        en="02:00 170/100 mmHg, 02:02 186/112 mmHg", zh="02:00 170/100 mmHg，02:02 186/112 mmHg"
    )
    assert said.trend == Text(en="systolic 16 mmHg higher than at 02:00.", zh="收缩压较 02:00 升高 16 mmHg。")


def test_wherever_the_emergency_number_is_named_it_is_said_which() -> None:
    """In every file of which people read sentences; a sentence may go on in the next line of its source."""
    named = 0
    for room in ("alerts", "gateway"):
        for path in Path(room).rglob("*"):
            if path.suffix in {".py", ".jinja", ".html", ".po"}:
                said = re.sub(r'"\n\s*f?"', "", path.read_text(encoding="utf-8"))
                named += len(re.findall("emergency number|急救电话|呼叫急救", said))
                assert not re.search(r"emergency number(?! \(120 in China\)| is 120)", said), path
                assert not re.search(r"(急救电话|请立即呼叫急救)(?!（中国大陆 120）)", said), path
    assert named > 40


def test_who_cannot_be_heard_is_not_asked_to_answer() -> None:
    said = without_reply(alert_message(ALERT, to_patient=False, zone=ZONE, situation=SITUATION))
    assert said.body.en.endswith("Acknowledge with the link; then note what came of it.")
    assert said.body.zh.endswith("请点击链接确认；随后记录处理结果。")
    folder = Path(alerts.messages.__file__).parent / "messages"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.jinja")]
    asked = [text for text in texts if "answer OK" in text or "“收到”" in text]
    assert len(asked) == 8
    for text in asked:
        left = without_reply(Written(subject=Text(en="", zh=""), body=Text(en=text, zh=text))).body
        assert "answer OK" not in left.en
        assert "“收到”" not in left.zh
    several = without_reply(reply_message("OK", who="Li", zone=ZONE, open_alerts={"https://hub.example/1": ALERT}))
    assert "Open the link of one and acknowledge it there:\n- " in several.body.en
    assert "请打开其中一项的链接确认：\n- " in several.body.zh
