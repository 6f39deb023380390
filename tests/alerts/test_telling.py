from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, event, insert

from alerts.alert import Act, ActKind, Audience, Finding, Outcome, Priority, Reason, Text, Verdict, together
from alerts.book import Book
from alerts.channels import ChannelError, Message
from alerts.database import METADATA
from alerts.escalation import Ladder, Result, Step, TimerKind
from alerts.escalation_book import EscalationBook, PatientFile
from alerts.first_aid import advice
from alerts.follow_up import Attempt, Close, Open, Postpone, State, What, Why, follow, of_alert
from alerts.follow_up import Result as Tried
from alerts.follow_up_book import FollowUpBook
from alerts.machine import hear
from alerts.survey import SURVEY_ID, Survey
from alerts.team import Absence, Contact, QuietHours, Recipient, Role, patient
from alerts.team_book import TeamBook
from gateway.care_words import told as told_in_words
from gateway.language import Language
from gateway.schema import open_database
from ingest.reading import to_us
from tests.alerts.telling import BAO, BASE, LI, SITUATION, WANG, Clinic, shift
from tests.alerts.ward import START, finding, minute

_NURSE = (Step(to=Role.NURSE, after=timedelta()),)
EVERYBODY = frozenset({Audience.STAFF, Audience.PATIENT})


@dataclass
class Ear:
    """A channel whose other side can be cut off."""

    name: str
    trusted: bool = True
    reaches: frozenset[Audience] = EVERYBODY
    audiences: frozenset[Audience] = frozenset()
    reaches_people: bool = True
    replies: bool = True
    cut: bool = False
    heard: list[tuple[str, Message]] = field(default_factory=list)

    async def deliver(self, message: Message) -> None:
        if self.cut:
            raise ChannelError(f"{self.name} is cut off")
        self.heard.append((message.address, message))

    def whom(self) -> list[str]:
        return [address for address, _ in self.heard]


@pytest.fixture
def app() -> Ear:
    return Ear("app")


@pytest.fixture
def sms() -> Ear:
    return Ear("sms", trusted=False)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Clinic]]:
    with ExitStack() as stack:
        yield lambda *channels, **more: stack.enter_context(closing(Clinic(tmp_path, channels, **more)))


@pytest.fixture
def clinic(opened: Callable[..., Clinic], app: Ear, sms: Ear) -> Clinic:
    clinic = opened(app, sms)
    clinic.staff()
    return clinic


