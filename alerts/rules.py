"""Rules as data: what is watched, how urgent it is, and every number with its unit, bounds and source.

Which finding goes where follows the load of these rules on the CGM traces of ShanghaiT2DM (100 patients, 549 days):
all that a sensor brings to staff is 0.10 alerts per patient-day if each is closed the moment its condition has gone,
and 0.08 if they are closed once a day; the budget is 0.10. So a level-1 low and a high that lasts are the patient's
own warnings (0.7 a day) and reach staff only after "staff-after"; at the consensus' two hours, lows alone would break
the budget. A level-2 low (0.06) and the Chinese referral level held for two hours (0.02) go to staff. A meter's low
goes to staff at once: such readings are few, and nothing shows the recovery.

Glucose limits exist in mg/dL and in mmol/L and are compared in the unit received, because 3.9 mmol/L is 70.26 mg/dL.
Blood-pressure limits exist in mmHg only: no guideline gives home limits in kPa.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from alerts import spot_rules
from alerts.alert import Audience, Priority, Text
from alerts.rule import MG_DL as MG_DL
from alerts.rule import MIN as MIN
from alerts.rule import MMHG as MMHG
from alerts.rule import MMOL_L as MMOL_L
from alerts.rule import Comparison as Comparison
from alerts.rule import Parameter as Parameter
from alerts.rule import Rule as Rule
from alerts.rule import both, minutes, mmhg
from ingest.vital import MG_DL_PER_MMOL_L, Vital

_OWN: Final = Text(en="Homeward default, to be confirmed by the clinic", zh="Homeward 默认值，由医疗机构确认")
_LEVEL_1_LOW: Final = Text(en="Battelino 2019, level 1; CDS 2024", zh="Battelino 2019 共识 1 级；CDS 2024 指南")
_LEVEL_2_LOW: Final = Text(en="Battelino 2019, level 2; CDS 2024", zh="Battelino 2019 共识 2 级；CDS 2024 指南")
_LEVEL_1_HIGH: Final = Text(en="Battelino 2019, level 1", zh="Battelino 2019 共识 1 级")
_LEVEL_2_HIGH: Final = Text(en="Battelino 2019, level 2", zh="Battelino 2019 共识 2 级")
_LOW_ENDS: Final = Text(
    en="Danne 2017: a low ends at 70 mg/dL held 15 min", zh="Danne 2017：恢复至 3.9 mmol/L 并持续 15 分钟"
)
_HIGH_ENDS: Final = Text(
    en="Battelino 2023: ends at 180 mg/dL held 15 min", zh="Battelino 2023：降至 10.0 mmol/L 并持续 15 分钟"
)
_CONSENSUS_15: Final = Text(en="Danne 2017: an event lasts 15 min", zh="Danne 2017：事件持续 15 分钟")
_EXTENDED: Final = Text(en="Battelino 2023, extended event", zh="Battelino 2023 延长事件")
_CHINA_REFERRAL: Final = Text(
    en="China basic public health service: referral at 16.7 mmol/L (300 mg/dL)",
    zh="国家基本公共卫生服务规范：≥16.7 mmol/L 需处理并转诊",
)
_HOME_135: Final = Text(
    en="home limit, ESH 2023, ESC 2024, China 2024", zh="家庭血压标准，ESH 2023、ESC 2024、中国 2024 指南"
)
_HOME_GOAL: Final = Text(en="home goal below 130/80, AHA/ACC 2025", zh="家庭血压目标低于 130/80，AHA/ACC 2025")
_GRADE_3: Final = Text(en="grade 3, China public health service", zh="3 级高血压，国家基本公共卫生服务规范")
_CRISIS: Final = Text(en="above 180/120, AHA/ACC 2025", zh="高于 180/120，AHA/ACC 2025")
_AHA_REPEAT: Final = Text(en="AHA: repeat a severe reading before acting on it", zh="AHA：重度升高须复测后再处理")
_IEC: Final = Text(en="priority after IEC 60601-1-8", zh="优先级参照 IEC 60601-1-8")


# A reading older than this raises nothing: a sensor's reading loses its meaning within the hour, a spot reading keeps
# it for the rest of the waking day (a meter is often read out hours after the measurement).
_FRESH: Final = (minutes("fresh-sensor", 60, 15, 240, _OWN), minutes("fresh-meter", 720, 360, 1440, _OWN))
_GLUCOSE: Final = (Vital.GLUCOSE, Vital.CGM)
_DAY: Final = timedelta(days=1)

GLUCOSE_LOW: Final = Rule(
    name="glucose-low",
    title=Text(en="Low glucose", zh="低血糖"),
    problem="glucose-low",
    vitals=_GLUCOSE,
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    meter_audience=Audience.STAFF,
    parameters=(
        *both("limit", _LEVEL_1_LOW, (70, 60, 100), (3.9, 3.3, 5.6)),
        *both("clear", _LOW_ENDS, (70, 60, 126), (3.9, 3.3, 7.0)),
        minutes("hold", 15, 0, 60, _CONSENSUS_15),
        minutes("staff-after", 180, 15, 360, _OWN),
        *_FRESH,
    ),
)
GLUCOSE_VERY_LOW: Final = Rule(
    name="glucose-very-low",
    title=Text(en="Very low glucose", zh="严重偏低血糖"),
    problem="glucose-low",
    vitals=_GLUCOSE,
    comparison=Comparison.BELOW,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    meter_audience=Audience.STAFF,
    parameters=(
        *both("limit", _LEVEL_2_LOW, (54, 45, 70), (3.0, 2.5, 3.9)),
        *both("clear", _LOW_ENDS, (70, 45, 100), (3.9, 2.5, 5.6)),
        minutes("hold", 15, 0, 30, _CONSENSUS_15),
        minutes("unrecovered", 30, 15, 120, _IEC),
        *_FRESH,
    ),
)
GLUCOSE_HIGH: Final = Rule(
    name="glucose-high",
    title=Text(en="High glucose", zh="高血糖"),
    problem="glucose-high",
    vitals=_GLUCOSE,
    comparison=Comparison.ABOVE,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    meter_audience=Audience.PATIENT,
    quiet=_DAY,
    parameters=(
        *both("limit", _LEVEL_1_HIGH, (180, 140, 250), (10.0, 7.8, 13.9)),
        *both("clear", _HIGH_ENDS, (180, 100, 250), (10.0, 5.6, 13.9)),
        minutes("hold", 240, 15, 720, _OWN),
        minutes("staff-after", 1440, 60, 2880, _OWN),
        *_FRESH,
    ),
)
GLUCOSE_VERY_HIGH: Final = Rule(
    name="glucose-very-high",
    title=Text(en="Very high glucose", zh="血糖很高"),
    problem="glucose-high",
    vitals=_GLUCOSE,
    comparison=Comparison.ABOVE,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    meter_audience=Audience.STAFF,
    quiet=_DAY,
    parameters=(
        *both("limit", _LEVEL_2_HIGH, (250, 180, 350), (13.9, 10.0, 19.4)),
        *both("clear", _HIGH_ENDS, (180, 140, 350), (10.0, 7.8, 19.4)),
        minutes("hold", 120, 15, 360, _EXTENDED),
        minutes("staff-after", 360, 15, 1440, _OWN),
        *_FRESH,
    ),
)
GLUCOSE_REFERRAL: Final = Rule(
    name="glucose-referral",
    title=Text(en="Glucose at referral level", zh="血糖达到转诊标准"),
    problem="glucose-high",
    vitals=_GLUCOSE,
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    meter_audience=Audience.STAFF,
    parameters=(
        *both("limit", _CHINA_REFERRAL, (300, 200, 400), (16.7, 11.1, 22.2)),
        *both("clear", _LEVEL_2_HIGH, (250, 180, 400), (13.9, 10.0, 22.2)),
        minutes("hold", 120, 15, 360, _EXTENDED),
        *_FRESH,
    ),
)
BLOOD_PRESSURE_HIGH: Final = Rule(
    name="blood-pressure-high",
    title=Text(en="High home blood pressure", zh="家庭血压升高"),
    problem="blood-pressure-high",
    vitals=(Vital.BLOOD_PRESSURE,),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    quiet=7 * _DAY,
    parameters=(
        mmhg("systolic", 135, 120, 180, _HOME_135),
        mmhg("diastolic", 85, 70, 110, _HOME_135),
        mmhg("clear-systolic", 130, 110, 180, _HOME_GOAL),
        mmhg("clear-diastolic", 80, 65, 110, _HOME_GOAL),
        minutes(
            "session",
            10,
            5,
            30,
            Text(en="home protocol: mean of the last two", zh="家庭血压测量方案：取最后两次平均"),
        ),
        minutes("fresh-meter", 720, 360, 1440, _OWN),
    ),
)
BLOOD_PRESSURE_SEVERE: Final = Rule(
    name="blood-pressure-severe",
    title=Text(en="Severe blood pressure", zh="血压重度升高"),
    problem="blood-pressure-high",
    vitals=(Vital.BLOOD_PRESSURE,),
    comparison=Comparison.AT_LEAST,
    priority=Priority.MEDIUM,
    audience=Audience.STAFF,
    parameters=(
        mmhg("systolic", 180, 150, 200, _GRADE_3),
        mmhg("diastolic", 110, 95, 130, _GRADE_3),
        mmhg("crisis-systolic", 180, 160, 220, _CRISIS),
        mmhg("crisis-diastolic", 120, 100, 140, _CRISIS),
        minutes("apart", 1, 0, 5, _AHA_REPEAT),
        minutes("wait", 15, 5, 60, _AHA_REPEAT),
        minutes("fresh-meter", 720, 360, 1440, _OWN),
    ),
)
NO_DATA: Final = Rule(
    name="no-data",
    title=Text(en="No data", zh="没有数据"),
    problem="no-data",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    parameters=(
        minutes("silence-cgm_glucose", 360, 30, 2880, _OWN),
        minutes("silence-glucose", 2880, 360, 20160, _OWN),
        minutes("silence-blood_pressure", 2880, 360, 20160, _OWN),
    ),
)
LATE_DATA: Final = Rule(
    name="late-data",
    title=Text(en="Data comes too late", zh="数据迟到"),
    problem="late-data",
    vitals=tuple(Vital),
    comparison=Comparison.AT_LEAST,
    priority=Priority.LOW,
    audience=Audience.STAFF,
    parameters=(),
    quiet=_DAY,
)
BATTERY_LOW: Final = Rule(
    name="battery-low",
    title=Text(en="Battery low", zh="电量不足"),
    problem="battery-low",
    vitals=tuple(Vital),
    comparison=Comparison.BELOW,
    priority=Priority.LOW,
    audience=Audience.PATIENT,
    parameters=(),
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            GLUCOSE_LOW,
            GLUCOSE_VERY_LOW,
            GLUCOSE_HIGH,
            GLUCOSE_VERY_HIGH,
            GLUCOSE_REFERRAL,
            BLOOD_PRESSURE_HIGH,
            BLOOD_PRESSURE_SEVERE,
            NO_DATA,
            LATE_DATA,
            BATTERY_LOW,
            *spot_rules.SPOT_RULES,
        )
    }
)


class Key(NamedTuple):
    """Which number: rule, parameter and unit by name."""

    rule: str
    parameter: str
    unit: str


_PARAMETERS: Final[Mapping[Key, Parameter]] = MappingProxyType(
    {
        Key(rule.name, parameter.name, parameter.unit): parameter
        for rule in RULES.values()
        for parameter in rule.parameters
    }
)
_PATIENTS_OWN: Final = Text(en="set for this patient", zh="为该患者单独设定")

# (this number, that number): this must not be above that. Checked in every unit both have.
_NOT_ABOVE: Final = (
    (("glucose-low", "limit"), ("glucose-low", "clear")),
    (("glucose-very-low", "limit"), ("glucose-very-low", "clear")),
    (("glucose-very-low", "limit"), ("glucose-low", "limit")),
    (("glucose-high", "clear"), ("glucose-high", "limit")),
    (("glucose-very-high", "clear"), ("glucose-very-high", "limit")),
    (("glucose-referral", "clear"), ("glucose-referral", "limit")),
    (("glucose-high", "limit"), ("glucose-very-high", "limit")),
    (("glucose-very-high", "limit"), ("glucose-referral", "limit")),
    (("blood-pressure-high", "clear-systolic"), ("blood-pressure-high", "systolic")),
    (("blood-pressure-high", "clear-diastolic"), ("blood-pressure-high", "diastolic")),
    (("blood-pressure-high", "systolic"), ("blood-pressure-severe", "systolic")),
    (("blood-pressure-high", "diastolic"), ("blood-pressure-severe", "diastolic")),
    (("blood-pressure-severe", "systolic"), ("blood-pressure-severe", "crisis-systolic")),
    (("blood-pressure-severe", "diastolic"), ("blood-pressure-severe", "crisis-diastolic")),
    *spot_rules.NOT_ABOVE,
)
# Where a limit was moved past its clear limit and the clear limit was not given, the clear limit moves along.
_FOLLOWS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("glucose-low", "clear"): "limit",
        ("glucose-very-low", "clear"): "limit",
        ("glucose-high", "clear"): "limit",
        ("glucose-very-high", "clear"): "limit",
        ("glucose-referral", "clear"): "limit",
        ("blood-pressure-high", "clear-systolic"): "systolic",
        ("blood-pressure-high", "clear-diastolic"): "diastolic",
        ("blood-pressure-severe", "crisis-systolic"): "systolic",
        ("blood-pressure-severe", "crisis-diastolic"): "diastolic",
        **spot_rules.FOLLOWS,
    }
)


class LimitsError(ValueError):
    """Limits that were refused. The text says where, what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A patient's own numbers over the defaults.

    given: what was set for the patient. A glucose limit given in one unit holds in the other one too, converted and
    rounded as a display rounds (1 mg/dL, 0.1 mmol/L), unless that is given as well.
    """

    given: Mapping[Key, float] = field(default_factory=dict)
    _values: Mapping[Key, float] = field(init=False, repr=False, compare=False)
    _own: frozenset[Key] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = {**_other_units(self.given), **self.given}
        values = {key: own.get(key, parameter.default) for key, parameter in _PARAMETERS.items()}
        for (rule, name), leader in _FOLLOWS.items():
            for key in [key for key in values if key[:2] == (rule, name) and key not in own]:
                values[key] = _follow(key, values[key], Key(rule, leader, key.unit), values)
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_own", frozenset(own))

    def value(self, rule: str, parameter: str, unit: str) -> float:
        """The number that holds for this patient. KeyError when the rule has no such parameter in that unit."""
        return self._values[Key(rule, parameter, unit)]

    def source(self, rule: str, parameter: str, unit: str) -> Text:
        """Where the number comes from: its guideline, or that it was set for this patient."""
        key = Key(rule, parameter, unit)
        return _PATIENTS_OWN if key in self._own else _PARAMETERS[key].source

    def to_json(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """The form that `parse_limits` reads: {rule: {parameter: [{"value": number, "unit": unit}, ...]}}."""
        out: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for key, value in sorted(self.given.items()):
            out.setdefault(key.rule, {}).setdefault(key.parameter, []).append({"value": value, "unit": key.unit})
        return out


def _other_units(given: Mapping[Key, float]) -> dict[Key, float]:
    out = {}
    for key, value in given.items():
        if key.unit == MG_DL:
            out[key._replace(unit=MMOL_L)] = round(value / MG_DL_PER_MMOL_L, 1)
        elif key.unit == MMOL_L:
            out[key._replace(unit=MG_DL)] = float(round(value * MG_DL_PER_MMOL_L))
    return out


def _follow(key: Key, default: float, leader: Key, values: Mapping[Key, float]) -> float:
    """The default, or the leader's value where the default would stand on its wrong side."""
    below = any(pair == (leader[:2], key[:2]) for pair in _NOT_ABOVE)
    return max(default, values[leader]) if below else min(default, values[leader])


