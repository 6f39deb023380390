"""InfluxDB follows the journal: a sender that never loses its place, a way to read a series back, and a probe.

Readings are sent in order of arrival, but after an outage the new ones go first (`ingest.progress`). What is
confirmed is written down only after InfluxDB has said it stored it. So an outage is lag and not loss, and sending
twice is harmless (`ingest.line_protocol`). InfluxDB 1.8, 2.x and 3.x share
`/api/v2/write` and the InfluxQL `/query`; they differ in how they refuse: 2.x stores nothing of a body with a
malformed line, the others store its good lines, and 3.x alone says which lines it refused.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import httpx
import numpy as np
from influxdb_client import InfluxDBClient, WritePrecision, WriteService
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from ingest import line_protocol
from ingest.line_protocol import Point
from ingest.progress import Progress, Stretch, next_stretch
from ingest.reading import to_us
from ingest.series import Series
from ingest.vital import COMPONENTS, Vital

_log = logging.getLogger(__name__)

NAME: Final = "influxdb"  # of this follower, in what it sets aside
BATCH: Final = 5000  # lines per request: the knee of the throughput curve, and InfluxData's own advice
BACKLOG: Final = 2 * BATCH  # more than this waits behind what is new
CATCH_UP: Final = 20_000  # lines a second at most of a backlog: the hub and the server have other work
PROBE_EVERY: Final = 60.0  # seconds between tries while a person has to correct something
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 60.0
_LONGEST_RETRY_AFTER: Final = 300.0
_ONE_PACKET: Final = 1400  # octets; compressing less saves nothing
_TIMEOUT_MS: Final = (3_000, 10_000)  # to connect, to answer
_POINT: Final = ("device", "twin", "rev")  # the tags that tell a patient's points of one moment apart; rev last
# InfluxDB's own bounds of time, in nanoseconds (1677 to 2262).
_EARLIEST_NS: Final = -9_223_372_036_854_775_806
_LATEST_NS: Final = 9_223_372_036_854_775_806

Label: TypeAlias = Callable[[Point], tuple[str, str]]
"""The patient's pseudonym and the device's slot ("cgm-0") of a reading. Knows every reading of the journal."""

_Entry: TypeAlias = tuple[int, bytes]
_Batch: TypeAlias = tuple[Stretch, list[_Entry]]


class Outbox(Protocol):
    """What a follower needs of the journal. Every call blocks and may come from any thread."""

    def points(self, cursor: int, limit: int) -> list[Point]:
        """Readings after the cursor in order of arrival, at most `limit`."""
        ...

    def progress(self, follower: str) -> Progress:
        """How far the follower of this name has come; nowhere for a new one."""
        ...

    def confirm(self, follower: str, stretch: Stretch, *, came_from: Progress) -> None:
        """Remember, durably, that the follower has dealt with a stretch.

        Only if it stands where it came from: a person may have set it back meanwhile.
        """
        ...

    def rejected(self, follower: str) -> int:
        """How many lines wait that were set aside."""
        ...

    def tail(self) -> int:
        """The highest sequence number."""
        ...

    def set_aside(self, follower: str, seq: int, line: bytes, status: int, answer: str) -> None:
        """Keep a line that was refused for good, with the refusal. The same line may come twice after a crash."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxSettings:
    """Where InfluxDB is: `http://host:port`, API token, organisation and bucket ("database/retention" in 1.x)."""

    url: str
    token: str = field(repr=False)
    org: str
    bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxHealth:
    """How the follower fares. `says` is a sentence for people, with what to do where there is something to do.

    lag: readings that are not sent yet. older: those of them that came before others which are sent already.
    stored: lines since the start. set_aside: lines that were refused and wait for a person. last_success: aware UTC.
    """

    ok: bool
    says: str
    lag: int
    older: int
    stored: int
    set_aside: int
    last_success: datetime | None
    last_error: str | None


class InfluxError(Exception):
    """InfluxDB could not be read. The text says why."""


