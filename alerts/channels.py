"""Notices are spoken: to the log, to a webhook, by e-mail, through Apprise. At least once each, every try noted.

A channel of the house has one address and speaks to an audience; a personal one speaks to each person at the person's
own address and in the person's language (`alerts.outbox`). What a channel that is not trusted may say: that there is
something, of which patient (by id), and the link to it. Names never leave; the numbers and the sentence go only
through channels that the configuration calls trusted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Final, Protocol
from urllib.parse import quote

import aiosmtplib
import httpx
from apprise import Apprise, NotifyType
from sqlalchemy.exc import OperationalError

from alerts.alert import HOUSE, SEVERAL, Audience, Notice, Priority, Text
from alerts.book import Book, Delivery, Try
from alerts.messages import (
    OVERDUE_ID,
    Written,
    about_untrusted,
    is_end,
    late_message,
    untrusted_message,
    without_reply,
)

_log: Final = logging.getLogger("homeward.notices")

TIMEOUT_S: Final = 10.0
# All steps of a try together. Less than half of `alerts.book.CLAIM`: what is begun ends before it is another hub's.
LONGEST_TRY_S: Final = 45.0
APPRISE_TIMEOUT_S: Final = 15.0  # it tries a connection and an answer, each for some seconds
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(minutes=15)
# After so many failures in a row a channel is called dead; it is tried on all the same.
DEAD_AFTER: Final = 5
# In one round a channel that fails this often is left alone until the next, for each failure may take a timeout.
PATIENCE: Final = 3

_ALERT: Final = Text(en="An alert needs your attention", zh="有一条提醒需要您处理")
_MESSAGE: Final = Text(en="A message needs your attention", zh="有一条消息需要您处理")
_OVER: Final = Text(en="The condition of an alert is over", zh="一项警报的状况已解除")


# What a person is given to answer a notice by, or to read it; whether the channel is trusted with its text.
LinkOf = Callable[[Notice, bool], str]


class ChannelError(Exception):
    """The notice was not delivered. The text says what the other side answered, without health data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notice in the words that its channel may use. link: where to see it, "" when there is no such page.

    address, language: of the person it is for; "" where it goes to the channel's own address, in both languages.
    """

    notice: Notice
    subject: Text
    body: Text
    link: str
    address: str = ""
    language: str = ""

    def said(self, text: Text) -> str:
        """A part of it in the person's language."""
        return text.zh if self.language == "zh_CN" else text.en


class Channel(Protocol):
    """One way to people. reaches_people: False for a record that nobody is called by, such as the log."""

    @property
    def name(self) -> str:
        """Short and stable: deliveries wait under it."""
        ...

    @property
    def audiences(self) -> frozenset[Audience]:
        """Whose notices go this way."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether health data may be in the text."""
        ...

    @property
    def reaches_people(self) -> bool:
        """Whether a delivery counts as a notification."""
        ...

    @property
    def replies(self) -> bool:
        """Whether what people answer comes back (`POST /api/v1/replies`)."""
        ...

    async def deliver(self, message: Message) -> None:
        """Hand the message over. Raises ChannelError."""
        ...


class PersonalChannel(Channel, Protocol):
    """One way to people at their own addresses. reaches: whose addresses."""

    @property
    def reaches(self) -> frozenset[Audience]:
        """Whose notices may go this way."""
        ...


class Waiting(Protocol):
    """Where deliveries wait: the book for the channels of the house, the outbox for personal ones."""

    def pending_notices(self, channel: str, now: datetime) -> list[Delivery]:
        """What is due for a channel, the most urgent first."""
        ...

    def note_try(self, tried: Try, *, due: datetime | None, reaches_people: bool) -> None:
        """Write a try down. due: when to try again, None when it was delivered."""
        ...

    def undelivered(self) -> dict[str, int]:
        """How many deliveries wait for each channel."""
        ...


class LogChannel:
    """One line per notice, ids only."""

    name = "log"
    audiences = frozenset(Audience)
    trusted = False
    reaches_people = False
    replies = False

    async def deliver(self, message: Message) -> None:
        """Write the line."""
        notice = message.notice
        _log.info(
            "notice %s alert=%s patient=%s audience=%s priority=%s",
            notice.id,
            notice.alert or "-",
            notice.patient,
            notice.audience,
            notice.priority.name.lower(),
        )


