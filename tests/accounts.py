"""What every test of a fault asks at its end: is the journal whole, and is all that came accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from gateway.house import House
from ingest.accounts import balance
from ingest.journal import Journal
from ingest.journal_care import verify
from ingest.progress import Progress


def assert_all_accounted_for(journal: Path, followers: Mapping[str, Progress] | None = None) -> None:
    """The file is whole and its accounts balance, those of these followers as well."""
    assert verify(journal) == []
    with closing(Journal(journal)) as opened:
        assert balance(opened.accounts(followers or {})) == []


def assert_balanced(house: House) -> None:
    """The accounts of a running house balance now, with every follower."""
    assert balance(house.accounts()) == []
