"""Signed links: whoever opens one is who it was sent to, for one purpose, until it expires.

A link holds (purpose, subject, person, expiry) and their HMAC-SHA256 (RFC 2104) under a secret in the database, so
that two hubs agree on it. Nothing but the link's use is stored: the same notice gives the same link at every try.
A link that acknowledges serves once (`gateway.duty.Duty.outdated`).
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import BigInteger, Column, Engine, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from alerts.database import METADATA, reading
from gateway.language import Sentence
from ingest.reading import from_us, to_us

# Purposes are also how the path of a link begins.
ACKNOWLEDGE: Final = "answer"
SURVEY: Final = "survey"
MESSAGE: Final = "message"
EDUCATION: Final = "education"
OF_PATIENTS: Final = frozenset({SURVEY, MESSAGE, EDUCATION})

_secrets = Table(
    "signing_secrets",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("secret", String(64), nullable=False),
)
_uses = Table(
    "signed_link_uses",
    METADATA,
    Column("link", String(64), primary_key=True),
    Column("used_us", BigInteger, nullable=False),
)


class BadLink(Exception):
    """The link is not ours, for something else, or has expired. The text says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a link says. subject: an id. person: "staff:ID" or "patient:ID". expires_at: aware UTC, whole seconds."""

    purpose: str
    subject: str
    person: str
    expires_at: datetime


class SignedLinks:
    """Makes links and reads them, and remembers which were used. Blocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: bytes | None = None

    def sign(self, claim: Claim) -> str:
        """The last part of a link's address."""
        said = json.dumps(
            [claim.purpose, claim.subject, claim.person, int(claim.expires_at.timestamp())], separators=(",", ":")
        ).encode()
        return f"{_text(said)}.{_text(self._mac(said))}"

    def read(self, token: str, purpose: str, now: datetime) -> Claim:
        """What a link says. Raises BadLink."""
        said, mac = (_octets(part) for part in [*token.split("."), ""][:2])
        if not said or not hmac.compare_digest(self._mac(said), mac):
            raise BadLink(Sentence("this link is not complete or not from here; open it as it stands in the message"))
        kind, subject, person, expires_s = json.loads(said)
        if kind != purpose:
            raise BadLink(Sentence("this link is for something else; open it as it stands in the message"))
        claim = Claim(purpose=kind, subject=subject, person=person, expires_at=datetime.fromtimestamp(expires_s, UTC))
        if now >= claim.expires_at:
            raise BadLink(
                Sentence("this link has expired; staff find the alert in the worklist, patients call the clinic")
            )
        return claim

    def used_at(self, token: str) -> datetime | None:
        """When a link was used (aware UTC), None when it was not."""
        with reading(self._engine) as db:
            found = db.execute(select(_uses.c.used_us).where(_uses.c.link == _digest(token))).scalar()
        return None if found is None else from_us(found)

    def use(self, token: str, now: datetime) -> bool:
        """Note that a link was used; False where it was before."""
        try:
            with self._engine.begin() as db:
                db.execute(insert(_uses).values(link=_digest(token), used_us=to_us(now)))
        except IntegrityError:
            return False
        return True

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._secret(), said, sha256)

    def _secret(self) -> bytes:
        if self._known is None:
            self._known = bytes.fromhex(self._stored() or self._made())
        return self._known

    def _stored(self) -> str | None:
        with reading(self._engine) as db:
            return db.execute(select(_secrets.c.secret).where(_secrets.c.name == "links")).scalar()

    def _made(self) -> str:
        made = secrets.token_hex(32)
        try:
            with self._engine.begin() as db:
                db.execute(insert(_secrets).values(name="links", secret=made))
        except IntegrityError:  # another hub was first
            return self._stored() or made
        return made


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _octets(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return b""


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
