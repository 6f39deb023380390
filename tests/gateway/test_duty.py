from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from alerts.alert import HOUSE, Act, ActKind, Audience, Outcome, Priority
from alerts.channels import ChannelError, Message, Speaker
from alerts.database import METADATA
from alerts.devices import Expected, no_data
from alerts.escalation import TimerKind
from alerts.machine import hear
from alerts.quality_book import QualityBook
from alerts.rules import DEFAULTS
from alerts.scene import Scene
from alerts.team import Contact, Practitioner, QuietHours, Role
from gateway.duty import PAUSE, STALL
from gateway.signed import ACKNOWLEDGE
from ingest.journal import Arrival
from ingest.reading import Packet
from ingest.vital import Unit, Vital
from tests.alerts.telling import shift
from tests.gateway.small_house import (
    MILLER,
    NOW,
    SHANGHAI,
    WANG,
    SmallHouse,
    furnish,
    reading,
    severe_pressure,
    very_low,
)

BAO = Practitioner(
    id="bao",
    name="Bao",
    roles=frozenset({Role.NURSE}),
    zone="Asia/Shanghai",
    contacts=(Contact(channel="app", address="bao"),),
)


class Ear:
    """A channel whose other side can be cut off."""

    trusted = True
    reaches_people = True
    replies = True
    reaches = frozenset(Audience)

    def __init__(self, name: str, audiences: frozenset[Audience] = frozenset()) -> None:
        self.name = name
        self.audiences = audiences
        self.cut = False
        self.fault = "the line is cut"
        self.heard: list[Message] = []

    async def deliver(self, message: Message) -> None:
        if self.cut:
            raise ChannelError(self.fault)
        self.heard.append(message)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    furnish(house)
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.add_shift(shift("bao", Role.NURSE), now=NOW)
    yield house
    house.close()


def speak_through(house: SmallHouse, *personal: Ear) -> Speaker:
    house.duty.speaker = Speaker(
        house.book,
        [],
        base_url="https://hub.example",
        clock=house.now,
        outbox=house.duty.outbox,
        personal=personal,
        link=house.duty.link,
    )
    return house.duty.speaker


async def test_who_is_told_reads_the_last_readings_and_has_a_link(house: SmallHouse) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    alert = house.find(very_low())
    await house.duty.go()
    await speaker.speak()
    (message,) = app.heard
    assert message.subject.en == "High priority: Very low glucose, patient p-017"
    assert "\nReadings: 14:20 7." in message.body.en
    assert message.link.startswith("https://hub.example/answer/")
    assert house.duty.links.read(message.link.rpartition("/")[2], ACKNOWLEDGE, house.time).subject == alert.id


async def test_the_last_readings_are_by_the_patients_clock_and_in_the_patients_unit_first(house: SmallHouse) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    house.duty.team.put(replace(BAO, zone="Europe/Berlin"), now=NOW)
    house.people.change_patient(replace(WANG, glucose_unit=Unit.MG_DL), now=NOW)
    house.find(very_low())
    await house.duty.go()
    await speaker.speak()
    (message,) = app.heard
    assert "\nReadings (times of Asia/Shanghai): 14:20 135 mg/dL (7.5 mmol/L), " in message.body.en
    assert "\n读数（时间按 Asia/Shanghai 时区）：14:20 135 mg/dL（7.5 mmol/L），" in message.body.zh


async def test_with_ketones_the_newest_glucose_is_told(house: SmallHouse) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    measured = reading(Vital.KETONE, NOW - timedelta(minutes=30), 1.7)
    packet = Packet(link="listener", sender="meter", channel="json", data=b"", received_at=NOW)
    house.journal.append([Arrival(packet=packet, outcomes=(measured,))])
    house.find(very_low(rule="ketone", problem="ketone", evidence=(measured.key,)))
    await house.duty.go()
    await speaker.speak()
    (message,) = app.heard
    assert re.search(r"\nReadings: .*14:00 1\.7 mmol/L; newest glucose 14:30 7\.\d mmol/L\.\n", message.body.en)


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_patient_is_named_to_staff_by_a_trusted_channel_alone(house: SmallHouse, trusted: bool) -> None:
    app = Ear("app")
    app.trusted = trusted
    speaker = speak_through(house, app)
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="app", address="w")], now=NOW)
    house.find(very_low())
    await house.duty.go()
    await speaker.speak()
    said = {message.address: message for message in app.heard}
    assert WANG.name not in said["bao"].subject.zh
    assert (WANG.name in said["bao"].body.zh) is trusted
    assert (said["w"].language, "/message/" in said["w"].link) == ("zh_CN", True)


