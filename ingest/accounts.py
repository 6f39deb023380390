"""The accounts of the straight path: whatever came must be somewhere, at every moment.

Pure. `balance` says which of these do not hold:
arrived = decoded + undecodable; decoded = admitted + revised + duplicate + refused;
admitted, revised or admitted later = journaled; journaled = confirmed + waiting, for each follower;
at a home post, packets kept for the hub = confirmed + waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingest.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How far a follower of the journal is, in readings; what was dropped by age counts as confirmed.

    older: those of the waiting that came before others which are confirmed already, for what is new goes first.
    """

    confirmed: int
    waiting: int
    older: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """How far the hub of a home post is, in packets; what was forgotten after its time counts as confirmed."""

    packets: int
    confirmed: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What the journal counted since it began, all of one moment.

    parts: what a packet is made of, one for each measurement in it. refused: by reason. journaled: sequence numbers
    given, which is one for each reading and each revision. dropped: those of them that were dropped by age.
    letters: that wait. links: packets by the link that brought them. rejected: by follower, refused by its store.
    uplink: None for a house that has no hub.
    """

    parts: int
    undecodable: int
    decoded: int
    admitted: int
    revised: int
    duplicate: int
    refused: Mapping[str, int]
    readmitted: int
    journaled: int
    dropped: int
    letters: int
    links: Mapping[str, int]
    rejected: Mapping[str, int]
    followers: Mapping[str, Followed]
    uplink: Forwarded | None = None


def accounts(
    counts: Mapping[str, int], journaled: int, letters: int, followers: Mapping[str, tuple[Progress, int, int]]
) -> Accounts:
    """Sort the journal's counters. followers: of each how far it is, what waits, and what of that is older."""
    dropped = counts.get("dropped", 0)
    return Accounts(
        parts=counts.get("parts", 0),
        undecodable=counts.get("undecodable", 0),
        decoded=counts.get("decoded", 0),
        admitted=counts.get("admitted", 0),
        revised=counts.get("revised", 0),
        duplicate=counts.get("duplicate", 0),
        refused=_labelled(counts, "refused"),
        readmitted=counts.get("readmitted.admitted", 0) + counts.get("readmitted.revised", 0),
        journaled=journaled,
        dropped=dropped,
        letters=letters,
        links=_labelled(counts, "packets"),
        rejected=_labelled(counts, "rejected"),
        followers={
            name: Followed(confirmed=progress.confirmed(dropped), waiting=waiting, older=older)
            for name, (progress, waiting, older) in followers.items()
        },
    )


def balance(found: Accounts) -> list[str]:
    """A sentence for each account that does not balance; none is how it must be."""
    refused = sum(found.refused.values())
    sides = [
        ("arrived", found.parts, "decoded and undecodable", found.decoded + found.undecodable),
        (
            "decoded",
            found.decoded,
            "admitted, revised, duplicate and refused",
            found.admitted + found.revised + found.duplicate + refused,
        ),
        (
            "admitted, at once or later,",
            found.admitted + found.revised + found.readmitted,
            "journaled",
            found.journaled,
        ),
        *(
            (
                "journaled",
                found.journaled,
                f"confirmed by {name} ({follower.confirmed}) and waiting for it ({follower.waiting})",
                follower.confirmed + follower.waiting,
            )
            for name, follower in sorted(found.followers.items())
        ),
    ]
    if hub := found.uplink:
        sides.append(("packets", hub.packets, "confirmed by the hub and waiting for it", hub.confirmed + hub.waiting))
    return [
        f"{count} {what} are not {other_count} {other}; this must not be, keep journal.db and report it"
        for what, count, other, other_count in sides
        if count != other_count
    ]


def _labelled(counts: Mapping[str, int], name: str) -> dict[str, int]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): n for key, n in counts.items() if key.startswith(prefix)}
