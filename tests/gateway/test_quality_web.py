"""The quality report and the months of monitoring, on the page, in the API and as tables."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from alerts.alert import Act, ActKind, Alert, Finding, Outcome, Reason
from alerts.quality import Measure
from gateway import quality_desk
from gateway.guard import WebSettings
from gateway.people import Patient
from gateway.quality_words import TIMES
from gateway.spreadsheet import table
from gateway.web import create_app
from ingest.journal import Arrival
from ingest.reading import Packet, Reading
from ingest.vital import Vital
from tests.gateway.small_house import (
    MILLER,
    NOW,
    WANG,
    SmallHouse,
    furnish,
    no_data,
    reading,
    severe_pressure,
    very_low,
)
from tests.gateway.test_duty import BAO

DAY = timedelta(days=1)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    house = SmallHouse(tmp_path)
    yield house
    house.close()


def browser(house: SmallHouse, **headers: str) -> httpx.AsyncClient:
    app = create_app(house, WebSettings())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080", headers=headers)


async def close(
    house: SmallHouse,
    finding: Finding,
    outcome: Outcome,
    note: str,
    minutes_ago: int = 60,
    reason: Reason = Reason.OTHER,
) -> Alert:
    opened = house.find(finding, minutes_ago)
    act = Act(kind=ActKind.CLOSE, alert=opened.id, by="Li", at=house.time, outcome=outcome, note=note)
    return await house.act(replace(act, reason=reason if outcome is Outcome.NO_ACTION else None))


def put(house: SmallHouse, readings: list[Reading]) -> None:
    house.journal.append(
        [
            Arrival(
                packet=Packet(
                    link="listener", sender=each.device, channel="json", data=b"", received_at=each.received_at
                ),
                outcomes=(each,),
            )
            for each in readings
        ]
    )


async def test_the_report_of_the_last_thirty_days(house: SmallHouse) -> None:
    furnish(house)
    await close(house, very_low(), Outcome.NO_ACTION, "sensor error", reason=Reason.FALSE_READING)
    house.find(severe_pressure(), 90)
    async with browser(house) as web:
        found = (await web.get("/api/v1/quality")).json()
    assert (found["from"], found["to"], found["zone"]) == ("2026-02-02", "2026-03-03", "Asia/Shanghai")
    assert found["as_of"] == "2026-03-03T14:30:00+08:00"
    assert (found["total"]["alerts"], found["total"]["closed"], found["total"]["acted_on_pct"]) == (2, 1, 0.0)
    # Wang's cuff measured every 12 h on 14 days, on the clock of Shanghai; Miller did not measure.
    assert (found["total"]["patient_days"], found["total"]["per_patient_day"]) == (14, 0.143)
    assert found["total"]["close"] == {"n": 1, "open": 1, "without": 0, "median_min": 60.0, "p90_min": None}
    false = {"en": "false reading (pressure on the sensor, interference)", "zh": "读数不实（传感器受压、受干扰）"}
    counted = [{"reason": "false-reading", "title": false, "false_alarm": True, "n": 1}]
    assert (found["reasons"], found["notes"], found["total"]["false_alarms"]) == (counted, [], 1)
    assert (found["rules"][1]["reasons"], found["rules"][1]["false_alarms"]) == (counted, 1)
    assert [(each["rule"], each["alerts"], each["no_action"]) for each in found["rules"]] == [
        ("bp-severe", 1, 0),
        ("low-event-2", 1, 1),
    ]
    assert found["rules"][1]["title"] == {"en": "Very low glucose", "zh": "血糖严重偏低"}


async def test_the_programme_is_of_the_patients_alone(house: SmallHouse) -> None:
    furnish(house)
    house.people.change_patient(replace(WANG, programme="dm"), now=NOW, by=None)
    house.find(very_low())
    house.find(severe_pressure())
    async with browser(house) as web:
        dm = (await web.get("/api/v1/quality?programme=dm")).json()
        unknown = [
            await web.get(path)
            for path in (
                "/api/v1/quality?programme=nix",
                "/api/v1/quality.csv?programme=nix",
                "/api/v1/monitoring.csv?programme=nix",
                "/quality/figure/times?programme=nix",
                "/quality?programme=nix",
            )
        ]
        page = (await web.get("/quality")).text
    assert (dm["programme"], dm["total"]["alerts"], dm["total"]["patient_days"]) == ("dm", 1, 14)
    assert [each["name"] for each in dm["by_programme"]] == ["dm"]
    assert [answer.status_code for answer in unknown] == [422] * 5
    assert all("there is no programme nix; patients are in: dm" in answer.text for answer in unknown)
    assert "<option>dm</option>" in page


async def test_the_day_of_an_alert_is_the_clinics(house: SmallHouse) -> None:
    furnish(house)
    midnight = datetime(2026, 3, 1, 16, tzinfo=UTC)  # of Shanghai, to 2 March
    house.time = midnight - timedelta(minutes=1)
    house.find(very_low())
    house.time = midnight
    house.find(severe_pressure())
    async with browser(house) as web:
        counts = [
            (await web.get(f"/api/v1/quality?from={day}&to={day}")).json()["total"]["alerts"]
            for day in ("2026-02-28", "2026-03-01", "2026-03-02", "2026-03-03")
        ]
    assert counts == [0, 1, 1, 0]


async def test_days_that_make_no_period_are_refused_with_a_sentence(house: SmallHouse) -> None:
    async with browser(house) as web:
        for asked, says in (
            ("from=2026-03-02&to=2026-03-01", "it would end on 2026-03-01, before it begins on 2026-03-02"),
            ("from=2024-01-01&to=2026-03-01", "ask for at most 366 days at once"),
            ("from=soon", "from"),
            ("from=0001-01-01", "1900 to 2199"),
        ):
            for path in ("quality", "quality.csv", "monitoring.csv"):
                answer = await web.get(f"/api/v1/{path}?{asked}")
                assert answer.status_code == 422
                assert says in answer.json()["detail"]


async def test_control_compares_the_fortnights_before_and_after(house: SmallHouse) -> None:
    """Before: every fourth reading is above the range. After: every eighth. Of the cuff: 150/95, then 130/85."""
    furnish_only = Patient(id="p-c", name="Chen", zone="Asia/Shanghai")
    house.people.add_patient(furnish_only, now=NOW)
    opened, closed = NOW - 20 * DAY, NOW - 15 * DAY
    low = very_low(patient=furnish_only, since=opened, known_at=opened)
    high = replace(low, problem="blood-pressure-high", rule="bp-severe")
    house.time = opened
    alerts = [house.find(low), house.find(high)]
    house.time = closed
    for alert in alerts:
        act = Act(kind=ActKind.CLOSE, alert=alert.id, by="Li", at=closed, outcome=Outcome.EMERGENCY, note="x")
        await house.act(replace(act, symptoms=frozenset()))
    sensor = timedelta(minutes=15)
    readings = [
        reading(Vital.CGM, start + n * sensor, 12.0 if n % part == 0 else 6.0, patient="p-c")
        for start, part in ((opened - 14 * DAY, 4), (closed, 8))
        for n in range(14 * 96)
    ]
    readings += [
        reading(Vital.BLOOD_PRESSURE, start + day * DAY + hour * timedelta(hours=1), *sent, None, 70.0, patient="p-c")
        for start, sent in ((opened - 14 * DAY, (150.0, 95.0)), (closed, (130.0, 85.0)))
        for day in range(7)
        for hour in (-6.5 + 24, 6.5)  # 08:00 and 21:00 in Shanghai
    ]
    put(house, readings)
    house.time = NOW
    report = await house.quality.report(date(2026, 2, 1), date(2026, 3, 3), NOW)
    tir, systolic, diastolic = report.made.control
    assert (tir.n, tir.before, tir.after, tir.change) == (1, 75.0, 87.5, 12.5)
    assert (systolic.n, systolic.before, systolic.after) == (1, 150.0, 130.0)
    assert (diastolic.n, diastolic.change) == (1, -10.0)
    assert (report.compared, report.compared_of) == (2, 2)
    # A day before the fortnight after was over there was nothing to compare yet.
    early = await house.quality.report(date(2026, 2, 1), date(2026, 3, 3), closed + 13 * DAY)
    assert [(each.n, each.too_early) for each in early.made.control] == [(0, 1), (0, 1), (0, 1)]
    assert {each.measure for each in early.made.control} == set(Measure)


async def test_too_few_readings_are_said_to_be_too_few(house: SmallHouse) -> None:
    furnish(house)
    house.time = NOW - 20 * DAY
    opened = house.find(very_low(since=house.time, known_at=house.time))
    act = Act(kind=ActKind.CLOSE, alert=opened.id, by="Li", at=house.time, outcome=Outcome.EMERGENCY, note="x")
    await house.act(act)
    house.time = NOW
    report = await house.quality.report(date(2026, 2, 1), date(2026, 3, 3), NOW)
    assert (report.made.control[0].n, report.made.control[0].insufficient) == (0, 1)


async def test_of_too_many_patients_some_are_compared_and_that_is_said(
    house: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(house)
    monkeypatch.setattr(quality_desk, "MOST_COMPARED", 1)
    await close(house, very_low(), Outcome.EMERGENCY, "x")
    await close(house, very_low(MILLER), Outcome.EMERGENCY, "x")
    async with browser(house) as web:
        found = (await web.get("/api/v1/quality")).json()
        page = (await web.get("/quality")).text
    assert (found["compared"], found["compared_of"]) == (1, 2)
    assert sum(each["too_early"] for each in found["control"]) == 1
    assert "1 of 2 were compared, chosen by chance." not in page  # there is no chart that it would stand below


async def test_a_report_is_the_same_for_a_minute_and_made_once_for_all_who_ask(
    house: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(house)
    made = []
    put_together = house.quality.put_together

    def noted(*asked: Any) -> quality_desk.Report:
        assert threading.current_thread() is not threading.main_thread()  # the loop goes on meanwhile
        made.append(asked)
        return put_together(*asked)

    monkeypatch.setattr(house.quality, "put_together", noted)
    async with browser(house) as web:
        await asyncio.gather(*(web.get(path) for path in ("/quality", "/api/v1/quality", "/quality/figure/times")))
        assert len(made) == 1
        await web.get("/api/v1/quality?from=2026-03-01")
        assert len(made) == 2
        house.time += timedelta(seconds=59)
        await web.get("/api/v1/quality")
        assert len(made) == 2
        house.time += timedelta(seconds=1)
        assert (await web.get("/api/v1/quality")).json()["as_of"] == "2026-03-03T14:31:00+08:00"
        assert len(made) == 3


async def test_the_page_in_both_languages(house: SmallHouse) -> None:
    furnish(house)
    for number in range(10):
        finding = very_low(problem=f"glucose-low-{number}")
        await close(house, finding, Outcome.NO_ACTION, "<b>sensor</b>", minutes_ago=30)
    finding = very_low(problem="glucose-low-10")
    await close(house, finding, Outcome.NO_ACTION, "x", minutes_ago=30, reason=Reason.DEVICE_FAULT)
    house.find(no_data())
    async with browser(house) as web:
        page = (await web.get("/quality")).text
    assert "Of 11 closed alerts 1 were false alarms" in page
    assert page.count("<li><b>10</b>another reason</li>") == 2  # of all, and of the rule
    assert page.count('<li><b>1</b>fault of the device or cuff <span class="soft">(false alarm)</span></li>') == 2
    assert "How alerts ended, how long people took, and which rules to look at." in page
    assert "<b>Very low glucose</b> <code>low-event-2</code> · <b>Look into it</b>" in page
    assert "Of 11 closed alerts 11 (100 %) needed no action, 1 of them false alarms" in page
    assert "<b>sensor</b>" not in page
    assert "&lt;b&gt;sensor&lt;/b&gt;" in page
    for name in ("times", "outcomes", "rules"):
        assert f'data-figure="/quality/figure/{name}?from=2026-02-02&amp;to=2026-03-03&amp;programme="' in page
    assert "/quality/figure/satisfaction" not in page  # nobody was asked
    assert 'href="/api/v1/quality.csv?from=2026-02-02&amp;to=2026-03-03&amp;programme=&amp;language=en"' in page
    nameless = [cell for cell in re.findall("<td.*", page) if "data-label=" not in cell.partition(">")[0]]
    assert len(nameless) == len(TIMES), "on a telephone each number has its heading; a step names itself"
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        page = (await web.get("/quality")).text
    assert "警报如何结束、处理用时多久、哪些规则需要关注。" in page
    assert "<b>血糖严重偏低</b> <code>low-event-2</code> · <b>逐条核查</b>" in page
    assert "11 条已关闭的警报中，11 条（100%）无需处理，其中误报 1 条" in page
    assert '<li><b>1</b>设备或袖带故障 <span class="soft">(误报)</span></li>' in page
    assert "按团队" in page
    assert "无随访" in page


async def test_a_period_without_alerts_is_met_kindly(house: SmallHouse) -> None:
    for language, says in (
        ("en", "No alert was opened in these days, so there is nothing to judge yet."),
        ("zh-CN", "这段时间没有产生警报，暂无可评估的内容。"),
    ):
        async with browser(house, **{"Accept-Language": language}) as web:
            page = await web.get("/quality")
            assert page.status_code == 200
            assert says in page.text
            assert "data-figure" not in page.text


@pytest.mark.parametrize("name", ["times", "outcomes", "rules", "satisfaction", "control"])
async def test_every_chart_is_drawn_in_both_languages_also_of_nothing(house: SmallHouse, name: str) -> None:
    furnish(house)
    async with browser(house) as web:
        assert (await web.get(f"/quality/figure/{name}")).json()["layout"]
    house.time += timedelta(minutes=2)
    await close(house, very_low(), Outcome.EMERGENCY, "x")
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        drawn = (await web.get(f"/quality/figure/{name}")).json()
        assert (await web.get("/quality/figure/other")).status_code == 404
    if name == "times":
        assert [each["name"] for each in drawn["data"]] == ["中位数", "第 90 百分位"]
        assert drawn["data"][0]["y"] == ["至通知医护人员", "至有人响应", "至联系上患者", "至关闭"]
        assert drawn["data"][0]["text"] == ["", "1 小时 0 分钟", "", "1 小时 0 分钟"]
    if name == "rules":
        assert (drawn["data"][0]["y"], drawn["data"][0]["name"]) == (["血糖严重偏低"], "已采取措施")


def lines(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_the_report_as_a_table(house: SmallHouse) -> None:
    furnish(house)
    await close(house, very_low(), Outcome.NO_ACTION, '=HYPERLINK("http://x","y")')
    async with browser(house) as web:
        answer = await web.get("/api/v1/quality.csv")
        rows = lines(answer)
        chinese = lines(await web.get("/api/v1/quality.csv?language=zh_CN"))
    assert answer.headers["content-disposition"] == 'attachment; filename="quality-2026-02-02-2026-03-03.csv"'
    of_all = {row["Figure"]: (row["Value"], row["Unit"]) for row in rows if row["Section"] == "All alerts"}
    assert of_all["Alerts"] == ("1", "")
    assert of_all["Alerts per patient-day"] == ("0.071", "per patient-day")
    assert of_all["Until it was closed, median"] == ("60.0", "min")
    assert of_all["Until the patient was reached, median"] == ("", "min")
    assert [row["Group"] for row in rows if row["Section"] == "Notes on it"] == ["""'=HYPERLINK("http://x","y")"""]
    assert [(row["Group"], row["Value"]) for row in rows if row["Section"] == "Why nothing was done"] == [
        ("another reason", "1"),
        ("Very low glucose · another reason", "1"),
    ]
    assert ("无需处理的原因", "血糖严重偏低 · 其他原因") in {(row["部分"], row["分组"]) for row in chinese}
    assert of_all["False alarms"] == ("0", "")
    assert {row["Group"] for row in rows if row["Section"] == "Team"} == {"Nurse"}
    assert [row["Group"] for row in rows if row["Section"] == "Rule"] == ["Very low glucose"] * 7
    assert ("全部警报", "每患者日警报数", "0.071") in {(row["部分"], row["指标"], row["数值"]) for row in chinese}
    assert {row["单位"] for row in chinese} == {"", "天", "每患者日", "%", "分钟", "1 至 5 分", "名患者", "mmHg"}


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "  =", "　="])
def test_no_text_is_taken_for_a_formula(begins: str) -> None:
    written = table(["a"], [[f"{begins}1+1"]])
    ((cell,),) = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert cell == f"'{begins}1+1"


