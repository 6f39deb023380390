"""Who cares for patients: the roles of a team. Pure."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person of the team is there for (HL7 FHIR PractitionerRole)."""

    DOCTOR = "doctor"
    NURSE = "nurse"
    DIETITIAN = "dietitian"
    PSYCHOLOGIST = "psychologist"
    COORDINATOR = "coordinator"
