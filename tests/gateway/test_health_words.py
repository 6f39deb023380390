"""How the house does, on the pages in Chinese."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from alerts import channels
from gateway.health import Fall
from gateway.health_words import known
from gateway.language import Sentence, load_languages
from ingest import influx
from ingest.links import ble_faults, broker, listener, uplink
from tests.alerts.telling import WANG
from tests.real_house import NOW, HandClock, real_house

CHINESE = load_languages()["zh_CN"]
IN_CHINESE = {"Accept-Language": "zh-CN"}
# Where each of the links says how it does.
SAYING = {
    influx: {"run", "health", "_explain"},
    uplink: {"__init__", "run", "health", "_hung_up", "_why_unreachable", "_why_refused", "_why_not_taken"},
    broker: {
        "__init__",
        "open",
        "_heard",
        "_told",
        "_stay_alive",
        "_shortfalls",
        "_says_dropped",
        "_says_forgotten",
        "_why_unreachable",
        "_why_refused",
    },
    listener: {"trouble"},
    ble_faults: {"adapter_fault", "session_fault"},
    channels: {"_absent", "health"},
}
STANDS_FOR = {
    "broker": "the broker h:1",
    "hub": "the hub h:1",
    "bucket": "bucket 'b' of organisation 'o'",
    "given": "user u",
}


# Put into a sentence that stands elsewhere, or compared with what the other side says.
FRAGMENTS = ("packets that it has still to confirm: ", "no user name was given", "Bad user name or password")


def written(node: ast.JoinedStr) -> str:
    """What an f-string says with something in its places."""
    return "".join(
        STANDS_FOR.get(ast.unparse(part.value), "x")
        if isinstance(part, ast.FormattedValue)
        else ast.literal_eval(part)
        for part in node.values
    )


def sentences(module: ModuleType, names: set[str]) -> Iterator[str]:
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name in names:
            inside = [each for node in function.body[1:] or function.body for each in ast.walk(node)]
            formed = [each for each in inside if isinstance(each, ast.JoinedStr)]
            parts = {id(part) for each in formed for part in ast.walk(each)}
            yield from map(written, formed)
            for each in inside:
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in parts:
                    yield each.value


@pytest.mark.parametrize(("module", "names"), SAYING.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_a_link_says_nothing_of_itself_that_the_pages_have_no_words_for(module: ModuleType, names: set[str]) -> None:
    told = [each for each in sentences(module, names) if each.count(" ") > 3 and not each.startswith(FRAGMENTS)]
    assert told
    for each in told:
        found = known(each)
        assert (type(found), found) == (Sentence, each)
        assert re.search("[一-鿿]", CHINESE.sentence(found))


def test_what_is_quoted_in_a_sentence_is_said_in_chinese_too_as_far_as_it_can_be() -> None:
    said = known("InfluxDB follows the journal. InfluxDB refused 3 readings; they are set aside.")
    assert CHINESE.sentence(said) == "InfluxDB 与日志同步。InfluxDB 拒绝了 3 条读数；已另行保存，待处理。"
    gone = "the broker ward:1883 shows a certificate that is not trusted (expired); set tls_ca to the certificate "
    gone += "authority that signed it, and host to a name in it"
    assert CHINESE.sentence(known(gone)).startswith("代理服务器 ward:1883 的证书不受信任（expired）；")
    for unknown in ("a sentence that nobody knows", "the broker ward:1883 sings", "the hub ward:1883 is green"):
        assert type(known(unknown)) is str
        assert known(unknown) == unknown
    assert CHINESE.sentence(known(ble_faults.SWITCHED_OFF)).startswith("蓝牙适配器已关闭")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("webhook pager answered HTTP 500", "webhook pager 返回错误代码 HTTP 500"),
        ("webhook pager answered HTTP 401", "webhook pager 拒绝了登录信息（HTTP 401），请检查密钥"),
        ("webhook answered HTTP 403", "webhook 拒绝访问（HTTP 403），请检查权限"),
        ("webhook: ReadTimeout", "webhook：等待应答超时"),
        ("webhook: ConnectError it is off", "webhook：无法建立连接（对方原文：it is off）"),
        ("webhook pager: ReadTimeout", "webhook pager：等待应答超时"),
        (
            "webhook pager: ConnectError All connection attempts failed",
            "webhook pager：无法建立连接（对方原文：All connection attempts failed）",
        ),
        (
            "e-mail desk@x.example: SMTPAuthenticationError (535, 'no: bad password')",
            "电子邮件 desk@x.example：邮件服务器拒绝登录，请检查用户名和密码（对方原文：(535, 'no: bad password')）",
        ),
        ("e-mail desk: SMTPOddity it is odd", "电子邮件 desk：SMTPOddity（对方原文：it is odd）"),
        ("e-mail desk: ConnectionRefusedError [Errno 111]", "电子邮件 desk：连接被拒绝（对方原文：[Errno 111]）"),
        ("apprise sms did not answer within 15 s", "apprise sms 在 15 秒内未应答"),
        ("apprise sms: the service did not take it", "apprise sms：服务方未接收"),
        ("apprise sms: TypeError", "apprise sms：TypeError"),
        ("pager: not done within 45 s", "pager：45 秒内未完成"),
        (
            "pager: ValueError no such header; correct the channel's configuration",
            "pager：ValueError（原文：no such header）；请更正该渠道的配置",
        ),
    ],
)
def test_what_is_wrong_with_a_channel_is_said_in_chinese_and_what_others_say_is_quoted(fault: str, said: str) -> None:
    assert known(fault) == fault
    assert CHINESE.sentence(known(fault)) == said


async def explained(address: str, part: str) -> str:
    """What the page says in Chinese of one part; "" where it says that it is English."""
    async with httpx.AsyncClient(trust_env=False, headers=IN_CHINESE) as web:
        page = (await web.get(f"{address}/health")).text
    (row,) = (each for each in page.split("<tr>") if f'data-label="部分">{part}<' in each)
    return "" if "lang=" in row else row.rpartition('data-label="说明"')[2].partition(">")[2].partition("<")[0]


async def test_the_page_says_in_chinese_how_each_part_does_and_what_to_do(tmp_path: Path) -> None:
    influxdb = {"url": "http://127.0.0.1:9", "token": "t", "org": "o", "bucket": "b"}
    async with real_house(tmp_path, HandClock(), influxdb=influxdb, bluetooth=None, listener={"port": 0}) as house:
        async with httpx.AsyncClient(trust_env=False, headers=IN_CHINESE) as web:
            page = (await web.get(f"{house.address}/health")).text
            assert (await web.get(f"{house.address}/api/v1/health")).json()["parts"]["watch"]["detail"] == (
                "Every patient is watched."
            )
        assert "lang=" not in page.split("<tbody>")[1].split("</tbody>")[0]
        assert await explained(house.address, "读数监测") == "每位患者都在监测中。"
        assert re.fullmatch(r"端口 \d+ 已开放；当前连接数：0。", await explained(house.address, "监听服务（MQTT）"))
        assert re.fullmatch(
            r"磁盘已用 \d+%，剩余 [\d.]+ [GM]B；日志占用 [\d.]+ MB.*。.*", await explained(house.address, "磁盘")
        )
        house.duty.team.put(WANG, now=NOW)
        assert await explained(house.address, "团队") == (
            "24 小时内没有可通知到的当班人员，缺少的角色：医生、护士。请在“团队”页面填写班次和联系方式。"
        )
        house.fallen["influxdb"] = Fall(NOW, "boom")
        assert await explained(house.address, "InfluxDB") == "已停止（boom），将在 15 秒内重新启动；详情见运行日志。"