def test_numbers_days_and_other_texts_stay_what_they_are() -> None:
    written = table(["a", "=b"], [["5 - 3", -2.5], [None, date(2026, 3, 1)], ["王芳", 0]])
    assert written == "\ufeffa,'=b\r\n5 - 3,-2.5\r\n,2026-03-01\r\n王芳,0\r\n"


async def test_months_of_monitoring_as_a_table(house: SmallHouse) -> None:
    furnish(house)
    async with browser(house) as web:
        for body in (
            {"by": "Zhao", "minutes": 11, "note": "went through the week"},
            {"by": "Zhao", "minutes": 10, "live": True, "at": "2026-02-28T16:00:00Z"},  # 1 March in Shanghai
            {"by": "Zhao", "minutes": 45, "live": True, "at": "2026-02-28T15:59:00Z"},
        ):
            assert (await web.post(f"/api/v1/patients/{WANG.id}/care-time", json=body)).status_code == 201
        months = lines(await web.get("/api/v1/monitoring.csv?from=2026-02-10"))
        thirty = lines(await web.get("/api/v1/monitoring.csv?window=30-days&language=zh_CN"))
    columns = (
        "Patient",
        "First day",
        "Last day",
        "Days with data",
        "Minutes of care",
        "Live contact",
        "Threshold reached",
    )
    assert [tuple(row[name] for name in columns) for row in months] == [
        ("p-018", "2026-02-01", "2026-02-28", "0", "0", "", ""),
        ("p-018", "2026-03-01", "2026-03-31", "0", "0", "", ""),
        ("p-017", "2026-02-01", "2026-02-28", "11", "45", "2026-02-28", "20 min: 99457, 1 x 99458"),
        ("p-017", "2026-03-01", "2026-03-31", "3", "21", "2026-03-01", "20 min: 99457"),
    ]
    assert all("no billing advice" in row["Source of the thresholds"] for row in months)
    assert [(row["姓名"], row["时段"], row["有数据天数"], row["达到的阈值"]) for row in thirty] == [
        ("Anna Miller", "30 天", "0", ""),
        ("王芳", "30 天", "14", "2-15 天：99445"),
    ]
    assert "不构成计费建议" in thirty[0]["阈值来源"]


