"""`homeward check`: try every configured part and say what is wrong and what to do. Changes nothing."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final
from urllib.parse import quote, urlsplit

import aiosmtplib
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DatabaseError

from alerts.record import Difference, Tally, differences, tally
from gateway.config import BOOK, Config, Email, Web, is_loopback
from gateway.device_book import states_of
from gateway.keeper import is_scarce, room, share
from gateway.schema import SchemaError, describe, driven, is_filled, remedy, said, shown
from ingest import influx
from ingest.links import ble, broker, uplink

PATIENCE_S: Final = 15.0
_PROBE: Final = 65_536  # octets
_IN_THE_CLEAR: Final = (
    "the page speaks no TLS, so at {host} the token and what it shows of patients travel in the clear; put a reverse "
    "proxy with TLS before it (README.md says how), and its https address into base_url of [web]"
)
_LINKS: Final = (
    "messages go out, and their links begin with {address}, which nobody can open on another computer or telephone; "
    'write under [web] how this Homeward is reached from there, as in base_url = "https://homeward.clinic.example"'
)
_DIFFER: Final = (
    "{differ} alerts and follow-ups, of {compared}, are not as their records make them: somebody, or the disk, has "
    "changed them past Homeward. /api/v1/audit?subject=NAME of the running hub says how each was and who did what; "
    "restore a backup (docs/backup.md), or set right by hand what is named here"
)
_STORES: Final = ("journal.db", BOOK, "sessions.db", "packets.db")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one part. says: a sentence, with what to do when it is not ok."""

    part: str
    ok: bool
    says: str


async def check(config: Config) -> list[Finding]:
    """Try the parts one after the other, in the order in which a reading passes them."""
    return [finding async for finding in _findings(config)]


async def _findings(config: Config) -> AsyncIterator[Finding]:
    running = is_running(config.data)
    kept = "is used by a Homeward that runs now" if running else "can be written"
    trouble = _data(config.data)
    yield _finding("data directory", trouble, f"{config.data} {kept}")
    if trouble is None:
        yield _disk(config.data)
        damaged = {name: damage for name in _STORES if (damage := _damage(config.data / name))}
        for name, damage in damaged.items():
            yield Finding(part=name, ok=False, says=damage)
        if BOOK not in damaged:
            yield await asyncio.to_thread(_database, config.database_url)
    if listener := config.listener:
        yield _door("listener", listener.host, listener.port, running)
        if listener.tls_certificate and listener.tls_key:
            said = f"{listener.tls_certificate} and its key fit together"
            yield _finding("listener TLS", _chain(listener.tls_certificate, listener.tls_key), said)
    if config.broker:
        settings = config.broker.settings()
        where = f"{settings.host}:{settings.port}"
        yield await _tried("broker", lambda: broker.probe(settings), f"{where} lets us in")
    if config.bluetooth:
        yield await _tried("bluetooth", ble.probe, "the adapter scans")
        for finding in _devices(config.database_url):
            yield finding
    if config.uplink:
        hub = config.uplink.settings()
        yield await _tried("uplink", lambda: uplink.probe(hub), f"{hub.host}:{hub.port} lets {hub.post} in")
    if config.influxdb:
        target = config.influxdb.settings()
        said = f"{target.url} takes readings into {target.bucket}"
        yield await _tried("influxdb", lambda: asyncio.to_thread(influx.probe, target), said)
    if config.email:
        email = config.email
        yield await _tried("email", lambda: _mail(email), f"{email.host}:{email.port} lets us in")
    if config.webhook:
        # A path or a user name in it is often the only secret that guards a webhook.
        address = urlsplit(config.webhook.url)
        said = f"{address.scheme}://{address.hostname} was not tried, for that would tell people something"
        yield Finding(part="webhook", ok=True, says=said)
    yield _door("page", config.web.host, config.web.port, running)
    if not (is_loopback(config.web.host) or (config.web.base_url or "").startswith("https://")):
        yield Finding(part="page TLS", ok=False, says=_IN_THE_CLEAR.format(host=config.web.host))
    if config.channel or config.email or config.webhook:
        yield _links(config.web)


def _links(web: Web) -> Finding:
    """Whether others than this computer can open the links of messages."""
    address = web.base_url or local_address(web.host, web.port)
    is_own = is_loopback(urlsplit(address).hostname or "")
    says = _LINKS.format(address=address) if is_own else f"those in messages begin with {address}"
    return Finding(part="links", ok=not is_own, says=says)


def _finding(part: str, trouble: str | None, fine: str) -> Finding:
    return Finding(part=part, ok=trouble is None, says=trouble or fine)


async def _tried(part: str, probe: Callable[[], Awaitable[str | None]], fine: str) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return _finding(part, await probe(), fine)
    except TimeoutError:
        return _finding(
            part, f"no answer within {PATIENCE_S:g} s; check the address, the network and the firewall", ""
        )


def _data(path: Path) -> str | None:
    existing = nearest(path)
    if not existing.is_dir():
        return f"{existing} is not a directory; choose another `data`"
    try:
        with TemporaryFile(dir=existing) as nameless:  # what may be written is known only once something is
            nameless.write(bytes(_PROBE))
            nameless.flush()
    except OSError as error:
        return f"{existing} cannot be written: {_words(error)}; make room, change its owner, or choose another `data`"
    return None


