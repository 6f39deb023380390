"""The house's figures for Prometheus, in its text format (version 0.0.4). No figure names a patient or a device.

Written here and not with prometheus-client: the counters live in the journal and survive a restart, so its registry
of counters in memory would only stand between them and five lines of text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ingest.accounts import Accounts, balance

if TYPE_CHECKING:
    from gateway.house import House

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NAMED_AFTER_SOMEBODY: Final = ("device ", "channel ")  # parts of the health; the others are parts of the house


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric. samples: (labels, value)."""

    name: str
    kind: Literal["counter", "gauge"]
    says: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


async def measure(house: House) -> str:
    """All figures of now."""
    await house.feel()
    found = await asyncio.to_thread(house.accounts)
    return exposition([*of_accounts(found), *await _of_parts(house)])


def exposition(families: list[Family]) -> str:
    """The text of the families, each with its help and its type."""
    return "".join(line for family in families for line in _lines(family))


def of_accounts(found: Accounts) -> Iterator[Family]:
    """What came and what became of it. Counters count since the journal began."""
    yield _labelled("homeward_packets_total", "Packets that were stored, by link.", "link", found.links)
    yield _counter("homeward_parts_arrived_total", "Measurements in the packets.", found.parts)
    yield _counter("homeward_parts_decoded_total", "Parts that were understood.", found.decoded)
    yield _counter("homeward_parts_undecodable_total", "Parts that were not understood.", found.undecodable)
    yield _counter("homeward_readings_admitted_total", "Parts that became readings.", found.admitted)
    yield _counter("homeward_readings_revised_total", "Parts that revised a reading.", found.revised)
    yield _counter("homeward_readings_duplicate_total", "Parts that were known already.", found.duplicate)
    yield _labelled(
        "homeward_readings_refused_total",
        "Parts that were refused when they came, by reason; homeward_parts_aside says what has become of them.",
        "reason",
        found.refused,
    )
    aside = found.aside
    yield _counter("homeward_readings_readmitted_total", "Readings that waited as letters first.", aside.readings)
    yield _labelled(
        "homeward_parts_aside",
        "Parts that were refused or not understood when they came, by what they are now.",
        "now",
        {
            "readings": aside.readings,
            "duplicate": aside.duplicate,
            "repeated": aside.repeated,
            "unkept": aside.unkept,
            "discarded": aside.discarded,
            "waiting": sum(aside.waiting.values()),
            "untold": aside.untold,
        },
        "gauge",
    )
    yield _counter("homeward_readings_journaled_total", "Readings and revisions on disk since ever.", found.journaled)
    yield _counter("homeward_readings_dropped_total", "Of these, dropped by age.", found.dropped)
    yield _labelled(
        "homeward_follower_confirmed_total",
        "Journaled readings that a follower has dealt with.",
        "follower",
        {name: follower.confirmed for name, follower in found.followers.items()},
    )
    yield _labelled(
        "homeward_follower_waiting",
        "Journaled readings that wait for a follower.",
        "follower",
        {name: follower.waiting for name, follower in found.followers.items()},
        "gauge",
    )
    yield _labelled(
        "homeward_follower_backlog",
        "Of the waiting, those that came before readings which the follower has: what is new goes first.",
        "follower",
        {name: follower.older for name, follower in found.followers.items()},
        "gauge",
    )
    yield _labelled(
        "homeward_follower_rejected_total", "Lines that a store refused for good.", "follower", found.rejected
    )
    if hub := found.uplink:
        yield _counter("homeward_uplink_packets_total", "Packets that were kept for the hub.", hub.packets)
        yield _counter("homeward_uplink_confirmed_total", "Of these, the hub has.", hub.confirmed)
        yield _gauge("homeward_uplink_waiting", "Packets that wait for the hub.", hub.waiting)
    yield _gauge("homeward_letters_waiting", "Letters that wait for a person.", found.letters)
    yield _gauge("homeward_accounts_balanced", "1 while all accounts balance.", not balance(found))


async def _of_parts(house: House) -> list[Family]:
    size = house.keeper.size
    families = [
        _gauge("homeward_journal_size_bytes", "The journal's file.", size.octets),
        _gauge("homeward_journal_spare_bytes", "Room in it that new readings use first.", size.spare),
        _gauge("homeward_journal_wal_size_bytes", "Its write-ahead log.", size.wal),
        _gauge("homeward_disk_used_ratio", "Share of the disk that is taken.", house.keeper.used),
        _labelled(
            "homeward_part_ok",
            "1 while a part of the house does well.",
            "part",
            {
                name: float(part["status"] == "ok")
                for name, part in house.health()["parts"].items()
                if not name.startswith(_NAMED_AFTER_SOMEBODY)
            },
            "gauge",
        ),
    ]
    if listener := house.listener:
        counts = listener.counts
        absent = len(listener.absent_posts())
        families += [
            _gauge("homeward_listener_connections", "MQTT connections that are open.", counts.connections),
            _counter(
                "homeward_listener_logins_refused_total", "MQTT logins that were refused.", counts.logins_refused
            ),
            _gauge("homeward_home_posts_absent", "Home posts that are not connected now.", absent),
        ]
    if (broker := house.broker) is not None:
        memory = broker.memory
        families += [
            _counter("homeward_broker_dropped_total", "Messages that the broker's queues dropped.", memory.dropped),
            _counter("homeward_broker_forgotten_total", "How often the broker lost our session.", memory.forgotten),
        ]
    if house.influx:
        state = await house.influx.health()
        families.append(_gauge("homeward_influxdb_set_aside", "Refused lines that wait.", state.set_aside))
        if state.last_success:
            families.append(
                _gauge(
                    "homeward_influxdb_last_success_timestamp_seconds",
                    "When InfluxDB last took a write.",
                    state.last_success.timestamp(),
                )
            )
    return families


def _counter(name: str, says: str, value: float) -> Family:
    return Family(name=name, kind="counter", says=says, samples=(({}, value),))


def _gauge(name: str, says: str, value: float) -> Family:
    return Family(name=name, kind="gauge", says=says, samples=(({}, value),))


def _labelled(
    name: str, says: str, label: str, values: Mapping[str, float], kind: Literal["counter", "gauge"] = "counter"
) -> Family:
    samples = tuple(({label: key}, value) for key, value in sorted(values.items()))
    return Family(name=name, kind=kind, says=says, samples=samples)


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.says}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{family.name}{'{' + named + '}' if named else ''} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