async def test_days_with_data_are_of_the_patients_clock_also_when_it_changes(house: SmallHouse) -> None:
    """In Berlin 29 March 2026 has 23 hours: from 28 March 23:00 UTC to 29 March 22:00."""
    house.people.add_patient(MILLER, now=NOW)
    house.time = datetime(2026, 4, 2, tzinfo=UTC)
    taken = [
        datetime(2026, 3, 28, 22, 59, 59, 999_999, tzinfo=UTC),  # the last moment of 28 March
        datetime(2026, 3, 29, 22, tzinfo=UTC),  # the first of 30 March
        datetime(2026, 3, 31, 21, 59, tzinfo=UTC),  # 31 March
        datetime(2026, 3, 31, 22, tzinfo=UTC),  # 1 April
    ]
    put(house, [reading(Vital.BLOOD_PRESSURE, at, 130.0, 80.0, None, 70.0, patient=MILLER.id) for at in taken])
    months = house.quality.months(date(2026, 3, 1), date(2026, 4, 1), quality_desk.Window.MONTH)
    assert [(row.first.month, row.days) for _, row in months] == [(3, 3), (4, 1)]


async def test_minutes_of_care_that_cannot_be_are_refused(house: SmallHouse) -> None:
    furnish(house)
    wanted = {"patient": MILLER.id, "because": "call", "role": "nurse", "by": "Li"}
    async with browser(house) as web:
        of_miller = (await web.post("/api/v1/follow-ups", json=wanted)).json()["id"]
        for body, status in (
            ({"by": "Zhao", "minutes": 0}, 422),
            ({"by": " ", "minutes": 3}, 422),
            ({"by": "Zhao", "minutes": 3, "at": "2026-03-03T06:31:00Z"}, 422),
            ({"by": "Zhao", "minutes": 3, "extra": 1}, 422),
            ({"by": "Zhao", "minutes": 3, "at": "2025-12-03T06:29:00Z"}, 422),
            ({"by": "Zhao", "minutes": 3, "follow_up": "f-none"}, 404),
            ({"by": "Zhao", "minutes": 3, "follow_up": of_miller}, 422),
            ({"by": "Zhao", "minutes": 121}, 409),
            ({"by": "Zhao", "minutes": 1441, "confirm": True}, 422),
        ):
            answer = await web.post(f"/api/v1/patients/{WANG.id}/care-time", json=body)
            assert answer.status_code == status, body
            assert answer.json()["detail"]
        assert (
            house.quality.months(date(2025, 12, 1), date(2026, 3, 3), quality_desk.Window.MONTH)[-1][1].minutes == 0
        )
        for meant in (
            {"minutes": 121, "confirm": True},
            {"minutes": 120},
            {"minutes": 1, "at": "2025-12-03T06:30:00Z"},
        ):
            body = {"by": "Zhao", **meant}
            assert (await web.post(f"/api/v1/patients/{WANG.id}/care-time", json=body)).status_code == 201
        assert (await web.post("/api/v1/patients/p-9/care-time", json={"by": "Z", "minutes": 3})).status_code == 404
        taken = await web.post(f"/api/v1/patients/{WANG.id}/care-time", json={"by": " Zhao ", "minutes": 3})
        assert taken.json() == {
            "id": 4,
            "patient": "p-017",
            "at": "2026-03-03T14:30:00+08:00",
            "by": "Zhao",
            "minutes": 3,
            "live": False,
            "note": "",
            "follow_up": None,
            "corrections": [],
        }