class _Fate(Enum):
    STORED = auto()
    REFUSED = auto()  # something in these lines will never be accepted
    BUSY = auto()  # try again by itself
    BARRED = auto()  # a person has to correct something first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """InfluxDB's answer to one write. status: the HTTP status, or 0 when there was no answer."""

    status: int
    text: str = ""
    retry_after: str | None = None

    @property
    def fate(self) -> _Fate:
        if 200 <= self.status < 300:
            return _Fate.STORED
        if self.status == 413 or (self.status in {400, 422} and self.speaks_influx):
            return _Fate.REFUSED
        if self.status in {0, 408, 429} or self.status >= 500:
            return _Fate.BUSY
        return _Fate.BARRED

    @property
    def speaks_influx(self) -> bool:
        """Whether InfluxDB's own API has answered."""
        # A proxy's 400 is about the connection: believing it would set every reading aside.
        return "error" in self._said or "message" in self._said

    @property
    def _said(self) -> dict[str, Any]:
        try:
            said = json.loads(self.text)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def named(self, lines: Sequence[bytes]) -> dict[int, str]:
        """The lines that InfluxDB 3 names as refused, with what it says of each; empty when that cannot be relied on.

        Each entry of `data` has "line_number" (from 1), "original_line" and "error_message". One that does not fit
        the line with that number makes all of them worthless.
        """
        entries = self._said.get("data")
        named: dict[int, str] = {}
        for entry in entries if isinstance(entries, list) else [entries]:
            match entry:
                case {"line_number": int(number), "original_line": str(original), "error_message": str(said)}:
                    at = number - 1
                    if not (0 <= at < len(lines) and original and lines[at].decode().startswith(original)):
                        return {}
                    named[at] = said
                case _:
                    return {}
        return named


