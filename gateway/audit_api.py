"""The API of the audit: who changed what, when, and what it was before."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from alerts.audit import Entry
from gateway.api import PAGE, House, Limit, Problem

router = APIRouter(responses={status: {"model": Problem} for status in (401, 422, 503)})


class EntryOut(BaseModel):
    """One change; at on the clinic's clock. who is null for what Homeward did itself, or where nobody said so.

    before, after: what differs; null where there was nothing, or is nothing any more. Moments are µs since 1970.
    """

    seq: int
    at: datetime
    who: str | None
    what: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "seq": 4711,
                    "at": "2026-03-03T02:31:00+08:00",
                    "who": "Dr Li",
                    "what": "acknowledged",
                    "subject": "alert:a-5b1c0d9e8f7a6b5c",
                    "before": {"acknowledged_at_us": None, "acknowledged_by": None},
                    "after": {"acknowledged_at_us": 1772476260000000, "acknowledged_by": "Dr Li"},
                }
            ]
        }
    )

    @classmethod
    def of(cls, entry: Entry, zone: ZoneInfo) -> EntryOut:
        """The entry on the clinic's clock."""
        plain = ("seq", "who", "what", "subject", "before", "after")
        return cls(at=entry.at.astimezone(zone), **{name: getattr(entry, name) for name in plain})


@router.get("/api/v1/audit", tags=["audit"])
async def list_audit(
    house: House,
    subject: Annotated[
        str | None, Query(max_length=96, description="Only of this, kind:id", examples=["alert:a-5b1c0d9e8f7a6b5c"])
    ] = None,
    limit: Limit = PAGE,
    before: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="seq of the last entry of the page before")
    ] = None,
) -> list[EntryOut]:
    """Every change of an alert, follow-up, appointment, patient, device, plan, limit, contact, or of staff.

    Of minutes of care, replies, answers to a survey and what was given to read as well. The newest comes first.
    """
    found = await asyncio.to_thread(house.audit, subject=subject, before=before, limit=limit)
    return [EntryOut.of(each, house.zone) for each in found]