async def test_minutes_that_are_given_again_are_live_as_they_were(house: SmallHouse) -> None:
    furnish(house)
    path = f"/api/v1/patients/{WANG.id}/care-time"
    async with browser(house) as web:
        made = (await web.post(path, json={"by": "Zhao", "minutes": 30, "live": True})).json()
        for minutes in (0, 30):
            body = {"by": "Li", "minutes": minutes, "because": "one patient for another"}
            corrected = await web.post(f"{path}/{made['id']}/corrections", json=body)
        assert [each["live"] for each in corrected.json()["corrections"]] == [True, True]
        counted = lines(await web.get("/api/v1/monitoring.csv?from=2026-03-01"))
        assert [row["Live contact"] for row in counted if row["Minutes of care"] == "30"] == ["2026-03-03"]


async def test_the_minutes_of_today_are_listed_where_the_patients_day_is_ahead_of_the_clinics(
    house: SmallHouse,
) -> None:
    furnish(house)
    house.time += timedelta(hours=7)  # 21:30 in Shanghai, 02:30 of the next day in Auckland
    async with browser(house) as web:
        await web.post("/api/v1/patients", json={"id": "k", "name": "Kiri", "zone": "Pacific/Auckland"})
        made = (await web.post("/api/v1/patients/k/care-time", json={"by": "Zhao", "minutes": 30})).json()
        assert made["at"] == "2026-03-04T02:30:00+13:00"
        assert (await web.get("/api/v1/patients/k/care-time")).json() == [made]


