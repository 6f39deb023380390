"""(b) From publish to durable, to the page, to many pages; and with a broker that has a small window."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

from benchmarks.bench import P50, P99, Bench, deliver, subscribed, until
from benchmarks.listeners import Page, Pages
from benchmarks.load import Publisher, Ward, distinct, remaining_length
from benchmarks.machine import BenchError, Program, quantile, script
from benchmarks.programs import Floor, Homeward, Receiver
from benchmarks.report import Case
from gateway.path import LINGER_S
from tests.peers import free_port

ALERTS: Final = 10  # a second
SELDOM: Final = 2880  # readings to an alert
LINGER_MS: Final = LINGER_S * 1000


def latency(bench: Bench) -> Case:
    """(b) From publish to durable, and to the page."""
    case = Case("b", "(b) Latency: publish to durable, publish to the alert on the page")
    size = bench.size
    probes = int(size.rounds * len(size.rates) * 2 * (size.seconds + 1) * 2 * ALERTS)
    ward = Ward(bench.patients, probes=probes)
    unused = iter(range(probes))
    with ExitStack() as stack:
        broker = stack.enter_context(bench.broker())
        house = stack.enter_context(Homeward(bench.place("house"), ward.enrolled(), broker=broker.port))
        floor = stack.enter_context(Floor("lib", bench.place("lib"), broker.port))
        page = stack.enter_context(Page(house.page))
        subscribed(house)
        deliver(house, house.port, ward.one_each(), bench.folder)

        def one(way: Literal["listener", "broker", "floor-lib"], rate: int, apart: int) -> None:
            """apart: of so many readings one opens an alert, at Homeward."""
            receiver: Receiver = floor if way == "floor-lib" else house
            program = way if way == "floor-lib" else f"Homeward, {way}"
            messages = ward.singles(int(rate * size.seconds))
            if receiver is house:
                messages[apart // 2 :: apart] = [ward.probe(next(unused)) for _ in messages[apart // 2 :: apart]]
            done = deliver(receiver, house.port if way == "listener" else broker.port, messages, bench.folder, rate)
            pairs = list(zip(messages, done.sent.at, strict=True))
            first = {key: at for message, at in reversed(pairs) for key in message.keys}
            durable = [(done.durable[key] - at) * 1000 for key, at in first.items()]
            if apart == SELDOM:
                _spread(case, program, f"durable at {rate}/s", durable)
                return
            _spread(case, program, f"durable at {rate}/s, {ALERTS} alerts/s", durable)
            alerts = {key[0].replace("meter", "probe"): at for key, at in first.items() if key[0].startswith("meter")}
            until(lambda: alerts.keys() <= page.seen.keys(), "an alert on the page")
            shown = [(page.seen[who] - at) * 1000 for who, at in alerts.items()]
            _spread(case, program, f"alert on the page at {rate}/s", shown)

        seldom = ((way, rate, SELDOM) for way in ("listener", "broker", "floor-lib") for rate in size.rates)
        often = ((way, rate, rate // ALERTS) for way in ("listener", "broker") for rate in size.rates)
        for way, rate, apart in bench.rounds(*seldom, *often):
            one(way, rate, apart)
    case.close()
    _promise(case, size.rates)
    case.notes.append(
        "Durable is when another process finds it in the file, looking every 0.3 ms. Its bound is twice floor-lib's "
        f"and the linger of {LINGER_MS:g} ms. One reading in {SELDOM} opens an alert there, which is the budget of "
        "0.10 a patient and day for sensors of five minutes; the time to the page is measured with "
        f"{ALERTS} alerts a second."
    )
    return case


def _promise(case: Case, rates: Sequence[int]) -> None:
    for rate in rates:
        durable = f"durable at {rate}/s, {P99}"
        floor = case.value("floor-lib", durable)
        bound = 2 * floor + LINGER_MS if floor is not None else math.nan
        case.at_most(f"{durable}, through Mosquitto, ms", case.value("Homeward, broker", durable), bound)
    for way in ("Homeward, listener", "Homeward, broker"):
        case.at_most(
            f"alert on the page at 1000/s, {P99}, ms ({way})",
            case.value(way, f"alert on the page at 1000/s, {P99}"),
            100.0,
        )


def _spread(case: Case, program: str, what: str, milliseconds: Sequence[float]) -> None:
    case.add(program, f"{what}, {P50}", "ms", quantile(milliseconds, 0.5))
    case.add(program, f"{what}, {P99}", "ms", quantile(milliseconds, 0.99), f"{what}, {P99}")


def fan_out(bench: Bench) -> Case:
    """(b) One alert to many open pages."""
    count = bench.size.streams
    case = Case("b-pages", f"(b) One alert to {count} open streams")
    ward = Ward(50, probes=bench.size.rounds + 1)
    number = iter(range(bench.size.rounds))
    port = free_port()
    with ExitStack() as stack:
        house = stack.enter_context(Homeward(bench.place("house"), ward.enrolled()))
        log = bench.place("events") / "events.log"
        raw = stack.enter_context(Program(script(Path(sys.executable), "standins.py", "events", port), log))
        raw.wait_for("ready")
        deliver(house, house.port, ward.one_each(), bench.folder)

        def ours() -> tuple[float, float, float]:
            with Pages(house.page, count) as pages:
                publisher = Publisher([ward.probe(next(number))], house.prefix, bench.folder)
                publisher.start(house.port)
                first, last = pages.told()
                return publisher.finish().at[0], first, last

        def floor() -> tuple[float, float, float]:
            with Pages(port, count) as pages:
                at = _post(port)
                return at, *pages.told()

        for program, run in bench.rounds(("Homeward", ours), ("raw asyncio", floor)):
            sent, first, last = run()
            case.add(
                program,
                "from the reading to the last page",
                "ms",
                (last - sent) * 1000,
                f"alert to {count} pages, last one",
            )
            case.add(program, "from the first page to the last", "ms", (last - first) * 1000)
    case.close()
    what = "from the reading to the last page"
    case.at_most("last page told / raw asyncio", case.ratio(("Homeward", what), ("raw asyncio", what)), 3.0)
    case.notes.append(
        "Homeward's time begins when the reading is published: decode, commit, rules and book are in it."
    )
    return case


def _post(port: int) -> float:
    import socket

    with socket.create_connection(("127.0.0.1", port)) as line:
        at = time.monotonic()
        line.sendall(b"POST / HTTP/1.1\r\n\r\n")
    return at


def window(bench: Bench) -> Case:
    """(b) A broker with a small window."""
    case = Case("b-window", "(b) A strict broker: window 20 against 1000")
    ward = Ward(bench.patients)
    windows = [str(w) for w in bench.rounds(20, 1000)]
    messages = ward.singles(bench.size.window * len(windows))
    place = bench.place("strict")
    load = place / "load"
    load.write_text("\n".join(_unnumbered(f"homeward/{m.topic}", m.payload).hex() for m in messages))
    port = free_port()
    command = script(Path(sys.executable), "standins.py", "broker", port, load, *windows)
    with Program(command, place / "broker.log") as broker:
        broker.wait_for("ready")
        with Homeward(place / "house", ward.enrolled(), broker=port) as house:
            broker.wait_for("all sent", 300)
            missing = distinct(messages) - set(house.keys(0))
            if missing:
                raise BenchError(f"{len(missing)} readings were acknowledged to the strict broker and are not stored")
        for line in broker.log.read_text().splitlines():
            if line.startswith("{"):
                found = json.loads(line)
                case.add("Homeward", f"window {found['window']}", "1/s", found["per_second"], "strict broker")
    case.close()
    case.at_least("window 20 / window 1000", case.ratio(("Homeward", "window 20"), ("Homeward", "window 1000")), 0.25)
    return case


def _unnumbered(topic: str, payload: bytes) -> bytes:
    """A PUBLISH of MQTT 5 whose packet identifier is put in later (`standins.py`)."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + b"\xff\xff\x00" + payload
    return b"\x32" + remaining_length(len(body)) + body
