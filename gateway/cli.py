"""The command line: `homeward run`, `check`, `decode`, `letters`.

This module imports little, so that decoding a few octets does not wait for a database and a web server to load.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ingest.gatt import CHARACTERISTICS, describe
from ingest.reading import DecodeError

LETTER_STATES = ("waiting", "admitted", "discarded")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0 done, 1 something is not as it should be, 2 the input cannot be used."""
    options = _parser().parse_args(arguments)
    if options.command == "decode":
        return _decode(options)
    from gateway import commands

    return commands.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeward", description="A ward at home: devices in, follow-ups out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    run = commands.add_parser("run", help="run the hub until it is told to stop")
    _add_config(run)

    checking = commands.add_parser("check", help="read the configuration, try every part of it, say what to do")
    _add_config(checking)

    decode = commands.add_parser(
        "decode",
        help="decode the octets of a Bluetooth characteristic",
        description=f"One JSON object per measurement. Characteristics: {', '.join(CHARACTERISTICS)}.",
    )
    decode.add_argument("characteristic", help="such as 2A18, or its 128-bit UUID")
    decode.add_argument("hex", help="the octets in hexadecimal, as they were sent")
    decode.add_argument("--json-errors", action="store_true", help="refusals as a JSON object on standard output")

    letters = commands.add_parser("letters", help="list what could not be admitted, with the reason")
    _add_config(letters)
    letters.add_argument("--data", type=Path, help="the data directory, instead of the configured one")
    letters.add_argument("--state", choices=LETTER_STATES, default="waiting", help="which (waiting)")
    letters.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N (100)")
    letters.add_argument("--json", action="store_true", help="one JSON object a line, with the octets in hexadecimal")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="TOML; without it, embedded defaults")


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


if __name__ == "__main__":
    sys.exit(main())