@pytest.mark.parametrize(("language", "said"), [("en", "holds a NUL character"), ("zh-CN", "空字符")])
async def test_a_nul_is_refused_before_any_store_sees_it(house: SmallHouse, language: str, said: str) -> None:
    furnish(house)
    path = f"/api/v1/patients/{WANG.id}/care-time"
    async with browser(house, **{"Accept-Language": language}) as web:
        for answer in (
            await web.post(path, json={"by": "Zhao", "minutes": 3, "note": "a\0b"}),
            await web.post(path, json={"by": "Zhao", "minutes": 3, "note": "\\\0"}),
            await web.get("/api/v1/quality?programme=%00"),
            await web.delete("/api/v1/appointments/x?by=%00"),
        ):
            assert answer.status_code == 422, answer.text
            assert said in answer.json()["detail"]
        assert (await web.get("/api/v1/patients/%00/care-time")).status_code == 404
        for page in (await web.get("/quality?programme=%00"), await web.post("/patients", data={"name": "\0"})):
            assert page.status_code == 422
            assert said in page.text
        written = await web.post(path, json={"by": "Zhao", "minutes": 3, "note": r"\u0000"})
        assert written.json()["note"] == r"\u0000", "six characters that can be kept"


async def test_what_the_framework_refuses_is_said_in_chinese_too(house: SmallHouse) -> None:
    async with browser(house, **{"Accept-Language": "zh-CN"}) as web:
        for method, path, status, said in (
            ("GET", "/api/v1/nothing", 404, "此地址不存在"),
            ("DELETE", "/api/v1/patients", 405, "此地址不支持这种请求方法"),
            ("POST", "/api/v1/patients", 400, "请求正文无法解析"),
        ):
            answer = await web.request(method, path, content=b"\xff", headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["detail"]) == (status, said)
            assert answer.headers["Content-Language"] == "zh-CN"