async def test_a_channel_that_does_not_deliver_is_told_by_the_others_and_when_it_does_again(
    house: SmallHouse,
) -> None:
    sms, app = Ear("sms"), Ear("app")
    speaker = speak_through(house, sms, app)
    one, other = (Contact(channel=name, address="bao") for name in ("sms", "app"))
    house.duty.team.put(replace(BAO, contacts=(one, other)), now=NOW)
    sms.cut = True
    for found in (very_low(), very_low(MILLER), severe_pressure()):
        house.find(found)
    await pass_minutes(house, speaker, 0, 20)
    dead = "Medium priority: A channel does not deliver, Homeward itself"
    told = [each for each in app.heard if each.subject.en == dead]
    assert len(told) == 1
    assert "The channel sms has not delivered since 3 Mar 06:32: " in told[0].body.en
    assert "the line is cut" in told[0].body.en
    assert "See to the server and the account behind the channel." in told[0].body.en
    assert "请检查该渠道的服务器与账户。" in told[0].body.zh
    (alert,) = house.book.open_alerts([HOUSE])
    assert (alert.problem, alert.raising) == ("channel-dead:sms", {"channel-dead"})
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Bao", at=house.time)
    assert (await house.act(act)).acknowledged_by == "Bao"
    assert house.follow_ups.of_alert(alert.id) is None  # nobody is to be called
    sms.cut = False
    # By two contacts, the other one might deliver first, and this one would be withdrawn before it is tried.
    house.duty.team.put(replace(BAO, contacts=(one,)), now=house.time)
    house.find(very_low(rule="ketone", problem="ketone"))
    await pass_minutes(house, speaker, 20, 40)
    back = [each.subject.en for each in sms.heard + app.heard if "Condition over" in each.subject.en]
    assert back == ["Condition over: A channel does not deliver, Homeward itself"]
    (alert,) = house.book.open_alerts([HOUSE])
    assert not alert.raising
    close = replace(act, kind=ActKind.CLOSE, at=house.time, outcome=Outcome.NO_ACTION, note="renewed the password")
    assert (await house.act(close)).closed_at == house.time
    assert house.book.standing([HOUSE]) == {}


async def test_a_dead_channel_outlives_a_restart_and_only_a_delivery_ends_it(house: SmallHouse) -> None:
    sms = Ear("sms")
    speaker = speak_through(house, sms, Ear("app"))
    house.duty.team.put(replace(BAO, contacts=(Contact(channel="sms", address="bao"),)), now=NOW)
    sms.cut = True
    house.find(very_low())
    await pass_minutes(house, speaker, 0, 20)
    before = house.book.open_alerts([HOUSE])
    speaker = speak_through(house, sms, Ear("app"))  # knows of no failure yet
    await house.duty.go()
    assert house.book.open_alerts([HOUSE]) == before
    assert before[0].raising
    sms.cut = False
    await pass_minutes(house, speaker, 20, 40)
    (after,) = house.book.open_alerts([HOUSE])
    assert after.condition_gone_at is not None


async def test_the_house_itself_is_no_item_of_a_patient_day(house: SmallHouse) -> None:
    sms = Ear("sms")
    speaker = speak_through(house, sms, Ear("app"))
    house.duty.team.put(replace(BAO, contacts=(Contact(channel="sms", address="bao"),)), now=NOW)
    sms.cut = True
    house.find(very_low())
    await pass_minutes(house, speaker, 0, 20)
    assert house.book.open_alerts([HOUSE])
    period = QualityBook(house.engine).alerts(NOW - timedelta(days=1), NOW + timedelta(days=1), {})
    assert [row.patient for row in period] == [WANG.id]


async def pass_minutes(house: SmallHouse, speaker: Speaker, first: int, last: int) -> None:
    for minutes in range(first, last):
        house.time = NOW + timedelta(minutes=minutes)
        await house.duty.go()
        await speaker.speak()


@pytest.mark.parametrize("replies", [True, False])
async def test_only_who_is_heard_is_asked_to_answer(house: SmallHouse, replies: bool) -> None:
    app = Ear("app")
    app.replies = replies
    speaker = speak_through(house, app)
    house.find(very_low())
    await house.duty.go()
    await speaker.speak()
    (message,) = app.heard
    assert ("or answer OK" in message.body.en, "回复“收到”" in message.body.zh) == (replies, replies)
    assert "Acknowledge with the link" in message.body.en


async def test_it_says_when_it_stands_still(house: SmallHouse) -> None:
    speak_through(house, Ear("app"))
    await house.duty.go()
    assert house.duty.trouble is None
    house.time += STALL
    assert house.duty.trouble is None
    house.time += timedelta(seconds=1)
    assert house.duty.trouble == (
        "Escalation stands still since 121 s: nobody else is told of alerts. See the log, and start Homeward again."
    )
    await house.duty.go()
    assert house.duty.trouble is None


async def test_it_says_when_nobody_can_be_told(house: SmallHouse) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    house.duty.team.put(replace(BAO, contacts=()), now=NOW)
    alert = house.find(very_low())
    await house.duty.go()
    assert house.duty.trouble == (
        f"Nobody of the staff could be told of alert {alert.id}: nobody is on duty with a contact. "
        "Enter shifts and contacts; it is tried again."
    )
    house.duty.team.put(BAO, now=NOW)
    house.time += timedelta(minutes=61)
    await house.duty.go()
    await speaker.speak()
    # On duty as a nurse; the steps that are left are for doctors and coordinators.
    assert [message.address for message in app.heard] == ["bao"]
    assert house.duty.trouble is None