async def test_a_critical_alert_goes_up_its_ladder_until_somebody_acknowledges(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    alert = clinic.alarm()
    await clinic.at(0)
    assert app.whom() == ["p", "wang"]
    await clinic.at(14)
    assert app.whom() == ["p", "wang"]
    await clinic.at(15)
    assert app.whom() == ["p", "wang", "li"]
    await clinic.at(61)
    assert sorted(app.whom()[3:]) == ["bao", "bao", "li", "li"]
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    await clinic.at(200)
    assert len(app.whom()) == 7
    assert {timer.result for timer in clinic.timers(alert.id) if timer.done_at == clinic.now} == set()
    assert clinic.escalation.next_due() is None


async def test_what_is_done_about_an_alert_survives_a_restart_at_any_moment(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.staff()
    clinic.alarm()
    for minutes in range(33):
        await clinic.at(minutes)
        now = clinic.now
        clinic.close()
        clinic = opened(app, sms)
        clinic.now = now
    assert app.whom() == ["wang", "li", "bao", "li"]
    ids = [message.notice.id for _, message in app.heard]
    assert len(set(ids)) == 4


async def test_what_opens_and_gets_worse_in_one_step_begins_one_ladder(clinic: Clinic, app: Ear) -> None:
    first = hear(None, finding(priority=Priority.MEDIUM), START)
    worse = hear(first.changes[-1].alert, finding("low-extended", priority=Priority.HIGH), START)
    clinic.book.record([*first.changes, *worse.changes], [*first.notices, *worse.notices])
    await clinic.at(15)
    assert app.whom() == ["wang", "li"]


async def test_a_clinic_without_a_register_goes_on_as_before(opened: Callable[..., Clinic], app: Ear) -> None:
    clinic = opened(app)
    alert = clinic.alarm()
    await clinic.at(60)
    assert clinic.timers(alert.id) == []
    assert app.heard == []
    clinic.reach_patient(Contact(channel="app", address="p"))
    other = clinic.hear(finding("ketone", priority=Priority.HIGH))[0]
    await clinic.at(120)
    assert app.whom() == ["p"]
    assert clinic.results(str(other.alert)) == [("patient", "told")]


async def test_nobody_on_duty_is_said_and_the_next_step_is_taken_at_once(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.staff(nurse=(8, 16))  # it is 02:00
    alert = clinic.alarm()
    await clinic.at(0)
    assert app.whom() == ["li"]
    assert clinic.results(alert.id)[:3] == [("patient", "nobody"), ("nurse", "nobody"), ("doctor", "told")]
    assert clinic.escalation.untold([alert.id]) == []


async def test_where_nobody_at_all_is_there_it_is_tried_again_and_said(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.team.put(LI, now=START)
    clinic.team.add_absence(Absence(practitioner="li", start=START, end=minute(42)), now=START)
    alert = clinic.alarm()
    await clinic.at(41)
    assert app.whom() == []
    assert clinic.escalation.untold([alert.id]) == [alert.id]
    await clinic.at(60)
    assert app.whom() == ["li"]
    assert clinic.escalation.untold([alert.id]) == []


async def test_who_has_only_a_telephone_that_nobody_can_be_asked_to_dial_counts_as_nobody(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    for number, one in enumerate((WANG, LI, BAO)):
        clinic.team.put(replace(one, contacts=(Contact(channel="telephone", address=f"010-123{number}"),)), now=START)
    clinic.team.add_shift(shift("wang", Role.NURSE), now=START)
    alert, mild = clinic.alarm(), clinic.alarm(Priority.LOW, patient="p-2")
    act = Open(patient="p-1", why=Why.STAFF, key="k", because=alert.because, at=START, role=Role.NURSE, by="Li")
    late = clinic.open(replace(act, priority=Priority.LOW))
    await clinic.at(31)
    assert app.heard == []
    assert clinic.escalation.untold([alert.id]) == [alert.id]
    await clinic.skip(3 * 24 * 60)
    every = sorted([alert.id, mild.id, late.id])
    assert clinic.escalation.untold(every) == every
    clinic.team.put(BAO, now=clinic.now)
    await clinic.at(3 * 24 * 60 + 6)
    assert "bao" in app.whom()
    assert clinic.escalation.untold([alert.id]) == []


async def test_an_absence_is_stood_in_for(clinic: Clinic, app: Ear) -> None:
    clinic.team.add_absence(Absence(practitioner="wang", start=START, end=minute(60), substitute="bao"), now=START)
    clinic.alarm()
    await clinic.at(0)
    assert app.whom() == ["bao"]


async def test_the_next_contact_is_tried_when_the_first_failed_twice(clinic: Clinic, app: Ear, sms: Ear) -> None:
    app.cut = True
    alert = clinic.alarm()
    await clinic.at(0)
    assert sms.whom() == []
    await clinic.at(1)
    assert sms.whom() == ["+8613"]
    app.cut = False
    await clinic.at(14)
    assert app.whom() == []  # it was withdrawn
    (notice,) = (each for each in clinic.book.notices(alert.id) if each.recipient)
    assert [(way.channel, way.tries, way.delivered_at is not None) for way in clinic.outbox.ways(notice.id)] == [
        ("app", 2, False),
        ("sms", 1, True),
    ]
    assert [(one.channel, one.address, one.error) for one in clinic.book.tries(notice.id)] == [
        ("app", "wang", "app is cut off"),
        ("app", "wang", "app is cut off"),
        ("sms", "+8613", None),
    ]


async def test_a_dead_channel_is_not_waited_for(clinic: Clinic, app: Ear, sms: Ear) -> None:
    app.cut = True
    for number in range(5):
        clinic.alarm(patient=f"p-{number}")
    await clinic.at(3)
    assert "app" in clinic.speaker.dead()
    before = len(sms.whom())
    clinic.alarm(patient="p-9")
    clinic.run()
    await clinic.speaker.speak()
    assert len(sms.whom()) == before + 1


async def test_a_step_that_reaches_nobody_is_passed_on(clinic: Clinic, app: Ear, sms: Ear) -> None:
    app.cut = sms.cut = True
    alert = clinic.alarm()
    await clinic.at(4)
    results = clinic.results(alert.id)
    assert ("nurse", "not-delivered") in results
    assert ("doctor", "told") in results  # and not at 15 min
    sms.cut = False
    await clinic.at(10)
    assert sms.whom() == ["+8613"]  # what was begun is still tried


async def test_an_alert_that_is_acknowledged_first_is_not_told(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm()
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    await clinic.at(60)
    assert app.whom() == []


async def test_told_anew_a_new_run_begins(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(10)
    assert app.whom() == ["wang"]
    clinic.hear(finding(priority=Priority.HIGH))
    await clinic.at(25)
    assert app.whom() == ["wang", "wang", "li"]
    ended = [(timer.kind, timer.number) for timer in clinic.timers(alert.id) if timer.result is Result.TOLD_ANEW]
    assert ended == [("check", 0), ("step", 1), ("step", 2)]


async def test_who_was_not_told_of_an_episode_is_not_told_that_it_is_over(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm()
    await clinic.at(5)
    clinic.over()
    await clinic.at(10)
    assert app.whom() == ["wang", "wang"]  # of it, and of its end
    own = finding(audience=Audience.PATIENT, since=clinic.now)
    clinic.hear(own)
    await clinic.at(16)
    assert app.whom()[2:] == ["li"]  # whose turn it is, for nobody has seen the alert
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    clinic.over()
    await clinic.at(20)
    assert app.whom()[3:] == ["li"]
    assert app.heard[-1][1].subject.en == "Condition over: Very low glucose, patient p-1"
    clinic.hear(replace(own, since=clinic.now))
    await clinic.at(22)
    clinic.over()
    await clinic.at(24)
    assert len(app.whom()) == 4


async def test_what_ends_after_it_was_closed_is_told_with_its_own_sentence_and_by_whom_it_was_closed(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    alert = clinic.alarm()
    await clinic.at(5)
    clinic.over()
    await clinic.at(10)
    clinic.hear(finding(since=clinic.now, known_at=clinic.now))
    await clinic.at(12)
    clinic.act(alert.id, ActKind.CLOSE)
    told = len(app.heard)
    now = Text(en="Glucose is 6.5 mmol/L now.", zh="血糖现为 6.5 mmol/L。")
    clinic.hear(replace(finding(verdict=Verdict.CLEAR), because=now))
    await clinic.at(15)
    last = dict(app.heard[told:])
    assert sorted(last) == ["p", "wang"]
    assert last["wang"].subject.en == "Condition over: Very low glucose, patient p-1"
    assert last["wang"].body.en == "Glucose is 6.5 mmol/L now.\nLi has closed the alert."
    assert last["p"].subject.zh == "状况已解除：血糖严重偏低"
    assert last["p"].body.zh.startswith("血糖现为 6.5 mmol/L。")


async def test_an_episode_that_begins_for_the_patient_alone_is_told_when_it_is_for_staff(
    clinic: Clinic, app: Ear
) -> None:
    low = finding("late-data")
    clinic.hear(low)
    (alert,) = clinic.book.open_alerts()
    await clinic.at(5)
    clinic.put_off(alert.id, hours=2)
    clinic.hear(finding("late-data", Verdict.CLEAR))
    await clinic.at(130)
    told = len(app.whom())
    again = finding("late-data", since=clinic.now)
    clinic.hear(replace(again, audience=Audience.PATIENT))
    await clinic.at(135)
    assert len(app.whom()) == told
    clinic.hear(again)
    clinic.hear(again)
    assert clinic.book.notices(alert.id)[-1].subject.en.startswith("Low priority, again: ")
    begun = [timer.run for timer in clinic.timers(alert.id) if timer.kind == "begin"]
    assert begun.count(clinic.now) == 1


async def test_what_was_over_before_its_ladder_began_is_told_to_staff_alone(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    alert = clinic.alarm()
    clinic.over()
    await clinic.at(1)
    assert "p" not in app.whom()
    assert app.whom()[0] == "wang"
    assert clinic.results(alert.id)[0] == ("patient", "condition-gone")


async def test_all_who_were_told_are_told_that_it_is_over(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    alert = clinic.alarm()
    await clinic.at(16)
    clinic.over()
    await clinic.at(17)
    assert app.whom()[:3] == ["p", "wang", "li"]
    assert sorted(app.whom()[3:]) == ["li", "p", "wang"]
    last = dict(app.heard[3:])
    assert last["li"].subject.en == "Condition over: Very low glucose, patient p-1"
    assert last["p"].subject.zh == "状况已解除：血糖严重偏低"
    # It stays open, and those who have not been told yet are told once, for nobody has seen it.
    await clinic.at(120)
    assert sorted(app.whom()[6:]) == ["bao", "li"]
    clinic.act(alert.id, ActKind.CLOSE)
    await clinic.at(121)
    assert clinic.escalation.next_due() is None


async def test_quiet_hours_put_off_and_join_what_is_not_critical(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    quiet = QuietHours(start=time(22), end=time(7))
    clinic.team.put(replace(WANG, quiet=quiet), now=START)
    clinic.team.add_shift(shift("wang", Role.NURSE), now=START)
    medium = []
    for number in (1, 2, 3):
        await clinic.at(number)
        medium.append(clinic.alarm(Priority.MEDIUM, patient=f"p-{number}"))
    await clinic.at(60)
    assert app.whom() == []
    assert clinic.results(medium[0].id)[0] == ("nurse", "put-off")
    clinic.act(medium[2].id, ActKind.CLOSE)
    clinic.alarm(Priority.HIGH, patient="p-9")
    await clinic.at(61)
    assert app.whom() == ["wang"]
    await clinic.at(299)
    assert app.whom() == ["wang"]
    await clinic.at(300)
    assert app.whom() == ["wang", "wang"]
    digest = app.heard[1][1]
    assert digest.subject.zh == "2 条消息汇总"
    said = digest.body.en.splitlines()
    assert [line for line in said if line.startswith("- ")] == [
        "- 2 Mar 02:01, patient p-1: Medium priority: Very low glucose, patient p-1",
        "- 2 Mar 02:02, patient p-2: Medium priority: Very low glucose, patient p-2",
    ]
    # What was told of each is all there, and each can be acknowledged.
    assert said.count("Readings: 02:00 3.1 mmol/L, 02:05 2.7 mmol/L.") == 2
    assert digest.body.en.count("What to do: Reach the patient now.") == 2
    assert [line for line in said if line.startswith("http")] == [f"{BASE}/alerts/{each.id}" for each in medium[:2]]
    assert digest.link == f"{BASE}/alerts"


async def test_what_quiet_hours_kept_from_a_patient_is_told_in_full_and_says_how_old_it_is(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"), quiet=QuietHours(start=time(1), end=time(3)))
    clinic.hear(finding(audience=Audience.PATIENT, priority=Priority.LOW))
    await clinic.at(60)
    ((_, alone),) = app.heard
    told = clinic.book.notice(alone.notice.id)
    assert told is not None
    assert alone.body == Text(
        en=f"This message was written 60 min ago.\n{told.body.en}", zh=f"本消息写于 60 分钟前。\n{told.body.zh}"
    )
    clinic.reach_patient(Contact(channel="app", address="p"), quiet=QuietHours(start=time(3), end=time(4)))
    for number in (61, 62):
        await clinic.at(number)
        found = finding(audience=Audience.PATIENT, priority=Priority.LOW)
        clinic.hear(replace(found, since=clinic.now, known_at=clinic.now))
    await clinic.at(120)
    (_, both) = app.heard[-1]
    assert both.subject.zh == "2 条消息汇总"
    assert both.body.zh.count(told.body.zh) == 2
    assert "p-1" not in both.body.zh, "who reads of oneself"
    assert "http" not in both.body.zh


async def test_what_a_device_asks_of_a_patient_waits_for_the_morning(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    silent = finding("no-data", audience=Audience.PATIENT, priority=Priority.LOW)
    clinic.hear(silent)
    clinic.hear(finding(audience=Audience.PATIENT, priority=Priority.LOW))
    await clinic.at(1)
    assert [message.subject.en for _, message in app.heard] == ["For you: Very low glucose"]
    await clinic.skip(6 * 60)
    assert [message.subject.en for _, message in app.heard[1:]] == ["For you: No data"]


@pytest.mark.parametrize(
    ("others", "is_urgent"),
    [(["clock-wrong"], False), (["battery-low", "missed-measurement"], False), (["low"], True)],
)
async def test_what_is_joined_for_a_patient_sounds_urgent_by_an_untrusted_channel_only_where_something_is(
    clinic: Clinic, app: Ear, sms: Ear, others: list[str], is_urgent: bool
) -> None:
    clinic.reach_patient(Contact(channel="sms", address="me"), quiet=QuietHours(start=time(1), end=time(8)))
    for rule in ["no-data", *others]:
        name = {"rule": rule} if rule != "low" else {}
        clinic.hear(finding(**name, audience=Audience.PATIENT, priority=Priority.LOW, patient="p-1"))
    await clinic.skip(6 * 60)
    ((_, message),) = sms.heard
    assert message.notice.subject.en.endswith(" messages in one")
    assert ("now" in message.body.en, "立即" in message.body.zh) == (is_urgent, is_urgent)
    assert ("it is not urgent" in message.body.en, "（不紧急）" in message.body.zh) == (not is_urgent, not is_urgent)


async def test_what_is_not_urgent_and_over_is_told_to_nobody_any_more(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm(Priority.LOW)
    clinic.over()
    await clinic.at(24 * 60)
    assert app.whom() == []
    assert ("nurse", "condition-gone") in clinic.results(alert.id)


async def test_too_much_at_once_is_joined_but_what_is_critical(clinic: Clinic, app: Ear) -> None:
    for number in range(10):
        clinic.alarm(Priority.MEDIUM, patient=f"p-{number}")
    await clinic.at(1)
    assert len(app.whom()) == 6
    clinic.alarm(Priority.HIGH, patient="p-x")
    await clinic.at(2)
    assert len(app.whom()) == 7
    await clinic.at(11)
    assert len(app.whom()) == 8
    joined = app.heard[-1][1]
    assert joined.subject.en == "4 messages in one"
    # The link of each leads to its page; no answer says which of them is meant.
    assert joined.body.en.count(" Open the link, sign in and acknowledge it there; then note what came of it.\n") == 4
    assert joined.body.zh.count("请打开链接，登录后确认；随后记录处理结果。\n") == 4
    assert ("answer OK" in joined.body.en, "回复“收到”" in joined.body.zh) == (False, False)


async def test_what_a_rule_says_to_the_patient_goes_to_the_patients_own_contacts(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    clinic.hear(finding(audience=Audience.PATIENT, priority=Priority.LOW))
    await clinic.at(0)
    ((address, message),) = app.heard
    assert (address, message.language, message.link) == ("p", "zh_CN", "")
    assert message.subject.zh == "请注意：血糖严重偏低"


async def test_what_was_delivered_after_its_time_is_told_as_such_to_who_comes_later(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    alert = clinic.alarm()
    app.cut = sms.cut = True
    await clinic.at(5)  # looked into after 4 min: the doctor, who is told at once, cannot be reached either
    assert ("nurse", "not-delivered") in clinic.results(alert.id)
    app.cut = sms.cut = False
    await clinic.at(31)
    (last,) = (message.body for address, message in app.heard if address == "bao")
    assert "- 2 Mar 02:00, nurse (王丽): delivered late, no answer yet\n" in last.en
    assert "- 3月2日 02:00，护士（王丽）：延迟送达，尚无回应\n" in last.zh
    assert "not delivered" not in last.en


async def test_a_telephone_is_dialled_by_a_person(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    alert = clinic.alarm()
    await clinic.at(1)
    assert app.whom() == ["wang", "wang"]
    asked = next(message for _, message in app.heard if "010-1234" in message.subject.en)
    assert asked.subject.zh == "请致电 张伟：010-1234"
    assert asked.body.zh.startswith("需电话通知 张伟。")  # it is the first contact: nothing has failed
    assert asked.notice.alert == alert.id
    assert SITUATION.numbers
    assert f"情况：{alert.because.zh}\n读数：{SITUATION.numbers.zh}。\n趋势：" in asked.body.zh
    task = FollowUpBook(clinic.engine).of_alert(alert.id)
    assert task
    assert (task.role, task.state, task.priority) == (Role.NURSE, State.OPEN, Priority.HIGH)
    assert task.because.en == f"Please telephone the patient: 010-1234. {alert.because.en}"


@pytest.mark.parametrize("rule", ["low-critical", "bp-severe"])
async def test_who_telephones_has_no_less_to_say_than_the_patient_would_read(
    clinic: Clinic, app: Ear, rule: str
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding(rule, priority=Priority.HIGH))
    await clinic.at(1)
    (call,) = (message.body for _, message in app.heard if "010-1234" in message.subject.en)
    (would_read,) = (each.body for each, _ in clinic.book.to_patient("p-1", 9))
    for told, said, apart in ((call.zh, would_read.zh, "。"), (call.en, would_read.en, ". ")):
        sentences = {each.strip() for line in said.splitlines() for each in line.split(apart)}
        left = {each for each in sentences if each.removesuffix(".") not in told}
        assert left <= {"正在通知您的诊所", "Your clinic is being told", "Your clinic is being told."}
    assert ("请勿独处" in call.zh, "切勿喂食" in call.zh) == (rule == "low-critical",) * 2
    assert "Reach the patient now. Ask " in call.en


async def test_what_the_call_says_already_is_not_said_twice(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    own = finding("low-critical", audience=Audience.PATIENT, priority=Priority.MEDIUM)
    clinic.hear(replace(own, because=together((own.because, advice(very_low=True)))))
    clinic.alarm()
    await clinic.at(1)
    (call,) = (message.body for _, message in app.heard if "010-1234" in message.subject.en)
    assert (call.zh.count("请勿独处"), call.en.count("Do not stay alone")) == (1, 1)


async def test_who_telephones_for_a_rule_that_says_something_to_the_patient_alone_reads_it_and_has_a_link(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    said = finding(audience=Audience.PATIENT, priority=Priority.MEDIUM)
    clinic.hear(said)
    await clinic.at(1)
    ((address, asked),) = app.heard
    (task,) = clinic.follow_ups.open_of("p-1")
    assert (address, asked.link) == ("wang", f"{BASE}/follow-ups/{task.id}")
    assert f"内容：血糖严重偏低。\n情况：{said.because.zh}\n请拨打 010-1234" in asked.body.zh


async def test_a_patient_who_is_telephoned_is_called_once_about_an_alert_and_ends_with_it(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    sugar = finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM)
    pressure = finding("bp-session-high", audience=Audience.PATIENT)
    clinic.hear(sugar)
    clinic.hear(pressure)
    alert = clinic.alarm()
    await clinic.at(1)
    calls = [message for _, message in app.heard if "010-1234" in message.subject.en]
    assert len(app.heard) == 3, "the alert, the call about it, and the call about the pressure"
    (call,) = (each for each in calls if each.notice.alert == alert.id)
    assert f"情况：{alert.because.zh}\n另需告知：{sugar.because.zh}\n读数：" in call.body.zh
    assert f"What else is to be said: {sugar.because.en}\n" in call.body.en
    task = clinic.follow_ups.of_alert(alert.id)
    assert task
    clinic.hear(replace(sugar, since=clinic.now, known_at=clinic.now))
    await clinic.at(10)
    again = app.heard[-1][1]
    assert (again.notice.follow_up, again.link) == (task.id, f"{BASE}/follow-ups/{task.id}")
    assert f"情况：{sugar.because.zh}\n" in again.body.zh
    (other,) = (each for each in clinic.follow_ups.open_of("p-1") if each.id != task.id)
    assert other.because.zh.endswith(pressure.because.zh), "that is another trouble"
    act = Act(kind=ActKind.CLOSE, alert=alert.id, by="Li", at=clinic.now, note="ate", outcome=Outcome.NO_ACTION)
    act = replace(act, reason=Reason.TREATED_BEFORE)
    clinic.follow_ups.record(follow(alert, act, clinic.follow_ups.get(task.id)))
    assert [each.id for each in clinic.follow_ups.open_of("p-1")] == [other.id]


async def test_a_patient_whom_a_person_is_to_dial_is_not_said_to_be_told(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.alarm()
    await clinic.at(0)
    await clinic.skip(16)
    told = [message.body for _, message in app.heard if "Told before:" in message.body.en]
    assert len(told) == 2, "the nurse at once, and the doctor"
    for body in told:
        assert "the patient (p-1): staff were asked to telephone\n" in body.en
        assert "患者（p-1）：已请工作人员致电\n" in body.zh


async def test_who_is_asked_to_dial_a_number_that_was_found_wrong_reads_so(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("meter-low", audience=Audience.PATIENT))
    await clinic.at(0)
    (task,) = clinic.follow_ups.open_of("p-1")
    wrong = Attempt(follow_up=task.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.WRONG_NUMBER)
    clinic.care(wrong)
    await clinic.at(1)
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    before, after = (message.body for _, message in app.heard if "010-1234" in message.subject.en)
    assert "Take care" not in before.en
    found = "Take care (2 Mar 02:00): The contact for telephone is wrong, says 王丽. Find out the right one.\n"
    assert found in after.en
    assert "请注意（3月2日 02:00）：王丽 反映电话联系方式有误，请核实。\n" in after.zh


async def test_what_is_milder_makes_the_follow_up_of_an_alert_no_milder(clinic: Clinic, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"))
    alert = clinic.alarm()
    await clinic.at(1)
    sms.cut = True
    clinic.hear(finding("meter-low", audience=Audience.PATIENT, since=clinic.now))
    await clinic.at(25)
    task = clinic.follow_ups.of_alert(alert.id)
    assert task
    assert (task.priority, task.is_overdue(clinic.now + timedelta(minutes=31))) == (Priority.HIGH, True)


async def test_a_severe_pressure_of_which_a_milder_one_is_telephoned_asks_for_symptoms(clinic: Clinic) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("bp-severe", priority=Priority.MEDIUM))
    await clinic.at(1)
    clinic.hear(finding("bp-session-high", audience=Audience.PATIENT, since=clinic.now))
    await clinic.at(2)
    (task,) = clinic.follow_ups.open_of("p-1")
    assert task.alert
    assert (task.priority, task.asks_symptoms) == (Priority.MEDIUM, True)


async def test_calls_that_are_joined_are_about_the_most_urgent_of_them(clinic: Clinic, app: Ear, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"), Contact(channel="telephone", address="010-1234"))
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(0)
    sms.cut = True
    clinic.hear(finding("meter-low", audience=Audience.PATIENT, since=clinic.now))
    clinic.run()
    clinic.now += timedelta(seconds=20)
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM, since=clinic.now))
    clinic.run()
    clinic.now += timedelta(minutes=16)
    clinic.run()
    await clinic.at(18)
    (call,) = (message for _, message in app.heard if "010-1234" in message.subject.en)
    assert call.notice.priority is Priority.MEDIUM
    assert "It was about: Very low glucose on the meter." in call.body.en
    assert "What else is to be said:" in call.body.en
    task = clinic.follow_ups.of_alert(alert.id)
    assert task
    assert task.priority is Priority.MEDIUM


async def test_what_reaches_no_patient_joins_the_follow_up_that_the_alert_has(clinic: Clinic, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"))
    alert = clinic.alarm(Priority.MEDIUM)
    clinic.take(alert.id, "王丽")
    task = clinic.follow_ups.of_alert(alert.id)
    assert task
    until = clinic.now + timedelta(hours=23)
    clinic.care(Postpone(follow_up=task.id, by="王丽", at=clinic.now, until=until, note="sleeps"))
    sms.cut = True
    said = finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM)
    clinic.hear(said)
    await clinic.at(20)
    (found,) = clinic.follow_ups.open_of("p-1")
    assert (found.id, found.assigned_to) == (task.id, "王丽")
    assert found.due_at <= clinic.now + timedelta(minutes=15)
    tried = "No contact of the patient has delivered (tries): sms +8610 (2)."
    assert found.rule.en.startswith(f"{tried} {said.because.en}")
    assert found.rule.en.endswith("To be acted on within 15 min.")
    (last,) = (fact for fact in clinic.follow_ups.history(task.id) if fact.what is What.UNREACHED)
    assert told_in_words(last, None, zone=UTC, language=Language("en")) == (
        "What is to be said to the patient reaches the patient by no message."
    )


async def test_who_has_reached_the_patient_since_has_nothing_to_do_for_a_message(clinic: Clinic, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"))
    alert = clinic.alarm(Priority.MEDIUM)
    clinic.take(alert.id, "王丽")
    task = clinic.follow_ups.of_alert(alert.id)
    assert task
    sms.cut = True
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    clinic.run()
    tried = Attempt(
        follow_up=task.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.REACHED, note="ate"
    )
    reached = clinic.care(tried)
    await clinic.at(20)
    assert clinic.follow_ups.open_of("p-1") == [reached]


async def test_sugar_now_is_telephoned_now_and_not_in_two_days(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("meter-low", audience=Audience.PATIENT, priority=Priority.LOW))
    clinic.hear(finding("missed-measurement", audience=Audience.PATIENT, priority=Priority.LOW))
    await clinic.at(0)
    sugar, other = clinic.follow_ups.open_of("p-1")
    assert (sugar.priority, sugar.due_at - sugar.opened_at) == (Priority.MEDIUM, timedelta(minutes=15))
    assert sugar.rule.en == "To be acted on within 15 min."
    assert (other.priority, other.due_at - other.opened_at) == (Priority.LOW, timedelta(hours=48))
    assert [message.notice.priority for _, message in app.heard] == [Priority.MEDIUM, Priority.LOW]


async def test_what_was_telephoned_before_there_was_the_alert_ends_with_it(clinic: Clinic) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("bp-severe", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    first, other = sorted(clinic.follow_ups.open_of("p-1"), key=lambda each: each.problem or "")
    assert (first.problem, first.asks_symptoms) == ("blood-pressure-high", True)
    tried = Attempt(
        follow_up=first.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.REACHED, note="ok"
    )
    clinic.care(tried)
    clinic.hear(finding("bp-severe", priority=Priority.MEDIUM, since=clinic.now))
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    clinic.take(alert.id, "王丽")
    done = Close(
        follow_up=Open(
            patient="p-1", why=Why.ALERT, key=alert.id, because=alert.because, at=clinic.now, role=Role.NURSE
        ).follow_up,
        by="王丽",
        at=clinic.now,
        outcome=Outcome.ADVICE,
        note="rests",
        symptoms=frozenset(),
    )
    clinic.care(done)
    assert clinic.follow_ups.open_of("p-1") == [other], "another trouble is not over"
    ended = clinic.follow_ups.get(first.id)
    assert ended
    assert (ended.closed_by, ended.outcome, ended.closing_note) == ("王丽", Outcome.ADVICE, "rests")


@pytest.mark.parametrize("taken", [False, True])
async def test_what_is_to_be_telephoned_ends_where_the_alert_that_has_it_all_has_its_own_follow_up(
    clinic: Clinic, app: Ear, taken: bool
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("bp-severe", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    first, other = sorted(clinic.follow_ups.open_of("p-1"), key=lambda each: each.problem or "")
    clinic.hear(finding("bp-severe", priority=Priority.MEDIUM if taken else Priority.HIGH, since=clinic.now))
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    if taken:
        clinic.take(alert.id, "王丽")
    else:
        await clinic.at(2)
    own = clinic.follow_ups.of_alert(alert.id)
    assert own is not None
    assert {each.id for each in clinic.follow_ups.open_of("p-1")} == {own.id, other.id}, "another trouble is not over"
    ended = clinic.follow_ups.get(first.id)
    assert ended
    assert (ended.closed_by, ended.outcome) == ("Homeward", Outcome.NO_ACTION)
    assert ended.closing_note == "The follow-up of the alert has all of this. 警报的随访已包含此事。"
    assert own.due_at == first.due_at == first.opened_at + timedelta(minutes=15), "no later for the alert"
    assert own.rule.en.startswith(f"{first.because.en} To be acted on within ")
    (asked,) = (fact for fact in clinic.follow_ups.history(own.id) if fact.what is What.UNREACHED)
    assert asked.note == f"{first.because.en} {first.because.zh}"
    assert "010-1234" in first.because.en
    await clinic.at(17)
    late = clinic.follow_ups.get(own.id)
    assert late
    assert late.overdue_at
    assert "overdue since 2 Mar 02:15" in app.heard[-1][1].subject.en


@pytest.mark.parametrize("hours", [0, 1])
async def test_what_somebody_has_begun_to_telephone_goes_on_beside_the_follow_up_of_the_alert(
    clinic: Clinic, app: Ear, hours: int
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    (call,) = clinic.follow_ups.open_of("p-1")
    if hours:  # nobody has, and it is overdue, which was noted by nobody yet
        clinic.now += timedelta(hours=hours)
    else:
        tried = Attempt(
            follow_up=call.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.NO_ANSWER, note="rings"
        )
        call = clinic.care(tried)
    clinic.hear(finding("meter-very-low", priority=Priority.MEDIUM, since=clinic.now))
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    clinic.take(alert.id, "赵敏")
    assert clinic.follow_ups.get(call.id) == call
    own = clinic.follow_ups.of_alert(alert.id)
    assert own
    done = Close(
        follow_up=own.id,
        by="赵敏",
        at=clinic.now,
        outcome=Outcome.ADVICE,
        note="ate",
    )
    clinic.care(done)
    assert clinic.follow_ups.open_of("p-1") == [], "with the alert's it ends"


async def test_what_is_to_be_telephoned_ends_as_the_alert_does_that_is_closed_at_once(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    (call,) = clinic.follow_ups.open_of("p-1")
    clinic.hear(finding("meter-very-low", priority=Priority.MEDIUM, since=clinic.now))
    (alert,) = clinic.book.alerts(patient="p-1", limit=1)
    act = Act(kind=ActKind.CLOSE, alert=alert.id, by="王丽", at=clinic.now, note="ate", outcome=Outcome.ADVICE)
    changes = hear(alert, act, clinic.now).changes
    clinic.book.record(changes, also=clinic.follow_ups.writing(follow(changes[-1].alert, act, None)))
    ended = clinic.follow_ups.get(call.id)
    assert ended
    assert (ended.closed_by, ended.outcome, ended.closing_note) == ("王丽", Outcome.ADVICE, "ate")


async def test_a_silent_home_is_to_be_telephoned_once_until_it_was_reached(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    said = finding("no-data", audience=Audience.PATIENT, priority=Priority.LOW)
    one, both = (replace(said, because=Text(en=each, zh=each)) for each in ("c2 is silent", "c2 and m2 are silent"))
    clinic.now += timedelta(hours=6)  # by day
    clinic.hear(replace(one, since=clinic.now, known_at=clinic.now))
    clinic.run()
    (task,) = clinic.follow_ups.open_of("p-1")
    clinic.now += timedelta(hours=1)
    clinic.hear(replace(both, since=clinic.now, known_at=clinic.now))
    clinic.run()
    await clinic.speaker.speak()
    (known,) = clinic.follow_ups.open_of("p-1")
    assert (known.id, known.due_at) == (task.id, task.due_at)
    last = clinic.follow_ups.history(task.id)[-1]
    assert (last.what, last.note) == (What.UNREACHED, "c2 and m2 are silent c2 and m2 are silent")
    assert len([message for _, message in app.heard if "010-1234" in message.subject.en]) == 1
    tried = Attempt(follow_up=task.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.REACHED, note="ok")
    clinic.care(tried)
    clinic.now += timedelta(hours=1)
    clinic.hear(replace(both, since=clinic.now, known_at=clinic.now))
    clinic.run()
    assert len(clinic.follow_ups.open_of("p-1")) == 2, "who was reached is told anew"


async def test_a_milder_alert_does_not_have_what_is_more_urgent_followed_up_later(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="telephone", address="010-1234"))
    alert = clinic.alarm(Priority.LOW)
    clinic.hear(finding("meter-very-low", audience=Audience.PATIENT, priority=Priority.MEDIUM))
    await clinic.at(1)
    (task,) = clinic.follow_ups.open_of("p-1")
    assert (task.alert, task.priority) == (None, Priority.MEDIUM)
    assert alert.problem == "glucose-low"


async def test_a_telephone_behind_a_contact_that_failed_is_dialled_because_of_that(
    clinic: Clinic, app: Ear, sms: Ear
) -> None:
    sms.cut = True
    clinic.reach_patient(Contact(channel="sms", address="+8610"), Contact(channel="telephone", address="010-1234"))
    clinic.alarm()
    await clinic.at(5)
    asked = next(message for _, message in app.heard if "010-1234" in message.subject.en)
    assert asked.body.zh.startswith("未能及时将消息送达 张伟。内容：")


async def test_a_patient_whom_no_contact_reaches_is_followed_up_by_a_nurse_once(clinic: Clinic, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"), Contact(channel="sms", address="+8620"))
    sms.cut = True
    alert = clinic.alarm()
    await clinic.at(30)
    (task,) = FollowUpBook(clinic.engine).of_patient("p-1")
    assert (task.alert, task.role, task.state) == (alert.id, Role.NURSE, State.OPEN)
    said = "No contact of the patient has delivered (tries): sms +8610 (3); sms +8620 (2)."
    assert task.because.en == f"{said} {alert.because.en}"
    assert task.because.zh.startswith("患者的所有联系方式均未送达（尝试次数）：sms +8610 (3); sms +8620 (2)。")
    # Whoever acknowledges the alert takes it.
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Wang", at=clinic.now)
    (claimed,) = follow(hear(alert, act, clinic.now).changes[-1].alert, act, task)
    assert (claimed.follow_up.id, claimed.follow_up.assigned_to) == (task.id, "Wang")


async def test_what_a_rule_says_and_nothing_delivers_is_followed_up_and_a_survey_is_not(
    clinic: Clinic, sms: Ear
) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"))
    sms.cut = True
    clinic.hear(finding(audience=Audience.PATIENT, priority=Priority.MEDIUM))
    survey = Survey(
        id=f"{SURVEY_ID}1", follow_up="f-1", patient="p-1", made_at=START, expires_at=START + timedelta(days=14)
    )
    moments = {"made_at_us": to_us(survey.made_at), "expires_at_us": to_us(survey.expires_at)}
    with clinic.engine.begin() as db:
        db.execute(insert(METADATA.tables["surveys"]).values(id=survey.id, follow_up="f-1", patient="p-1", **moments))
    await clinic.skip(355)  # 07:55
    assert not clinic.escalation.send_survey(survey, clinic.now), "nobody is woken for it"
    await clinic.skip(360)
    assert clinic.escalation.send_survey(survey, clinic.now)
    await clinic.at(420)
    (task,) = FollowUpBook(clinic.engine).of_patient("p-1")
    assert (task.alert, task.priority) == (None, Priority.MEDIUM)


async def test_a_test_message_that_nothing_delivers_is_not_followed_up(clinic: Clinic, sms: Ear) -> None:
    contact = Contact(channel="sms", address="+8610")
    clinic.reach_patient(contact)
    sms.cut = True
    recipient = Recipient(owner=patient("p-1"), name="p-1", language="en", zone="UTC", contacts=(contact,))
    clinic.escalation.try_out(recipient, contact, clinic.now, "Wang")
    await clinic.at(60)
    (trial,) = clinic.outbox.trials(recipient.owner, 9)
    assert trial.way.tries > 1
    assert FollowUpBook(clinic.engine).of_patient("p-1") == []


async def test_what_one_of_the_contacts_has_delivered_is_not_followed_up(clinic: Clinic, sms: Ear) -> None:
    clinic.reach_patient(Contact(channel="sms", address="+8610"), Contact(channel="app", address="p-1"))
    sms.cut = True
    clinic.alarm()
    await clinic.at(30)
    assert FollowUpBook(clinic.engine).of_patient("p-1") == []


async def test_what_is_due_of_many_alerts_is_read_and_written_for_all_at_once(clinic: Clinic) -> None:
    asked: list[str] = []
    event.listen(clinic.engine, "before_cursor_execute", lambda _db, _cursor, said, *_: asked.append(said))
    counts = []
    for patients in (range(5), range(5, 45)):
        for number in patients:
            clinic.alarm(Priority.MEDIUM, f"q-{number}")
        asked.clear()
        assert clinic.run() >= 2 * len(patients)
        counts.append(len(asked))
        clinic.now += timedelta(hours=1)
    assert counts[1] < 2 * counts[0]


async def test_a_channel_reaches_only_those_it_is_for(opened: Callable[..., Clinic]) -> None:
    app = Ear("app", reaches=frozenset({Audience.STAFF}))
    clinic = opened(app)
    clinic.staff()
    clinic.reach_patient(Contact(channel="app", address="p"))
    clinic.alarm()
    await clinic.at(1)
    assert app.whom() == ["wang"]


async def test_without_trust_there_is_no_health_data_in_the_text(clinic: Clinic, app: Ear, sms: Ear) -> None:
    app.cut = True
    clinic.reach_patient(Contact(channel="sms", address="p"))
    alert = clinic.alarm()
    await clinic.at(1)
    said = dict(sms.heard)
    assert said["+8613"].body.zh == "高优先级，患者 p-1。详情请登录查看。请点击链接确认，或回复“收到”。"
    assert said["+8613"].link == f"https://hub.example/alerts/{alert.id}"
    assert said["p"].body.zh == (
        "诊所有一条消息给您。请立即致电诊所询问。如感不适，请联系诊所或拨打急救电话（中国大陆 120）。"
    )
    assert said["p"].link == ""


async def test_two_hubs_never_send_the_same(tmp_path: Path, app: Ear) -> None:
    with closing(Clinic(tmp_path, [app], hub="one")) as one, closing(Clinic(tmp_path, [app], hub="two")) as two:
        one.staff()
        one.alarm()
        assert [one.run() > 0, two.run()] == [True, 0]
        first = one.outbox.pending_notices("app", one.now)
        assert [delivery.address for delivery in first] == ["wang"]
        assert two.outbox.pending_notices("app", two.now) == []
        assert one.outbox.pending_notices("app", one.now) == first  # after a crash it takes its own up again
        assert [each.address for each in two.outbox.pending_notices("app", minute(2))] == [
            "wang"
        ]  # the claim is over


async def test_a_fault_in_one_does_not_keep_the_others(clinic: Clinic, app: Ear) -> None:
    def patients_of(names: Collection[str]) -> dict[str, PatientFile]:
        if "p-1" in names:
            raise RuntimeError("a fault")
        return Clinic.patients_of(names)

    clinic.escalation.patients_of = patients_of
    clinic.alarm(patient="p-1")
    clinic.alarm(patient="p-2")
    faults = 0
    while (cycle := clinic.escalation.run_due(clinic.now)).taken:
        faults += cycle.faults
    await clinic.speaker.speak()
    assert faults == 1
    assert app.whom() == ["wang"]
    clinic.escalation.patients_of = Clinic.patients_of
    await clinic.at(1)
    assert app.whom() == ["wang", "wang"]


def test_what_is_planned_is_written_with_the_alert_or_not_at_all(clinic: Clinic) -> None:
    found: Finding = finding(priority=Priority.HIGH)
    clinic.book._beside = [*clinic.book._beside, _refuse]
    with pytest.raises(RuntimeError):
        clinic.hear(found)
    assert clinic.book.alerts() == []
    assert clinic.escalation.next_due() is None


def _refuse(*_: object) -> None:
    raise RuntimeError("the power went")


def test_the_coordinator_is_one_of_the_staff() -> None:
    assert {one.recipient().audience for one in (WANG, LI, BAO)} == {Audience.STAFF}


async def test_what_comes_again_after_an_acknowledgement_goes_up_its_ladder_until_it_is_acknowledged_again(
    clinic: Clinic, app: Ear
) -> None:
    alert = clinic.alarm()
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    clinic.over()
    await clinic.at(10)
    clinic.alarm()
    await clinic.at(80)
    assert sorted(app.whom()) == ["bao", "bao", "li", "li", "li", "wang"]
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    await clinic.at(200)
    assert len(app.whom()) == 6


async def test_what_is_put_off_tells_no_staff_until_its_time_and_then_anew_from_the_first_step(
    opened: Callable[..., Clinic], app: Ear, sms: Ear
) -> None:
    clinic = opened(app, sms)
    clinic.staff()
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    clinic.put_off(alert.id, 2)
    await clinic.skip(60)
    now = clinic.now
    clinic.close()
    clinic = opened(app, sms)
    clinic.now = now
    await clinic.skip(120)
    assert app.whom() == ["wang"]
    assert {timer.result for timer in clinic.timers(alert.id) if timer.is_for_staff} == {Result.TOLD, Result.SNOOZED}
    await clinic.skip(121)
    assert app.whom() == ["wang", "wang"]
    await clinic.skip(121 + 240)
    assert app.whom() == ["wang", "wang", "li"]
    assert [fact.what for fact in clinic.book.history(alert.id)] == ["opened", "notified", "snoozed", "snooze-ended"]
    assert clinic.book.history(alert.id)[2].until == minute(121)


async def test_what_is_put_off_and_gets_worse_is_told_at_once(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    clinic.put_off(alert.id)
    await clinic.at(30)
    clinic.hear(finding(priority=Priority.HIGH, since=clinic.now))
    await clinic.at(45)
    assert app.whom() == ["wang", "wang", "li"]


async def test_what_is_put_off_before_anybody_was_told_tells_the_patient_alone(clinic: Clinic, app: Ear) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    ladders = [Ladder(priority=Priority.MEDIUM, steps=(Step(to="patient", after=timedelta()), *_NURSE))]
    clinic.escalation.ladders = ladders
    clinic.put_off(clinic.alarm(Priority.MEDIUM).id)
    await clinic.skip(239)
    assert app.whom() == ["p"]
    await clinic.skip(240)
    assert sorted(app.whom()) == ["p", "p", "wang"]


async def test_what_waits_for_the_end_of_quiet_hours_is_not_told_of_what_is_put_off(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(WANG, quiet=QuietHours(start=time(1), end=time(3))), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    clinic.put_off(alert.id, 2)
    await clinic.skip(100)
    assert app.whom() == []
    await clinic.skip(121)
    assert app.whom() == ["wang"]


async def test_what_was_put_off_is_listed_as_to_be_told_only_until_it_is(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(WANG, quiet=QuietHours(start=time(1), end=time(3))), now=START)
    clinic.team.put(replace(LI, quiet=QuietHours(start=time(1), end=time(7))), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    (waits,) = clinic.book.notices(alert.id)[1:]
    assert clinic.escalation.put_off([waits.id], clinic.now) == {waits.id: None}
    for minutes in (60, 240, 300, 24 * 60):
        await clinic.skip(minutes)
    (last,) = (message.body for address, message in app.heard if address == "bao")
    assert "- 2 Mar 03:00, nurse (王丽): told, no answer yet\n- 2 Mar 07:00, doctor (Li): told" in last.en
    assert clinic.escalation.put_off([waits.id], clinic.now) == {waits.id: waits.id}


async def test_who_is_told_next_reads_who_has_the_follow_up_and_what_was_tried(clinic: Clinic, app: Ear) -> None:
    alert = clinic.alarm()
    await clinic.at(1)
    act = Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="x", at=clinic.now)
    made = clinic.open(replace(of_alert(alert, act), assigned_to=None, by=None))
    tried = Attempt(follow_up=made.id, by="王丽", at=clinic.now, channel="telephone", result=Tried.NO_ANSWER)
    clinic.care(tried)
    await clinic.at(15)
    (told,) = (message.body for address, message in app.heard if address == "li")
    assert (
        "\nWhat was done: In follow-up by 王丽; tries to reach the patient: 1, the last 1 without an answer.\n"
        in told.en
    )
    assert "\n已做处理：随访负责人：王丽；已尝试联系患者 1 次，最近 1 次未联系到。\n" in told.zh
    clinic.over()
    await clinic.at(31)
    late = [message.body for address, message in app.heard if address == "bao"]
    ends = [message.body for address, message in app.heard if address == "wang"][-2:]
    assert any("The condition is over.\n" in each.en and "状况已解除。\n" in each.zh for each in late)
    assert any("The alert stays open until somebody closes it." in each.en for each in ends)
    for each in (*late, *ends):
        assert "obody has acknowledged" not in each.en
        assert "尚无人确认" not in each.zh


async def test_what_was_put_off_and_is_not_needed_any_more_waits_no_longer(clinic: Clinic) -> None:
    clinic.team.put(replace(WANG, quiet=QuietHours(start=time(1), end=time(3))), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    (waits,) = clinic.book.notices(alert.id)[1:]
    clinic.act(alert.id, ActKind.CLOSE)
    assert clinic.escalation.put_off([waits.id, "n-other"], clinic.now) == {waits.id: ""}


async def test_whom_quiet_hours_keep_from_being_told_with_the_others_is_not_said_to_be_told(
    clinic: Clinic, app: Ear
) -> None:
    clinic.team.put(replace(CHEN, quiet=QuietHours(start=time(1), end=time(9))), now=START)
    clinic.team.add_shift(shift("chen", Role.NURSE), now=START)
    clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    await clinic.skip(240)
    (later,) = (message.body for address, message in app.heard if address == "li")
    assert "- 2 Mar 02:00, nurse (王丽): told, no answer yet\n" in later.en
    assert "陈静" not in later.zh


UNTIL_THREE = QuietHours(start=time(1), end=time(3))


async def test_what_was_put_off_and_is_over_is_told_as_over_and_not_as_it_was(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(WANG, quiet=UNTIL_THREE), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(1)
    (waits,) = (each for each in clinic.book.notices(alert.id) if each.recipient)
    await clinic.at(30)
    clinic.over()
    await clinic.at(59)
    assert clinic.escalation.put_off([waits.id], clinic.now) == {waits.id: ""}
    await clinic.at(61)
    ((_, told),) = app.heard
    assert told.subject.zh == "状况已解除：血糖严重偏低，患者 p-1"
    assert "该警报尚无人确认" in told.body.zh
    assert clinic.escalation.put_off([waits.id], clinic.now) == {waits.id: told.notice.id}
    await clinic.at(241)
    (later,) = (message for address, message in app.heard if address == "li")
    assert "- 2 Mar 03:00, nurse (王丽): told, no answer yet" in later.body.en


async def test_what_was_put_off_and_came_again_is_told_once_as_it_is(clinic: Clinic, app: Ear) -> None:
    clinic.team.put(replace(WANG, quiet=UNTIL_THREE), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(10)
    clinic.over()
    await clinic.at(20)
    clinic.hear(finding(priority=Priority.MEDIUM, since=clinic.now, known_at=clinic.now))
    await clinic.at(61)
    ((_, told),) = app.heard
    assert told.subject.en == "Medium priority: Very low glucose, patient p-1"
    assert "over" not in told.body.en
    assert len([each for each in clinic.book.notices(alert.id) if each.recipient == "staff:wang"]) == 3


@pytest.mark.parametrize("is_told", [False, True])
async def test_who_was_told_is_told_of_the_end_of_what_was_closed_in_the_quiet_hours(
    clinic: Clinic, app: Ear, is_told: bool
) -> None:
    if is_told:
        await clinic.at(0)
    clinic.team.put(replace(WANG, quiet=QuietHours(start=time(2, is_told), end=time(3))), now=START)
    alert = clinic.alarm(Priority.MEDIUM)
    await clinic.at(2)
    assert app.whom() == ["wang"] * is_told
    clinic.over()
    await clinic.at(3)
    clinic.act(alert.id, ActKind.CLOSE)
    await clinic.at(61)
    subjects = [message.subject.en for _, message in app.heard]
    assert subjects[1:] == ["Condition over: Very low glucose, patient p-1"] * is_told
    assert len(subjects) == 2 * is_told


async def test_a_device_that_was_heard_in_the_night_is_not_asked_for_in_the_morning(
    clinic: Clinic, app: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"))
    (notice,) = clinic.hear(finding("no-data", audience=Audience.PATIENT, priority=Priority.LOW))
    await clinic.at(1)
    clinic.escalation.stands = lambda asked: asked.id != notice.id
    with caplog.at_level("INFO", "alerts.escalation_book"):
        await clinic.skip(6 * 60)
    assert app.heard == []
    assert clinic.escalation.put_off([notice.id], clinic.now) == {notice.id: ""}
    assert f"notice {notice.id} was put off and is not told: what came since then shows" in caplog.text


async def test_what_a_rule_said_to_a_patient_in_quiet_hours_is_not_told_when_its_alert_is_over(
    clinic: Clinic, app: Ear
) -> None:
    clinic.reach_patient(Contact(channel="app", address="p"), quiet=UNTIL_THREE)
    clinic.hear(finding("meter-low", audience=Audience.PATIENT, priority=Priority.LOW))
    clinic.alarm(Priority.MEDIUM)
    await clinic.at(20)
    clinic.over()
    await clinic.at(61)
    assert "p" not in app.whom()


CHEN = replace(WANG, id="chen", name="陈静", contacts=(Contact(channel="app", address="chen"),))


def nurses(clinic: Clinic) -> None:
    """START is 02:00 in Shanghai: Wang leaves at 03:00, when Chen comes; a doctor by day and night, a coordinator."""
    clinic.staff(nurse=(22, 3))
    clinic.team.put(CHEN, now=clinic.now)
    clinic.team.add_shift(shift("chen", Role.NURSE, 3, 22), now=clinic.now)


async def test_who_comes_on_duty_is_told_once_what_nobody_has_acknowledged(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    nurses(clinic)
    alert = clinic.alarm()
    await clinic.at(59)
    assert "chen" not in app.whom()
    await clinic.at(60)
    assert app.whom().count("chen") == 1
    _, message = app.heard[app.whom().index("chen")]
    assert "- 2 Mar 02:00, nurse (王丽): told, no answer yet" in message.body.en
    await clinic.at(20 * 60)  # Wang comes again, and knows
    assert [app.whom().count(name) for name in ("wang", "chen", "bao")] == [1, 1, 40]
    clinic.act(alert.id, ActKind.ACKNOWLEDGE)
    await clinic.at(20 * 60 + 1)
    assert clinic.escalation.next_due() is None


async def test_what_is_over_and_unseen_is_told_to_the_first_who_comes_on_duty_alone(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    nurses(clinic)
    late = replace(CHEN, id="zhou", name="周明", contacts=(Contact(channel="app", address="zhou"),))
    clinic.team.put(late, now=clinic.now)
    clinic.team.add_shift(shift("zhou", Role.NURSE, 5, 6), now=clinic.now)
    clinic.alarm()
    await clinic.at(40)
    clinic.over()
    await clinic.at(59)
    told = len(app.heard)
    await clinic.at(26 * 60)
    assert app.whom()[told:] == ["chen"]
    assert "over" in app.heard[-1][1].body.en


@pytest.mark.parametrize("is_over", [False, True])
async def test_who_comes_on_duty_is_told_of_what_an_older_homeward_began_to_tell(
    opened: Callable[..., Clinic], app: Ear, is_over: bool
) -> None:
    clinic = opened(app)
    nurses(clinic)
    late, closed = clinic.alarm(), clinic.alarm(patient="p-2")
    mild = clinic.alarm(Priority.MEDIUM, patient="p-3")
    await clinic.at(40)
    if is_over:
        clinic.over()
    clinic.act(closed.id, ActKind.CLOSE)
    of_runs = METADATA.tables["escalations"]
    with clinic.engine.begin() as db:
        assert db.execute(delete(of_runs).where(of_runs.c.kind == "handover")).rowcount == 2
    assert clinic.escalation.begin_handovers(clinic.now) == 1
    assert clinic.escalation.begin_handovers(clinic.now) == 0, "once"
    assert [each.kind for each in clinic.timers(mild.id)].count(TimerKind.HANDOVER) == 0
    await clinic.at(62)
    assert [message.notice.alert for address, message in app.heard if address == "chen"] == [late.id]


def test_handovers_that_lack_are_given_in_slices_and_looked_for_once_by_each_hub(database_url: str) -> None:
    engine = open_database(database_url)
    escalation = EscalationBook(engine, channels={}, patients_of=Clinic.patients_of)
    book = Book(engine, routes={}, beside=[escalation.beside])
    TeamBook(engine).put(WANG, now=START)
    repeated = (*_NURSE, Step(to=Role.DOCTOR, after=timedelta(minutes=30), repeat=timedelta(hours=1)))
    escalation.ladders = [Ladder(priority=Priority.MEDIUM, steps=repeated, programme="hypertension")]
    for programme, n, priority in (
        (None, 260, Priority.HIGH),
        (None, 1, Priority.MEDIUM),
        (None, 1, Priority.LOW),
        ("hypertension", 1, Priority.MEDIUM),
    ):
        escalation.patients_of = lambda names, programme=programme: {
            name: replace(known, programme=programme) for name, known in Clinic.patients_of(names).items()
        }
        found = (finding(patient=f"{programme}-{priority}-{number}", priority=priority) for number in range(n))
        heard = [hear(None, each, START) for each in found]
        book.record([c for each in heard for c in each.changes], [n for each in heard for n in each.notices])
        while escalation.run_due(START).taken:
            pass
    of_runs = METADATA.tables["escalations"]
    with engine.begin() as db:
        lost = db.execute(delete(of_runs).where(of_runs.c.kind == "handover")).rowcount
    assert lost == 261
    statements: list[str] = []
    commits: list[Connection] = []
    event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    event.listen(engine, "commit", commits.append)
    assert escalation.begin_handovers(START, "one") == lost
    assert len(commits) == 3, "two slices, and that it was done"
    statements.clear()
    assert escalation.begin_handovers(START, "one") == 0
    assert len(statements) == 1, "of what was done before nothing is read but that it was done"
    statements.clear()
    assert escalation.begin_handovers(START, "two") == 0
    assert len(statements) <= 5, "where nothing lacks it no run is read"
    engine.dispose()


async def test_who_stands_in_between_two_shifts_is_told_within_half_an_hour(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    clinic.staff()
    clinic.team.put(CHEN, now=clinic.now)
    away = Absence(practitioner="wang", start=minute(40), end=minute(200), substitute="chen")
    clinic.team.add_absence(away, now=clinic.now)
    clinic.alarm()
    await clinic.at(39)
    assert "chen" not in app.whom()
    await clinic.at(70)
    assert app.whom().count("chen") == 1


async def test_of_medium_priority_who_comes_on_duty_is_told_only_while_a_step_is_repeated(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    nurses(clinic)
    clinic.alarm(Priority.MEDIUM)
    await clinic.at(300)
    assert app.whom() == ["wang", "li"]


async def test_of_medium_priority_a_repeated_step_has_who_comes_on_duty_told(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    hour = timedelta(hours=1)
    steps = (*_NURSE, Step(to=Role.DOCTOR, after=timedelta(minutes=30), repeat=hour))
    clinic = opened(app, ladders=[Ladder(priority=Priority.MEDIUM, steps=steps)])
    nurses(clinic)
    clinic.alarm(Priority.MEDIUM)
    await clinic.at(125)
    assert app.whom() == ["wang", "li", "chen", "li"]
    clinic.over()
    await clinic.at(26 * 60)
    assert sorted(app.whom()[4:]) == ["chen", "li", "wang"]  # that it is over


async def test_who_has_no_contact_as_the_shift_begins_is_told_when_there_is_one(
    opened: Callable[..., Clinic], app: Ear
) -> None:
    clinic = opened(app)
    nurses(clinic)
    clinic.team.put_contacts("staff:chen", (), None, now=clinic.now)
    clinic.alarm()
    await clinic.at(70)
    assert "chen" not in app.whom()
    clinic.team.put_contacts("staff:chen", CHEN.contacts, None, now=clinic.now)
    await clinic.at(100)
    assert app.whom().count("chen") == 1