async def test_corrected_minutes_are_the_ones_that_count(house: SmallHouse) -> None:
    furnish(house)
    path = f"/api/v1/patients/{WANG.id}/care-time"
    async with browser(house) as web:
        made = (await web.post(path, json={"by": "Zhao", "minutes": 90, "live": True})).json()
        await web.post(f"/api/v1/patients/{MILLER.id}/care-time", json={"by": "Zhao", "minutes": 5})
        at = f"{path}/{made['id']}/corrections"
        for body, status in (
            ({"minutes": 9, "because": "typo"}, 422),
            ({"by": "Li", "minutes": 9}, 422),
            ({"by": "Li", "minutes": 9, "because": " "}, 422),
            ({"by": "Li", "minutes": -1, "because": "typo"}, 422),
            ({"by": "Li", "minutes": 121, "because": "typo"}, 409),
        ):
            assert (await web.post(at, json=body)).status_code == status, body
        reason = {"by": "Li", "minutes": 9, "because": "typed 90 for 9"}
        for other in (at.replace(WANG.id, MILLER.id), f"{path}/99/corrections"):
            unknown = await web.post(other, json=reason)
            assert unknown.status_code == 404
            assert "no minutes of care have the number" in unknown.json()["detail"]
        house.time += timedelta(minutes=5)
        corrected = await web.post(at, json=reason)
        assert corrected.status_code == 201
        assert (corrected.json()["minutes"], corrected.json()["corrections"]) == (
            90,
            [
                {
                    "at": "2026-03-03T14:35:00+08:00",
                    "by": "Li",
                    "minutes": 9,
                    "live": True,
                    "because": "typed 90 for 9",
                }
            ],
        )
        assert (await web.get(path)).json() == [corrected.json()]
        counted = lines(await web.get("/api/v1/monitoring.csv?from=2026-03-01"))[-1]
        assert (counted["Minutes of care"], counted["Live contact"]) == ("9", "2026-03-03")
        assert (await web.post(at, json={**reason, "minutes": 0})).status_code == 201
        counted = lines(await web.get("/api/v1/monitoring.csv?from=2026-03-01"))[-1]
        assert (counted["Minutes of care"], counted["Live contact"]) == ("0", "")
        told = (await web.get(f"/api/v1/audit?subject=care-time:{made['id']}")).json()
    assert [(each["what"], each["who"]) for each in told] == [
        ("corrected", "Li"),
        ("corrected", "Li"),
        ("noted", "Zhao"),
    ]


