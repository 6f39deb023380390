"""InfluxDB 1.6.7 engine behind a v2 write facade.

The engine is Debian's real `influxd` (TSM storage, InfluxQL): overwriting, union of fields, type conflicts and
retention are its own. The facade gives it what influxdb-client needs of version 2: `/api/v2/write` with a token,
precision names, and 422 for a partial write. It is not InfluxDB 2: no Flux, no organisations, no token or bucket
API; and on a malformed line the engine still stores the good lines of the batch, where 2.x stores none.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from ingest.influx import InfluxSettings

TOKEN = "a-token"
_PRECISION = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}  # version 1 takes "us" for nanoseconds and says nothing
_READY_WITHIN = 20.0
_HTTP = httpx.Client(verify=False, trust_env=False)  # loading certificates takes longer than a query
_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{home}/meta"
[data]
  dir = "{home}/data"
  wal-dir = "{home}/wal"
  index-version = "tsi1"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  max-body-size = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How the facade answers one write instead of passing it on."""

    status: int
    retry_after: int | str | None = None
    body: bytes = b'{"code":"fault","message":"made to fail"}'


class Facade(ThreadingHTTPServer):
    """A server of version 2's write path on a free loopback port, in front of the engine at `engine`.

    faults: answers for the next writes, first in first out. writes: the lines of all writes, in order of arrival;
    bodies: the same as they came, compressed or not.
    token: the one token that is accepted.
    """

    daemon_threads = True

    def __init__(self, engine: str, port: int = 0) -> None:
        self.engine = urlsplit(engine).netloc
        self.faults: deque[Fault] = deque()
        self.writes: list[bytes] = []
        self.bodies: list[bytes] = []
        self.token = TOKEN
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[Facade]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Facade

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        url = urlsplit(self.path)
        if url.path != "/api/v2/write":
            return self._error(404, "not found", "path not found")
        packed = self.headers["Content-Encoding"] == "gzip"
        self.server.writes.append(gzip.decompress(body) if packed else body)
        self.server.bodies.append(body)
        if self.server.faults:
            fault = self.server.faults.popleft()
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self._answer(fault.status, fault.body, headers)
        if not self._authorised():
            return self._error(401, "unauthorized", "unauthorized access")
        asked = parse_qs(url.query)
        db, _, rp = asked["bucket"][0].partition("/")
        query = {"db": db, "precision": _PRECISION[asked.get("precision", ["ns"])[0]]} | ({"rp": rp} if rp else {})
        return self._translated(*self._engine("POST", f"/write?{urlencode(query)}", body))

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/query":
            return self._error(404, "not found", "path not found")
        if not self._authorised():
            return self._error(401, "unauthorized", "unauthorized access")
        return self._answer(*self._engine("GET", self.path))

    def _authorised(self) -> bool:
        return self.headers["Authorization"] == f"Token {self.server.token}"

    def _engine(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        packing = {"Content-Encoding": "gzip"} if self.headers["Content-Encoding"] == "gzip" else {}
        connection = http.client.HTTPConnection(self.server.engine, timeout=10)
        try:
            connection.request(method, path, body, packing)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _translated(self, status: int, body: bytes) -> None:
        if status < 300:
            return self._answer(204, b"")
        said = json.loads(body)["error"]
        if status == 404:
            return self._error(404, "not found", said)
        if status == 400 and "partial write" in said:
            return self._error(422, "unprocessable entity", f"failure writing points to database: {said}")
        return self._error(status, "invalid" if status == 400 else "internal error", said)

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, json.dumps({"code": code, "message": message}).encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Keep quiet: pytest's output is for failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One fresh database of the engine, as version 2 shows it (`settings`, `facade`) and as it is (`rows`)."""

    engine: str
    name: str
    facade: Facade

    @property
    def settings(self) -> InfluxSettings:
        return InfluxSettings(url=self.facade.url, token=TOKEN, org="ward", bucket=self.name)

    def write(self, *lines: bytes) -> None:
        """Lines straight into the engine, past the facade, time in microseconds."""
        where = {"db": self.name, "precision": "u"}
        _HTTP.post(f"{self.engine}/write", params=where, content=b"\n".join(lines)).raise_for_status()

    def rows(self, measurement: str) -> list[dict[str, Any]]:
        """All points of a measurement, oldest first, tags and fields by name, time in microseconds."""
        answer = statement(self.engine, f'SELECT * FROM "{measurement}"', db=self.name)
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in answer.get("series", [])
            for row in series["values"]
        ]


def statement(engine: str, influxql: str, **parameters: str) -> dict[str, Any]:
    """The engine's first result for one InfluxQL statement, straight to the engine."""
    form = {"q": influxql, "epoch": "u", **parameters}
    result: dict[str, Any] = _HTTP.post(f"{engine}/query", data=form).raise_for_status().json()["results"][0]
    assert "error" not in result, result
    return result


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_engine(influxd: str, home: Path) -> Iterator[str]:
    """The real influxd on free loopback ports, data in `home`; yields its address, ends it on leaving."""
    port = _free_port()
    config = home / "influxdb.conf"
    config.write_text(_CONFIG.format(rpc_port=_free_port(), port=port, home=home))
    url = f"http://127.0.0.1:{port}"
    with (home / "influxd.log").open("wb") as log:
        process = subprocess.Popen([influxd, "run", "-config", str(config)], stdout=log, stderr=log)
        try:
            _wait_until_ready(url, process, home / "influxd.log")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_WITHIN
    while process.poll() is None and time.monotonic() < until:
        try:
            if _HTTP.get(f"{url}/ping", timeout=1.0).status_code == 204:
                return
        except httpx.TransportError:
            time.sleep(0.01)  # another program's start has no event to wait for
    raise RuntimeError(f"influxd did not come up: {log.read_text()[-2000:]}")
