"""What the commands do that need the whole house."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import sys

from gateway import journal_commands
from gateway.check import check
from gateway.clock import SystemClock
from gateway.config import Config, ConfigError, load
from gateway.house import SYSTEM_RADIO, HouseError, keep_house
from gateway.language import Language
from gateway.pair import Wishes, language_code, pair
from gateway.people import DeviceKind
from gateway.terminal import Terminal, printable
from ingest.journal import Journal, JournalError, Letter, LetterState

_YOUNG = 20_000  # new objects before the garbage collector looks through them: a few batches
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(options: argparse.Namespace) -> int:
    """Run the command that was given. What keeps it from its work is told in a sentence, with exit status 2."""
    command = {
        "run": _serve_hub,
        "check": _check,
        "pair": _pair,
        "letters": _letters,
        "status": journal_commands.status,
        "journal": journal_commands.journal,
    }[options.command]
    try:
        return command(options)
    except (ConfigError, HouseError, JournalError) as error:
        print(error, file=sys.stderr)
        return 2


def _serve_hub(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_serve(load(options.config)))
    return 0


async def _serve(config: Config) -> None:
    async with keep_house(config, SystemClock()) as house:
        # What is there now stays: to look through it again and again would cost a tenth of all the work.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG)
        print(f"Homeward is open at {house.address} (stop with Ctrl-C)", flush=True)
        await house.stopped()


def _check(options: argparse.Namespace) -> int:
    findings = asyncio.run(check(load(options.config)))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.part}: {finding.says}")
    return 0 if all(finding.ok for finding in findings) else 1


def _pair(options: argparse.Namespace) -> int:
    wishes = Wishes(
        address=options.address,
        patient=options.patient,
        passkey=options.passkey,
        kind=options.kind and DeviceKind(options.kind),
        yes=options.yes,
        anyway=options.anyway,
        seconds=options.seconds,
    )
    language = Language(language_code(options.lang))
    walk = pair(load(options.config), wishes, SYSTEM_RADIO, Terminal(), language, SystemClock().now)
    try:
        return asyncio.run(walk)
    except KeyboardInterrupt:
        print()
        return 130


def _letters(options: argparse.Namespace) -> int:
    if options.action == "retry":
        return journal_commands.retry(options)
    action = {None: _list_letters, "list": _list_letters, "show": _show_letter, "discard": _discard_letter}
    with journal_commands.opened(journal_commands.configured(options)) as journal:
        return action[options.action](journal, options)


def _list_letters(journal: Journal, options: argparse.Namespace) -> int:
    state = LetterState(options.state)
    found = journal.letters(state, limit=options.limit)
    for letter in found:
        print(json.dumps(_letter_object(letter)) if options.json else _letter_line(letter))
    if not found and not options.json:
        print(f"No letters are {state}.")
    return 0


def _show_letter(journal: Journal, options: argparse.Namespace) -> int:
    letter = _letter(journal, options.letter)
    if options.json:
        print(json.dumps(_letter_object(letter)))
        return 0
    packet = letter.packet
    text = packet.data.decode("utf-8", "replace") if packet.channel in {"json", "line"} else ""
    told = {
        "letter": f"{letter.id}, {letter.state}",
        "arrived": f"{packet.received_at:%Y-%m-%d %H:%M:%SZ} by {packet.link}",
        "device": letter.device,
        "reason": f"{letter.reason}: {letter.because}",
        "parts": ", ".join(map(str, letter.parts)),
        "channel": packet.channel,
        "octets": "" if text.isprintable() and text.encode() == packet.data else packet.data.hex(" "),
        "text": text,
    }
    for name, value in told.items():
        if value:
            print(f"{name:<8} {printable(value)}")
    return 0


def _discard_letter(journal: Journal, options: argparse.Namespace) -> int:
    letter = _letter(journal, options.letter)
    if not journal.discard(letter.id, options.because):
        print(f"letter {letter.id} does not wait, it is {letter.state}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(_letter_object(_letter(journal, letter.id))))
    else:
        print(f"Letter {letter.id} is discarded; its octets stay in the journal.")
    return 0


def _letter(journal: Journal, number: int) -> Letter:
    letter = journal.letter(number)
    if letter is None:
        raise JournalError(f"there is no letter {number}; `homeward letters` lists them")
    return letter


def _letter_line(letter: Letter) -> str:
    arrived = f"{letter.packet.received_at:%Y-%m-%d %H:%M:%SZ}"
    return f"{letter.id:>6}  {arrived}  {letter.packet.link:<8}  {letter.device}  {letter.reason}: {letter.because}"


def _letter_object(letter: Letter) -> dict[str, object]:
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
        "data": letter.packet.data.hex(),
    }