async def test_minutes_are_of_one_of_the_team_where_a_team_is_entered(house: SmallHouse) -> None:
    furnish(house)
    house.duty.team.put(BAO, now=house.time)
    path = f"/api/v1/patients/{WANG.id}/care-time"
    async with browser(house) as web:
        for by in ("Zhao", ""):
            assert (await web.post(path, json={"by": by, "minutes": 3})).status_code == (409 if by else 422)
        assert (await web.get(path)).json() == []
        made = (await web.post(path, json={"by": BAO.id, "minutes": 3})).json()
        assert made["by"] == BAO.name
        correction = {"minutes": 4, "because": "typed 3 for 4"}
        at = f"{path}/{made['id']}/corrections"
        refused = await web.post(at, json={**correction, "by": "Zhao"})
        assert refused.status_code == 409
        assert BAO.name in refused.json()["detail"]
        assert (await web.post(at, json={**correction, "by": BAO.id})).json()["corrections"][0]["by"] == BAO.name


async def test_the_examples_in_the_description_are_what_it_describes(house: SmallHouse) -> None:
    async with browser(house) as web:
        schema: dict[str, Any] = (await web.get("/api/v1/openapi.json")).json()
    for name in ("QualityOut", "CareTimeIn"):
        described = schema["components"]["schemas"][name]
        checker = Draft202012Validator({**described, "components": schema["components"]})
        assert described["examples"]
        for example in described["examples"]:
            checker.validate(example)
            assert json.dumps(example)
