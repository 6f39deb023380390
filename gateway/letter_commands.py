"""`homeward letters`: list, show, retry and discard what could not be admitted; beside a running hub and without."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from gateway.check import is_running
from gateway.config import Config
from gateway.house import HouseError, sole_tenant
from gateway.journal_commands import Hub, configured, in_the_book, opened
from gateway.path import judge
from gateway.people import People
from gateway.terminal import printable
from ingest import influx
from ingest.journal import REJECTED, Journal, JournalError, Letter, LetterState

_TEXTS = {"json", "line"}  # channels of which the octets are text


def letters(options: argparse.Namespace) -> int:
    """`homeward letters [ACTION]`."""
    config = configured(options)
    with opened(config) as journal:
        match options.action:
            case "show":
                return _show(journal, options)
            case "discard":
                return _discard(journal, options)
            case "retry":
                return _retry(config, journal, options)
            case _:
                return _list(journal, options)


def _list(journal: Journal, options: argparse.Namespace) -> int:
    state = LetterState(options.state)
    such = {"device": options.device, "reason": options.reason, "before": options.before}
    found = journal.letters(state, limit=options.limit, **such)
    for letter in found:
        print(json.dumps(_object(letter)) if options.json else _line(letter))
    count = journal.count_letters(state, **such)
    if not count and not options.json:
        print(f"No {'such ' if any(such.values()) else ''}letters are {state}.")
    if len(found) < count:
        older = f"; --before {found[-1].id} shows older ones" if found else ""
        print(f"{len(found)} of {count} shown{older}", file=sys.stderr)
    return 0


def _show(journal: Journal, options: argparse.Namespace) -> int:
    letter = _letter(journal, options.letter)
    if options.json:
        print(json.dumps(_object(letter)))
        return 0
    packet = letter.packet
    text = packet.data.decode("utf-8", "replace") if packet.channel in _TEXTS else ""
    told = {
        "letter": f"{letter.id}, {letter.state}",
        "arrived": f"{packet.received_at:%Y-%m-%d %H:%M:%SZ} by {packet.link}",
        "device": letter.device,
        "reason": f"{letter.reason}: {letter.because}",
        "parts": letter.counted_parts,
        "now": letter.others,
        "channel": packet.channel,
        "octets": ""
        if text and text.isprintable() and text.encode() == packet.data
        else packet.data.hex(" ") or "none",
        "text": text,
    }
    for name, value in told.items():
        if value:
            print(f"{name:<8} {printable(value)}")
    return 0


def _discard(journal: Journal, options: argparse.Namespace) -> int:
    if not (options.letters or options.device or options.reason):
        raise JournalError("say which letters: by their numbers, or with --device or --reason")
    chosen = _chosen(journal, options)
    if len(chosen) > 1 and not (options.yes or _agreed(f"Discard {len(chosen)} letters?")):
        print("Nothing was discarded.", file=sys.stderr)
        return 1
    kept = 0
    for letter in chosen:
        if not journal.discard(letter.id, options.because):
            kept += 1
            print(f"letter {letter.id} does not wait: {letter.whereabouts}", file=sys.stderr)
        elif options.json:
            print(json.dumps(_object(_letter(journal, letter.id))))
        else:
            print(f"Letter {letter.id} is discarded; its octets are kept for 90 days, if the disk has room.")
    if not chosen:
        print("No such letter waits.")
    return 1 if kept else 0


def _agreed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _retry(config: Config, journal: Journal, options: argparse.Namespace) -> int:
    chosen = _chosen(journal, options)
    running = is_running(config.data)
    with nullcontext() if running else sole_tenant(config.data):
        again = Hub(config).retry if running else _by_hand(config, journal)
        left = [letter for letter in chosen if not _try(journal, letter, again)]
    if not chosen:
        print("No such letter waits.")
    return 1 if left else 0


def _try(journal: Journal, letter: Letter, again: Callable[[Letter], str]) -> bool:
    """Try one letter again, also one that was discarded, and say what came of it; whether nothing of it waits."""
    if letter.state in {LetterState.ADMITTED, LetterState.REPLACED}:
        print(f"Letter {letter.id} does not wait: {letter.whereabouts}")
        return True
    trouble = again(letter)
    now = journal.letter(letter.id)
    # A hub that wants room drops letters that wait no more, also between the two questions.
    if now is None or now.state is LetterState.ADMITTED:
        print(f"Letter {letter.id} is {'admitted' if now else 'kept no more'}")
        return True
    left = journal.letter(now.followed_by[0]) if now.followed_by else now
    waits = "is still discarded" if now.state is LetterState.DISCARDED else "still waits"
    waits += f" as {now.others}" if now.followed_by else ""
    print(f"Letter {now.id} {waits}: {trouble or printable((left or now).because)}")
    return False


def _by_hand(config: Config, journal: Journal) -> Callable[[Letter], str]:
    """Retry without a hub; the next one watches and sends what comes of it."""
    with in_the_book(config) as engine:
        if engine is None:
            raise HouseError(f"there are no patients in {config.data}; start Homeward and enrol them first")
        roster = People(engine).roster()

    def again(letter: Letter) -> str:
        if letter.state is LetterState.DISCARDED and not journal.take_back(letter.id):
            return "the same waits as another letter"
        if letter.reason != REJECTED:
            journal.readmit([(letter, judge(letter.packet, roster))])
            return ""
        if config.influxdb is None:
            return "InfluxDB is not configured"
        trouble = influx.resend(config.influxdb.settings(), letter.packet.data)
        if trouble is None:
            journal.settle(letter.id)
        return trouble or ""

    return again


def _chosen(journal: Journal, options: argparse.Namespace) -> Sequence[Letter]:
    """The letters of these numbers, else those that wait and fit, oldest first."""
    if options.letters:
        return [_letter(journal, number) for number in options.letters]
    return journal.letters(device=options.device, reason=options.reason, before=options.before, limit=-1)[::-1]


def _letter(journal: Journal, number: int) -> Letter:
    letter = journal.letter(number)
    if letter is None:
        raise JournalError(f"there is no letter {number}; `homeward letters` lists them")
    return letter


def _line(letter: Letter) -> str:
    arrived = f"{letter.packet.received_at:%Y-%m-%d %H:%M:%SZ}"
    said = f"{letter.reason}: {letter.because}"
    said += f" ({letter.whereabouts})" if letter.followed_by else ""
    return f"{letter.id:>6}  {arrived}  {letter.packet.link:<8}  {letter.device}  {printable(said)}"


def _object(letter: Letter) -> dict[str, object]:
    return {
        "id": letter.id,
        "state": letter.state,
        "received_at": letter.packet.received_at.isoformat(),
        "link": letter.packet.link,
        "channel": letter.packet.channel,
        "device": letter.device,
        "reason": letter.reason,
        "because": letter.because,
        "parts": letter.parts,
        "followed_by": letter.followed_by,
        "data": letter.packet.data.hex(),
    }