DEFAULTS: Final = Limits()


def parse_limits(data: Mapping[str, Any]) -> Limits:
    """Read a patient's limits: {rule: {parameter: {"value": number, "unit": unit}}}, or a list of such for two units.

    Raises LimitsError for a rule, parameter or unit that does not exist, a number without unit or out of its bounds,
    and numbers that contradict each other (a clear limit on the wrong side, very low above low).
    """
    given: dict[Key, float] = {}
    for rule_name, parameters in data.items():
        if rule_name not in RULES:
            raise LimitsError(f"{rule_name}: there is no such rule. Use one of: {', '.join(RULES)}.")
        if not isinstance(parameters, Mapping):
            raise LimitsError(f'{rule_name}: expected {{parameter: {{"value": ..., "unit": ...}}}}.')
        for name, entries in parameters.items():
            for entry in entries if isinstance(entries, list) else [entries]:
                key, value = _parse_entry(RULES[rule_name], name, entry)
                if key in given:
                    raise LimitsError(f"{rule_name}.{name}: given twice in {key.unit}. Keep one.")
                given[key] = value
    limits = Limits(given=MappingProxyType(given))
    _refuse_contradictions(limits)
    return limits


def _parse_entry(rule: Rule, name: str, entry: Any) -> tuple[Key, float]:
    where = f"{rule.name}.{name}"
    units = [parameter.unit for parameter in rule.parameters if parameter.name == name]
    if not units:
        names = sorted({parameter.name for parameter in rule.parameters})
        raise LimitsError(f"{where}: this rule has no such parameter. Use one of: {', '.join(names)}.")
    example = f'{{"value": {_PARAMETERS[Key(rule.name, name, units[0])].default:g}, "unit": "{units[0]}"}}'
    if not isinstance(entry, Mapping) or "unit" not in entry:
        raise LimitsError(f"{where}: a number without a unit is refused. Write it as {example}.")
    if set(entry) != {"value", "unit"}:
        raise LimitsError(
            f"{where}: expected exactly value and unit, found {', '.join(map(str, entry))}. Write {example}."
        )
    value, unit = entry["value"], entry["unit"]
    if unit not in units:
        raise LimitsError(f"{where}: unit {unit!r} does not fit. Use {' or '.join(units)}, for example {example}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LimitsError(f"{where}: {value!r} is not a number. Write it as {example}.")
    parameter = _PARAMETERS[key := Key(rule.name, name, unit)]
    if not parameter.lower <= value <= parameter.upper:
        raise LimitsError(
            f"{where}: {value:g} {unit} is not safe. "
            f"Choose a value from {parameter.lower:g} to {parameter.upper:g} {unit} (default {parameter.default:g})."
        )
    return key, float(value)


def _refuse_contradictions(limits: Limits) -> None:
    for low, high in _NOT_ABOVE:
        for key in [key for key in _PARAMETERS if key[:2] == low]:
            low_value, high_value = limits.value(*key), limits.value(*high, key.unit)
            if low_value > high_value:
                raise LimitsError(
                    f"{'.'.join(low)} is {low_value:g} {key.unit}, "
                    f"above {'.'.join(high)} with {high_value:g} {key.unit}. Change one of the two."
                )
