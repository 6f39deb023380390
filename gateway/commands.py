"""What the commands do that need the whole house."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from itertools import chain

from alerts.record import Tally
from gateway import journal_commands, letter_commands
from gateway.backup import backup
from gateway.check import beside_record, check
from gateway.clock import SystemClock
from gateway.config import Config, ConfigError, load
from gateway.house import SYSTEM_RADIO, HouseError, keep_house
from gateway.language import Language
from gateway.pair import Wishes, language_code, pair
from gateway.people import DeviceKind
from gateway.schema import shown
from gateway.terminal import Terminal
from ingest.journal import JournalError

_YOUNG = 20_000  # new objects before the garbage collector looks through them: a few batches
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(options: argparse.Namespace) -> int:
    """Run the command that was given. What keeps it from its work is told in a sentence, with exit status 2."""
    command = {
        "run": _serve_hub,
        "check": _check,
        "pair": _pair,
        "backup": _backup,
        "letters": letter_commands.letters,
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
        addresses = dict.fromkeys(filter(None, (config.web.base_url, house.address)))
        print(f"Homeward is open at {' and '.join(addresses)} (stop with Ctrl-C)", flush=True)
        await house.stopped()


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    status = 0
    for finding in chain(asyncio.run(check(config)), beside_record(config, _compared) if options.record else ()):
        print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.part}: {finding.says}", flush=True)
        status = status if finding.ok else 1
    return status


def _compared(count: Tally) -> None:
    print(f"{count.done} of {count.total} alerts and follow-ups compared", file=sys.stderr, flush=True)


def _backup(options: argparse.Namespace) -> int:
    config = journal_commands.configured(options)
    sizes = backup(config.data, options.folder)
    print(f"{options.folder}: {', '.join(f'{name} {octets / 1e6:.1f} MB' for name, octets in sizes.items())}")
    if config.database:
        print(f"{shown(config.database_url)} is not in it: copy it with pg_dump first, see docs/backup.md")
    return 0


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
