"""(a) Durable readings a second, the CPU they take, and what kill -9 costs: Homeward, the floors, the peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.bench import BROKER_SETTINGS, CPU, RATE, Bench, Delivered, deliver, subscribed, until
from benchmarks.load import Key, Message, Publisher, Ward
from benchmarks.machine import BenchError
from benchmarks.peers import NodeRed, Sink, ThingsBoardGateway, installed
from benchmarks.programs import Floor, Homeward, Receiver
from benchmarks.report import Case

_QUIET_S: Final = 15.0


def throughput(bench: Bench) -> Case:
    """(a) Durable readings a second and CPU of 100 000 readings."""
    case = Case("a", "(a) Durable readings: rate and CPU")
    size = bench.size
    ward = Ward(bench.patients)
    here, missing = installed() if size.peers else ([], [])
    for sentence in missing:
        bench.say(f"!!! {sentence}")
    with ExitStack() as stack:
        broker = stack.enter_context(bench.broker())
        house = stack.enter_context(Homeward(bench.place("house"), ward.enrolled(), broker=broker.port))
        floors = [stack.enter_context(Floor(which, bench.place(which), broker.port)) for which in ("lib", "raw")]
        subscribed(house)
        deliver(house, house.port, ward.one_each(), bench.folder)
        ways: list[tuple[str, Receiver, int]] = [
            ("Homeward, listener", house, house.port),
            ("Homeward, broker", house, broker.port),
            ("floor-lib", floors[0], broker.port),
            ("floor-raw", floors[1], broker.port),
        ]
        loads = {
            "singles": partial(ward.singles, size.singles),
            "batches of 50": partial(ward.batches, size.batches),
        }
        runs = [
            partial(_measure, case, bench, program, receiver, port, what, make)
            for program, receiver, port in ways
            for what, make in loads.items()
        ]
        runs += [partial(_measure_peer, case, bench, peer, broker.port, loads["singles"]) for peer in here]
        if size.peers:
            runs.append(partial(_measure_with_sink, case, bench))
        for run in bench.rounds(*runs):
            run()
    case.close()
    _promise(case)
    case.notes += [
        (
            f"Mosquitto with {', '.join(BROKER_SETTINGS)}, max_inflight_messages 1000, persistence on; QoS 1, "
            f"window 1000; {bench.patients} patients, 80 % CGM and 20 % blood pressure, 1 % sent twice, 0.1 % "
            "undecodable; a run counted only after the set that was stored equalled the set that was sent."
        ),
        "Rates of publisher, broker and receiver on the same cores depend on the scheduler; the CPU does so less.",
        *missing,
    ]
    return case


def _promise(case: Case) -> None:
    singles, batches = f"{RATE}, singles", f"{RATE}, batches of 50"
    case.at_most(
        "CPU of a reading through Mosquitto / floor-lib",
        case.ratio(("Homeward, broker", f"{CPU}, singles"), ("floor-lib", f"{CPU}, singles")),
        1.5,
    )
    case.at_least(
        "readings/s through Mosquitto / Node-RED",
        case.ratio(("Homeward, broker", singles), ("Node-RED", singles)),
        1.0,
    )
    case.at_least(
        "readings/s through Mosquitto / ThingsBoard gateway",
        case.ratio(("Homeward, broker", singles), ("ThingsBoard gateway", singles)),
        5.0,
    )
    case.at_least(
        "readings/s through the listener / Node-RED",
        case.ratio(("Homeward, listener", singles), ("Node-RED", singles)),
        3.0,
    )
    for way in ("Homeward, broker", "Homeward, listener"):
        case.at_least(
            f"readings/s in batches of 50 / singles ({way})", case.ratio((way, batches), (way, singles)), 2.5
        )


def _measure(
    case: Case,
    bench: Bench,
    program: str,
    receiver: Receiver,
    port: int,
    what: str,
    make: Callable[[], list[Message]],
) -> None:
    done = deliver(receiver, port, make(), bench.folder)
    _enter(case, program, what, done)


def _enter(case: Case, program: str, what: str, done: Delivered) -> None:
    case.add(program, f"{RATE}, {what}", "1/s", done.readings / done.seconds, f"{RATE}, {what}")
    case.add(program, f"{CPU}, {what}", "s", done.cpu / done.readings * 100_000, f"{CPU}, {what}")


def _measure_peer(case: Case, bench: Bench, peer: str, broker: int, make: Callable[[], list[Message]]) -> None:
    kind = NodeRed if peer == "Node-RED" else ThingsBoardGateway
    with Sink(bench.folder) as sink, kind(bench.place("peer"), broker, sink) as receiver:
        # It runs in before it is measured, as the house does.
        deliver(receiver, broker, Ward(bench.patients).one_each(), bench.folder, loses=True)
        done = deliver(receiver, broker, make(), bench.folder, loses=True)
        _enter(case, peer, "singles", done)
        case.add(peer, "memory", "MB", receiver.program.resident() / 1e6)


def _measure_with_sink(case: Case, bench: Bench) -> None:
    """Homeward with its InfluxDB follower sending to the sink, as the peers do."""
    ward = Ward(bench.patients)
    with Sink(bench.folder) as sink:
        influx = {"url": sink.url, "token": "benchmark", "bucket": "ward"}
        place = bench.place("house")
        with Homeward(place, ward.enrolled(), influxdb=influx) as house:
            deliver(house, house.port, ward.one_each(), bench.folder)
            before, began = sink.count(), house.program.cpu()
            done = deliver(house, house.port, ward.singles(bench.size.singles), bench.folder)
            until(lambda: sink.count() - before >= done.readings, "the sink")
            done = Delivered(done.readings, done.seconds, house.program.cpu() - began, done.sent, done.durable)
            _enter(case, "Homeward, listener, to sink", "singles", done)
            case.add("Homeward, listener, to sink", "memory", "MB", house.program.resident() / 1e6)


def killed(bench: Bench) -> Case:
    """(a) kill -9 at 1000 readings a second: acknowledged but lost after a new start."""
    case = Case("a-kill", "(a) kill -9 at 1000 readings/s")
    rounds = 3 if bench.size.peers else 1
    here = installed()[0] if bench.size.peers else []
    seconds = 3.0 if bench.size.peers else 1.5
    with bench.broker() as broker:
        for _ in range(rounds):
            ward = Ward(bench.patients)
            with Homeward(bench.place("house"), ward.enrolled(), broker=broker.port) as house:
                subscribed(house)
                deliver(house, house.port, ward.one_each(), bench.folder)
                lost = _lost(bench, house, house.port, ward.singles(int(seconds * 2000)), seconds)
                case.add(
                    "Homeward, listener", "acknowledged and lost", "readings", lost, "kill -9: acknowledged and lost"
                )
                lost = _lost(bench, house, broker.port, ward.singles(int(seconds * 2000)), seconds)
                case.add(
                    "Homeward, broker", "acknowledged and lost", "readings", lost, "kill -9: acknowledged and lost"
                )
            for peer in here:
                kind = NodeRed if peer == "Node-RED" else ThingsBoardGateway
                with Sink(bench.folder) as sink, kind(bench.place("peer"), broker.port, sink) as receiver:
                    lost = _lost(
                        bench, receiver, broker.port, Ward(bench.patients).singles(int(seconds * 2000)), seconds
                    )
                    case.add(peer, "acknowledged and lost", "readings", lost, "kill -9: acknowledged and lost")
    case.close()
    for way in ("Homeward, listener", "Homeward, broker"):
        worst = max(value for figure in case.figures if figure.program == way for value in figure.values)
        case.at_most(f"acknowledged and lost ({way}), worst of {rounds}", worst, 0)
    case.notes.append(
        "Killed in the middle of a load at 1000/s and started again; with a broker, everything that the broker took "
        "counts as acknowledged, and what it delivers again after the start is not lost. Each program has a session."
    )
    return case


def _lost(
    bench: Bench,
    receiver: Homeward | NodeRed | ThingsBoardGateway,
    port: int,
    messages: list[Message],
    seconds: float,
) -> int:
    before = receiver.tail()
    publisher = Publisher(messages, receiver.prefix, bench.folder)
    publisher.start(port, 1000)
    time.sleep(seconds)
    receiver.program.kill()
    direct = isinstance(receiver, Homeward) and port == receiver.port
    if direct:
        sent = publisher.finish()
        receiver.start()
    else:
        receiver.start()
        sent = publisher.finish()
    acknowledged = {key for message, at in zip(messages, sent.acked, strict=True) if at for key in message.keys}
    if not acknowledged:
        raise BenchError(f"{receiver.prefix} acknowledged nothing before it was killed")
    return len(acknowledged - _in_the_end(receiver, before, acknowledged))


def _in_the_end(receiver: Receiver, before: int, wanted: set[Key]) -> set[Key]:
    """What is stored when all is there that was wanted, or when nothing more came for a while."""
    quiet, tail = time.monotonic(), -1
    while True:
        if (now := receiver.tail()) != tail:
            quiet, tail = time.monotonic(), now
            found = set(receiver.keys(before))
        if wanted <= found or time.monotonic() - quiet > _QUIET_S:
            return found
        time.sleep(0.1)
