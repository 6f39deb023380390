"""The rules of spot measurements as data: meters, ketone strips and cuffs, which measure a few times a day.

Where each goes: a warning is for the patient's own device, which asks for a second reading where it matters. Staff
hear of what the second confirms, or when none comes. A pattern of days belongs on the weekly list. A single reading
above its goal is worth nobody's time but the patient's, and not more than once a week.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from alerts.alert import Audience, Priority, Text
from alerts.rule import (
    COUNT,
    DAYS,
    MMOL_L,
    OWN,
    PERCENT,
    Comparison,
    Group,
    Parameter,
    Rule,
    Variant,
    both,
    minutes,
    mmhg,
    switch,
)
from ingest.vital import Vital

PRIORITY: Final = "IEC 60601-1-8"  # 1 low, 2 medium, 3 high

_LEVEL_1_LOW: Final = Text(en="ADA and CDS 2024, level 1", zh="ADA 与 CDS 2024 指南 1 级")
_LEVEL_2_LOW: Final = Text(en="ADA and CDS 2024, level 2", zh="ADA 与 CDS 2024 指南 2 级")
_RULE_OF_15: Final = Text(en="ADA: sugar, and measure again after 15 min", zh="ADA：补糖后 15 分钟复测")
_IEC: Final = Text(en="priority after IEC 60601-1-8", zh="优先级参照 IEC 60601-1-8")
_CHINA_REFERRAL: Final = Text(
    en="China basic public health service: referral at 3.9 mmol/L or less, 16.7 mmol/L or more",
    zh="国家基本公共卫生服务规范：≤3.9 或 ≥16.7 mmol/L 需处理并转诊",
)
_CHINA_ONLY: Final = Text(
    en="a rule of China's basic public health service, off elsewhere",
    zh="国家基本公共卫生服务规范条款，其他地区默认关闭",
)
_SAID_BY_REFERRAL: Final = Text(en="told by meter-referral", zh="由 meter-referral 规则通知")
_HIGH_TWICE: Final = Text(
    en="Homeward default, to be confirmed by the clinic: so high twice in a day",
    zh="Homeward 默认值，由医疗机构确认：一日内两次达到",
)
_ADA_BEFORE: Final = Text(en="ADA goal before meals", zh="ADA 餐前目标")
_ADA_AFTER: Final = Text(en="goal after meals, ADA and CDS 2024", zh="餐后目标，ADA 与 CDS 2024 指南")
_CDS_FASTING: Final = Text(en="fasting goal, CDS 2024", zh="空腹目标，CDS 2024 指南")
_GDM: Final = Text(en="goal in pregnancy, ADA and China 2022", zh="妊娠期目标，ADA 与中国 2022 指南")
_OLDER: Final = Text(en="ADA goal for older people in complex health", zh="ADA 老年（健康状况复杂）目标")
_LEVEL_2_HIGH: Final = Text(en="Battelino 2019, level 2", zh="Battelino 2019 共识 2 级")
_KETONE: Final = Text(en="usual advice on blood ketone (ISPAD, ADA)", zh="血酮常用分级（ISPAD、ADA）")
_DKA: Final = Text(en="ketoacidosis, consensus 2024", zh="酮症酸中毒，2024 共识")
_HHS: Final = Text(
    en="Homeward default: many devices end here and show HI; a hyperosmolar state has 600 mg/dL (33.3 mmol/L) and "
    "more, consensus 2024",
    zh="Homeward 默认值：许多设备量程止于此并显示 HI；高渗性高血糖状态为 33.3 mmol/L（600 mg/dL）及以上，2024 共识",
)
_HOME_135: Final = Text(
    en="home limit, ESH 2023, ESC 2024, China 2024", zh="家庭血压标准，ESH 2023、ESC 2024、中国 2024 指南"
)
_HOME_GOAL: Final = Text(en="home goal below 130/80, AHA/ACC 2025", zh="家庭血压目标低于 130/80，AHA/ACC 2025")
_HOME_OF_160: Final = Text(
    en="home equivalent of 160/100, AHA/ACC 2017", zh="相当于诊室 160/100 的家庭血压，AHA/ACC 2017"
)
_HOME_OF_150: Final = Text(
    en="home equivalent of 150/90, China public health service from 65 years",
    zh="相当于诊室 150/90 的家庭血压，国家基本公共卫生服务规范（≥65 岁）",
)
_GRADE_3: Final = Text(en="grade 3, ESH 2023", zh="3 级高血压，ESH 2023 指南")
_GRADE_3_CHINA: Final = Text(en="grade 3, China public health service", zh="3 级高血压，国家基本公共卫生服务规范")
_CRISIS: Final = Text(en="above 180/120, AHA/ACC 2025", zh="高于 180/120，AHA/ACC 2025")
_SEVERE_PREGNANCY: Final = Text(
    en="severe in pregnancy, ACOG and China 2020", zh="妊娠期重度高血压，ACOG 与中国 2020"
)
_AHA_REPEAT: Final = Text(en="AHA: repeat a severe reading before acting on it", zh="AHA：重度升高须复测后再处理")
_ACOG_15: Final = Text(
    en="ACOG: severe when it lasts 15 min, to be treated within 30 to 60 min",
    zh="ACOG：持续 15 分钟为重度，30 至 60 分钟内处理",
)
_HYPOTENSION: Final = Text(en="hypotension, usual definition", zh="低血压常用标准")
_OHASAMA: Final = Text(
    en="twice the spread above the mean of the Ohasama study", zh="高于 Ohasama 研究均值两个标准差"
)
_NOISE: Final = Text(
    en="twice the noise of a 7-day mean (day-by-day SD 8.6 mmHg, Ohasama)",
    zh="超过 7 日均值噪声的两倍（Ohasama：日间标准差 8.6 mmHg）",
)
_USUAL_PULSE: Final = Text(en="2 of 3 readings on 2 days, usual practice", zh="2 天中 3 次有 2 次，常用标准")
_PENN: Final = Text(
    en="three high readings before staff are told, JAMA Netw Open 2022",
    zh="三次升高后通知医护，JAMA Netw Open 2022",
)
_SESSION: Final = Text(en="home protocol: mean of the last two", zh="家庭血压测量方案：取最后两次平均")
_DIPPING: Final = Text(en="normal fall by night 10 to 20 %", zh="夜间正常下降 10% 至 20%")


def _days(name: str, default: float, lower: float, upper: float, source: Text = OWN) -> Parameter:
    return Parameter(name=name, unit=DAYS, default=default, lower=lower, upper=upper, source=source)


def _count(name: str, default: float, lower: float, upper: float, source: Text = OWN) -> Parameter:
    return Parameter(name=name, unit=COUNT, default=default, lower=lower, upper=upper, source=source)


def _percent(name: str, default: float, lower: float, upper: float, source: Text = OWN) -> Parameter:
    return Parameter(name=name, unit=PERCENT, default=default, lower=lower, upper=upper, source=source)


def _mmol(name: str, default: float, lower: float, upper: float, source: Text) -> Parameter:
    return Parameter(name=name, unit=MMOL_L, default=default, lower=lower, upper=upper, source=source)


def _older(default: float) -> Mapping[Group, Variant]:
    return {Group.OLDER: Variant(default, _HOME_OF_150)}


def _severe(china: float, pregnancy: float) -> Mapping[Group, Variant]:
    return {Group.CHINA: Variant(china, _GRADE_3_CHINA), Group.PREGNANCY: Variant(pregnancy, _SEVERE_PREGNANCY)}


# A spot reading keeps its meaning for the rest of the waking day; a meter is often read out hours after measuring.
_FRESH: Final = minutes("fresh-meter", 720, 360, 1440, OWN)
_METER: Final = (Vital.GLUCOSE,)
_CUFF: Final = (Vital.BLOOD_PRESSURE,)
_WEEK: Final = timedelta(days=7)

METER_LOW: Final = Rule(
    name="meter-low",
    title=Text(en="Low glucose on the meter", zh="指尖血糖偏低"),
    problem="glucose-low",
    vitals=_METER,
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(
        *both("limit", _LEVEL_1_LOW, (70, 60, 100), (3.9, 3.3, 5.6)),
        *both("clear", _LEVEL_1_LOW, (70, 60, 126), (3.9, 3.3, 7.0)),
        minutes("recheck", 15, 10, 30, _RULE_OF_15),
        _FRESH,
    ),
)
METER_VERY_LOW: Final = Rule(
    name="meter-very-low",
    title=Text(en="Very low glucose on the meter", zh="指尖血糖严重偏低"),
    problem="glucose-low",
    vitals=_METER,
    comparison=Comparison.BELOW,
    priority=Priority.MEDIUM,
    audience=Audience.PATIENT,
    parameters=(
        *both("limit", _LEVEL_2_LOW, (54, 45, 70), (3.0, 2.5, 3.9)),
        *both("clear", _LEVEL_1_LOW, (70, 45, 100), (3.9, 2.5, 5.6)),
        *both("at-once", OWN, (40, 30, 54), (2.2, 1.7, 3.0)),
        minutes("recheck", 15, 10, 30, _RULE_OF_15),
        minutes("unrecovered", 30, 15, 120, _IEC),
        _FRESH,
    ),
)
METER_REFERRAL: Final = Rule(
    name="meter-referral",
    title=Text(en="Glucose at referral level", zh="血糖达到转诊标准"),
    problem="glucose-referral",
    vitals=_METER,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    # The service asks for a check within two weeks: until then a further such reading adds nothing to be done.
    quiet=2 * _WEEK,
    parameters=(
        switch(_CHINA_ONLY, 0, {Group.CHINA: Variant(1, _CHINA_REFERRAL)}),
        *both("low", _CHINA_REFERRAL, (70, 60, 80), (3.9, 3.3, 4.4)),
        *both("high", _CHINA_REFERRAL, (300, 200, 400), (16.7, 11.1, 22.2)),
        _days("follow-up", 14, 7, 28, _CHINA_REFERRAL),
        _FRESH,
    ),
)
METER_HIGH_TWICE: Final = Rule(
    name="meter-high-twice",
    title=Text(en="Very high glucose twice in a day", zh="一日内两次血糖很高"),
    problem="glucose-high",
    vitals=_METER,
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    quiet=_WEEK,
    parameters=(
        switch(OWN, 1, {Group.CHINA: Variant(0, _SAID_BY_REFERRAL)}),
        *both("high", _HIGH_TWICE, (300, 200, 400), (16.7, 11.1, 22.2)),
        _days("follow-up", 7, 2, 14),
        _FRESH,
    ),
)
METER_HIGH: Final = Rule(
    name="meter-high",
    title=Text(en="High glucose on the meter", zh="指尖血糖偏高"),
    problem="glucose-high",
    vitals=_METER,
    comparison=Comparison.ABOVE,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(
        *both(
            "before-meal",
            _ADA_BEFORE,
            (130, 90, 200),
            (7.2, 5.0, 11.1),
            {
                Group.CHINA: (126, 7.0, _CDS_FASTING),
                Group.OLDER: (150, 8.3, _OLDER),
                Group.PREGNANCY: (95, 5.3, _GDM),
            },
        ),
        *both(
            "after-meal",
            _ADA_AFTER,
            (180, 120, 250),
            (10.0, 6.7, 13.9),
            {Group.PREGNANCY: (140, 7.8, _GDM)},
        ),
        *both("very-high", _LEVEL_2_HIGH, (250, 180, 350), (13.9, 10.0, 19.4)),
        _FRESH,
    ),
)
METER_CRISIS: Final = Rule(
    name="meter-crisis",
    title=Text(en="Extremely high glucose on the meter", zh="指尖血糖极高"),
    problem="glucose-high",
    vitals=_METER,
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    # One meter ends at 500 mg/dL and says HI, another shows the number: both are told alike. HI reaches any limit.
    parameters=(
        *both("limit", _HHS, (500, 400, 600), (27.8, 22.2, 33.3)),
        *both("clear", OWN, (300, 200, 400), (16.7, 11.1, 22.2)),
        minutes("wait", 15, 5, 60, OWN),
        _FRESH,
    ),
)
METER_REPEATED_HIGH: Final = Rule(
    name="meter-repeated-high",
    title=Text(en="Glucose often above its goal", zh="血糖反复高于目标"),
    problem="glucose-high-pattern",
    vitals=_METER,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(_days("days", 3, 2, 7), _percent("share", 50, 20, 100)),
)
METER_REPEATED_LOW: Final = Rule(
    name="meter-repeated-low",
    title=Text(en="Glucose low on several days", zh="多日出现低血糖"),
    problem="glucose-low-pattern",
    vitals=_METER,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(_days("days", 2, 1, 7),),
)
KETONE: Final = Rule(
    name="ketone",
    title=Text(en="Raised blood ketone", zh="血酮升高"),
    problem="ketone",
    vitals=(Vital.KETONE,),
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    parameters=(
        _mmol("watch", 0.6, 0.5, 1.0, _KETONE),
        _mmol("call", 1.5, 1.0, 2.0, _KETONE),
        _mmol("emergency", 3.0, 1.5, 3.5, _KETONE),
        *both("ketoacidosis", _DKA, (200, 150, 300), (11.1, 8.3, 16.7)),
        _FRESH,
    ),
)
LATE_EMERGENCY: Final = Rule(
    name="late-emergency",
    title=Text(en="A dangerous value came too late", zh="危险数值迟到"),
    problem="late-emergency",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    # What a device sends in several messages is one delivery.
    quiet=timedelta(days=1),
    parameters=(),
)
CORRECTED: Final = Rule(
    name="corrected-reading",
    title=Text(en="A value was corrected", zh="读数已更正"),
    problem="corrected-reading",
    vitals=(Vital.GLUCOSE, Vital.KETONE, Vital.BLOOD_PRESSURE),
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.PATIENT,
    parameters=(),
)
MISSED_MEASUREMENT: Final = Rule(
    name="missed-measurement",
    title=Text(en="Measurements are missing", zh="有漏测"),
    problem="measurement-plan",
    vitals=tuple(Vital),
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(),
)
PLAN_NOT_KEPT: Final = Rule(
    name="plan-not-kept",
    title=Text(en="Measuring plan is not kept", zh="未按计划测量"),
    problem="measurement-plan",
    vitals=tuple(Vital),
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(_percent("share", 50, 20, 100),),
)
CONTRADICTION: Final = Rule(
    name="contradiction",
    title=Text(en="Readings contradict each other", zh="读数相互矛盾"),
    problem="contradiction",
    vitals=(Vital.GLUCOSE, Vital.KETONE, Vital.BLOOD_PRESSURE),
    comparison=Comparison.ABOVE,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(
        *both("sensor", OWN, (40, 25, 60), (2.2, 1.4, 3.3)),
        _percent("sensor-share", 40, 25, 60),
        *both("meter", OWN, (30, 20, 45), (1.7, 1.1, 2.5)),
        _percent("meter-share", 30, 20, 45),
        Parameter(name="ketone", unit=MMOL_L, default=0.6, lower=0.3, upper=1.0, source=OWN),
        _percent("ketone-share", 40, 20, 60),
        mmhg("systolic", 35, 20, 60, OWN),
        mmhg("diastolic", 20, 12, 40, OWN),
        minutes("apart", 15, 5, 20, OWN),
        minutes("fresh-meter", 720, 360, 1440, OWN),
    ),
)
BP_SEVERE: Final = Rule(
    name="bp-severe",
    title=Text(en="Severe blood pressure", zh="血压重度升高"),
    problem="blood-pressure-high",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    parameters=(
        mmhg("systolic", 180, 150, 200, _GRADE_3, _severe(180, 160)),
        mmhg("diastolic", 110, 95, 130, _GRADE_3, _severe(110, 110)),
        mmhg("crisis-systolic", 180, 150, 220, _CRISIS),
        mmhg("crisis-diastolic", 120, 95, 140, _CRISIS),
        minutes("apart", 1, 0, 5, _AHA_REPEAT),
        minutes("wait", 15, 5, 60, _AHA_REPEAT),
        minutes("wait-severe", 45, 15, 60, _ACOG_15),
        Parameter(
            name="confirmed",
            unit=PRIORITY,
            default=2,
            lower=2,
            upper=3,
            source=_IEC,
            variants={Group.PREGNANCY: Variant(3, _SEVERE_PREGNANCY)},
        ),
        _FRESH,
    ),
)
BP_SESSION_HIGH: Final = Rule(
    name="bp-session-high",
    title=Text(en="High home blood pressure", zh="家庭血压升高"),
    problem="blood-pressure-high",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    quiet=_WEEK,
    holds_up=False,
    parameters=(
        mmhg("systolic", 135, 120, 180, _HOME_135, _older(140)),
        mmhg("diastolic", 85, 70, 110, _HOME_135, _older(85)),
        mmhg("clear-systolic", 130, 110, 180, _HOME_GOAL, _older(135)),
        mmhg("clear-diastolic", 80, 65, 110, _HOME_GOAL, _older(80)),
        mmhg("staff-systolic", 160, 140, 180, OWN),
        mmhg("staff-diastolic", 100, 85, 110, OWN),
        _days("staff-days", 3, 2, 7, _PENN),
        minutes("session", 10, 5, 30, _SESSION),
        _FRESH,
    ),
)
BP_LOW: Final = Rule(
    name="bp-low",
    title=Text(en="Low blood pressure", zh="血压偏低"),
    problem="blood-pressure-low",
    vitals=_CUFF,
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    quiet=_WEEK,
    parameters=(
        mmhg("systolic", 90, 80, 110, _HYPOTENSION),
        mmhg("diastolic", 60, 45, 70, _HYPOTENSION),
        mmhg("clear-systolic", 95, 80, 120, OWN),
        mmhg("clear-diastolic", 65, 45, 80, OWN),
        mmhg("very-low-systolic", 80, 70, 90, OWN),
        minutes("wait", 15, 5, 60, OWN),
        _FRESH,
    ),
)
BP_NOT_AT_GOAL: Final = Rule(
    name="bp-not-at-goal",
    title=Text(en="Home blood pressure not at goal", zh="家庭血压未达标"),
    problem="blood-pressure-control",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    # Treatment that was changed is judged again after a month.
    quiet=4 * _WEEK,
    parameters=(
        mmhg("systolic", 135, 115, 160, _HOME_135, _older(140)),
        mmhg("diastolic", 85, 65, 100, _HOME_135, _older(85)),
        mmhg("clear-systolic", 130, 110, 160, _HOME_GOAL, _older(135)),
        mmhg("clear-diastolic", 80, 60, 100, _HOME_GOAL, _older(80)),
        mmhg("uncontrolled-systolic", 145, 130, 180, _HOME_OF_160, _older(150)),
        mmhg("uncontrolled-diastolic", 90, 75, 110, _HOME_OF_160),
    ),
)
BP_RISING: Final = Rule(
    name="bp-rising",
    title=Text(en="Home blood pressure rises", zh="家庭血压上升"),
    problem="blood-pressure-control",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(
        mmhg("systolic", 10, 6, 20, _NOISE),
        mmhg("diastolic", 7, 4, 15, _NOISE),
        _count("readings", 8, 6, 28, _NOISE),
    ),
)
BP_MORNING: Final = Rule(
    name="bp-morning",
    title=Text(en="Morning hypertension", zh="清晨高血压"),
    problem="blood-pressure-control",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(
        mmhg("systolic", 135, 120, 160, _HOME_135),
        mmhg("diastolic", 85, 70, 100, _HOME_135),
        mmhg("excess", 15, 10, 30, OWN),
        _days("mornings", 3, 2, 7, Text(en="Finn-Home: 3 mornings suffice", zh="Finn-Home：3 个清晨即可")),
    ),
)
BP_VARIABILITY: Final = Rule(
    name="bp-variability",
    title=Text(en="Blood pressure varies from day to day", zh="血压日间波动大"),
    problem="blood-pressure-control",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(
        mmhg("systolic", 15, 10, 25, _OHASAMA),
        mmhg("diastolic", 10, 7, 18, _OHASAMA),
        _days("days", 7, 5, 14),
    ),
)
BP_IRREGULAR_PULSE: Final = Rule(
    name="bp-irregular-pulse",
    title=Text(en="Irregular pulse", zh="脉搏不齐"),
    problem="irregular-pulse",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    quiet=4 * _WEEK,
    parameters=(_days("days", 2, 2, 5, _USUAL_PULSE),),
)
BP_CUFF_ERROR: Final = Rule(
    name="bp-cuff-error",
    title=Text(en="Cuff is not used well", zh="血压计使用不当"),
    problem="measurement-quality",
    vitals=_CUFF,
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(_count("readings", 3, 2, 10), _percent("share", 30, 10, 100)),
)
BP_NON_DIPPING: Final = Rule(
    name="bp-non-dipping",
    title=Text(en="Blood pressure does not fall by night", zh="夜间血压未下降"),
    problem="blood-pressure-control",
    vitals=_CUFF,
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.WEEKLY,
    parameters=(_percent("dip", 10, 0, 15, _DIPPING), _days("nights", 3, 2, 7)),
)

SPOT_RULES: Final = (
    METER_LOW,
    METER_VERY_LOW,
    METER_REFERRAL,
    METER_HIGH_TWICE,
    METER_HIGH,
    METER_CRISIS,
    METER_REPEATED_HIGH,
    METER_REPEATED_LOW,
    KETONE,
    LATE_EMERGENCY,
    CORRECTED,
    MISSED_MEASUREMENT,
    PLAN_NOT_KEPT,
    CONTRADICTION,
    BP_SEVERE,
    BP_SESSION_HIGH,
    BP_LOW,
    BP_NOT_AT_GOAL,
    BP_RISING,
    BP_MORNING,
    BP_VARIABILITY,
    BP_IRREGULAR_PULSE,
    BP_CUFF_ERROR,
    BP_NON_DIPPING,
)

# (this number, that number): this must not be above that, in every unit both have.
NOT_ABOVE: Final = (
    (("meter-low", "limit"), ("meter-low", "clear")),
    (("meter-very-low", "limit"), ("meter-very-low", "clear")),
    (("meter-very-low", "at-once"), ("meter-very-low", "limit")),
    (("meter-very-low", "limit"), ("meter-low", "limit")),
    (("meter-very-low", "limit"), ("meter-referral", "low")),
    (("meter-low", "clear"), ("meter-high", "before-meal")),
    (("meter-high", "before-meal"), ("meter-high", "after-meal")),
    (("meter-high", "after-meal"), ("meter-high", "very-high")),
    (("meter-high", "very-high"), ("meter-referral", "high")),
    (("meter-high", "very-high"), ("meter-high-twice", "high")),
    (("meter-crisis", "clear"), ("meter-crisis", "limit")),
    (("ketone", "watch"), ("ketone", "call")),
    (("ketone", "call"), ("ketone", "emergency")),
    (("bp-severe", "systolic"), ("bp-severe", "crisis-systolic")),
    (("bp-severe", "diastolic"), ("bp-severe", "crisis-diastolic")),
    (("bp-severe", "wait"), ("bp-severe", "wait-severe")),
    (("bp-session-high", "clear-systolic"), ("bp-session-high", "systolic")),
    (("bp-session-high", "clear-diastolic"), ("bp-session-high", "diastolic")),
    (("bp-session-high", "systolic"), ("bp-session-high", "staff-systolic")),
    (("bp-session-high", "diastolic"), ("bp-session-high", "staff-diastolic")),
    (("bp-low", "very-low-systolic"), ("bp-low", "systolic")),
    (("bp-low", "systolic"), ("bp-low", "clear-systolic")),
    (("bp-low", "diastolic"), ("bp-low", "clear-diastolic")),
    (("bp-low", "clear-systolic"), ("bp-session-high", "systolic")),
    (("bp-low", "clear-diastolic"), ("bp-session-high", "diastolic")),
    (("bp-not-at-goal", "clear-systolic"), ("bp-not-at-goal", "systolic")),
    (("bp-not-at-goal", "clear-diastolic"), ("bp-not-at-goal", "diastolic")),
    (("bp-not-at-goal", "systolic"), ("bp-not-at-goal", "uncontrolled-systolic")),
    (("bp-not-at-goal", "diastolic"), ("bp-not-at-goal", "uncontrolled-diastolic")),
)
# A number that was not given moves along with this one where it would stand on its wrong side.
FOLLOWS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("meter-low", "clear"): "limit",
        ("meter-very-low", "clear"): "limit",
        ("meter-very-low", "at-once"): "limit",
        ("bp-severe", "wait-severe"): "wait",
        ("bp-severe", "crisis-systolic"): "systolic",
        ("bp-severe", "crisis-diastolic"): "diastolic",
        ("bp-session-high", "staff-systolic"): "systolic",
        ("bp-session-high", "staff-diastolic"): "diastolic",
        ("bp-session-high", "clear-systolic"): "systolic",
        ("bp-session-high", "clear-diastolic"): "diastolic",
        ("bp-low", "clear-systolic"): "systolic",
        ("bp-low", "clear-diastolic"): "diastolic",
        ("bp-not-at-goal", "clear-systolic"): "systolic",
        ("bp-not-at-goal", "clear-diastolic"): "diastolic",
        ("bp-not-at-goal", "uncontrolled-systolic"): "systolic",
        ("bp-not-at-goal", "uncontrolled-diastolic"): "diastolic",
    }
)
