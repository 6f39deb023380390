from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from apprise import Apprise
from sqlalchemy import event

from alerts.alert import HOUSE, SEVERAL, Audience, Notice, Priority, Verdict
from alerts.book import Book
from alerts.channels import (
    DEAD_AFTER,
    LONGEST_WAIT,
    PATIENCE,
    AppriseChannel,
    Channel,
    ChannelError,
    ChannelHealth,
    LogChannel,
    MailChannel,
    MailServer,
    Message,
    Speaker,
    WebhookChannel,
    back_off,
    personal_routes,
    routes,
)
from alerts.machine import hear
from gateway.schema import open_database
from tests.alerts.ward import START, finding

BASE = "https://hub.example"
SOON = 5.0  # seconds that an event may take on a busy machine


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent and answers with the status it is told to."""

    status: int = 200
    requests: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, json.loads(body)))
        writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        self.came.set()


@dataclass
class Mailbox:
    """A real SMTP server that keeps its mail, or refuses it."""

    refusal: str | None = None
    mails: list[EmailMessage] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    box, loop = Mailbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box


class Clock:
    def __init__(self) -> None:
        self.now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Desk:
    """A book whose notices go through given channels."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path / "hub.sqlite"
        self._engine = open_database(f"sqlite:///{self._path}")
        self._engine.dispose()
        # What holds the database here holds it until the test has seen what comes of it.
        event.listen(self._engine, "connect", lambda db, _: db.execute("PRAGMA busy_timeout=0"))
        self._clock = clock

    def through(self, *channels: Channel) -> Speaker:
        self.book = Book(self._engine, routes=routes(channels))
        return Speaker(self.book, channels, base_url=BASE + "/", clock=self._clock)

    def alarm(self, patient: str = "p-1") -> Notice:
        heard = hear(None, finding(patient=patient), self._clock())
        (notice,) = self.book.record(heard.changes, heard.notices)
        return notice

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program holds the database for writing."""
        with closing(sqlite3.connect(self._path)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def lose_deliveries(self) -> None:
        with closing(sqlite3.connect(self._path)) as other:
            other.execute("DROP TABLE deliveries")

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    desk = Desk(tmp_path, clock)
    yield desk
    desk.close()


def webhook(receiver: Receiver, *, trusted: bool = False, name: str = "hook", **more: Any) -> WebhookChannel:
    return WebhookChannel(name=name, url=f"http://127.0.0.1:{receiver.port}/in?k=1", trusted=trusted, **more)


def mail(box: Mailbox, *, trusted: bool = False) -> MailChannel:
    return MailChannel(
        name="mail",
        server=MailServer(host="127.0.0.1", port=box.port, security="none"),
        sender="Homeward <ward@clinic.example>",
        recipient="nurse@clinic.example",
        trusted=trusted,
    )


async def dead(speaker: Speaker, name: str) -> None:
    while not (await health_of(speaker, name)).dead:
        pass


async def health_of(speaker: Speaker, name: str) -> ChannelHealth:
    return next(each for each in await speaker.health() if each.name == name)


async def test_the_log_says_ids_only(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "homeward.notices")
    speaker = desk.through(LogChannel())
    notice = desk.alarm()
    assert await speaker.speak() == 1
    assert caplog.messages == [f"notice {notice.id} alert={notice.alert} patient=p-1 audience=staff priority=medium"]
    alert = desk.book.alert(notice.alert or "")
    assert alert is not None
    assert alert.notified_at is None  # nobody is called by a log


async def test_a_webhook_that_is_not_trusted_gets_a_link_and_no_health_data(desk: Desk) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, headers={"Authorization": "Bearer x"}))
        notice = desk.alarm()
        await speaker.speak()
    ((headers, body),) = receiver.requests
    assert headers["homeward-notice-id"] == notice.id
    assert headers["authorization"] == "Bearer x"
    assert body == {
        "id": notice.id,
        "alert": notice.alert,
        "patient": "p-1",
        "audience": "staff",
        "priority": "medium",
        "subject": {"en": "An alert needs your attention", "zh": "有一条提醒需要您处理"},
        "body": {
            "en": "Medium priority, patient p-1. Details only after signing in.",
            "zh": "中优先级，患者 p-1。详情请登录查看。",
        },
        "link": f"{BASE}/alerts/{notice.alert}",
        "written_at": "2026-03-01T18:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("patient", "en", "zh"),
    [
        (HOUSE, "Medium priority, Homeward itself. ", "中优先级，Homeward 系统。"),
        (SEVERAL, "Medium priority, several patients. ", "中优先级，多名患者。"),
    ],
)
async def test_of_what_is_about_no_one_patient_a_channel_that_is_not_trusted_names_none(
    desk: Desk, patient: str, en: str, zh: str
) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver))
        told = replace(desk.alarm(), id="n-1", patient=patient, alert=None)
        desk.book.record((), [told])
        await speaker.speak()
    (body,) = [body for _, body in receiver.requests if body["id"] == "n-1"]
    assert body["subject"] == {"en": "A message needs your attention", "zh": "有一条消息需要您处理"}
    assert body["body"] == {"en": f"{en}Details only after signing in.", "zh": f"{zh}详情请登录查看。"}


async def test_a_trusted_webhook_gets_the_sentence(desk: Desk) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        desk.alarm()
        await speaker.speak()
    body = receiver.requests[0][1]
    assert body["subject"]["en"] == "Medium priority: Very low glucose"
    assert body["body"] == {"en": "low-event-2 raise.", "zh": "low-event-2 raise。"}


async def test_a_webhook_that_fails_is_tried_again_with_the_same_id_and_then_delivers(
    desk: Desk, clock: Clock
) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver))
        notice = desk.alarm()
        receiver.status = 503
        assert await speaker.speak() == 0
        assert await speaker.speak() == 0  # not due yet
        assert len(receiver.requests) == 1
        clock.forward(timedelta(seconds=30))
        receiver.status = 204
        assert await speaker.speak() == 1
    assert {headers["homeward-notice-id"] for headers, _ in receiver.requests} == {notice.id}
    assert [tried.error for tried in desk.book.tries(notice.id)] == ["webhook hook answered HTTP 503", None]
    alert = desk.book.alert(notice.alert or "")
    assert alert is not None
    assert alert.notified_at == clock()


async def test_the_webhook_of_the_house_says_once_which_it_is(desk: Desk) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, name="webhook"))
        notice = desk.alarm()
        receiver.status = 500
        await speaker.speak()
    assert [tried.error for tried in desk.book.tries(notice.id)] == ["webhook answered HTTP 500"]


def ended(desk: Desk, clock: Clock) -> None:
    """The condition of the only alert is over, by the machine."""
    (alert,) = desk.book.open_alerts()
    over = hear(alert, finding(verdict=Verdict.CLEAR), clock())
    desk.book.record(over.changes, over.notices)


async def spoken(speaker: Speaker) -> None:
    while await speaker.speak():
        pass


def subjects(receiver: Receiver) -> list[str]:
    return [body["subject"]["en"] for _, body in receiver.requests]


_OPENING, _END, _AGAIN = (
    f"{each}: Very low glucose" for each in ("Medium priority", "Condition over", "Medium priority, again")
)


async def test_a_webhook_hears_of_an_alert_before_it_hears_that_it_is_over(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        desk.alarm()
        receiver.status = 503
        await spoken(speaker)
        clock.forward(timedelta(seconds=5))
        receiver.status = 204
        ended(desk, clock)
        await spoken(speaker)
        assert subjects(receiver) == [_OPENING]  # which failed, and is not due again yet
        clock.forward(timedelta(seconds=30))
        await spoken(speaker)
    assert subjects(receiver) == [_OPENING, _OPENING, _END]
    assert (await health_of(speaker, "hook")).waiting == 0


async def test_what_begins_and_ends_at_one_moment_is_told_in_that_order(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        for number in range(12):  # by chance some of them would be told in the other order
            desk.alarm(patient=f"p-{number}")
        for alert in desk.book.open_alerts():
            over = hear(alert, finding(verdict=Verdict.CLEAR, patient=alert.patient), clock())
            desk.book.record(over.changes, over.notices)
        await spoken(speaker)
    told = [(body["patient"], body["subject"]["en"]) for _, body in receiver.requests]
    assert len(told) == 24
    assert all(told.index((f"p-{n}", _OPENING)) < told.index((f"p-{n}", _END)) for n in range(12))


async def test_nobody_hears_that_it_is_over_after_it_has_come_again(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        desk.alarm()
        receiver.status = 503
        await spoken(speaker)
        clock.forward(timedelta(seconds=5))
        ended(desk, clock)
        clock.forward(timedelta(seconds=5))
        (alert,) = desk.book.open_alerts()
        again = hear(alert, finding(since=clock()), clock())
        desk.book.record(again.changes, again.notices)
        receiver.status = 204
        receiver.requests.clear()
        await spoken(speaker)
        clock.forward(LONGEST_WAIT)
        await spoken(speaker)
    assert subjects(receiver) == [_AGAIN, _OPENING]
    assert (await health_of(speaker, "hook")).waiting == 0


async def test_the_end_is_told_also_where_the_clock_was_set_back(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        desk.alarm()
        receiver.status = 503
        await spoken(speaker)
        clock.forward(timedelta(minutes=-10))  # it was ahead
        ended(desk, clock)
        receiver.status = 204
        receiver.requests.clear()
        for _ in range(2):
            clock.forward(LONGEST_WAIT)
            await spoken(speaker)
    assert subjects(receiver) == [_OPENING, _END]
    assert (await health_of(speaker, "hook")).waiting == 0


class Refusing(WebhookChannel):
    """A channel that cannot send one subject."""

    async def deliver(self, message: Message) -> None:
        if message.notice.subject.en.startswith("High priority"):
            raise ValueError("cannot be written")
        await super().deliver(message)


async def test_the_end_does_not_wait_for_ever_for_what_cannot_be_delivered(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        hook = Refusing(name="hook", url=f"http://127.0.0.1:{receiver.port}/in", trusted=True)
        speaker = desk.through(hook)
        desk.alarm()
        await spoken(speaker)
        (alert,) = desk.book.open_alerts()
        worse = hear(alert, finding(priority=Priority.HIGH), clock())
        desk.book.record(worse.changes, worse.notices)
        ended(desk, clock)
        for _ in range(4):
            clock.forward(LONGEST_WAIT)
            await spoken(speaker)
        assert subjects(receiver) == [_OPENING]  # what is worse may still come
        for _ in range(5):
            clock.forward(LONGEST_WAIT)
            await spoken(speaker)
    assert len(subjects(receiver)) == 2
    assert subjects(receiver)[1].startswith("Condition over")
    assert (await health_of(speaker, "hook")).waiting == 0


async def test_the_end_waits_for_an_opening_however_often_it_was_tried(desk: Desk, clock: Clock) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, trusted=True))
        desk.alarm()
        ended(desk, clock)
        receiver.status = 503
        for _ in range(20):
            await spoken(speaker)
            clock.forward(LONGEST_WAIT)
        assert set(subjects(receiver)) == {_OPENING}
        receiver.status = 204
        receiver.requests.clear()
        await spoken(speaker)
    assert subjects(receiver) == [_OPENING, _END]


async def test_a_redirect_is_not_a_delivery(desk: Desk) -> None:
    async with receiving() as receiver:
        receiver.status = 302
        speaker = desk.through(webhook(receiver))
        desk.alarm()
        assert await speaker.speak() == 0
        assert len(receiver.requests) == 1


async def test_a_dead_channel_is_seen_and_said_once_and_does_not_stop_the_others(
    desk: Desk, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as gone:
        pass
    async with receiving() as alive:
        speaker = desk.through(webhook(gone, name="gone"), webhook(alive, name="alive"))
        notice = desk.alarm()
        for _ in range(DEAD_AFTER + 3):
            await speaker.speak()
            clock.forward(LONGEST_WAIT)
    dead = await health_of(speaker, "gone")
    assert (dead.dead, dead.failures, dead.waiting) == (True, DEAD_AFTER + 3, 1)
    assert "ConnectError" in (dead.last_error or "")
    well = await health_of(speaker, "alive")
    assert (well.dead, well.failures, well.waiting, well.last_delivered_at) == (False, 0, 0, START)
    assert len([line for line in caplog.messages if "is dead" in line]) == 1
    assert len(alive.requests) == 1
    assert len(desk.book.tries(notice.id)) == DEAD_AFTER + 4


async def test_a_dead_channel_is_not_hammered_within_a_round(desk: Desk) -> None:
    async with receiving() as receiver:
        receiver.status = 500
        speaker = desk.through(webhook(receiver))
        for count in range(10):
            desk.alarm(patient=f"p-{count}")
        await speaker.speak()
    assert len(receiver.requests) == PATIENCE


async def test_a_channel_taken_out_of_the_configuration_shows_what_waits_for_it(desk: Desk) -> None:
    async with receiving() as receiver:
        desk.through(webhook(receiver))
        desk.alarm()
    speaker = desk.through(LogChannel())
    left = await health_of(speaker, "hook")
    assert (left.dead, left.waiting) == (True, 1)


async def test_an_email_carries_both_languages_and_the_notices_id(desk: Desk) -> None:
    async with mailbox() as box:
        speaker = desk.through(mail(box, trusted=True))
        notice = desk.alarm()
        assert await speaker.speak() == 1
    (received,) = box.mails
    assert received["Message-ID"] == f"<{notice.id}@clinic.example>"
    assert received["To"] == "nurse@clinic.example"
    assert received["Subject"] == "中优先级：血糖严重偏低 / Medium priority: Very low glucose"
    assert received["Date"].datetime == START
    plain, html = received.get_body(("plain",)), received.get_body(("html",))
    assert plain is not None
    assert html is not None
    link = f"{BASE}/alerts/{notice.alert}"
    assert plain.get_content().split() == ["low-event-2", "raise。", "low-event-2", "raise.", link]
    assert f'<a href="{link}">' in html.get_content()


async def test_an_email_that_is_not_trusted_says_nothing_of_health(desk: Desk) -> None:
    async with mailbox() as box:
        speaker = desk.through(mail(box))
        desk.alarm()
        await speaker.speak()
    assert "glucose" not in box.mails[0].as_string().lower()
    assert "血糖" not in str(box.mails[0].get_body(("plain",)).get_content())  # type: ignore[union-attr]


async def test_an_email_refused_for_now_comes_later_with_the_same_id(desk: Desk, clock: Clock) -> None:
    async with mailbox() as box:
        box.refusal = "451 try again later"
        speaker = desk.through(mail(box))
        notice = desk.alarm()
        assert await speaker.speak() == 0
        clock.forward(timedelta(seconds=30))
        box.refusal = None
        assert await speaker.speak() == 1
    refused, delivered = desk.book.tries(notice.id)
    assert "451" in (refused.error or "")
    assert delivered.error is None
    assert [received["Message-ID"] for received in box.mails] == [f"<{notice.id}@clinic.example>"]


async def test_a_mail_server_without_the_encryption_that_was_asked_for_gets_nothing(desk: Desk) -> None:
    async with mailbox() as box:
        channel = MailChannel(
            name="mail",
            server=MailServer(host="127.0.0.1", port=box.port, timeout_s=SOON),
            sender="ward@clinic.example",
            recipient="nurse@clinic.example",
        )
        speaker = desk.through(channel)
        notice = desk.alarm()
        assert await speaker.speak() == 0
    assert box.mails == []
    assert "STARTTLS" in (desk.book.tries(notice.id)[0].error or "")


async def test_the_loop_speaks_what_a_crash_left_unsaid_and_then_whenever_it_is_woken(desk: Desk) -> None:
    async with receiving() as receiver:
        desk.through(webhook(receiver))
        left = desk.alarm()
        speaker = desk.through(webhook(receiver))
        running = asyncio.create_task(speaker.run())
        await asyncio.wait_for(receiver.came.wait(), SOON)
        receiver.came.clear()
        new = desk.alarm(patient="p-2")
        speaker.wake()
        await asyncio.wait_for(receiver.came.wait(), SOON)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [body["id"] for _, body in receiver.requests] == [left.id, new.id]


class Hanging:
    """A channel that takes a message and never comes back."""

    name = "hanging"
    audiences = frozenset(Audience)
    trusted = False
    reaches_people = True
    replies = True

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def deliver(self, message: Message) -> None:
        self.asked.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def speaking(speaker: Speaker) -> AsyncIterator[None]:
    running = asyncio.create_task(speaker.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_channel_that_hangs_delays_no_other(desk: Desk) -> None:
    hanging = Hanging()
    async with receiving() as receiver:
        speaker = desk.through(hanging, webhook(receiver))
        first = desk.alarm()
        async with speaking(speaker):
            await asyncio.wait_for(hanging.asked.wait(), SOON)
            await asyncio.wait_for(receiver.came.wait(), SOON)
            receiver.came.clear()
            second = desk.alarm(patient="p-2")
            speaker.wake()
            await asyncio.wait_for(receiver.came.wait(), SOON)
    assert [body["id"] for _, body in receiver.requests] == [first.id, second.id]


async def test_a_header_that_cannot_be_sent_is_a_failed_try_that_says_so(desk: Desk) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver, headers={"Authorization": "Bearer pässwort"}))
        notice = desk.alarm()
        assert await speaker.speak() == 0
    assert receiver.requests == []
    (tried,) = desk.book.tries(notice.id)
    assert tried.error is not None
    assert tried.error.startswith("hook: UnicodeEncodeError")
    assert tried.error.endswith("correct the channel's configuration")
    assert "sswort" not in tried.error


def test_two_channels_of_one_name_are_refused() -> None:
    twice = [WebhookChannel(name="hook", url=f"http://127.0.0.1/{n}") for n in range(2)]
    with pytest.raises(ValueError, match="more than one channel has the name hook"):
        routes([LogChannel(), *twice])


async def test_a_locked_book_ends_nothing_is_seen_and_repeats_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver))
        notice = desk.alarm()
        with desk.locked():
            assert [await speaker.speak() for _ in range(3)] == [0, 0, 0]
            locked = await health_of(speaker, "hook")
        assert (locked.dead, locked.waiting) == (True, 1)
        assert locked.last_error == "the book of notices cannot be used: database is locked"
        assert await speaker.speak() == 0  # what was delivered is written down, and there is no more
    assert len(receiver.requests) == 1
    assert [tried.error for tried in desk.book.tries(notice.id)] == [None]
    well = await health_of(speaker, "hook")
    assert (well.dead, well.waiting, well.last_error) == (False, 0, None)
    assert [record.levelname for record in caplog.records if "book of notices" in record.message] == [
        "ERROR",
        "WARNING",
    ]


async def test_the_loop_goes_on_when_the_book_can_be_used_again(desk: Desk) -> None:
    async with receiving() as receiver:
        speaker = desk.through(webhook(receiver))
        first = desk.alarm()
        async with speaking(speaker):
            with desk.locked():
                await asyncio.wait_for(dead(speaker, "hook"), SOON)
            receiver.came.clear()
            second = desk.alarm(patient="p-2")
            speaker.wake()
            await asyncio.wait_for(receiver.came.wait(), SOON)
    assert [body["id"] for _, body in receiver.requests] == [first.id, second.id]


async def test_a_book_that_cannot_be_read_is_said_by_every_channel(desk: Desk) -> None:
    speaker = desk.through(LogChannel())
    desk.lose_deliveries()
    assert await speaker.speak() == 0
    state = await health_of(speaker, "log")
    assert (state.dead, state.waiting) == (True, None)
    assert "no such table" in (state.last_error or "")


async def test_a_request_to_the_patient_goes_to_channels_of_patients_only(desk: Desk) -> None:
    async with receiving() as staff, receiving() as patient:
        to_patient = webhook(patient, name="app", trusted=True, audiences=frozenset({Audience.PATIENT}))
        speaker = desk.through(webhook(staff, name="staff"), to_patient)
        desk.book.record(notices=hear(None, finding("low-event-1", audience=Audience.PATIENT), START).notices)
        await speaker.speak()
    assert staff.requests == []
    assert patient.requests[0][1]["subject"]["zh"] == "请注意：低血糖"
    assert patient.requests[0][1]["link"] == ""


async def test_a_server_that_never_answers_is_a_failure() -> None:
    hang = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang.wait()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    receiver = Receiver(port=server.sockets[0].getsockname()[1])
    notice = hear(None, finding(), START).notices[0]
    message = Message(notice=notice, subject=notice.subject, body=notice.body, link="")
    async with server:
        with pytest.raises(ChannelError, match="ReadTimeout"):
            await webhook(receiver, timeout_s=0.05).deliver(message)
        hang.set()


def test_the_wait_doubles_up_to_its_cap() -> None:
    waits = [back_off(tries).total_seconds() for tries in (0, 1, 2, 3, 4, 5, 6, 1000)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


# Channels to persons


def to_person(
    notice: Notice, *, address: str, language: str = "zh_CN", link: str = "https://hub/answer/x"
) -> Message:
    return Message(
        notice=notice, subject=notice.subject, body=notice.body, link=link, address=address, language=language
    )


async def test_an_e_mail_to_a_person_is_in_the_persons_language(desk: Desk) -> None:
    async with mailbox() as box:
        server = MailServer(host="127.0.0.1", port=box.port, security="none")
        channel = MailChannel(name="mail", server=server, sender="hub@clinic.example", reaches=frozenset(Audience))
        desk.through(LogChannel())
        notice = desk.alarm()
        for language in ("zh_CN", "en"):
            await channel.deliver(to_person(notice, address="li@clinic.example", language=language))
    chinese, english = box.mails
    assert (chinese["To"], chinese["Subject"]) == ("li@clinic.example", notice.subject.zh)
    assert chinese.get_content().splitlines() == [notice.body.zh, "", "https://hub/answer/x"]
    assert english["Subject"] == notice.subject.en
    assert english["Message-ID"] == chinese["Message-ID"] == f"<{notice.id}@clinic.example>"


async def test_a_webhook_is_told_to_whom(desk: Desk) -> None:
    async with receiving() as receiver:
        channel = WebhookChannel(
            name="app", url=f"http://127.0.0.1:{receiver.port}/to/{{address}}", reaches=frozenset(Audience)
        )
        desk.through(LogChannel())
        notice = desk.alarm()
        await channel.deliver(to_person(notice, address="li/../x"))
    ((headers, said),) = receiver.requests
    assert headers["homeward-notice-id"] == notice.id
    assert (said["to"], said["language"]) == ("li/../x", "zh_CN")
    assert said["subject"] == {"en": notice.subject.en, "zh": notice.subject.zh}


async def test_apprise_is_handed_the_message_with_the_notices_id(desk: Desk) -> None:
    async with receiving() as receiver:
        channel = AppriseChannel(
            name="sms", url=f"json://127.0.0.1:{receiver.port}/{{address}}", reaches=frozenset({Audience.STAFF})
        )
        desk.through(LogChannel())
        notice = desk.alarm()
        await channel.deliver(to_person(notice, address="+8613"))
    ((_, said),) = receiver.requests
    assert said["title"] == notice.subject.zh
    assert said["message"] == f"{notice.body.zh}\n\nhttps://hub/answer/x\n\n[{notice.id}]"


async def test_a_service_that_refuses_is_said_without_its_url(desk: Desk) -> None:
    desk.through(LogChannel())
    message = to_person(desk.alarm(), address="+8613")
    async with receiving() as receiver:
        receiver.status = 500
        url = f"json://user:secret@127.0.0.1:{receiver.port}/{{address}}"
        with pytest.raises(ChannelError) as refused:
            await AppriseChannel(name="sms", url=url, reaches=frozenset()).deliver(message)
    assert str(refused.value) == "apprise sms: the service did not take it"
    with pytest.raises(ChannelError) as unknown:
        await AppriseChannel(name="sms", url="nonsense://secret/{address}", reaches=frozenset()).deliver(message)
    assert str(unknown.value) == "apprise sms: ValueError"


async def test_a_service_that_hangs_is_given_up(desk: Desk) -> None:
    desk.through(LogChannel())
    message = to_person(desk.alarm(), address="+8613")
    silent = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        channel = AppriseChannel(
            name="sms", url=f"json://127.0.0.1:{port}/{{address}}?rto=1", reaches=frozenset(), timeout_s=0.05
        )
        with pytest.raises(ChannelError, match=r"apprise sms did not answer within 0\.05 s"):
            await channel.deliver(message)


def test_personal_channels_reach_whom_they_are_for() -> None:
    mail = AppriseChannel(name="mail", url="", reaches=frozenset({Audience.STAFF}))
    sms = AppriseChannel(name="sms", url="", reaches=frozenset({Audience.STAFF, Audience.PATIENT}))
    assert personal_routes([mail, sms]) == {
        Audience.STAFF: ("mail", "sms"),
        Audience.PATIENT: ("sms",),
        Audience.WEEKLY: (),
    }
    with pytest.raises(ValueError, match="more than one channel has the name sms"):
        personal_routes([sms, sms])


def test_apprise_knows_each_address_that_the_docs_give() -> None:
    """With an id and a secret of the length that each provider has."""
    text = (Path(__file__).parents[2] / "docs" / "telling.md").read_text(encoding="utf-8")
    urls = re.findall(r"^\| [^|]+ \| apprise \| `([^`]+)`", text, re.MULTILINE)
    real = {"SID": "AC" + "a" * 32, "TOKEN": "b" * 32, "AGENTID": "1000002", "{address}": "8613800000000"}
    known = []
    for url in urls:
        said = url
        for name, value in real.items():
            said = said.replace(name, value)
        service = Apprise.instantiate(said)
        assert service is not None, url
        known.append(type(service).__name__)
    assert known == [
        "NotifyTwilio",
        "NotifyTwilio",
        "NotifyWeChat",
        "NotifyWeComBot",
        "NotifyDingTalk",
        "NotifyFeishu",
    ]