async def test_it_goes_on_when_woken_and_when_time_has_passed(house: SmallHouse) -> None:
    app = Ear("app")
    speak_through(house, app)
    slept: asyncio.Queue[timedelta] = asyncio.Queue()
    passed = asyncio.Event()

    class Clock:
        def now(self) -> datetime:
            return house.time

        def elapsed(self) -> timedelta:
            return timedelta()

        runtime = elapsed

        async def sleep(self, duration: timedelta) -> None:
            slept.put_nowait(duration)
            await passed.wait()

    house.duty._clock = Clock()
    old = house.find(very_low(MILLER))
    await house.duty.go()
    of_runs = METADATA.tables["escalations"]
    with house.engine.begin() as db:
        db.execute(delete(of_runs).where(of_runs.c.kind == "handover"))
    running = asyncio.create_task(house.duty.run())
    async with asyncio.timeout(20):
        await slept.get()
        kinds = [timer.kind for timer in house.duty.escalation.timers(old.id)]
        assert TimerKind.HANDOVER in kinds, "who comes on duty is looked for in what began before an update"
        alert = house.find(very_low())
        house.duty.wake()
        assert await slept.get() == PAUSE
        assert any(notice.recipient for notice in house.book.notices(alert.id))
        passed.set()
        assert await slept.get() == PAUSE
    running.cancel()


async def test_why_a_channel_does_not_deliver_is_told_in_both_languages(house: SmallHouse) -> None:
    sms, app = Ear("sms"), Ear("app")
    speaker = speak_through(house, sms, app)
    house.duty.team.put(
        replace(BAO, contacts=tuple(Contact(channel=name, address="bao") for name in ("sms", "app"))), now=NOW
    )
    sms.cut, sms.fault = True, "webhook sms answered HTTP 500"
    for found in (very_low(), very_low(MILLER), severe_pressure()):
        house.find(found)
    await pass_minutes(house, speaker, 0, 12)
    (told,) = (each.body for each in app.heard if each.notice.patient == HOUSE)
    assert "has not delivered since 3 Mar 06:32: webhook sms answered HTTP 500." in told.en
    assert "起无法送达：webhook sms 返回错误代码 HTTP 500。" in told.zh


@pytest.mark.parametrize(
    ("sent", "is_told"), [((7.5,), False), ((None,), True)], ids=["a value", "nothing that can be used"]
)
async def test_no_data_is_not_told_in_the_morning_of_a_device_that_was_heard_in_the_night(
    house: SmallHouse, sent: tuple[float | None, ...], is_told: bool
) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    quiet = QuietHours(start=time(14), end=time(16))
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="app", address="w")], quiet, now=NOW)
    hours = timedelta(hours=1)
    expected = Expected(
        device="cgm-1",
        vital=Vital.CGM,
        silence=6 * hours,
        staff_after=72 * hours,
        staff_after_low=72 * hours,
        since=NOW - 7 * hours,
        not_before=NOW - 7 * hours,
    )
    silent, _ = no_data(Scene(WANG.id, DEFAULTS, NOW, SHANGHAI), [expected], {})
    house.book.record((), hear(None, silent, NOW + timedelta(minutes=1)).notices)
    await pass_minutes(house, speaker, 1, 2)
    came = reading(Vital.CGM, NOW + timedelta(minutes=30), *sent, received_at=NOW + timedelta(minutes=30))
    packet = Packet(link="listener", sender="cgm-1", channel="json", data=b"{}", received_at=came.received_at)
    house.journal.append([Arrival(packet=packet, outcomes=(came,))])
    await pass_minutes(house, speaker, 1049, 1051)  # 8:00 the next day
    assert [message.address for message in app.heard] == ["w"] * is_told


@pytest.mark.parametrize(("glucose", "is_told"), [(0.0061, False), (0.0034, True), (None, True)])
async def test_sugar_is_not_asked_for_at_the_end_of_quiet_hours_where_a_later_reading_is_not_low(
    house: SmallHouse, glucose: float | None, is_told: bool
) -> None:
    app = Ear("app")
    speaker = speak_through(house, app)
    quiet = QuietHours(start=time(14), end=time(16))
    house.duty.team.put_contacts(f"patient:{WANG.id}", [Contact(channel="app", address="w")], quiet, now=NOW)
    low = very_low(rule="meter-low", priority=Priority.LOW, audience=Audience.PATIENT)
    later = NOW + timedelta(minutes=1)
    house.book.record((), hear(None, low, later).notices)
    await pass_minutes(house, speaker, 1, 2)
    came = reading(Vital.GLUCOSE, NOW + timedelta(minutes=30), glucose)
    packet = Packet(link="listener", sender="m", channel="json", data=b"{}", received_at=came.received_at)
    house.journal.append([Arrival(packet=packet, outcomes=(came,))])
    await pass_minutes(house, speaker, 89, 91)
    assert [message.address for message in app.heard] == ["w"] * is_told
