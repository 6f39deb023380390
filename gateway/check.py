"""`homeward check`: try every configured part and say what is wrong and what to do. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib

from gateway.config import Config, Email
from ingest import influx
from ingest.links import ble, broker

PATIENCE_S = 15.0


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
    yield _finding("data directory", _data(config.data), f"{config.data} can be written")
    if listener := config.listener:
        where = f"{listener.host}:{listener.port}"
        yield _finding("listener", _address(listener.host, listener.port), f"{where} is free for MQTT devices")
    if config.broker:
        settings = config.broker.settings()
        where = f"{settings.host}:{settings.port}"
        yield await _tried("broker", lambda: broker.probe(settings), f"{where} lets us in")
    if config.bluetooth:
        yield await _tried("bluetooth", ble.probe, "the adapter scans")
    if config.influxdb:
        target = config.influxdb.settings()
        said = f"{target.url} takes readings into {target.bucket}"
        yield await _tried("influxdb", lambda: asyncio.to_thread(influx.probe, target), said)
    if config.email:
        email = config.email
        yield await _tried("email", lambda: _mail(email), f"{email.host}:{email.port} lets us in")
    if config.webhook:
        yield Finding(part="webhook", ok=True, says=f"{config.webhook.url} is called when there is something to say")
    web = config.web
    yield _finding("page", _address(web.host, web.port), f"http://{web.host}:{web.port} is free")


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
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        return f"{existing} is not a directory; choose another `data`"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user; change its owner, or choose another `data`"
    return None


def _address(host: str, port: int) -> str | None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return None
    except OSError as error:
        return f"{host}:{port} cannot be opened: {error.strerror or error}; Homeward or another program may run there"


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