class _Writer:
    """One connection to `/api/v2/write` through influxdb-client. Blocks."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._client = InfluxDBClient(settings.url, settings.token, org=settings.org, timeout=_TIMEOUT_MS)
        # Not its WriteApi: the batching mode keeps points in memory only, and both compress at the slowest level.
        self._service = WriteService(self._client.api_client)
        self._settings = settings

    def post(self, body: bytes) -> _Answer:
        how = {"precision": WritePrecision.US}
        if len(body) > _ONE_PACKET:
            # Without a date in it the same lines are the same octets.
            body, how["content_encoding"] = gzip.compress(body, compresslevel=1, mtime=0), "gzip"
        try:
            self._service.post_write(self._settings.org, self._settings.bucket, body, **how)
        except ApiException as refusal:
            text = refusal.body or refusal.reason or ""
            return _Answer(status=refusal.status or 0, text=str(text), retry_after=refusal.retry_after)
        except (HTTPError, UnicodeDecodeError) as failure:
            return _Answer(status=0, text=f"{type(failure).__name__}: {failure}")
        return _Answer(status=204)

    def close(self) -> None:
        self._client.close()


class InfluxFollower:
    """Sends the journal's readings to InfluxDB, for ever: run `run()` as a task, set `news` after each commit.

    Its progress is kept in the journal under the name `place`, which has the address and the bucket in it: a new
    bucket is filled from the first day, and so is a known one when somebody has it start over there. `trouble` is a
    sentence while something is wrong, else None. `pause(seconds)` waits, `jitter()` gives a number in [0, 1), `now()`
    the aware time.
    catch_up: lines a second at most of a backlog.
    """

    def __init__(
        self,
        settings: InfluxSettings,
        outbox: Outbox,
        label: Label,
        *,
        now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        catch_up: int = CATCH_UP,
    ) -> None:
        self.news = asyncio.Event()
        self.place = place_of(settings)
        self._settings = settings
        self._outbox = outbox
        self._label = label
        self._now = now
        self._pause = pause
        self._jitter = jitter
        self._catch_up = catch_up
        self._stored = 0
        self._last_success: datetime | None = None
        self._last_error: str | None = None
        self.trouble: str | None = None

    async def run(self) -> None:
        """Follow until cancelled. What was under way then is sent again at the next start."""
        writer = _Writer(self._settings)
        try:
            await self._follow(writer)
        except Exception as error:
            self._failed(f"Readings cannot be made ready for InfluxDB ({error!r}); the log says more, report it.")
            raise
        finally:
            writer.close()

    async def _follow(self, writer: _Writer) -> None:
        rest: asyncio.Future[None] | None = None  # while it lasts nothing is sent of a backlog
        try:
            ahead: _Batch | None = None
            while True:
                self.news.clear()
                progress, tail = await asyncio.to_thread(self._standing)
                stretch = next_stretch(progress, tail, batch=BATCH, backlog=BACKLOG)
                is_new = stretch is not None and stretch[0] >= progress.head
                if stretch is None or not (is_new or rest is None or rest.done()):
                    if stretch is None:
                        self.trouble = None  # whatever it was, it kept nothing back
                    await self.news.wait()
                    continue
                began = asyncio.get_running_loop().time()
                if ahead is None or ahead[0] != stretch:
                    ahead = await self._ready(stretch)
                entries = ahead[1]
                # While the server stores this batch, the next one is made ready.
                following = next_stretch(progress.confirming(stretch), tail, batch=BATCH, backlog=BACKLOG)
                making = asyncio.create_task(self._ready(following)) if following else None
                try:
                    await self._deliver(writer, entries)
                    await asyncio.to_thread(partial(self._outbox.confirm, self.place, stretch, came_from=progress))
                    ahead = await making if making else None
                finally:
                    if making:
                        making.cancel()
                if not is_new:
                    took = asyncio.get_running_loop().time() - began
                    rest = asyncio.ensure_future(self._pause(max(0.0, len(entries) / self._catch_up - took)))
                    rest.add_done_callback(lambda _: self.news.set())
        finally:
            if rest:
                rest.cancel()

    async def health(self) -> InfluxHealth:
        """The state of affairs now."""
        progress, tail = await asyncio.to_thread(self._standing)
        refused = await asyncio.to_thread(self._outbox.rejected, NAME)
        older = sum(last - after for after, last in progress.gaps)
        aside = f" InfluxDB refused {refused} readings; they are set aside." if refused else ""
        return InfluxHealth(
            ok=self.trouble is None and not refused,
            says=(self.trouble or "InfluxDB follows the journal.") + aside,
            lag=tail - progress.head + older,
            older=older,
            stored=self._stored,
            set_aside=refused,
            last_success=self._last_success,
            last_error=self._last_error,
        )

    def _standing(self) -> tuple[Progress, int]:
        return self._outbox.progress(self.place), self._outbox.tail()

    async def _ready(self, stretch: Stretch) -> _Batch:
        return stretch, await asyncio.to_thread(self._read, stretch)

    def _read(self, stretch: Stretch) -> list[_Entry]:
        after, last = stretch
        encode, label = line_protocol.encode, self._label
        points = self._outbox.points(after, last - after)
        return [(point.seq, encode(point, *label(point))) for point in points if point.seq <= last]

    async def _deliver(self, writer: _Writer, entries: Sequence[_Entry]) -> None:
        """Return when every line is stored or set aside.

        Of a refused part the lines that the answer names are taken out; where it names none, the part is halved until
        the bad line stands alone.
        """
        waiting = [entries] if entries else []
        while waiting:
            part = waiting.pop()
            answer = await self._post(writer, part)
            if answer.fate is _Fate.STORED:
                self._stored += len(part)
            elif named := answer.named([line for _, line in part]):
                for at, said in named.items():
                    await self._put_aside(*part[at], answer.status, said)
                if rest := [entry for at, entry in enumerate(part) if at not in named]:
                    waiting.append(rest)
            elif len(part) == 1:
                await self._put_aside(*part[0], answer.status, answer.text)
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]

    async def _post(self, writer: _Writer, part: Sequence[_Entry]) -> _Answer:
        """Try, as long as it takes, until the lines are stored or refused for good."""
        body = b"\n".join(line for _, line in part)
        attempt = 0
        while True:
            answer = await asyncio.to_thread(writer.post, body)
            if answer.fate is _Fate.STORED or answer.fate is _Fate.REFUSED:
                self._recovered()
                return answer
            self._failed(_explain(self._settings, answer))
            await self._pause(self._wait(answer, attempt))
            attempt += 1

    def _wait(self, answer: _Answer, attempt: int) -> float:
        if answer.fate is _Fate.BARRED:
            return PROBE_EVERY
        asked = _seconds(answer.retry_after, self._now())
        if asked is not None:
            return min(asked, _LONGEST_RETRY_AFTER)
        # Full jitter: gateways that lost the same server must not come back in step. 2**8 s is past the cap.
        return self._jitter() * min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempt, 8))

    async def _put_aside(self, seq: int, line: bytes, status: int, said: str) -> None:
        await asyncio.to_thread(self._outbox.set_aside, NAME, seq, line, status, said)
        self._last_error = f"refused ({status}): {said}"
        _log.warning("InfluxDB refused reading %d (%d): %s", seq, status, said)

    def _recovered(self) -> None:
        if self.trouble:
            _log.info("InfluxDB answers again")
        self.trouble = None
        self._last_success = self._now()

    def _failed(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = self._last_error = trouble


class InfluxSeries:
    """A patient's series read from InfluxDB by InfluxQL (a `SeriesSource`); the patient's device slots are merged.

    pseudonym: the tag value of a patient, as `Label` gives it.
    """

    def __init__(self, settings: InfluxSettings, pseudonym: Callable[[str], str]) -> None:
        self._pseudonym = pseudonym
        # "database/retention" is how 2.x maps a bucket for InfluxQL, too.
        db, _, rp = settings.bucket.partition("/")
        self._parameters = {"db": db, "epoch": "u"} | ({"rp": rp} if rp else {})
        self._http = httpx.Client(
            base_url=settings.url,
            headers={"Authorization": f"Token {settings.token}"},
            timeout=10.0,
            trust_env=False,  # as influxdb-client does: one way to the server for writing and reading
        )

    def series(self, patient: str, vital: Vital, start: datetime, end: datetime) -> Series:
        """Readings with start <= taken_at < end (aware datetimes), oldest first. Blocks. Raises InfluxError."""
        names = [component.name for component in COMPONENTS[vital]]
        width = len(names)
        # A row whose selected fields are all missing is not returned; received_us is never missing.
        columns = ", ".join(f'"{name}"' for name in [*names, "received_us", *_POINT])
        wearer = _quoted(line_protocol.tag(self._pseudonym(patient)))
        rows = self._rows(
            f'SELECT {columns} FROM "{vital}" WHERE "patient" = {wearer}'
            f" AND time >= {_nanoseconds(start)} AND time < {_nanoseconds(end)}"
        )
        rows = _newest(rows)
        return Series(
            taken_us=np.array([row[0] for row in rows], dtype=np.int64),
            values=np.array([row[1 : 1 + width] for row in rows], dtype=np.float64).reshape(len(rows), width),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _rows(self, influxql: str) -> list[list[Any]]:
        try:
            response = self._http.get("/query", params={**self._parameters, "q": influxql})
            response.raise_for_status()
            result = response.json()["results"][0]
        except (httpx.HTTPError, ValueError, LookupError) as error:
            raise InfluxError(f"InfluxDB could not be read: {error}") from error
        if "error" in result:
            raise InfluxError(f"InfluxDB could not be read: {result['error']}")
        series = result.get("series")
        if not series:
            return []
        if series[0].get("partial"):
            raise InfluxError("InfluxDB cut the answer short (max-row-limit): ask for a shorter time.")
        rows: list[list[Any]] = series[0]["values"]
        return rows


def probe(settings: InfluxSettings) -> str | None:
    """None when InfluxDB would take a write; else what is wrong and what to do. Blocks; stores nothing."""
    writer = _Writer(settings)
    try:
        answer = writer.post(b"# homeward check")
    finally:
        writer.close()
    # 2.x may find nothing to write in a comment; it has looked at token and bucket before it says so.
    return None if answer.fate in {_Fate.STORED, _Fate.REFUSED} else _explain(settings, answer)


def resend(settings: InfluxSettings, line: bytes) -> str | None:
    """Send a line again that was set aside; None when it is stored now, else why not. Blocks."""
    writer = _Writer(settings)
    try:
        answer = writer.post(line)
    finally:
        writer.close()
    if answer.fate is _Fate.STORED:
        return None
    if answer.fate is _Fate.REFUSED:
        return f"InfluxDB refuses it still ({answer.status}): {answer.text}"
    return _explain(settings, answer)


def place_of(settings: InfluxSettings) -> str:
    """The name under which the journal keeps the cursor of a bucket's follower."""
    return f"influx {settings.url} {settings.org}/{settings.bucket}"


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """What Retry-After asks for, in seconds from now: it is a number of them, or a date (RFC 9110)."""
    if not retry_after:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())


