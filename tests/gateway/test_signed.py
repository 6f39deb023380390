from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.schema import open_database
from gateway.signed import BadLink, Claim, SignedLinks

NOW = datetime(2026, 3, 1, 18, tzinfo=UTC)
CLAIM = Claim(purpose="acknowledge", subject="a-1", person="staff:li", expires_at=NOW + timedelta(hours=1))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    yield engine
    engine.dispose()


def links(engine: Engine) -> SignedLinks:
    return SignedLinks(engine)


def test_a_link_says_for_whom_and_what_and_is_the_same_at_every_hub(engine: Engine) -> None:
    one, other = links(engine), links(engine)
    token = one.sign(CLAIM)
    assert other.read(token, "acknowledge", NOW) == CLAIM
    assert other.sign(CLAIM) == token
    assert other.sign(replace(CLAIM, person="staff:wang")) != token


def test_a_link_expires(engine: Engine) -> None:
    token = links(engine).sign(CLAIM)
    assert links(engine).read(token, "acknowledge", CLAIM.expires_at - timedelta(seconds=1)) == CLAIM
    with pytest.raises(BadLink, match="this link has expired; staff find"):
        links(engine).read(token, "acknowledge", CLAIM.expires_at)


def test_a_link_is_for_one_purpose(engine: Engine) -> None:
    with pytest.raises(BadLink, match="for something else"):
        links(engine).read(links(engine).sign(CLAIM), "survey", NOW)


def test_no_changed_link_is_believed(engine: Engine) -> None:
    one = links(engine)
    token = one.sign(CLAIM)
    said, mac = token.split(".")
    other = one.sign(replace(CLAIM, subject="a-2"))
    changed = [
        "",
        ".",
        "ü",
        said,
        f"{said}.",
        f".{mac}",
        f"{other.split('.')[0]}.{mac}",
        f"{said}.{mac[:-2]}",
        *(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(said), 5)),
    ]
    for each in changed:
        with pytest.raises(BadLink, match="not complete or not from here"):
            one.read(each, "acknowledge", NOW)


def test_a_secret_of_another_database_signs_nothing_here(engine: Engine, tmp_path: Path) -> None:
    elsewhere = open_database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with closing(elsewhere.raw_connection()):
        token = links(elsewhere).sign(CLAIM)
    with pytest.raises(BadLink):
        links(engine).read(token, "acknowledge", NOW)
    elsewhere.dispose()


def test_a_link_is_used_once(engine: Engine) -> None:
    one = links(engine)
    token = one.sign(CLAIM)
    assert one.used_at(token) is None
    assert one.use(token, NOW)
    assert not links(engine).use(token, NOW + timedelta(minutes=1))
    assert one.used_at(token) == NOW
