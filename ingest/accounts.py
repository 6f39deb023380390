"""The accounts of the straight path: whatever came must be somewhere, at every moment.

Pure. `balance` says which of these do not hold:
arrived = decoded + undecodable; decoded = admitted + revised + duplicate + refused;
refused and undecodable = became readings + known already + came again + not kept + discarded + waiting
(`Aside`);
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
class Aside:
    """What has become of the parts that were set aside as letters when they came, in parts.

    readings: new ones and revisions. duplicate: known already when they were tried again. repeated: came again while
    the same octets waited, which wait once. unkept: came while too much of their device waited. discarded: by a
    person, whether their letter is still kept or not. waiting: by reason, that of the last try. untold: came again
    before that was counted, in a journal of an earlier format.
    """

    readings: int
    duplicate: int
    repeated: int
    unkept: int
    discarded: int
    waiting: Mapping[str, int]
    untold: int

    @property
    def total(self) -> int:
        """All of them."""
        closed = self.readings + self.duplicate + self.repeated + self.unkept + self.discarded + self.untold
        return closed + sum(self.waiting.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What the journal counted since it began, all of one moment.

    parts: what a packet is made of, one for each measurement in it. refused: when they came, by reason. journaled:
    sequence numbers given, which is one for each reading and each revision. dropped: those of them that were dropped
    by age. letters: that wait. links: packets by the link that brought them. rejected: by follower, readings that its
    store refused for good; the follower has dealt with them, so they count as confirmed.
    uplink: None for a house that has no hub.
    """

    parts: int
    undecodable: int
    decoded: int
    admitted: int
    revised: int
    duplicate: int
    refused: Mapping[str, int]
    aside: Aside
    journaled: int
    dropped: int
    letters: int
    links: Mapping[str, int]
    rejected: Mapping[str, int]
    followers: Mapping[str, Followed]
    uplink: Forwarded | None = None


def accounts(
    counts: Mapping[str, int],
    journaled: int,
    letters: int,
    aside: Mapping[tuple[str, str], int],
    followers: Mapping[str, tuple[Progress, int, int]],
) -> Accounts:
    """Sort the journal's counters.

    aside: parts in letters that are kept, by (state, reason). followers: of each how far it is, what
    waits, what of that is older.
    """
    dropped = counts.get("dropped", 0)
    return Accounts(
        parts=counts.get("parts", 0),
        undecodable=counts.get("undecodable", 0),
        decoded=counts.get("decoded", 0),
        admitted=counts.get("admitted", 0),
        revised=counts.get("revised", 0),
        duplicate=counts.get("duplicate", 0),
        refused=_labelled(counts, "refused"),
        aside=Aside(
            readings=counts.get("readmitted.admitted", 0) + counts.get("readmitted.revised", 0),
            duplicate=counts.get("readmitted.duplicate", 0),
            repeated=counts.get("aside.repeated", 0),
            unkept=counts.get("aside.unkept", 0),
            discarded=counts.get("aside.discarded", 0)
            + sum(parts for (state, _), parts in aside.items() if state == "discarded"),
            waiting={reason: parts for (state, reason), parts in aside.items() if state == "waiting"},
            untold=counts.get("aside.untold", 0),
        ),
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
            "refused and undecodable",
            refused + found.undecodable,
            "became readings, known already, repeated, not kept, discarded and waiting",
            found.aside.total,
        ),
        (
            "admitted, at once or later,",
            found.admitted + found.revised + found.aside.readings,
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
