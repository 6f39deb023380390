"""The command line: `homeward run`, `check`, `decode`, `letters`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.check import check
from gateway.clock import SystemClock
from gateway.config import Config, ConfigError, load
from gateway.house import HouseError, keep_house
from ingest.gatt import CHARACTERISTICS, describe
from ingest.journal import Journal, JournalError, Letter, LetterState
from ingest.reading import DecodeError

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0 done, 1 something is not as it should be, 2 the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ConfigError, HouseError, JournalError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeward", description="A ward at home: devices in, follow-ups out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the hub until it is told to stop")
    _add_config(run)
    run.set_defaults(command=_run)

    checking = commands.add_parser("check", help="read the configuration, try every part of it, say what to do")
    _add_config(checking)
    checking.set_defaults(command=_check)

    decode = commands.add_parser(
        "decode",
        help="decode the octets of a Bluetooth characteristic",
        description=f"One JSON object per measurement. Characteristics: {', '.join(CHARACTERISTICS)}.",
    )
    decode.add_argument("characteristic", help="such as 2A18, or its 128-bit UUID")
    decode.add_argument("hex", help="the octets in hexadecimal, as they were sent")
    decode.add_argument("--json-errors", action="store_true", help="refusals as a JSON object on standard output")
    decode.set_defaults(command=_decode)

    letters = commands.add_parser("letters", help="list what could not be admitted, with the reason")
    _add_config(letters)
    letters.add_argument("--data", type=Path, help="the data directory, instead of the configured one")
    letters.add_argument("--state", type=LetterState, choices=list(LetterState), default=LetterState.WAITING)
    letters.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N (100)")
    letters.add_argument("--json", action="store_true", help="one JSON object a line, with the octets in hexadecimal")
    letters.set_defaults(command=_letters)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="TOML; without it, embedded defaults")


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_serve(load(options.config)))
    return 0


async def _serve(config: Config) -> None:
    async with keep_house(config, SystemClock()) as house:
        print(f"Homeward is open at {house.address} (stop with Ctrl-C)", flush=True)
        await house.stopped()


def _check(options: argparse.Namespace) -> int:
    findings = asyncio.run(check(load(options.config)))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.part}: {finding.says}")
    return 0 if all(finding.ok for finding in findings) else 1


def _decode(options: argparse.Namespace) -> int:
    try:
        measurements = describe(options.characteristic, _octets(options.hex))
    except DecodeError as error:
        if options.json_errors:
            print(json.dumps({"error": error.kind, "reason": error.reason, "offset": error.offset}))
        print(f"{options.characteristic}: {error.kind}: {error}", file=sys.stderr)
        return 2
    for measurement in measurements:
        print(json.dumps(measurement, ensure_ascii=False))
    return 0


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise DecodeError("invalid", f"{text!r} is not hexadecimal: {error}") from error


def _letters(options: argparse.Namespace) -> int:
    path = (options.data or load(options.config).data) / "journal.db"
    if not path.exists():
        raise JournalError(f"there is no journal at {path}; name the data directory with --data or -c")
    journal = Journal(path)
    try:
        found = journal.letters(options.state, limit=options.limit)
    finally:
        journal.close()
    for letter in found:
        print(json.dumps(_letter_object(letter)) if options.json else _letter_line(letter))
    if not found and not options.json:
        print(f"No letters are {options.state}.")
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
