"""The doctor's page in a real browser on the real house: from an MQTT message to an acknowledged alert."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from playwright.async_api import async_playwright, expect

from gateway.people import DeviceKind
from simulators.publisher import Publisher, glucose
from tests.real_house import AT_ONCE, HandClock, enrol, real_house

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


async def test_an_alert_arrives_live_and_its_acknowledgement_survives_a_restart(
    tmp_path: Path, chromium: str
) -> None:
    clock = HandClock()
    expect.set_options(timeout=20_000)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        async with real_house(tmp_path, clock) as house:
            await enrol(house, "p-1", "cgm-1", DeviceKind.CGM, name="王芳", limits=AT_ONCE)
            page = await browser.new_page(locale="zh-CN")
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(house.address)
            await expect(page.locator("main")).to_contain_text("没有未关闭的警报")
            await expect(page.locator("#link")).to_have_text("实时")

            assert house.listener is not None
            async with Publisher("cgm-1", "127.0.0.1", house.listener.port) as sensor:
                for minutes, value in ((25, 71), (20, 60), (15, 52), (10, 49), (5, 47), (0, 45)):
                    at = clock.now() - timedelta(minutes=minutes)
                    await sensor.publish(glucose(Decimal(value), at, kind="cgm_glucose"))
            card = page.locator("#waiting > article")
            await expect(card).to_contain_text("王芳")
            await expect(card).to_contain_text("mg/dL")

            await card.get_by_text("确认", exact=True).first.click()
            await card.get_by_label("您的姓名").first.fill("李医生")
            await card.get_by_role("button", name="确认").last.click()
            await expect(page.locator("#history")).to_contain_text(
                "李医生 确认警报并负责随访。"
            )  # led to the follow-up
            await page.goto(house.address)
            await expect(page.locator("#handled > article")).to_contain_text("李医生")

            await page.goto(f"{house.address}/patients/p-1")
            await expect(page.locator(".js-plotly-plot").first).to_be_visible()
            assert complaints == []
        async with real_house(tmp_path, clock) as house:
            await page.goto(house.address)
            await expect(page.locator("#handled > article")).to_contain_text("李医生")
        await browser.close()
