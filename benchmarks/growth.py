"""(f) More and more patients; and whether memory stays as it is under a steady load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from statistics import mean

from benchmarks.bench import CPU, P99, RATE, Bench, deliver, until
from benchmarks.load import Key, Publisher, Ward, distinct
from benchmarks.machine import BenchError, quantile
from benchmarks.programs import Homeward
from benchmarks.report import Case


def growth(bench: Bench) -> Case:
    """(f) The same at more and more patients, in houses side by side, so that each meets the machine's every mood."""
    case = Case("f", "(f) Growth with the number of patients")
    fewest, most = bench.size.patients[0], bench.size.patients[-1]
    rate = bench.size.rates[min(1, len(bench.size.rates) - 1)]
    with ExitStack() as stack:
        houses: dict[int, tuple[Ward, Homeward]] = {}
        for patients in bench.size.patients:
            bench.say(f"  {patients} patients")
            # A reading of each of so many patients takes a while: with steps of a minute it were no backlog any more,
            # but late data, and an alert for each device.
            ward = Ward(patients, step=timedelta(minutes=15))
            house = stack.enter_context(Homeward(bench.place("house"), ward.enrolled()))
            first = deliver(house, house.port, ward.one_each(), bench.folder)
            case.add(_program(patients), "CPU of a device's first reading", "us", first.cpu / first.readings * 1e6)
            houses[patients] = ward, house
        for patients in bench.rounds(*houses):
            ward, house = houses[patients]
            done = deliver(house, house.port, ward.singles(max(bench.size.singles // 3, 1000)), bench.folder)
            cpu = done.cpu / done.readings * 100_000
            case.add(_program(patients), CPU, "s", cpu, "CPU of 100 000 readings by patients")
            case.add(_program(patients), RATE, "1/s", done.readings / done.seconds)
            done = deliver(house, house.port, ward.singles(int(rate * bench.size.seconds)), bench.folder, rate)
            case.add(_program(patients), f"PUBACK at {rate}/s, {P99}", "ms", quantile(done.sent.latencies(), 0.99))
        for patients, (_, house) in houses.items():
            case.add(_program(patients), "memory", "MB", house.program.resident() / 1e6)
            if bench.size.peers:
                before = house.program.cpu()
                time.sleep(30)
                case.add(_program(patients), "CPU when nothing comes", "%", (house.program.cpu() - before) / 30 * 100)
                house.program.stop()
                case.add(_program(patients), "start", "s", house.start())
    case.close()
    case.at_most(
        f"CPU of a reading, {most} / {fewest} patients",
        case.ratio((_program(most), CPU), (_program(fewest), CPU)),
        1.3,
    )
    return case


def _program(patients: int) -> str:
    return f"Homeward, {patients:,} patients".replace(",", " ")


def soak(bench: Bench, seconds: float, rate: int = 5000) -> Case:
    """Memory under a steady load."""
    case = Case("soak", f"Soak: {rate} readings/s for {seconds:.0f} s")
    chunk = 10
    # Windows of 48 hours are full after 200 readings of a patient; what grows then, leaks.
    ward = Ward(
        bench.patients, step=timedelta(minutes=15), horizon=timedelta(minutes=15) * (seconds * rate / 1000 + 400)
    )
    with Homeward(bench.place("house"), ward.enrolled()) as house:
        deliver(house, house.port, ward.one_each(), bench.folder)
        publisher = Publisher(ward.singles(rate * chunk), house.prefix, bench.folder)
        began = time.monotonic()
        points: list[tuple[float, float]] = []
        sent: set[Key] = set(distinct(publisher.messages))
        start = house.tail()
        while True:
            publisher.start(house.port, rate)
            following = Publisher(ward.singles(rate * chunk), house.prefix, bench.folder)
            publisher.finish()
            resident = house.program.resident() / 1e6
            points.append((time.monotonic() - began, resident))
            case.add("Homeward", "memory", "MB", resident)
            bench.say(f"  {points[-1][0]:.0f} s: {resident:.0f} MB")
            if points[-1][0] >= seconds:
                break
            publisher = following
            sent |= distinct(publisher.messages)
        until(lambda: house.tail() - start >= len(sent), "the journal")
        if sent != set(house.keys(start)):
            raise BenchError("what the journal holds is not what was sent")
    case.close()
    later = points[len(points) // 2 :]
    slope = _slope(later) * 600 / mean(value for _, value in later)
    case.at_most("growth of the second half, as a share of the memory, in 10 minutes (flat: <= 0.05)", slope, 0.05)
    case.notes.append(
        f"{len(sent)} readings sent and stored; {points[0][1]:.0f} MB at first, {points[-1][1]:.0f} MB at the end."
    )
    return case


def _slope(points: Sequence[tuple[float, float]]) -> float:
    if len(points) < 2:
        return 0.0
    x, y = mean(p[0] for p in points), mean(p[1] for p in points)
    return sum((p[0] - x) * (p[1] - y) for p in points) / sum((p[0] - x) ** 2 for p in points)
