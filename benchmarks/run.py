"""`make bench`: measure Homeward beside a floor and its peers, print ratios, write docs/performance.md.

`make bench ARGS=--short` takes about a minute on a machine that does nothing else, runs without peers, and writes
nothing into docs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.bench import FULL, SHORT, Bench
from benchmarks.follow_up import follow_up
from benchmarks.growth import growth, soak
from benchmarks.latency import fan_out, latency, window
from benchmarks.machine import CACHE, ROOT, BenchError, Missing, described, others_at_work
from benchmarks.report import Case, keep, printed, promises, write_page
from benchmarks.stores import follower, reading_back
from benchmarks.throughput import killed, throughput

_DOCS: Final = ROOT / "docs"
_SHORT: Final = (throughput, killed, latency, window, reading_back, follow_up)
_CASES: Final[dict[str, tuple[Callable[[Bench], Case], ...]]] = {
    "a": (throughput, killed),
    "b": (latency, fan_out, window),
    "c": (follower,),
    "d": (reading_back,),
    "f": (growth,),
    "g": (follow_up,),
}


def main() -> int:
    """Exit status: 0 measured, 1 a case could not be measured. A missed promise is told, and no failure."""
    options = _options()
    CACHE.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    cases: list[Case] = []
    failed = False
    # In the cache and not in /tmp, which may be memory: a commit has to reach a disk.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as folder:
        bench = Bench(SHORT if options.short else FULL, Path(folder), say=_say)
        machine = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **described(Path(folder))}
        _say("; ".join(f"{name} {said}" for name, said in machine.items()))
        if load := others_at_work(os.getloadavg()[0], os.cpu_count() or 1):
            _say(load)
        todo = [lambda bench: soak(bench, options.soak)] if options.soak else _chosen(options)
        for run in todo:
            try:
                case = run(bench)
            except (BenchError, Missing) as error:
                _say(f"NOT MEASURED: {error}")
                failed = True
                continue
            case.machine = machine
            cases.append(case)
            _say(printed(case))
    _say(f"\n{promises(cases)}")
    if not options.short or options.write:
        known = keep(cases, _DOCS / "performance.json")
        write_page(known, _DOCS / "performance.md", _DOCS / "performance.svg")
        _say(f"\nwritten: {_DOCS / 'performance.md'}, performance.json, performance.svg")
    else:
        _say("\nnothing was written into docs (--write does)")
    _say(f"\n{time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _chosen(options: argparse.Namespace) -> Sequence[Callable[[Bench], Case]]:
    if options.short and not options.only:
        return _SHORT
    return [run for letter in options.only or _CASES for run in _CASES[letter]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="about a minute when idle, without peers, writes nothing"
    )
    parser.add_argument("--write", action="store_true", help="write docs/performance.md also from the short form")
    parser.add_argument("--only", type=_letters, metavar="LETTERS", help=f"some cases alone, of {''.join(_CASES)}")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only memory under 5000 readings/s")
    return parser.parse_args()


def _letters(text: str) -> list[str]:
    letters = [letter for letter in text if letter != ","]
    if unknown := set(letters) - _CASES.keys():
        raise argparse.ArgumentTypeError(f"no case {', '.join(sorted(unknown))}; there are {', '.join(_CASES)}")
    return letters


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