class WebhookChannel:
    """POSTs one JSON object per notice; the header Homeward-Notice-Id is the same at every try.

    {"id", "alert", "patient", "audience", "priority": "low"|"medium"|"high", "subject": {"en", "zh"},
    "body": {"en", "zh"}, "link", "written_at": ISO 8601 UTC}.
    To a person also "to": the address, and "language": "en" or "zh_CN"; "{address}" in the url is the address.
    Any 2xx answer means delivered; redirects are not followed.
    """

    reaches_people = True

    def __init__(
        self,
        *,
        name: str,
        url: str,
        audiences: frozenset[Audience] = frozenset({Audience.STAFF}),
        headers: Mapping[str, str] | None = None,
        trusted: bool = False,
        timeout_s: float = TIMEOUT_S,
        reaches: frozenset[Audience] = frozenset(),
        replies: bool = False,
    ) -> None:
        self.name = name
        self.audiences = audiences
        self.trusted = trusted
        self.reaches = reaches
        self.replies = replies
        self._called = name if name == "webhook" else f"webhook {name}"  # the house's has no other name
        self._url = url
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s

    async def deliver(self, message: Message) -> None:
        """POST the notice. Raises ChannelError."""
        notice = message.notice
        try:
            async with httpx.AsyncClient(timeout=self._timeout_s) as client:
                answer = await client.post(
                    _addressed(self._url, message),
                    json=_as_json(message),
                    headers={**self._headers, "Homeward-Notice-Id": notice.id},
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ChannelError(f"{self._called}: {type(error).__name__} {error}".rstrip()) from error
        if not answer.is_success:
            raise ChannelError(f"{self._called} answered HTTP {answer.status_code}")


def _addressed(url: str, message: Message) -> str:
    return url.replace("{address}", quote(message.address, safe=""))


def _as_json(message: Message) -> dict[str, object]:
    notice = message.notice
    to_person = {"to": message.address, "language": message.language} if message.address else {}
    return {
        "id": notice.id,
        "alert": notice.alert,
        "patient": notice.patient,
        "audience": notice.audience,
        "priority": notice.priority.name.lower(),
        "subject": {"en": message.subject.en, "zh": message.subject.zh},
        "body": {"en": message.body.en, "zh": message.body.zh},
        "link": message.link,
        "written_at": notice.written_at.isoformat(),
        **to_person,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """An SMTP server. security: "tls" from the start, "starttls" (refused when not offered), or "none"."""

    host: str
    port: int
    security: str = "starttls"
    username: str | None = None
    password: str | None = None
    timeout_s: float = TIMEOUT_S


class MailChannel:
    """E-mail to one address in both languages, or to a person in the person's own; each try has the same Message-ID.

    recipient: the one address, "" where each message brings its own.
    """

    reaches_people = True

    def __init__(
        self,
        *,
        name: str,
        server: MailServer,
        sender: str,
        recipient: str = "",
        audiences: frozenset[Audience] = frozenset({Audience.STAFF}),
        trusted: bool = False,
        reaches: frozenset[Audience] = frozenset(),
        replies: bool = False,
    ) -> None:
        self.name = name
        self.audiences = audiences
        self.trusted = trusted
        self.reaches = reaches
        self.replies = replies
        self._server = server
        self._sender = sender
        self._recipient = recipient

    async def deliver(self, message: Message) -> None:
        """Send the notice. Raises ChannelError."""
        server = self._server
        try:
            await aiosmtplib.send(
                self._compose(message),
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                use_tls=server.security == "tls",
                start_tls=server.security == "starttls",
                timeout=server.timeout_s,
            )
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise ChannelError(f"e-mail {self.name}: {type(error).__name__} {error}".rstrip()) from error

    def _compose(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._sender
        mail["To"] = message.address or self._recipient
        both = f"{message.subject.zh} / {message.subject.en}"
        mail["Subject"] = message.said(message.subject) if message.language else both
        mail["Message-ID"] = f"<{message.notice.id}@{self._sender.rpartition('@')[2].rstrip('>') or 'homeward'}>"
        mail["Date"] = format_datetime(message.notice.written_at)
        mail["Auto-Submitted"] = "auto-generated"
        if message.language:
            mail.set_content("\n\n".join(filter(None, (message.said(message.body), message.link))) + "\n")
            return mail
        mail.set_content(f"{message.body.zh}\n\n{message.body.en}\n\n{message.link}\n")
        mail.add_alternative(_html(message), subtype="html")
        return mail


def _html(message: Message) -> str:
    link = f'<p><a href="{escape(message.link)}">{escape(message.link)}</a></p>' if message.link else ""
    return f'<p lang="zh-CN">{escape(message.body.zh)}</p>\n<p lang="en">{escape(message.body.en)}</p>\n{link}\n'


class AppriseChannel:
    """Whatever Apprise speaks (https://github.com/caronc/apprise): SMS providers, WeCom, DingTalk, Feishu, voice.

    url: as Apprise writes it, "{address}" stands for the person's address. Its calls block, so they have threads of
    their own, which hold up nobody else when a server hangs. The text ends with the notice's id, the same each time.
    """

    reaches_people = True
    audiences: frozenset[Audience] = frozenset()

    def __init__(
        self,
        *,
        name: str,
        url: str,
        reaches: frozenset[Audience],
        trusted: bool = False,
        replies: bool = False,
        timeout_s: float = APPRISE_TIMEOUT_S,
    ) -> None:
        self.name = name
        self.trusted = trusted
        self.reaches = reaches
        self.replies = replies
        self._url = url
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"apprise {name}")

    async def deliver(self, message: Message) -> None:
        """Have Apprise send it. Raises ChannelError."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, self._send, message)
        try:
            async with asyncio.timeout(self._timeout_s):
                delivered = await call
        except TimeoutError:
            raise ChannelError(f"apprise {self.name} did not answer within {self._timeout_s:g} s") from None
        except Exception as error:  # any of a hundred services; what it says may hold the url with its secret
            raise ChannelError(f"apprise {self.name}: {type(error).__name__}") from error
        if not delivered:
            raise ChannelError(f"apprise {self.name}: the service did not take it")

    def _send(self, message: Message) -> bool:
        sender = Apprise()
        if not sender.add(_addressed(self._url, message)):
            raise ValueError("Apprise does not know the url of this channel")
        parts = (message.said(message.body), message.link, f"[{message.notice.id}]")
        kind = NotifyType.WARNING if message.notice.priority is Priority.HIGH else NotifyType.INFO
        return bool(
            sender.notify(
                title=message.said(message.subject), body="\n\n".join(filter(None, parts)), notify_type=kind
            )
        )


def personal_routes(channels: Sequence[PersonalChannel]) -> dict[Audience, tuple[str, ...]]:
    """Which personal channels may reach whom. Raises ValueError when two channels have one name."""
    _refuse_twice(channels)
    return {
        audience: tuple(channel.name for channel in channels if audience in channel.reaches) for audience in Audience
    }


def routes(channels: Sequence[Channel]) -> dict[Audience, tuple[str, ...]]:
    """Which channels the notices of each audience wait for, as the book needs it.

    Raises ValueError when two channels have one name, for then one of them would never speak.
    """
    _refuse_twice(channels)
    return {
        audience: tuple(channel.name for channel in channels if audience in channel.audiences)
        for audience in Audience
    }


def _refuse_twice(channels: Sequence[Channel]) -> None:
    names = Counter(channel.name for channel in channels)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ValueError(
            f"more than one channel has the name {', '.join(twice)}: name each recipient and each webhook once"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """How a channel does. failures: in a row. waiting: notices not yet delivered, None when the book cannot be read.

    dead: it failed too often, or nothing can be said because the book cannot be read or written.
    """

    name: str
    dead: bool
    failures: int
    waiting: int | None
    last_error: str | None
    last_delivered_at: datetime | None


class Speaker:
    """Delivers what waits in the book, whenever it is woken: after each `Book.record`, and at each tick for retries.

    Each channel speaks on its own, so that one that hangs delays no other. A delivery that fails is due again after
    30 s, doubling up to 15 min, without end. clock: the house's time. outbox: where the notices to persons wait,
    which go through the personal channels; link: what a person is given to answer one of staff by.
    """

    def __init__(
        self,
        book: Book,
        channels: Sequence[Channel],
        *,
        base_url: str,
        clock: Callable[[], datetime],
        outbox: Waiting | None = None,
        personal: Sequence[PersonalChannel] = (),
        link: LinkOf | None = None,
    ) -> None:
        base_url = base_url.rstrip("/")
        self._waiting: list[Waiting] = [book] if outbox is None else [book, outbox]

        def link_of(notice: Notice, _trusted: bool) -> str:
            is_for_all = notice.recipient is None or notice.audience is Audience.STAFF
            return page_of(notice, base_url) if is_for_all else ""

        self._voices = {channel.name: _Voice(book, channel, link=link_of, clock=clock) for channel in channels}
        for channel in personal if outbox is not None else ():
            self._voices[channel.name] = _Voice(outbox or book, channel, link=link or link_of, clock=clock)

    def wake(self) -> None:
        """There may be something to say. Call it on the loop."""
        for voice in self._voices.values():
            voice.woken.set()

    async def run(self) -> None:
        """Speak until cancelled; begins with what a stop or a crash left unsaid."""
        async with asyncio.TaskGroup() as tasks:
            for name, voice in self._voices.items():
                tasks.create_task(voice.run(), name=f"channel {name}")

    async def speak(self) -> int:
        """One round over what is due now, all channels at once. How many deliveries succeeded."""
        return sum(await asyncio.gather(*(voice.speak() for voice in self._voices.values())))

    @property
    def tells_staff(self) -> bool:
        """Whether any channel of the house reaches people of the staff."""
        return any(voice.tells_staff for voice in self._voices.values())

    def dead(self) -> dict[str, str]:
        """The channels that do not deliver, by name, with the last error."""
        told = (voice.health(0) for voice in self._voices.values())
        return {health.name: health.last_error or "" for health in told if health.dead}

    def delivers(self, channel: str) -> bool:
        """Whether a channel has delivered since the start, the last time it was tried; or is not there any more."""
        voice = self._voices.get(channel)
        return voice is None or (voice.health(0).failures == 0 and voice.health(0).last_delivered_at is not None)

    async def health(self) -> list[ChannelHealth]:
        """Every channel's state, and channels that notices wait for but that are not configured any more (dead)."""
        waiting: dict[str, int] = {}
        try:
            for each in self._waiting:
                waiting |= await asyncio.to_thread(each.undelivered)
        except OperationalError as error:
            return [voice.health(None, str(error.orig)) for voice in self._voices.values()]
        left = sorted(waiting.keys() - self._voices.keys())
        return [
            *(voice.health(waiting.get(name, 0)) for name, voice in self._voices.items()),
            *(_orphan(name, waiting[name]) for name in left),
        ]


def _orphan(name: str, waiting: int) -> ChannelHealth:
    return ChannelHealth(
        name=name,
        dead=True,
        failures=0,
        waiting=waiting,
        last_error="not configured any more, but notices wait for it",
        last_delivered_at=None,
    )


class _Voice:
    """One channel at work. woken: set it when there may be something to say."""

    def __init__(self, book: Waiting, channel: Channel, *, link: LinkOf, clock: Callable[[], datetime]) -> None:
        self.woken = asyncio.Event()
        self._book = book
        self._channel = channel
        self._link = link
        self._clock = clock
        self._failures = 0
        self._last_error: str | None = None
        self._last_delivered_at: datetime | None = None
        self._book_error: str | None = None
        # A try that the book could not take. Nothing more is said before it is written, or it would be said again.
        self._unwritten: tuple[Try, datetime | None] | None = None

    async def run(self) -> None:
        """Speak until cancelled."""
        while True:
            while await self.speak():
                pass
            await self.woken.wait()
            self.woken.clear()

    async def speak(self) -> int:
        """One round over what is due now. How many deliveries succeeded.

        When the book cannot be read or written, the round ends: it is tried again at the next call.
        """
        try:
            delivered = await self._round()
        except OperationalError as error:
            if self._book_error is None:
                _log.exception("channel %s cannot speak, for the book of notices cannot be used", self._channel.name)
            self._book_error = str(error.orig)
            return 0
        if self._book_error is not None:
            _log.warning("channel %s speaks again: the book of notices can be used", self._channel.name)
        self._book_error = None
        return delivered

    @property
    def tells_staff(self) -> bool:
        return self._channel.reaches_people and Audience.STAFF in self._channel.audiences

    def health(self, waiting: int | None, book_error: str | None = None) -> ChannelHealth:
        """How the channel does. book_error: what the book said when it was asked just now."""
        book_error = book_error or self._book_error
        return ChannelHealth(
            name=self._channel.name,
            dead=self._failures >= DEAD_AFTER or book_error is not None,
            failures=self._failures,
            waiting=waiting,
            last_error=f"the book of notices cannot be used: {book_error}" if book_error else self._last_error,
            last_delivered_at=self._last_delivered_at,
        )

    async def _round(self) -> int:
        await self._write_down()
        failed = delivered = 0
        for delivery in await asyncio.to_thread(self._book.pending_notices, self._channel.name, self._clock()):
            if delivery.begin_by and self._clock() > delivery.begin_by:
                break
            if await self._try(delivery):
                delivered += 1
            else:
                failed += 1
            if failed == PATIENCE:
                break
        return delivered

    async def _try(self, delivery: Delivery) -> bool:
        error: str | None = None
        try:
            async with asyncio.timeout(LONGEST_TRY_S):
                await self._channel.deliver(self._message(delivery))
        except ChannelError as problem:
            error = str(problem)
        except TimeoutError:
            error = f"{self._channel.name}: not done within {LONGEST_TRY_S:g} s"
        except ValueError as problem:  # what the configuration says cannot be sent, such as a header beyond ASCII
            error = f"{self._channel.name}: {type(problem).__name__} {problem}; correct the channel's configuration"
        at = self._clock()
        self._feel(at, error)
        due = None if error is None else at + back_off(delivery.tries)
        tried = Try(
            notice=delivery.notice.id, channel=self._channel.name, at=at, error=error, address=delivery.address
        )
        self._unwritten = tried, due
        await self._write_down()
        return error is None

    async def _write_down(self) -> None:
        if self._unwritten is not None:
            tried, due = self._unwritten
            reaches_people = self._channel.reaches_people
            await asyncio.to_thread(self._book.note_try, tried, due=due, reaches_people=reaches_people)
            self._unwritten = None

    def _feel(self, at: datetime, error: str | None) -> None:
        name = self._channel.name
        if error is None:
            if self._failures >= DEAD_AFTER:
                _log.warning("channel %s delivers again", name)
            self._failures, self._last_error, self._last_delivered_at = 0, None, at
            return
        self._failures, self._last_error = self._failures + 1, error
        if self._failures == DEAD_AFTER:
            _log.error("channel %s is dead after %d failures, the last: %s", name, DEAD_AFTER, error)

    def _message(self, delivery: Delivery) -> Message:
        notice = delivery.notice
        link = self._link(notice, self._channel.trusted)
        written: Written | Notice = notice
        if not self._channel.trusted:
            written = untrusted_message(notice, has_link=bool(link)) if delivery.address else _untrusted(notice)
        elif delivery.address:
            written = late_message(notice, self._clock(), has_link=bool(link))
        if not self._channel.replies:
            written = without_reply(written)
        return Message(
            notice=notice,
            subject=written.subject,
            body=written.body,
            link=link,
            address=delivery.address,
            language=delivery.language,
        )


def page_of(notice: Notice, base_url: str) -> str:
    """Where staff who sign in see what a notice is about; "" where there is no such page."""
    if notice.alert:
        return f"{base_url}/alerts/{notice.alert}"
    if notice.follow_up:
        return f"{base_url}/follow-ups/{notice.follow_up}"
    if notice.audience is Audience.STAFF and notice.patient == SEVERAL:
        return f"{base_url}/follow-ups?of=all" if notice.id.startswith(OVERDUE_ID) else f"{base_url}/alerts"
    is_of_one = notice.audience is Audience.STAFF and notice.patient not in {HOUSE, SEVERAL}
    return f"{base_url}/patients/{quote(notice.patient)}" if is_of_one else ""


def _untrusted(notice: Notice) -> Written:
    if notice.id.startswith(OVERDUE_ID):
        return untrusted_message(notice, has_link=True)
    subject = _OVER if is_end(notice) else _ALERT if notice.alert else _MESSAGE
    return Written(subject=subject, body=about_untrusted(notice))


def back_off(tries: int) -> timedelta:
    """How long to wait after a failure that had this many tries before it."""
    return min(FIRST_WAIT * (1 << min(tries, 10)), LONGEST_WAIT)