def _explain(settings: InfluxSettings, answer: _Answer) -> str:
    bucket = f"bucket {settings.bucket!r} of organisation {settings.org!r}"
    match answer.status:
        case 0:
            return (
                f"InfluxDB at {settings.url} cannot be reached ({answer.text}): is it running, is the address right?"
            )
        case 401:
            return f"InfluxDB at {settings.url} does not know the token (401): set one that may write to {bucket}."
        case 403:
            return f"The token may not write to {bucket} (403): give it the permission, or set another token."
        case 404 if not answer.speaks_influx:
            return (
                f"the server at {settings.url} has no /api/v2/write (404): InfluxDB 1.8 or newer is needed; is it an "
                "older one, or is the address right?"
            )
        case 404:
            return f"InfluxDB at {settings.url} has no {bucket} (404): create it, or correct the names. {answer.text}"
    if answer.fate is _Fate.BUSY:
        return f"InfluxDB at {settings.url} is busy or failing ({answer.status}); trying again. {answer.text}"
    return f"{settings.url} does not answer like InfluxDB ({answer.status}): is the address right? {answer.text}"


def _newest(rows: list[list[Any]]) -> list[list[Any]]:
    """Of each point its highest revision; rows end with the tags of _POINT."""
    if all(row[-1] is None for row in rows):
        return rows
    newest: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        standing = newest.setdefault((row[0], *row[-3:-1]), row)
        if int(row[-1] or 1) > int(standing[-1] or 1):
            standing[:] = row
    return list(newest.values())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"\'") + "'"


def _nanoseconds(moment: datetime) -> int:
    return min(max(to_us(moment) * 1000, _EARLIEST_NS), _LATEST_NS)
