"""The pages in a real browser, against a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from alerts.alert import Act, ActKind, Outcome, Priority, Reason, Text
from alerts.follow_up import Open, Why, opened
from alerts.team import Contact, Role
from gateway.bulletin import Bulletin
from gateway.guard import WebSettings
from gateway.web import create_app
from ingest.journal import Arrival
from ingest.reading import Packet
from ingest.vital import Vital
from tests.alerts.telling import BAO
from tests.gateway.serving import serving
from tests.gateway.small_house import MILLER, NOW, WANG, SmallHouse, over, reading, severe_pressure, very_low
from tests.gateway.test_duty import Ear, speak_through

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        await running.close()


@pytest.fixture
async def address(house: SmallHouse) -> AsyncIterator[str]:
    async with serving(create_app(house, WebSettings())) as url:
        yield url


@dataclass
class Visit:
    context: BrowserContext
    page: Page
    complaints: list[str]


async def visit(browser: Browser, address: str, locale: str, width: int = 1280, **more: bool) -> Visit:
    size = {"width": width, "height": 844}
    context = await browser.new_context(base_url=address, locale=locale, viewport=size, **more)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    return Visit(context, page, complaints)


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        (
            "en-GB",
            {
                "live": "Live",
                "seen": "Acknowledge",
                "by": "by 李医生",
                "empty": "No open alerts.",
                "name": "Your name",
            },
        ),
        ("zh-CN", {"live": "实时", "seen": "确认", "by": "李医生", "empty": "没有未关闭的警报", "name": "您的姓名"}),
    ],
)
async def test_an_alert_arrives_live_and_stays_acknowledged(browser, house, address, locale, words) -> None:
    seen = await visit(browser, address, locale)
    page = seen.page
    await page.goto("/")
    await expect(page.locator("#link")).to_have_text(words["live"])
    await expect(page.locator("main")).to_contain_text(words["empty"])
    await page.evaluate("window.same = true")  # gone if the page were loaded again

    alert = house.find(very_low())
    card = page.locator(f"#waiting > #{alert.id}")
    because = alert.because.zh if locale == "zh-CN" else alert.because.en
    await expect(card).to_contain_text(because)
    await expect(card).to_contain_text("UTC+8")
    await expect(page.locator("#announce")).to_contain_text(because)
    await expect(page).to_have_title(re.compile(r"^\(1\)"))
    assert await page.evaluate("window.same") is True

    await card.get_by_text(words["seen"], exact=True).first.click()
    await card.get_by_label(words["name"]).first.fill("李医生")
    await card.get_by_role("button", name=words["seen"]).last.click()
    await expect(page).to_have_url(re.compile("/follow-ups/f-[0-9a-f]{16}$"))  # what is to be done next
    await expect(page.locator("main")).to_contain_text(because)
    done = page.locator(f"#handled > #{alert.id}")
    await page.goto("/")
    await expect(done).to_contain_text(words["by"])
    kept = house.book.alert(alert.id)
    assert kept is not None
    assert kept.acknowledged_by == "李医生"

    second = house.find(severe_pressure())  # the name is known now: one click
    await page.locator(f"#waiting > #{second.id}").get_by_role("button", name=words["seen"]).click()
    await expect(page).to_have_url(re.compile("/follow-ups/"))
    await page.goto("/")
    await expect(page.locator(f"#handled > #{second.id}")).to_contain_text(words["by"])
    assert seen.complaints == []
    await seen.context.close()


async def test_a_card_changes_in_place_while_somebody_writes_in_it(browser, house, address) -> None:
    alert = house.find(very_low())
    seen = await visit(browser, address, "en-GB", width=390)
    page = seen.page
    await page.goto("/")
    await expect(page.locator("#link")).to_have_text("Live")
    card = page.locator(f"#{alert.id}")
    await card.get_by_text("Close…").click()
    await card.get_by_label("Note").fill("half a sent")
    await page.get_by_role("heading", name="Worklist").click()

    house.find(over(very_low()))
    other = house.find(very_low(MILLER))
    await expect(card).to_contain_text("over since")
    await expect(page.locator("#waiting > article")).to_have_count(2)
    assert await card.get_by_label("Note").input_value() == "half a sent"
    await expect(page.locator("#announce")).to_contain_text(MILLER.name)

    await card.get_by_label("Your name").last.fill("Dr Li")
    await expect(card.get_by_label("Why no action was needed")).to_be_hidden()
    await card.get_by_label("Outcome").select_option("no-action")
    await card.get_by_label("Why no action was needed").select_option("device-fault")
    await card.get_by_role("button", name="Close the alert").click()
    await expect(page.locator("#waiting > article")).to_have_count(1)
    await expect(page.locator(f"#{other.id}")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert seen.complaints == []
    await seen.context.close()


async def test_what_somebody_writes_stays_when_a_colleague_acknowledges_and_closes_the_alert(
    browser, house, address
) -> None:
    alert = house.find(very_low())
    seen = await visit(browser, address, "en-GB")
    page = seen.page
    await page.goto("/")
    await expect(page.locator("#link")).to_have_text("Live")
    card = page.locator(f"#{alert.id}")
    await card.get_by_text("Close…").click()
    await card.get_by_label("Your name").last.fill("Dr Wu")
    await card.get_by_label("Note").fill("called her")
    at = alert.opened_at
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=at))
    await expect(page.locator(f"#handled > #{alert.id} .facts")).to_contain_text("by Dr Li")
    assert await page.locator("article .gone").count() == 0
    closed = Act(kind=ActKind.CLOSE, alert=alert.id, by="Dr Li", at=at, note="ate", outcome=Outcome.NO_ACTION)
    await house.act(replace(closed, reason=Reason.TREATED_BEFORE))
    await expect(card.locator(".gone")).to_contain_text("Somebody else has dealt with this alert")
    assert await card.get_by_label("Note").input_value() == "called her"
    await card.get_by_label("Outcome").select_option("emergency")
    await card.get_by_role("button", name="Close the alert").click()
    await expect(page.locator(".refused")).to_contain_text("Dr Li has closed the alert")
    assert await page.locator("textarea[readonly]").input_value() == "called her"
    await seen.context.close()


async def test_a_lost_connection_is_shown_and_made_good(browser, house, address) -> None:
    seen = await visit(browser, address, "en-GB")
    await seen.page.goto("/")
    await expect(seen.page.locator("#link")).to_have_text("Live")
    await seen.context.set_offline(True)
    house.bulletin.close()
    await expect(seen.page.locator("#link")).to_contain_text("Connection lost")
    alert = house.find(very_low())
    house.bulletin = Bulletin()
    await seen.context.set_offline(False)
    await expect(seen.page.locator("#link")).to_have_text("Live")
    await expect(seen.page.locator(f"#{alert.id}")).to_be_visible()
    await seen.context.close()


async def test_charts_are_drawn_and_follow_new_readings(browser, house, address) -> None:
    seen = await visit(browser, address, "zh-CN", width=390)
    page = seen.page
    await page.goto("/patients/p-017?range=3d")
    await expect(page.locator(".chart .main-svg").first).to_be_visible()
    charts = page.locator(".chart")
    await expect(charts).to_have_count(2)
    await expect(charts.first).to_contain_text("血糖 (mmol/L)")
    await expect(charts.first).to_contain_text("3.9")
    await expect(charts.last).to_contain_text("135")

    new = reading(Vital.CGM, NOW, 2.7, device="cgm-2")
    packet = Packet(link="listener", sender="cgm-2", channel="json", data=b"{}", received_at=NOW)
    await asyncio.to_thread(house.journal.append, [Arrival(packet=packet, outcomes=(new,))])
    house.bulletin.publish({"type": "reading", "patient": "p-017", "vital": "cgm_glucose"})
    await expect(page.locator("#newest")).to_contain_text("cgm-2")
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    assert seen.complaints == []
    await seen.context.close()


async def test_the_chosen_limit_says_its_bounds_and_a_refused_form_keeps_what_was_typed(browser, address) -> None:
    seen = await visit(browser, address, "zh-CN")
    page = seen.page
    await page.goto("/patients/p-017")
    await page.select_option('select[name="which"]', "low-event-2 limit mmol/L")
    await expect(page.locator("#limit-says")).to_have_text("血糖严重偏低，界限：默认 3 mmol/L；2.5 至 3.9 mmol/L")
    await page.fill("#limit-value", "３．２")
    await page.fill('input[name="to"] >> nth=0', "2026-03-01")
    form = page.locator("form", has=page.locator("#limit-value"))
    await form.get_by_label("您的姓名").fill("李医生")
    await form.get_by_role("button").click()
    await expect(form.get_by_role("alert")).to_contain_text("早于起始日")
    await expect(form.get_by_role("alert")).to_be_focused()
    await expect(page.locator("#limit-value")).to_have_value("3.2")
    await expect(page).to_have_url(f"{address}/patients/p-017")
    assert all("422" in each for each in seen.complaints)
    await seen.context.close()


async def test_without_javascript_an_alert_can_be_acknowledged(browser, house, address) -> None:
    alert = house.find(very_low())
    seen = await visit(browser, address, "en-GB", java_script_enabled=False)
    await seen.page.goto("/")
    card = seen.page.locator(f"#{alert.id}")
    await card.get_by_text("Acknowledge", exact=True).first.click()
    await card.get_by_label("Your name").first.fill("Dr Li")
    await card.get_by_role("button", name="Acknowledge").click()
    await expect(seen.page).to_have_url(re.compile("/follow-ups/"))
    await seen.page.goto("/")
    await expect(seen.page.locator(f"#handled > #{alert.id}")).to_contain_text("by Dr Li")
    await seen.context.close()


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_the_header_is_one_line_on_a_small_screen(browser, address, locale) -> None:
    seen = await visit(browser, address, locale)
    await seen.page.goto("/")
    await expect(seen.page.locator("#link")).to_have_text(re.compile("Live|实时"))
    for width in (1024, 1169, 1280, 1473):
        await seen.page.set_viewport_size({"width": width, "height": 844})
        brand, links, who = [await seen.page.locator(each).bounding_box() for each in (".brand", ".bar nav", ".who")]
        assert all(
            abs(each["y"] + each["height"] / 2 - brand["y"] - brand["height"] / 2) < 8 for each in (links, who)
        )
        assert await seen.page.locator(".bar nav").evaluate("nav => nav.scrollWidth - nav.clientWidth") == 0
    await seen.context.close()


@pytest.mark.parametrize(("locale", "words"), [("en-GB", "Record a try…"), ("zh-CN", "记录联系…")])
async def test_follow_ups_fit_a_telephone_and_are_done_by_the_keyboard(
    browser, house, address, locale, words
) -> None:
    alert = house.find(severe_pressure())
    await house.act(Act(kind=ActKind.ACKNOWLEDGE, alert=alert.id, by="Dr Li", at=NOW))
    follow_up = house.follow_ups.of_alert(alert.id)
    assert follow_up is not None
    seen = await visit(browser, address, locale, width=360)
    page = seen.page
    for path in ("/follow-ups", f"/alerts/{alert.id}", f"/patients/{MILLER.id}", f"/follow-ups/{follow_up.id}"):
        await page.goto(path)
        await page.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = true; })")
        assert await page.evaluate("document.documentElement.scrollWidth") == 360, path
    await page.reload()
    await page.get_by_text(words, exact=True).focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Dr Li")
    for _ in range(2):
        await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowDown")  # reached
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")  # chest pain
    await page.keyboard.press("Enter")
    await expect(page.locator("#history li")).to_have_count(2)
    tried = house.follow_ups.get(follow_up.id)
    assert tried is not None
    assert (tried.attempts, tried.symptoms, tried.assigned_to) == (1, {"chest-pain"}, "Dr Li")
    assert seen.complaints == []
    await seen.context.close()


_PAST_THE_EDGE = """tables => tables.flatMap(table => [...table.querySelectorAll('th, td')])
    .filter(cell => cell.offsetParent)
    .filter(cell => {
        const text = document.createRange();
        text.selectNodeContents(cell);
        const edge = cell.getBoundingClientRect().right - parseFloat(getComputedStyle(cell).paddingRight);
        return text.getBoundingClientRect().right > edge + 0.5;
    })
    .map(cell => cell.innerText)"""


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("width", [1280, 1024, 390])
async def test_nothing_of_what_is_overdue_is_cut_off(browser, house, address, locale, width) -> None:
    """In the longest of days and hours, of priorities and of names."""
    house.time = datetime(2026, 11, 23, 22, 33, tzinfo=UTC)
    house.people.change_patient(replace(MILLER, zone="Asia/Kolkata"), now=house.time, by=None)
    kinds = [(WANG, Priority.HIGH), (MILLER, Priority.MEDIUM), (WANG, Priority.LOW)]
    for number, (patient, priority) in enumerate(kinds):
        words, long = f"reading-{'x' * 60}{number}", f"Nurse-{'Maximiliane' * 4}"
        act = Open(
            patient=patient.id,
            why=Why.STAFF,
            key=words,
            because=Text(en=words, zh=words),
            at=house.time,
            role=Role.PSYCHOLOGIST,
            priority=priority,
            assigned_to=long if number else None,
            by=long,
        )
        house.follow_ups.record((opened(act),))
    house.time += timedelta(days=3)
    seen = await visit(browser, address, locale, width=width)
    await seen.page.goto("/follow-ups?of=all")
    assert await seen.page.locator("tbody tr").count() == 3
    assert await seen.page.locator("table").evaluate_all(_PAST_THE_EDGE) == []
    hidden = "each => each.scrollWidth - each.clientWidth"
    assert await seen.page.locator(".scroll").evaluate(hidden) == 0
    assert await seen.page.evaluate("document.documentElement.scrollWidth") == width
    await seen.context.close()


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("path", ["/patients/p-017", "/devices", "/quality"])
async def test_nothing_in_a_table_is_beside_a_telephones_edge(browser, house, address, locale, path) -> None:
    house.find(very_low())
    pressure = reading(Vital.BLOOD_PRESSURE, NOW, 192.0, 126.0, None, 104.0, device="cuff-1")
    packet = Packet(link="listener", sender="cuff-1", channel="json", data=b"{}", received_at=NOW)
    house.journal.append([Arrival(packet=packet, outcomes=(pressure,))])
    seen = await visit(browser, address, locale, width=390)
    await seen.page.goto(path)
    await seen.page.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = true; })")
    tables = seen.page.locator(".scroll")
    assert await tables.count() > 0
    hidden = "found => found.map(each => each.scrollWidth - each.clientWidth).filter(Boolean)"
    assert await tables.evaluate_all(hidden) == []
    await seen.context.close()


@pytest.mark.parametrize(("locale", "words"), [("en-GB", "you asked"), ("zh-CN", "您已于")])
async def test_what_a_patient_reads_behind_a_link_fits_a_telephone(browser, house, address, locale, words) -> None:
    """The patient's own language counts, not that of the browser."""
    patient = MILLER if locale == "en-GB" else WANG
    house.duty.team.put(BAO, now=NOW)
    house.duty.team.put_contacts(f"patient:{patient.id}", [Contact(channel="sms", address="me")], now=NOW)
    sms = Ear("sms")
    sms.trusted = False
    house.find(very_low(patient))
    speaker = speak_through(house, sms)
    await house.duty.go()
    await speaker.speak()
    (message,) = sms.heard
    seen = await visit(browser, address, "de-DE", width=360)
    await seen.page.goto(message.link.removeprefix("https://hub.example"))
    assert await seen.page.evaluate("document.documentElement.scrollWidth") == 360
    button = seen.page.get_by_role("button")
    size = await button.evaluate("each => parseFloat(getComputedStyle(each).fontSize)")
    assert size >= 20  # CSS pixels, for old eyes
    await button.click()
    await expect(seen.page.get_by_role("status")).to_contain_text(re.compile(words, re.IGNORECASE))
    assert seen.complaints == []
    await seen.context.close()
