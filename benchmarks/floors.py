"""The floors: as little program as can take the same messages and lose none. They run beside every measurement.

lib: paho, orjson, one appended row a reading, commit, acknowledge: what one writes in an hour with good libraries.
raw: the fewest octets touched: an own parser on asyncio, msgspec, one write for all acknowledgements of a commit.
Neither validates, admits, watches, nor serves a page. `floors.py {lib,raw} PORT PREFIX DATABASE`, in an environment
of its own (floors.txt); knows nothing of Homeward.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from queue import SimpleQueue
from typing import Any

import msgspec
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

Row = tuple[str, int, bytes]


class Store:
    """Rows appended, one commit a batch, on disk when `append` returns."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT "
            "EXISTS journal(seq INTEGER PRIMARY KEY, device TEXT, sequence INTEGER, body BLOB)"
        )

    def append(self, rows: list[Row]) -> None:
        """Commit them."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO journal(device, sequence, body) VALUES(?,?,?)", rows)
        self._db.execute("COMMIT")


def lib(port: int, prefix: str, path: str) -> None:
    """Paho in a thread of its own; this thread takes all that waits, commits, acknowledges."""
    store = Store(path)
    waiting: SimpleQueue[paho.MQTTMessage] = SimpleQueue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"floor-{prefix}", protocol=paho.MQTTv5, manual_ack=True
    )
    client.on_message = lambda _client, _data, message: waiting.put(message)
    client.on_subscribe = lambda *_: print("floor is ready", flush=True)
    asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    asked.ReceiveMaximum = 1000
    client.connect("127.0.0.1", port, properties=asked)
    client.subscribe(f"{prefix}/#", qos=1)
    client.loop_start()
    while True:
        batch = [waiting.get()]
        while len(batch) < 1000 and not waiting.empty():
            batch.append(waiting.get())
        rows: list[Row] = []
        for message in batch:
            try:
                found = orjson.loads(message.payload)
            except orjson.JSONDecodeError:
                continue
            for reading in found.get("readings", (found,)):
                body = bytes(message.payload) if reading is found else orjson.dumps(reading)
                rows.append((found["device"], reading["sequence"], body))
        store.append(rows)
        for message in batch:
            client.ack(message.mid, message.qos)


class _Reading(msgspec.Struct):  # type: ignore[misc,unused-ignore]
    sequence: int
    time: str
    kind: str
    device: str = ""


class _Batch(msgspec.Struct):  # type: ignore[misc,unused-ignore]
    device: str
    readings: list[msgspec.Raw]


class Raw(asyncio.Protocol):
    """A block of octets in, all packets of it parsed, one commit, one write of all acknowledgements."""

    def __init__(self, prefix: str, path: str) -> None:
        self._single, self._batch = msgspec.json.Decoder(_Reading), msgspec.json.Decoder(_Batch)
        self._prefix, self._store = prefix, Store(path)
        self._buffer = b""
        self._waiting: list[tuple[bytes, bytes]] = []
        self._work = threading.Condition()

    def connection_made(self, transport: Any) -> None:
        """CONNECT of MQTT 5 with Receive Maximum 1000; what comes is stored by a thread of its own."""
        self._transport, self._loop = transport, asyncio.get_running_loop()
        name = f"floor-{self._prefix}".encode()
        body = b"\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x03\xe8" + len(name).to_bytes(2, "big") + name
        transport.write(b"\x10" + bytes([len(body)]) + body)
        threading.Thread(target=self._keep, daemon=True).start()

    def data_received(self, data: bytes) -> None:
        """Take whole packets off the front."""
        data = self._buffer + data
        place, end, packets = 0, len(data), []
        while place + 2 <= end:
            length, shift, at = 0, 0, place + 1
            while at < end:
                octet = data[at]
                length |= (octet & 127) << shift
                at, shift = at + 1, shift + 7
                if octet < 128:
                    break
            else:
                break
            if at + length > end:
                break
            if data[place] >> 4 == 3:
                name = at + 2 + int.from_bytes(data[at : at + 2], "big")
                properties = data[name + 2]
                packets.append((data[name : name + 2], data[name + 3 + properties : at + length]))
            else:
                self._other(data[place] >> 4)
            place = at + length
        self._buffer = data[place:]
        if packets:
            with self._work:
                self._waiting += packets
                self._work.notify()

    def _other(self, kind: int) -> None:
        if kind == 2:
            topic = f"{self._prefix}/#".encode()
            body = b"\x00\x01\x00" + len(topic).to_bytes(2, "big") + topic + b"\x01"
            self._transport.write(b"\x82" + bytes([len(body)]) + body)
        elif kind == 9:
            print("floor is ready", flush=True)

    def _keep(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._waiting)
                batch, self._waiting = self._waiting, []
            self._store.append([row for _, payload in batch for row in self._rows(payload)])
            acks = b"".join([b"\x40\x02" + packet_id for packet_id, _ in batch])
            self._loop.call_soon_threadsafe(self._transport.write, acks)

    def _rows(self, payload: bytes) -> list[Row]:
        try:
            if b'"readings"' not in payload:
                single = self._single.decode(payload)
                return [(single.device, single.sequence, payload)]
            batch = self._batch.decode(payload)
        except msgspec.DecodeError:
            return []
        return [(batch.device, self._single.decode(part).sequence, bytes(part)) for part in batch.readings]


async def raw(port: int, prefix: str, path: str) -> None:
    """Connect and work until killed."""
    await asyncio.get_running_loop().create_connection(lambda: Raw(prefix, path), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    which, where, below, database = sys.argv[1:]
    if which == "lib":
        lib(int(where), below, database)
    else:
        asyncio.run(raw(int(where), below, database))
