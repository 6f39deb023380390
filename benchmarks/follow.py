"""Everything in a journal into InfluxDB, once, in a process of its own: by Homeward's follower or by influxdb-client.

`python -m benchmarks.follow {ours,library,bodies} ENGINE FACADE JOURNAL BUCKET`, beside `follow facade ENGINE`.
The library gets readings that are in memory already; the follower reads them from the journal and moves its cursor.
"bodies" are requests that were made before the clock started: what the engine takes at most, one after the other.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision

from ingest import line_protocol
from ingest.influx import InfluxFollower, InfluxSettings
from ingest.journal import Journal
from ingest.reading import Reading, to_us
from tests.influx_facade import TOKEN, Facade, statement

_BATCH: Final = 5000
_NO_LIMIT: Final = 10_000_000  # lines a second


def stored(engine: str, bucket: str) -> int:
    """Points of CGM readings in a bucket."""
    answer = statement(engine, 'SELECT count("received_us") FROM "cgm_glucose"', db=bucket)
    return int(answer["series"][0]["values"][0][1]) if "series" in answer else 0


async def _ours(settings: InfluxSettings, journal: Journal, engine: str) -> None:
    follower = InfluxFollower(
        settings,
        journal,
        lambda point: (point.patient, "cgm-0"),
        now=lambda: datetime.now(UTC),
        catch_up=_NO_LIMIT,
    )
    running = asyncio.create_task(follower.run())
    told = False
    while (health := await follower.health()).lag:
        if not told and stored(engine, settings.bucket) > 0:
            told = True
            print("under way", flush=True)
        if running.done():
            running.result()
        await asyncio.sleep(0.05)
    if not told:
        print("under way", flush=True)
    assert health.ok, health.says
    running.cancel()


def _library(settings: InfluxSettings, readings: list[Reading]) -> None:
    options = WriteOptions(batch_size=_BATCH, flush_interval=1000)
    with (
        InfluxDBClient(settings.url, settings.token, org=settings.org) as client,
        client.write_api(write_options=options) as api,
    ):
        for number, reading in enumerate(readings, 1):
            point = (
                Point("cgm_glucose")
                .tag("patient", reading.patient)
                .tag("device", "cgm-0")
                .field("glucose", reading.values[0])
                .field("sequence", reading.sequence)
                .field("received_us", to_us(reading.received_at))
                .time(to_us(reading.taken_at), WritePrecision.US)
            )
            api.write(settings.bucket, record=point, write_precision=WritePrecision.US)
            if number % 100 == 0:
                print("handed 100", flush=True)
            if number == len(readings) // 2 + _BATCH // 2:  # in the middle of a batch
                print("under way", flush=True)


def _bodies(journal: Journal) -> list[bytes]:
    lines = [line_protocol.encode(point, point.patient, "cgm-0") for point in journal.points(0, 100_000_000)]
    chunks = (lines[first : first + _BATCH] for first in range(0, len(lines), _BATCH))
    return [gzip.compress(b"\n".join(chunk), compresslevel=1, mtime=0) for chunk in chunks]


def _post(settings: InfluxSettings, bodies: list[bytes]) -> None:
    with httpx.Client(trust_env=False, timeout=60) as client:
        for body in bodies:
            client.post(
                f"{settings.url}/api/v2/write",
                params={"org": settings.org, "bucket": settings.bucket, "precision": "us"},
                headers={"Authorization": f"Token {settings.token}", "Content-Encoding": "gzip"},
                content=body,
            ).raise_for_status()


def facade(engine: str) -> None:
    """The v2 write address in front of the engine, in a process of its own, until killed."""
    with Facade(engine).serving() as serving:
        print(f"facade {serving.url}", flush=True)
        threading.Event().wait()


def send(sender: str, engine: str, url: str, path: Path, bucket: str) -> None:
    """Send it all and say what it took."""
    statement(engine, f'CREATE DATABASE "{bucket}" WITH DURATION INF REPLICATION 1 SHARD DURATION 7d NAME "autogen"')
    journal = Journal(path)
    settings = InfluxSettings(url=url, token=TOKEN, org="ward", bucket=bucket)
    readings = [reading for _, reading in journal.since(0, 100_000_000)] if sender == "library" else []
    bodies = _bodies(journal) if sender == "bodies" else []
    began, cpu = time.monotonic(), time.process_time()
    if sender == "ours":
        asyncio.run(_ours(settings, journal, engine))
    elif sender == "bodies":
        _post(settings, bodies)
    else:
        _library(settings, readings)
    took = {"points": journal.tail(), "seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    print(json.dumps({**took, "stored": stored(engine, bucket)}), flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "facade":
        facade(sys.argv[2])
    else:
        which, to, by, journal_file, into = sys.argv[1:]
        send(which, to, by, Path(journal_file), into)
