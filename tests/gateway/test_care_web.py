"""The API of follow-ups, plans of care, appointments and surveys."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from icalendar import Calendar
from jsonschema import Draft202012Validator

from alerts.alert import Outcome, Reason, Verdict
from alerts.team import Practitioner, Role
from gateway.care_api import AppointmentOut, CarePlanOut, FollowUpOut
from tests.alerts.test_care_plan import review, said
from tests.alerts.test_risk import CALM
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, severe_pressure, very_low
from tests.gateway.test_web import browser


async def post(web: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> Any:
    answer = await web.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(web: httpx.AsyncClient, path: str) -> Any:
    answer = await web.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def seen(web: httpx.AsyncClient, alert: str) -> dict[str, Any]:
    """The alert is acknowledged; its follow-up."""
    await post(web, f"alerts/{alert}/acknowledge", by="Nurse Chen", note="calling")
    return next(each for each in await get(web, "follow-ups") if each["alert"] == alert)


async def test_from_the_alert_to_the_outcome_the_survey_and_the_task(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert = house.find(very_low()).id
    opened = await seen(web, alert)
    assert (opened["state"], opened["assigned_to"], opened["why"]) == ("in-progress", "Nurse Chen", "alert")
    assert opened["due_at"] == "2026-03-03T15:00:00+08:00"  # within half an hour, on the patient's clock
    path = f"follow-ups/{opened['id']}"

    tried = await post(web, f"{path}/attempts", by="Nurse Chen", channel="telephone", result="no-answer")
    assert (tried["due_at"], tried["unanswered"]) == ("2026-03-03T14:45:00+08:00", 1)
    assert tried["rule"] == {"en": "Not reached: try again in 15 min.", "zh": "未联系到：请在 15 分钟后再试。"}
    assert await get(web, "follow-ups?due=overdue") == []
    house.time += timedelta(minutes=16)
    (overdue,) = await get(web, "follow-ups?due=overdue&person=Nurse%20Chen")
    assert overdue["overdue"] is True
    given = await post(web, f"{path}/hand-over", by="Nurse Chen", to="Dr Li", note="No answer, lives alone")
    assert given["assigned_to"] == "Dr Li"
    await post(web, f"{path}/attempts", by="Dr Li", channel="telephone", result="reached", note="ate")
    closed = await post(web, f"{path}/close", by="Dr Li", outcome="advice", note="Eat before the walk")
    assert (closed["state"], closed["outcome"], closed["attempts"]) == ("closed", "advice", 2)
    ended = (await get(web, f"alerts/{alert}"))["alert"]
    assert (ended["outcome"], ended["closed_by"], ended["closing_note"]) == ("advice", "Dr Li", "Eat before the walk")

    detail = await get(web, path)
    assert [fact["what"] for fact in detail["history"]] == [
        "opened",
        "attempted",
        "handed-over",
        "attempted",
        "closed",
    ]
    (survey,) = await get(web, "surveys")
    assert (survey["follow_up"], survey["sent_at"], survey["answer"]) == (opened["id"], None, None)
    answered = await post(web, f"surveys/{survey['id']}/answer", solved=False, score=2, text="头晕")
    assert answered["answer"]["poor"] is True
    (task,) = await get(web, "follow-ups?role=nurse")
    assert (task["why"], task["state"], task["patient"]) == ("patient", "open", WANG.id)
    assert task["because"]["zh"] == "患者表示问题未解决，评分 2/5。患者原话：“头晕”。"
    again = await web.post(f"/api/v1/surveys/{survey['id']}/answer", json={"score": 5})
    assert again.status_code == 409
    assert "answered already" in again.json()["detail"]


async def test_the_open_follow_ups_of_one_patient(house: SmallHouse, web: httpx.AsyncClient) -> None:
    for patient in (WANG, MILLER):
        await seen(web, house.find(very_low(patient)).id)
    assert len(await get(web, "follow-ups")) == 2
    assert [each["patient"] for each in await get(web, f"follow-ups?patient={MILLER.id}")] == [MILLER.id]
    assert await get(web, "follow-ups?patient=nobody") == []


async def test_a_try_names_a_channel_that_is_known(house: SmallHouse, web: httpx.AsyncClient) -> None:
    opened = await seen(web, house.find(very_low()).id)
    path = f"/api/v1/follow-ups/{opened['id']}/attempts"
    tried = {"by": "Nurse Chen", "result": "busy"}
    refused = await web.post(path, json={**tried, "channel": "carrier pigeon"})
    assert refused.status_code == 422
    assert refused.json()["detail"] == (
        "channel: no patient is reached by carrier pigeon; "
        "use one of telephone, video, visit, app, sms, email, wecom, voice"
    )
    for channel in ("voice", " wecom ", "visit"):
        assert (await web.post(path, json={**tried, "channel": channel})).status_code == 200


async def test_closing_the_alert_closes_its_follow_up(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert = house.find(very_low()).id
    opened = await seen(web, alert)
    body = {"by": "Dr Li", "outcome": "no-action", "note": "was a test"}
    for path in (f"alerts/{alert}/close", f"follow-ups/{opened['id']}/close"):
        refused = await web.post(f"/api/v1/{path}", json=body)
        assert refused.status_code == 409
        assert "needs a reason: false reading" in refused.json()["detail"]
        assert all(f"({reason})" in refused.json()["detail"] for reason in Reason)
        needless = await web.post(f"/api/v1/{path}", json={**body, "outcome": "emergency", "reason": "other"})
        assert (needless.status_code, "takes no reason" in needless.json()["detail"]) == (409, True)
        unknown = await web.post(f"/api/v1/{path}", json={**body, "reason": "bored"})
        assert (unknown.status_code, "'wrong-entry'" in unknown.json()["detail"]) == (422, True)
    ended = await post(web, f"alerts/{alert}/close", **body, reason="wrong-entry")
    assert (ended["outcome"], ended["reason"]) == ("no-action", "wrong-entry")
    told = await get(web, f"follow-ups/{opened['id']}")
    found = told["follow_up"]
    assert (found["state"], found["outcome"], found["closed_by"]) == ("closed", "no-action", "Dr Li")
    assert (found["reason"], told["history"][-1]["reason"]) == ("wrong-entry", "wrong-entry")


async def test_closing_the_follow_up_of_an_alert_without_an_action_tells_the_alert_why(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert = house.find(very_low()).id
    opened = await seen(web, alert)
    body = {"by": "Dr Li", "outcome": "no-action", "reason": "treated-before", "note": "ate"}
    await post(web, f"follow-ups/{opened['id']}/close", **body)
    found = await get(web, f"alerts/{alert}")
    assert (found["alert"]["reason"], found["history"][-1]["note"]) == (
        "treated-before",
        "no-action (treated-before): ate",
    )
    own = await post(
        web, "follow-ups", 201, patient=WANG.id, because="asks about the sensor", by="Dr Li", role="nurse"
    )
    needless = await web.post(f"/api/v1/follow-ups/{own['id']}/close", json=body)
    assert (needless.status_code, "only no-action of a patient's alert does" in needless.text) == (409, True)
    del body["reason"]
    assert (await post(web, f"follow-ups/{own['id']}/close", **body))["reason"] is None


async def test_advice_about_a_very_low_glucose_needs_a_patient_who_was_reached(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    alert = house.find(very_low()).id
    advice = {"by": "Dr Li", "outcome": "advice", "note": "eat"}
    refused = await web.post(f"/api/v1/alerts/{alert}/close", json=advice)
    assert refused.status_code == 409
    assert "no try has reached the patient" in refused.json()["detail"]
    path = f"follow-ups/{(await seen(web, alert))['id']}"
    for result, status in (("no-answer", 409), ("reached", 200)):
        await post(web, f"{path}/attempts", by="Dr Li", channel="telephone", result=result)
        assert (await web.post(f"/api/v1/alerts/{alert}/close", json=advice)).status_code == status
    assert (await get(web, path))["follow_up"]["outcome"] == "advice"


async def test_a_severe_pressure_asks_for_symptoms_on_either_way(house: SmallHouse, web: httpx.AsyncClient) -> None:
    alert = house.find(severe_pressure()).id
    opened = await seen(web, alert)
    assert opened["asks_symptoms"] is True
    advice = {"by": "Dr Li", "outcome": "advice", "note": "rest"}
    for path in (f"follow-ups/{opened['id']}/close", f"alerts/{alert}/close"):
        refused = await web.post(f"/api/v1/{path}", json=advice)
        assert refused.status_code == 409
        assert "Ask for chest pain" in refused.json()["detail"]
        assert (await get(web, f"alerts/{alert}"))["alert"]["closed_at"] is None
    found = await web.post(f"/api/v1/follow-ups/{opened['id']}/close", json={**advice, "symptoms": ["chest-pain"]})
    assert found.status_code == 409
    assert "is an emergency" in found.json()["detail"]
    closed = await post(
        web, f"follow-ups/{opened['id']}/close", **{**advice, "outcome": "emergency"}, symptoms=["chest-pain"]
    )
    assert closed["symptoms"] == ["chest-pain"]


async def test_what_is_illegal_is_a_409_that_says_what_is_possible(house: SmallHouse, web: httpx.AsyncClient) -> None:
    made = await post(
        web,
        "follow-ups",
        201,
        patient=WANG.id,
        why="patient",
        because="请回电",
        role="nurse",
        priority="medium",
        by="前台",
    )
    path = f"/api/v1/follow-ups/{made['id']}"
    assert (made["state"], made["opened_by"], made["because"]["en"]) == ("open", "前台", "请回电")
    await post(web, f"follow-ups/{made['id']}/claim", by="Nurse Chen")
    far = (NOW + timedelta(days=9)).isoformat()
    for act, body, why in (
        ("claim", {"by": "Dr Li"}, "Have it handed over to you"),
        ("postpone", {"by": "Dr Li", "until": far, "note": "n"}, "put off by at most 1 d"),
        ("hand-over", {"by": "Dr Li", "note": "n"}, "needs a role or a person"),
        ("attempts", {"by": "Dr Li", "channel": "sms", "result": "declined"}, "needs a note"),
    ):
        refused = await web.post(f"{path}/{act}", json=body)
        assert refused.status_code == 409, refused.text
        assert why in refused.json()["detail"]
    until = (NOW + timedelta(hours=9)).isoformat()
    put_off = await post(web, f"follow-ups/{made['id']}/postpone", by="Dr Li", until=until, note="asleep")
    assert put_off["due_at"] == "2026-03-03T23:30:00+08:00"
    assert [each["id"] for each in await get(web, f"patients/{WANG.id}/follow-ups")] == [made["id"]]


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "follow-ups/f-1", "no follow-up has the id f-1"),
        ("GET", "follow-ups?after=f-1", "no follow-up has the id f-1"),
        ("POST", "follow-ups/f-1/claim", "no follow-up has the id f-1"),
        ("GET", "patients/p-9/follow-ups", "no patient has the id p-9"),
        ("GET", "patients/p-9/care-plans", "no patient has the id p-9"),
        ("DELETE", "patients/p-017/care-plans/diabetes?by=Li", "patient p-017 has no plan of care for diabetes"),
        ("DELETE", "appointments/m-1?by=Li", "no appointment has the id m-1"),
        ("POST", "surveys/s-1/answer", "no survey has the id s-1"),
    ],
)
async def test_what_there_is_not_is_a_404(web: httpx.AsyncClient, method: str, path: str, said: str) -> None:
    body = {"by": "Dr Li"} if path.endswith("claim") else {} if method == "POST" else None
    answer = await web.request(method, f"/api/v1/{path}", json=body)
    assert answer.status_code == 404
    assert answer.json()["detail"] == said


async def test_a_plan_of_care_for_a_role_that_nobody_has_is_entered_and_warned_of(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    path, wanted = f"patients/{WANG.id}/care-plans", {"role": "dietitian", "author": "Dr Li"}
    alone = await web.put(f"/api/v1/{path}/diabetes", json=wanted)
    assert alone.json()["warning"] is None, "no team is entered"
    house.duty.team.put(Practitioner(id="min", name="赵敏", roles=frozenset({Role.NURSE})), now=NOW)
    warning = {
        "en": "The team has no dietitian. Choose a role that somebody has: nurse.",
        "zh": "团队中没有营养师。请选择有人担任的角色：护士。",
    }
    wanted["author"] = "min"
    made = (await web.put(f"/api/v1/{path}/diabetes", json=wanted)).json()
    assert (made["role"], made["warning"]) == ("dietitian", warning)
    assert await get(web, path) == [made]
    for language, said_so in (("en", warning["en"]), ("zh-CN", warning["zh"])):
        assert said_so in (await web.get(f"/patients/{WANG.id}", headers={"Accept-Language": language})).text
    filled = (await web.put(f"/api/v1/{path}/diabetes", json={**wanted, "role": "nurse"})).json()
    assert filled["warning"] is None
    assert warning["en"] not in (await web.get(f"/patients/{WANG.id}", headers={"Accept-Language": "en"})).text


async def test_a_plan_of_care_by_rule_and_as_set(house: SmallHouse, web: httpx.AsyncClient) -> None:
    path = f"/api/v1/patients/{WANG.id}/care-plans"
    made = (await web.put(f"{path}/hypertension", json={"role": "nurse", "author": "Dr Li"})).json()
    assert (made["interval"], made["due_at"], made["control"]) == ("unknown", "2026-03-31T14:30:00+08:00", "unknown")
    own = await web.put(f"{path}/hypertension", json={"role": "doctor", "author": "Dr Li", "every_days": 10})
    assert (own.json()["interval"], own.json()["every_days"]) == (None, 10)
    assert own.json()["due_at"] == "2026-03-13T14:30:00+08:00"
    assert await get(web, f"patients/{WANG.id}/care-plans") == [own.json()]
    assert (await web.put(f"{path}/asthma", json={"role": "nurse", "author": "Dr Li"})).status_code == 422
    for nameless in ("", "?by=", "?by=%20"):
        assert (await web.delete(f"{path}/hypertension{nameless}")).status_code == 422
    assert await get(web, f"patients/{WANG.id}/care-plans") == [own.json()]
    assert (await web.delete(f"{path}/hypertension?by=Nurse Chen")).status_code == 204
    assert await get(web, f"patients/{WANG.id}/care-plans") == []
    told = await get(web, f"audit?subject=care-plan:{WANG.id}/hypertension")
    assert [(each["what"], each["who"]) for each in told] == [
        ("ended", "Nurse Chen"),
        ("set", "Dr Li"),
        ("set", "Dr Li"),
    ]
    assert (told[0]["before"]["every_days"], told[0]["after"]) == (10, None)


async def test_an_appointment_leaves_as_an_invitation(house: SmallHouse, web: httpx.AsyncClient) -> None:
    made = await post(
        web, "follow-ups", 201, patient=WANG.id, because="Review of the tablets", role="doctor", by="Dr Li"
    )
    body = {"by": "Nurse Chen", "start": "2026-03-10T09:30:00+08:00", "place": "Room 3"}
    appointment = await post(web, f"follow-ups/{made['id']}/appointments", 201, **body)
    assert (appointment["start"], appointment["minutes"]) == ("2026-03-10T09:30:00+08:00", 20)
    path = f"/api/v1/appointments/{appointment['id']}"
    moved = await web.put(path, json={**body, "start": "2026-03-11T09:30:00+08:00"})
    assert moved.json()["sequence"] == 1
    asked = {"organizer": "ward@clinic.example", "attendee": "wang@home.example"}
    sent = await web.get(f"{path}/invitation", params=asked)
    assert sent.headers["content-type"] == "text/calendar; method=REQUEST; charset=utf-8"
    (event,) = Calendar.from_ical(sent.content).walk("VEVENT")
    assert (str(event["summary"]), event["sequence"]) == ("门诊预约", 1)
    for wrong in ("nobody", "a@b\r\nX-EVIL:1", "mailto:a@b"):
        assert (await web.get(f"{path}/invitation", params={"organizer": wrong})).status_code == 422
    assert (await web.delete(f"{path}?by=Dr Li")).json()["cancelled"] is True
    assert b"METHOD:CANCEL" in (await web.get(f"{path}/invitation", params=asked)).content
    assert (await web.delete(f"{path}?by=Dr Li")).status_code == 409
    assert (await get(web, f"follow-ups/{made['id']}"))["appointments"][0]["sequence"] == 2


@pytest.mark.parametrize(("language", "first"), [("en", "No appointment stands"), ("zh-CN", "请先在随访页面预约")])
async def test_the_outcome_appointment_needs_one_that_was_made(house: SmallHouse, language: str, first: str) -> None:
    alert = house.find(very_low())
    closing = {"by": "Nurse Chen", "outcome": "appointment", "note": "sees the doctor"}
    async with browser(house, **{"Accept-Language": language}) as web:
        straight = await web.post(f"/api/v1/alerts/{alert.id}/close", json=closing)
        assert (straight.status_code, first in straight.json()["detail"]) == (409, True)
        others = {"en": "emergency, no-action", "zh-CN": "已呼叫急救（emergency）、无需处理（no-action）"}[language]
        assert straight.json()["detail"].partition({"en": "another: ", "zh-CN": "结果："}[language])[2][:-1] == others
        advice = await web.post(f"/api/v1/alerts/{alert.id}/close", json={**closing, "outcome": "advice"})
        besides = {
            "en": "appointment once one is made in this follow-up.",
            "zh-CN": "在本次随访中预约后，还可选已预约就诊（appointment）。",
        }
        now = {"en": "Possible now: ", "zh-CN": "目前可选："}[language]
        possible = re.split("; |；", advice.json()["detail"].partition(now)[2])
        assert possible == [others, besides[language]]
        task = (await seen(web, alert.id))["id"]
        for path, sent in ((f"/api/v1/follow-ups/{task}/close", "json"), (f"/follow-ups/{task}/close", "data")):
            refused = await web.post(path, **{sent: closing})
            assert (refused.status_code, first in refused.text) == (409, True)
        assert house.follow_ups.get(task).closed_at is None
        body = {"by": "Nurse Chen", "start": "2026-03-10T09:30:00+08:00"}
        off = await post(web, f"follow-ups/{task}/appointments", 201, **body)
        await web.delete(f"/api/v1/appointments/{off['id']}?by=Chen")
        assert (await web.post(f"/api/v1/follow-ups/{task}/close", json=closing)).status_code == 409
        house.time += timedelta(seconds=1)
        await post(web, f"follow-ups/{task}/appointments", 201, **body)
        assert (await post(web, f"follow-ups/{task}/close", **closing))["outcome"] == "appointment"
    closed = house.book.alert(alert.id)
    assert closed is not None
    assert closed.outcome is Outcome.APPOINTMENT


async def test_who_makes_moves_and_cancels_an_appointment_is_in_the_audit(web: httpx.AsyncClient) -> None:
    made = await post(web, "follow-ups", 201, patient=WANG.id, because="Tablets", role="doctor", by="Dr Li")
    body = {"by": " Nurse Chen ", "start": "2026-03-10T09:30:00+08:00", "minutes": 30, "place": "Room 3"}
    appointment = await post(web, f"follow-ups/{made['id']}/appointments", 201, **body)
    path = f"/api/v1/appointments/{appointment['id']}"
    moved = (await web.put(path, json={"by": "Dr Li", "start": "2026-03-11T09:30:00+08:00"})).json()
    assert (moved["start"], moved["minutes"], moved["place"]) == ("2026-03-11T09:30:00+08:00", 30, "Room 3")
    nowhere = (await web.put(path, json={"by": "Dr Li", "start": moved["start"], "place": ""})).json()
    assert (nowhere["minutes"], nowhere["place"]) == (30, "")
    for nameless in ("", "?by=%20"):
        assert (await web.delete(path + nameless)).status_code == 422
    assert (await web.put(path, json={"start": moved["start"]})).status_code == 422
    await web.delete(f"{path}?by=Reception")
    cancelled, emptied, later, first = await get(web, f"audit?subject=appointment:{appointment['id']}")
    assert (first["what"], first["who"], first["before"]) == ("made", "Nurse Chen", None)
    assert first["after"]["follow_up"] == made["id"]
    assert (later["what"], later["who"]) == ("moved", "Dr Li")
    assert later["after"]["start_us"] - later["before"]["start_us"] == 24 * 3600 * 1_000_000
    assert (emptied["before"], emptied["after"]) == ({"place": "Room 3"}, {"place": ""})
    assert (cancelled["what"], cancelled["who"], cancelled["at"]) == (
        "cancelled", "Reception", "2026-03-03T14:30:00+08:00",
    )  # fmt: skip
    assert (cancelled["before"], cancelled["after"]) == ({"cancelled": False}, {"cancelled": True})


async def test_something_to_read_is_given_and_written_down(house: SmallHouse, web: httpx.AsyncClient) -> None:
    made = await post(web, "follow-ups", 201, patient=WANG.id, because="Cuff", role="nurse", by="Dr Li")
    choice = [each["id"] for each in await get(web, "education?condition=hypertension")]
    assert "measure-pressure" in choice
    given = await post(web, f"follow-ups/{made['id']}/education", 201, by="Dr Li", material=choice[0])
    assert [each["material"] for each in given] == [choice[0]]
    wrong = await web.post(f"/api/v1/follow-ups/{made['id']}/education", json={"by": "Dr Li", "material": "x"})
    assert wrong.status_code == 422
    assert "there is nothing to read called 'x'; there is measure-pressure" in wrong.json()["detail"]


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "closed by Dr Li at 2026-03-03 14:30 UTC+8. Nothing can be done with it any more; open a new one."),
        ("zh", "已由 Dr Li 于 2026-03-03 14:30 UTC+8 结束，不能再处理；可新建一次随访。"),
    ],
)
async def test_a_closed_follow_up_takes_no_appointment_and_nothing_to_read(
    house: SmallHouse, web: httpx.AsyncClient, language: str, said: str
) -> None:
    made = await post(web, "follow-ups", 201, patient=WANG.id, because="Cuff", role="nurse", by="Dr Li")
    at = f"follow-ups/{made['id']}"
    kept = await post(web, f"{at}/appointments", 201, by="Dr Li", start="2026-03-10T09:30:00+08:00")
    await post(web, f"{at}/close", by="Dr Li", outcome="no-action", note="Has moved away")
    web.headers["Accept-Language"] = language
    for act, body in (
        ("education", {"material": "measure-pressure"}),
        ("appointments", {"start": "2026-03-11T09:30:00+08:00"}),
    ):
        refused = await web.post(f"/api/v1/{at}/{act}", json={"by": "Dr Li", **body})
        assert (refused.status_code, refused.json()["status"]) == (409, 409)
        assert refused.json()["detail"].endswith(said)
    assert (house.follow_ups.given(WANG.id), len(house.follow_ups.appointments(made["id"]))) == ([], 1)
    assert (await web.delete(f"/api/v1/appointments/{kept['id']}?by=Li")).status_code == 200


async def test_every_act_has_an_example_that_its_schema_takes(web: httpx.AsyncClient) -> None:
    schema = await get(web, "openapi.json")
    named = schema["components"]["schemas"]
    bodies = 0
    for methods in schema["paths"].values():
        for operation in methods.values():
            if "care" not in operation["tags"]:
                continue
            assert operation["description"]
            content = operation.get("requestBody", {}).get("content", {})
            for each in content.values():
                shape = named[each["schema"]["$ref"].rsplit("/", 1)[-1]]
                assert shape["examples"]
                for example in shape["examples"]:
                    Draft202012Validator({**shape, "components": schema["components"]}).validate(example)
                bodies += 1
    assert bodies == 12
    for model in (FollowUpOut, CarePlanOut, AppointmentOut):  # the page of the schema leaves out what is null
        for example in model.model_config["json_schema_extra"]["examples"]:
            model.model_validate(example, extra="forbid")


async def test_a_newer_review_is_known_to_a_new_plan(house: SmallHouse, web: httpx.AsyncClient) -> None:
    found = review(NOW - timedelta(days=1), said("bp-not-at-goal", Verdict.CLEAR))
    house.reviews.write(replace(CALM, patient=MILLER.id), replace(found, patient=MILLER.id))
    path = f"/api/v1/patients/{MILLER.id}/care-plans/hypertension"
    made = (await web.put(path, json={"role": "nurse", "author": "Dr Li"})).json()
    assert (made["control"], made["interval"]) == ("controlled", "controlled")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_the_page_of_a_severe_pressure_asks_for_symptoms(house: SmallHouse, language: str) -> None:
    alert, low = house.find(severe_pressure()), house.find(very_low())
    asked = {"en": "With any of these it is an emergency", "zh-CN": "有以下任一症状即为急症"}[language]
    advice = {"by": "Dr Li", "outcome": "advice", "note": "rest", "next": "/"}
    async with browser(house, **{"Accept-Language": language}) as page:
        assert asked in (await page.get(f"/alerts/{alert.id}")).text
        assert asked not in (await page.get(f"/alerts/{low.id}")).text
        await page.post(f"/alerts/{alert.id}/acknowledge", data={"by": "Dr Li", "next": "/"})
        refused = await page.post(f"/alerts/{alert.id}/close", data=advice)
        assert refused.status_code == 409
        assert {"en": "Ask for chest pain", "zh-CN": "请询问有无胸痛"}[language] in refused.text
        ticked = await page.post(f"/alerts/{alert.id}/close", data={**advice, "symptom-chest-pain": "on"})
        assert ticked.status_code == 409
        assert 'name="symptom-chest-pain" checked' in ticked.text
        assert {"en": "is an emergency", "zh-CN": "属于急症"}[language] in ticked.text
        done = await page.post(f"/alerts/{alert.id}/close", data={**advice, "no-symptom": "on"})
        assert done.status_code == 303
    found = house.follow_ups.of_alert(alert.id)
    assert found is not None
    assert (found.outcome, found.symptoms) == (Outcome.ADVICE, frozenset())


async def test_a_follow_up_long_overdue_before_it_is_opened_is_refused(
    house: SmallHouse, web: httpx.AsyncClient
) -> None:
    wanted = {"patient": WANG.id, "because": "Call about the tablets", "role": "nurse", "by": "Dr Li"}
    refused = await post(web, "follow-ups", 409, **wanted, due_at="2020-01-01T00:00:00+08:00")
    assert refused["detail"].startswith("The time by which it is due lies more than a day back.")
    assert await get(web, "follow-ups") == []
    hour_ago = (house.now() - timedelta(hours=1)).isoformat()
    late = await post(web, "follow-ups", 201, **wanted, due_at=hour_ago)
    urgent = {**wanted, "because": "Dizzy", "priority": "high"}
    later = await post(web, "follow-ups", 201, **urgent, due_at=(house.now() - timedelta(minutes=1)).isoformat())
    assert [each["id"] for each in await get(web, "follow-ups")] == [later["id"], late["id"]]
