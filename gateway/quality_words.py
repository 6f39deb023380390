"""What the figures of the quality report are called. English here; other languages in `locale/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alerts.alert import Text
from alerts.monitoring import Window
from alerts.quality import Measure, Verb
from alerts.rules import RULES
from gateway.words import N_

SECTIONS: Final[Mapping[str, str]] = {
    "section": N_("Section"),
    "group": N_("Group"),
    "figure": N_("Figure"),
    "value": N_("Value"),
    "unit": N_("Unit"),
    "total": N_("All alerts"),
    "programme": N_("Programme"),
    "role": N_("Team"),
    "outcome": N_("Outcome"),
    "reason": N_("Why nothing was done"),
    "note": N_("Notes on it"),
    "reach": N_("Reaching patients"),
    "satisfaction": N_("What patients said"),
    "control": N_("Control before and after"),
    "rule": N_("Rule"),
    "patient": N_("Patient"),
    "name": N_("Name"),
    "window": N_("Window"),
    Window.MONTH: N_("Calendar month"),
    Window.DAYS_30: N_("30 days"),
    "first": N_("First day"),
    "last": N_("Last day"),
    "days": N_("Days with data"),
    "minutes": N_("Minutes of care"),
    "live": N_("Live contact"),
    "threshold": N_("Threshold reached"),
    "source": N_("Source of the thresholds"),
}
UNITS: Final[Mapping[str, str]] = {
    "d": N_("days"),
    "min": N_("min"),
    "pct": "%",
    "mmhg": "mmHg",
    "score": N_("1 to 5"),
    "per_day": N_("per patient-day"),
    "patients": N_("patients"),
}
TIMES: Final[Mapping[str, str]] = {
    "notify": N_("Until staff were told"),
    "acknowledge": N_("Until somebody answered"),
    "contact": N_("Until the patient was reached"),
    "close": N_("Until it was closed"),
}
# Each with its unit.
FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "alerts": (N_("Alerts"), ""),
    "patient_days": (N_("Patient-days with readings"), "d"),
    "per_patient_day": (N_("Alerts per patient-day"), "per_day"),
    "closed": (N_("Closed"), ""),
    "acted_on": (N_("Acted on"), ""),
    "false_alarms": (N_("False alarms"), ""),
    "acted_on_share": (N_("Acted on, of the closed ones"), "pct"),
    "unanswered": (N_("Unanswered"), ""),
    "unanswered_high": (N_("Unanswered, high priority"), ""),
    "escalated": (N_("Escalated"), ""),
    "worsened": (N_("Became worse"), ""),
    "notify_median": (N_("Until staff were told, median"), "min"),
    "notify_p90": (N_("Until staff were told, 90th percentile"), "min"),
    "notify_n": (N_("Staff were told"), ""),
    "notify_open": (N_("Staff not told yet"), ""),
    "notify_without": (N_("Closed before staff were told"), ""),
    "acknowledge_median": (N_("Until somebody answered, median"), "min"),
    "acknowledge_p90": (N_("Until somebody answered, 90th percentile"), "min"),
    "acknowledge_n": (N_("Answered"), ""),
    "acknowledge_open": (N_("Not answered yet"), ""),
    "contact_median": (N_("Until the patient was reached, median"), "min"),
    "contact_p90": (N_("Until the patient was reached, 90th percentile"), "min"),
    "contact_n": (N_("Patient reached"), ""),
    "contact_open": (N_("Patient not reached yet"), ""),
    "contact_without": (N_("Closed without reaching the patient"), ""),
    "close_median": (N_("Until it was closed, median"), "min"),
    "close_p90": (N_("Until it was closed, 90th percentile"), "min"),
    "close_open": (N_("Still open"), ""),
    "follow_ups": (N_("Follow-ups"), ""),
    "attempts": (N_("Attempts"), ""),
    "reached": (N_("Attempts that reached the patient"), ""),
    "per_reach": (N_("Attempts for each that reached the patient"), ""),
    "asked": (N_("Asked"), ""),
    "answered": (N_("Questions answered"), ""),
    "score": (N_("Score, mean"), "score"),
    "call_again": (N_("Want to be called again"), ""),
    "helpful": (N_("Found it helpful"), "pct"),
    "solved": (N_("Problem solved"), "pct"),
    "control_n": (N_("Enough data of both"), "patients"),
    "control_insufficient": (N_("Not enough data"), "patients"),
    "control_too_early": (N_("The 14 days after are not over"), "patients"),
    "before_pct": (N_("Before"), "pct"),
    "after_pct": (N_("After"), "pct"),
    "change_pct": (N_("Change"), "pct"),
    "before_mmhg": (N_("Before"), "mmhg"),
    "after_mmhg": (N_("After"), "mmhg"),
    "change_mmhg": (N_("Change"), "mmhg"),
    "no_action": (N_("No action needed"), ""),
    "emergencies": (N_("Emergency services"), ""),
    "advice": (N_("What to do"), ""),
}
MEASURES: Final[Mapping[Measure, str]] = {
    Measure.TIR: N_("Time in range"),
    Measure.SYSTOLIC: N_("Systolic"),
    Measure.DIASTOLIC: N_("Diastolic"),
}
VERBS: Final[Mapping[Verb, str]] = {
    Verb.TIGHTEN: N_("Tighten"),
    Verb.RELAX: N_("Relax"),
    Verb.LOOK: N_("Look into it"),
}
ROLES: Final[Mapping[str | None, str]] = {
    "doctor": N_("Doctor"),
    "nurse": N_("Nurse"),
    "dietitian": N_("Dietitian"),
    "psychologist": N_("Psychologist"),
    "coordinator": N_("Coordinator"),
    None: N_("no follow-up"),
}


def title_of(rule: str | None) -> Text | None:
    """What a rule is called; None where it is not known, or one of another Homeward."""
    known = RULES.get(rule or "")
    return known.title if known else None