def nearest(path: Path) -> Path:
    """The directory, or the one in which it would be made."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _disk(data: Path) -> Finding:
    disk = shutil.disk_usage(nearest(data))
    said = f"it is {room(share(disk), disk.free)}"
    if is_scarce(share(disk), disk.free):
        return Finding(part="disk", ok=False, says=f"{said}; make room, or choose another `data`")
    return Finding(part="disk", ok=True, says=said)


def _damage(path: Path) -> str | None:
    """Why a store could not be opened, None where it can or there is none. Reads little, however large it is."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
                db.execute(f'SELECT * FROM "{table}" LIMIT 1').fetchone()
    except sqlite3.Error as error:
        return f"{path} cannot be read: {error}; copy it away, and restore it from a backup"
    return None


def _database(url: URL) -> Finding:
    """Whether the database of patients and alerts lets us in, and is of this program or an older one."""
    if url.get_backend_name() == "sqlite" and not is_filled(url):
        return Finding(part="database", ok=True, says=f"{shown(url)} is made at the first start")
    try:
        with _to_read(url) as engine:
            to_come = describe(engine, url)
    except SchemaError as error:
        return Finding(part="database", ok=False, says=str(error))
    except DatabaseError as error:
        return Finding(part="database", ok=False, says=f"cannot use {shown(url)}: {said(error)}; {remedy(url)}")
    return Finding(part="database", ok=True, says=f"{shown(url)} lets us in{f'; {to_come}' if to_come else ''}")


def beside_record(config: Config, told: Callable[[Tally], None]) -> Iterator[Finding]:
    """Replay the record of every alert and follow-up and name those that differ, and how it is with all of them last.

    told: called now and then, for where there are many it takes minutes.
    """
    url = config.database_url
    if url.get_backend_name() == "sqlite" and not is_filled(url):
        yield Finding(part="record", ok=True, says="there are no alerts and follow-ups yet")
        return
    differ = 0
    try:
        with _to_read(url) as engine:
            if to_come := describe(engine, url):
                yield Finding(part="record", ok=False, says=f"{to_come}; start Homeward, and ask again then")
                return
            count = tally(engine)
            for each in differences(engine, count, told):
                differ += 1
                yield Finding(part="record", ok=False, says=f"{each.subject} {_how(each)}")
    except (SchemaError, DatabaseError, ValueError) as error:  # a value that is no JSON any more is a ValueError
        because = said(error) if isinstance(error, DatabaseError) else str(error)
        yield Finding(part="record", ok=False, says=f"cannot read on in {shown(url)}: {because}; {remedy(url)}")
        return
    older = f"; alerts of before the audit, which cannot be compared: {count.older}" if count.older else ""
    fine = f"all {count.compared} alerts and follow-ups are as their records make them"
    told_of_all = _DIFFER.format(differ=differ, compared=count.compared) if differ else fine
    yield Finding(part="record", ok=not differ, says=f"{told_of_all}{older}")


def _how(difference: Difference) -> str:
    if not difference.is_there:
        return "is in the record, but not in the database any more"
    names = difference.names
    return f"differs from its record in {', '.join(names)}" if names else "has no record of its opening"


@contextmanager
def _to_read(url: URL) -> Iterator[Engine]:
    """An engine that changes nothing."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(f"sqlite:///file:{quote(str(url.database))}?mode=ro&uri=true")
    else:
        engine = driven(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _devices(url: URL) -> Iterator[Finding]:
    """What a hub last found wrong with the Bluetooth devices."""
    try:
        with _to_read(url) as engine:
            states = states_of(engine)
    except (SchemaError, DatabaseError):  # there is none yet, an older Homeward made it, or it is told elsewhere
        return
    for device, state in sorted(states.items()):
        if state.fault:
            yield Finding(part=f"device {device}", ok=False, says=state.fault)


def is_running(data: Path) -> bool:
    """Whether a house holds the lock of the data directory, see `gateway.house`."""
    try:
        with (data / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or `_data` says what is wrong
        return False
    return False


def address_of_hub(config: Config) -> str:
    """Where the Homeward answers that uses the data directory: it says so in the file of its lock."""
    with suppress(OSError):
        if said := (config.data / "lock").read_text(encoding="ascii").strip():
            return said
    return local_address(config.web.host, config.web.port)


def local_address(host: str, port: int) -> str:
    """Where a server of this computer answers: one that listens everywhere listens on the loopback too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _door(part: str, host: str, port: int, running: bool) -> Finding:
    """An address of our own. That it is taken is no fault while the house of this configuration runs."""
    where = f"{host}:{port}"
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return Finding(part=part, ok=True, says=f"{where} is free")
    except OSError as error:
        if running and error.errno == errno.EADDRINUSE:
            return Finding(part=part, ok=True, says=f"{where} is taken, as it should be while Homeward runs")
        because = f"{where} cannot be opened: {_words(error)}; stop the program there, or choose another port"
        return Finding(part=part, ok=False, says=because)


def _words(error: OSError) -> str:
    """Without the address, which `socket` repeats in it."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _chain(certificate: Path, key: Path) -> str | None:
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            return (
                f"the {what} {path} cannot be read: {error.strerror or error}; correct tls_{what} or the file's owner"
            )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"-")
    except ssl.SSLError as error:
        return (
            f"{certificate} and {key} cannot be used: {error.reason or error}; they have to be the PEM certificate "
            "and its own key, without a password"
        )
    return None


async def _mail(email: Email) -> str | None:
    server = aiosmtplib.SMTP(
        hostname=email.host,
        port=email.port,
        use_tls=email.security == "tls",
        start_tls=email.security == "starttls",
        username=email.username,
        password=email.password.get_secret_value() if email.password else None,
    )
    try:
        async with server:
            return None
    except (aiosmtplib.SMTPException, OSError) as error:
        return f"{email.host}:{email.port}: {error}; check host, port, security, username and password"
