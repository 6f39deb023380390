"""On how many days a patient has measured, against what was agreed: as the patient reads it, and staff do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from alerts.alert import Text
from alerts.scene import VITALS
from alerts.survey import encouragement
from alerts.week import midnight_us
from gateway.people import Patient, plans_on
from gateway.view import HouseView
from ingest.reading import from_us

_DAY: Final = timedelta(days=1)
_WEEK: Final = 7


class Goal(NamedTuple):
    """Days with readings of the last 7, the one under way among them, on the patient's clock.

    vital, goal (days of 7): None where no plan of measuring holds. said: a word of encouragement.
    """

    vital: Text | None
    goal: int | None
    days: int
    said: Text


async def goals_of(house: HouseView, patient: Patient) -> list[Goal]:
    """One for each vital that a plan asks for today; without a plan one for all that was measured, if any."""
    return await asyncio.to_thread(_goals_of, house, patient)


def _goals_of(house: HouseView, patient: Patient) -> list[Goal]:
    zone = ZoneInfo(patient.zone)
    today = house.now().astimezone(zone).date()
    edges = [from_us(midnight_us(today + _DAY * (n - _WEEK + 1), zone)) for n in range(_WEEK + 1)]
    days_of_week = list(pairwise(edges))
    planned = plans_on(house.people.plans([patient.id]).get(patient.id, []), today)
    if not planned:
        days = sum(house.journal.measured(patient.id, days_of_week))
        return [Goal(None, None, days, encouragement(days))] if days else []
    kept = {vital: sum(house.journal.measured(patient.id, days_of_week, vital)) for vital in planned}
    return [
        Goal(VITALS[vital], plan.days, kept[vital], encouragement(kept[vital], plan.days))
        for vital, plan in planned.items()
    ]
