"""The command line: `homeward --help` lists what there is.

This module imports little, so that decoding a few octets does not wait for a database and a web server to load.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ingest.gatt import CHARACTERISTICS, describe
from ingest.quirks import QUIRKS, named
from ingest.reading import DecodeError

SIMULATORS = ("ble", "mqtt")
VITALS = ("glucose", "ketone", "cgm_glucose", "blood_pressure")
_ENOUGH = 141  # the exit status of a program that SIGPIPE has ended
LETTER_STATES = ("waiting", "admitted", "replaced", "discarded")
LETTER_REASONS = (
    "unassigned", "no-value", "control-solution", "impossible", "too_short", "invalid", "rejected", "too-many",
    "conflict",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0 done, 1 something is not as it should be, 2 the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        status = _run(options)
        sys.stdout.flush()  # here, where somebody who has gone is no fault
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ENOUGH
    return status


def _run(options: argparse.Namespace) -> int:
    if options.command == "decode":
        return _decode(options)
    if options.command == "simulate":
        return _simulate(options)
    if options.command == "rules":
        from gateway import rule_commands

        return rule_commands.run(options)
    if options.command == "replay":
        return _replay(options)
    from gateway import commands

    return commands.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homeward", description="A ward at home: devices in, follow-ups out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    run = commands.add_parser("run", help="run the hub until it is told to stop")
    _add_config(run)

    checking = commands.add_parser("check", help="read the configuration, try every part of it, say what to do")
    _add_config(checking)
    checking.add_argument(
        "--record",
        action="store_true",
        help="also replay the record of every alert and follow-up, and name what is not as it says; for a million it "
        "takes minutes",
    )

    status = commands.add_parser(
        "status",
        help="what came, what became of it, who has it, how the hub does",
        description="Exit status: 0 all is well, 1 a part of the hub needs attention, letters wait for a person, "
        "or an account does not balance, 2 no hub runs (what is on disk is told all the same).",
    )
    _add_journal(status)

    _add_pair(commands.add_parser("pair", help="pair a Bluetooth device with this computer and give it to a patient"))

    decode = commands.add_parser(
        "decode",
        help="decode the octets of a Bluetooth characteristic",
        description=f"One JSON object per measurement. Characteristics: {', '.join(CHARACTERISTICS)}.",
    )
    decode.add_argument("characteristic", help="such as 2A18, or its 128-bit UUID")
    decode.add_argument("hex", help="the octets in hexadecimal, as they were sent")
    decode.add_argument(
        "--quirk",
        metavar="NAME",
        help=f"as sent by a device that differs from the specification: {', '.join(quirk.name for quirk in QUIRKS)}",
    )
    decode.add_argument("--json-errors", action="store_true", help="refusals as a JSON object on standard output")

    backup = commands.add_parser("backup", help="copy journal, patients and alerts to a new folder; the hub goes on")
    backup.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is not there yet")
    _add_data(backup)

    _add_letters(commands.add_parser("letters", help="what could not be admitted, with the reason"))
    _add_journal_actions(commands.add_parser("journal", help="look after the journal of readings"))

    _add_rules(commands.add_parser("rules", help="every rule with its numbers and their sources; check a rule file"))
    _add_replay(commands.add_parser("replay", help="try the rules on a history in a CSV file (docs/replay.md)"))

    simulate = commands.add_parser("simulate", help="be a device: for tests, never beside a patient")
    simulate.add_argument("what", choices=SIMULATORS, help="`homeward simulate ble --help` tells the options of one")
    simulate.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS).required = False
    return parser


def _add_journal_actions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    status = actions.add_parser("status", help="its size, what it holds, who waits for what")
    _add_journal(status)
    verify = actions.add_parser("verify", help="read all of it: is it whole, and does everything balance")
    compact = actions.add_parser("compact", help="give spare room back to the disk; the hub must not run")
    export = actions.add_parser(
        "export",
        help="write the readings, with units and zones, in their order of arrival",
        description="Every revision of a reading is written. Progress goes to standard error.",
    )
    refill = actions.add_parser(
        "refill",
        help="fill again what lost its data: an InfluxDB, or the hub of this home post",
        description="influxdb: every reading is sent again. uplink: every packet that this home post still keeps "
        "(30 days, less on a full disk) is forwarded to the hub again. Nothing is stored twice.",
    )
    refill.add_argument("follower", choices=("influxdb", "uplink"), help="what is filled again")
    for action in (verify, compact, export, refill):
        _add_data(action)
    export.add_argument(
        "--format", choices=("csv", "jsonl"), default="csv", help="a row a number, or a line a reading"
    )
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="a new file (standard output)")
    export.add_argument("--patient", metavar="ID", help="only this one's")
    export.add_argument("--vital", choices=VITALS, help="only these")
    when = "ISO 8601 with its offset, or a day such as 2026-03-02: its midnight in the clinic's zone"
    export.add_argument("--since", type=_moment, metavar="TIME", help=f"taken then or later; {when}")
    export.add_argument("--until", type=_moment, metavar="TIME", help="taken before; the same")


def _add_letters(letters: argparse.ArgumentParser) -> None:
    _add_journal(letters)
    _add_listing(letters)
    actions = letters.add_subparsers(metavar="ACTION", dest="action", help="without one, the letters are listed")

    def add(name: str, says: str) -> argparse.ArgumentParser:
        # What stands before the action holds unless it is said again behind it.
        action = actions.add_parser(name, help=says, description=says, argument_default=argparse.SUPPRESS)
        _add_journal(action)
        return action

    _add_listing(add("list", "the same list"), default=False)
    number = "the number in the first column of the list"
    add("show", "one letter with all its octets").add_argument("letter", type=_letter_id, metavar="ID", help=number)
    retry = add(
        "retry",
        "try letters again, after what kept them was corrected: all that wait, or those that numbers, --device, "
        "--reason and --before choose; by its number also one that was discarded",
    )
    discard = add("discard", "take letters off the waiting list; their octets stay, and `retry` takes them back")
    for several in (retry, discard):
        several.add_argument("letters", type=_letter_id, nargs="*", default=[], metavar="ID", help=f"each {number}")
        _add_choice(several, default=False)
    discard.add_argument("--because", type=_reason, required=True, metavar="TEXT", help="why; kept with the letter")
    discard.add_argument("--yes", action="store_true", default=False, help="do not ask before several are discarded")


def _add_listing(parser: argparse.ArgumentParser, *, default: bool = True) -> None:
    _add_choice(parser, default=default)
    parser.add_argument("--state", choices=LETTER_STATES, help="which (waiting)", **_default("waiting", default))
    parser.add_argument("--limit", type=_count, metavar="N", help="the newest N (100)", **_default(100, default))


def _add_choice(parser: argparse.ArgumentParser, *, default: bool) -> None:
    parser.add_argument("--device", metavar="NAME", help="only of this device", **_default(None, default))
    parser.add_argument(
        "--reason",
        choices=LETTER_REASONS,
        metavar="REASON",
        help=f"only of this reason: {', '.join(LETTER_REASONS)}",
        **_default(None, default),
    )
    parser.add_argument(
        "--before", type=_letter_id, metavar="ID", help="only older ones than this", **_default(None, default)
    )


def _default(value: object, wanted: bool) -> dict[str, Any]:
    return {"default": value} if wanted else {}


def _add_rules(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("list", help="one line for each rule")
    showing = actions.add_parser("show", help="one rule with its numbers, bounds and sources")
    showing.add_argument("rule", metavar="RULE", help="its name, as in the list")
    checking = actions.add_parser("check", help="read a rule file and say what it changes, or why it is refused")
    checking.add_argument("file", type=Path, metavar="FILE", help="TOML, see docs/rules.md")
    for action in (listing, showing, checking):
        action.add_argument(
            "--lang", choices=("en", "zh"), default="en", help="the language of what is said of the rules (en)"
        )
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="as JSON")


def _add_pair(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--lang", choices=("en", "zh"), help="the language to speak (that of the terminal)")
    parser.add_argument("--address", type=str.upper, help="of the device, instead of choosing it from a list")
    parser.add_argument("--patient", metavar="ID", help="who wears it")
    parser.add_argument("--passkey", type=_passkey, metavar="DIGITS", help="the six digits of the device")
    parser.add_argument("--yes", action="store_true", help="answer every yes-or-no question with yes")
    parser.add_argument("--anyway", action="store_true", help="also a device that offers nothing Homeward can read")
    parser.add_argument("--kind", choices=("meter", "cgm", "cuff"), help="what the device is, for --anyway")
    parser.add_argument("--seconds", type=_seconds, default=8.0, metavar="N", help="how long to look around (8)")


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA.csv", help="subject,time,glucose or ...,systolic,diastolic")
    parser.add_argument("--findings", type=Path, metavar="OUT.csv", help="write one row per finding")
    parser.add_argument("--chart", type=Path, metavar="OUT.html", help="draw traces, events and findings")
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="the language of all that is said (en)")
    parser.add_argument("--bad-rows", type=Path, metavar="OUT.csv", help="write the rows that were not used, and why")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="limits to try, instead of the defaults")
    parser.add_argument(
        "--region", choices=("international", "china"), help="whose defaults, without --rules (international)"
    )
    parser.add_argument("--compare", type=Path, metavar="FILE", help="other limits, to see side by side")
    parser.add_argument(
        "--only", action="append", default=[], metavar="RULE", help="this rule alone; may be repeated"
    )
    parser.add_argument("--subject", action="append", default=[], metavar="NAME", help="these alone; may be repeated")
    parser.add_argument("--unit", choices=("mg/dL", "mmol/L", "mmHg", "kPa"), help="of the values (mg/dL, mmHg)")
    parser.add_argument("--meter", action="store_true", help="the glucose is a meter's, not a sensor's")
    parser.add_argument("--zone", type=_zone, metavar="NAME", help="the subjects' clock, such as Asia/Shanghai")
    parser.add_argument(
        "--disturb", type=int, metavar="SEED", help="with gaps, repeats, late and shuffled deliveries"
    )
    parser.add_argument("--disturbed", type=Path, metavar="OUT.csv", help="write what was delivered, in that order")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="TOML; without it, the built-in defaults")


def _add_data(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--data", type=Path, help="the data directory, instead of the configured one")


def _add_journal(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, one object a line; octets in hexadecimal")


def _letter_id(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 19 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a letter")
    return number


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 19 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return number


def _moment(text: str) -> date:
    """A moment (aware), or a plain day, of which only the configuration says when it begins."""
    with suppress(ValueError):
        return date.fromisoformat(text)
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time such as 2026-03-02T08:00+08:00, and no day such as 2026-03-02"
    )


def _passkey(text: str) -> int:
    if not (len(text) == 6 and text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not six digits")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 600")
    return seconds


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time zone such as Asia/Shanghai") from None


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("say why, in one line of text")
    return text.strip()


def _decode(options: argparse.Namespace) -> int:
    try:
        correct = named(options.quirk).corrected if options.quirk else None
        measurements = describe(options.characteristic, _octets(options.hex), correct=correct)
    except DecodeError as error:
        if options.json_errors:
            print(json.dumps({"error": error.kind, "reason": error.reason, "offset": error.offset}))
        print(f"{options.characteristic}: {error.kind}: {error}", file=sys.stderr)
        return 2
    for measurement in measurements:
        print(json.dumps(measurement, ensure_ascii=False))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    """Hand over to a program of the simulators.

    By name and not by import: what goes to a patient must not need the simulators, which are an optional extra.
    """
    if find_spec("simulators") is None or find_spec("bumble") is None:
        print(
            "the simulators are not installed; `pip install '.[simulators]'` in a clone of Homeward adds them",
            file=sys.stderr,
        )
        return 2
    sys.argv = [f"homeward simulate {options.what}", *options.arguments]
    runpy.run_module(f"simulators.{options.what}", run_name="__main__")
    return 0


def _replay(options: argparse.Namespace) -> int:
    from gateway.replay import command

    return command.run(options)


def _octets(text: str) -> bytes:
    """Octets as people copy them: together, or apart by blanks, colons or dashes, with or without 0x."""
    digits = re.sub(r"0[xX]|[\s:,-]", "", text)
    if stranger := re.search(r"[^0-9A-Fa-f]", digits):
        raise DecodeError("invalid", f"{stranger[0]!r} is no hexadecimal digit", stranger.start())
    if len(digits) % 2:
        raise DecodeError("invalid", f"{len(digits)} hexadecimal digits, but an octet needs two", len(digits))
    return bytes.fromhex(digits)


if __name__ == "__main__":
    sys.exit(main())
