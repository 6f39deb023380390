"""Real servers by which people are told; each keeps what it is sent, as one message in words."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote

from aiosmtpd.smtp import SMTP, Envelope, Session

BASE: Final = "https://ward.example"
_LINK: Final = re.compile(rf"{re.escape(BASE)}/(answer|survey|message|alerts)/[\w.-]+")
_ID: Final = re.compile(r"[ns]-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person or the house was told: by what and to whom, when it came (UTC), its id, its words, and its link.

    words: all of it, but for ids and the ends of links.
    """

    way: str
    to: str
    came: datetime
    id: str
    words: str
    link: str | None


@dataclass
class Receivers:
    """An SMTP server, and HTTP servers for the webhooks and for Apprise. now: on the wall clock of the scene.

    ports: by the name of a channel; the one of the pager refuses connections. mute: channels that take a message and
    never say so. came: set at each message.
    """

    now: Callable[[], datetime]
    heard: list[Message] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, way: str, to: str, notice: str, words: str) -> None:
        link = _LINK.search(words)
        told = _ID.sub("ID", _LINK.sub(rf"{BASE}/\1/...", words))
        self.heard.append(
            Message(way=way, to=to, came=self.now().astimezone(UTC), id=notice, words=told, link=link and link[0])
        )
        self.came.set()
        if way in self.mute:
            await asyncio.Event().wait()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Of aiosmtpd: a mail."""
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        (to,) = envelope.rcpt_tos
        assert (mail["To"], mail["From"], mail["Auto-Submitted"]) == (to, "ward@ward.example", "auto-generated")
        notice = mail["Message-ID"].removeprefix("<").removesuffix("@ward.example>")
        assert _ID.fullmatch(notice)
        parts = [part.get_content().replace("\r\n", "\n") for part in mail.walk() if not part.is_multipart()]
        words = [f"{mail['Subject']}\n(written {_hour(parsedate_to_datetime(mail['Date']), self.now())})\n", *parts]
        await self.keep("mail", to, notice, "\n".join(words))
        return "250 OK"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A POST of JSON."""
        first, *head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        way, _, to = unquote(first.split()[1]).removeprefix("/").partition("/")
        notice, words = _of_apprise(body) if way == "sms" else _of_webhook(body, headers, to, self.now())
        try:
            await self.keep(way, to, notice, words)
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            pass  # whoever asked was killed
        finally:
            writer.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Receivers]:
        """They listen while the block runs."""
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            pager = stack.enter_context(socket.socket())
            pager.bind(("127.0.0.1", 0))
            mail = await loop.create_server(lambda: SMTP(self, loop=loop), "127.0.0.1", 0)
            web = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            for server in (mail, web):
                stack.callback(server.close)
            at_web = _port(web.sockets[0])
            self.ports |= {"pager": _port(pager), "mail": _port(mail.sockets[0]), "sms": at_web, "app": at_web}
            yield self


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def _of_apprise(body: dict[str, Any]) -> tuple[str, str]:
    assert body.keys() == {"version", "title", "message", "attachments", "type"}
    assert (body["version"], body["attachments"]) == ("1.0", [])
    *_, last = body["message"].split("\n\n")
    assert re.fullmatch(rf"\[{_ID.pattern}\]", last)
    return last[1:-1], f"{body['title']}\n(a {body['type']})\n\n{body['message']}"


def _of_webhook(body: dict[str, Any], headers: dict[str, str], to: str, now: datetime) -> tuple[str, str]:
    assert body["id"] == headers["homeward-notice-id"]
    said = {key: body.pop(key) for key in ("subject", "body")}
    assert said["subject"].keys() == said["body"].keys() == {"en", "zh"}
    assert body.pop("to", "") == to
    about = [
        f"written {_hour(datetime.fromisoformat(body.pop('written_at')), now)}",
        f"{body.pop('priority')} priority",
        f"for {body.pop('audience')}",
        f"patient {body.pop('patient')}",
        *([f"in {body.pop('language')}"] if "language" in body else ()),
    ]
    link, notice, alert = body.pop("link"), body.pop("id"), body.pop("alert")
    assert body == {}
    assert not link.startswith(f"{BASE}/alerts/") or link == f"{BASE}/alerts/{alert}"
    words = [f"{said['subject'][language]}\n\n{said['body'][language]}" for language in ("zh", "en")]
    return notice, "\n\n".join([f"({', '.join(about)})", *words, *filter(None, [link])])


def _hour(moment: datetime, now: datetime) -> str:
    return f"{moment.astimezone(now.tzinfo):%H:%M}"
