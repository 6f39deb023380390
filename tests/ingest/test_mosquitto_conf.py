"""deploy/mosquitto.conf and its access list, in force in a real Mosquitto."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.links.broker import BrokerLink, BrokerSettings, probe
from tests.conftest import need
from tests.ingest.house import PATIENCE, House, now, until
from tests.peers import Mosquitto

DEPLOY = Path(__file__).parents[2] / "deploy"
MORE_THAN_THE_DEFAULTS = 2500  # Mosquitto queues 1000 and has 20 on their way


LOCATION = "persistence_location /var/lib/mosquitto/\n"
# What the package of Debian and Ubuntu puts into /etc/mosquitto/mosquitto.conf.
STOCK = f"""
pid_file /run/mosquitto/mosquitto.pid

persistence true
{LOCATION}
log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
"""


@pytest.fixture(params=["alone", "beside Debian's own file"])
def broker(request: pytest.FixtureRequest, mosquitto: str, tmp_path: Path) -> Iterator[Mosquitto]:
    """Mosquitto as a clinic starts it; only the port, the places of files and who runs it are the test's."""
    passwords = tmp_path / "homeward.passwords"
    passwd = need("mosquitto_passwd", "`apt-get install mosquitto`")
    passwords.touch(mode=0o600)
    for user in ("homeward", "gm-1", "gm-2"):
        subprocess.run([passwd, "-b", str(passwords), user, "sweet"], check=True)
    (tmp_path / "homeward.acl").write_text((DEPLOY / "mosquitto.acl").read_text(encoding="utf-8"), encoding="utf-8")
    ours = (DEPLOY / "mosquitto.conf").read_text(encoding="utf-8")
    running = Mosquitto(mosquitto, tmp_path)
    if request.param == "alone":
        assert f"\n# {LOCATION}" in ours
        running.configure(placed(ours.replace(f"\n# {LOCATION}", f"\n{LOCATION}"), running.port, tmp_path))
    else:
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d" / "homeward.conf").write_text(placed(ours, running.port, tmp_path), encoding="utf-8")
        running.configure(placed(STOCK, running.port, tmp_path))
    running.start()
    yield running
    running.kill()


def placed(text: str, port: int, here: Path) -> str:
    """The same settings with a port and places of our own."""
    for theirs in ("/etc/mosquitto/", "/var/lib/mosquitto/", "/var/log/mosquitto/", "/run/mosquitto/"):
        text = text.replace(theirs, f"{here}/")
    return text.replace("listener 1883 ", f"listener {port} ")


def settings(broker: Mosquitto) -> BrokerSettings:
    return BrokerSettings(
        host="127.0.0.1", port=broker.port, username="homeward", password="sweet", retry_first=0.05, retry_longest=0.2
    )


async def publish(broker: Mosquitto, user: str, topic: str, count: int) -> None:
    def send() -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(user, "sweet")
        client.max_queued_messages_set(0)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        for sent in [client.publish(topic, b"%d" % number, qos=1) for number in range(count)]:
            sent.wait_for_publish(PATIENCE)
            assert sent.is_published()
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(send)


async def test_homeward_finds_nothing_to_complain_of(broker: Mosquitto) -> None:
    assert await probe(settings(broker)) is None


async def test_what_waits_while_homeward_is_away_is_not_dropped_and_survives_a_restart(broker: Mosquitto) -> None:
    first = BrokerLink(settings(broker), House(prompt=True).deliver, now)
    async with first.running():
        await until(lambda: first.trouble is None)
    await publish(broker, "gm-1", "homeward/v1/gm-1/readings", MORE_THAN_THE_DEFAULTS)
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    house = House(prompt=True)
    link = BrokerLink(settings(broker), house.deliver, now)
    async with link.running():
        packets = [packet for packet, _ in await house.take_many(MORE_THAN_THE_DEFAULTS)]
        assert link.warnings == ()
    assert [int(packet.data) for packet in packets] == list(range(MORE_THAN_THE_DEFAULTS))


async def test_a_device_writes_its_own_topic_and_reads_nothing(broker: Mosquitto) -> None:
    house, other = House(prompt=True), House(prompt=True)
    homeward = BrokerLink(settings(broker), house.deliver, now)
    spy = BrokerLink(replace(settings(broker), username="gm-1", client_id="spy"), other.deliver, now)
    async with homeward.running(), spy.running():
        await until(lambda: homeward.trouble is None and spy.trouble is None)
        await publish(broker, "gm-2", "homeward/v1/gm-1/readings", 1)
        await publish(broker, "gm-2", "homeward/v1/gm-2/readings", 2)
        await house.take_many(2)
    assert [packet.sender for packet in house.packets] == ["gm-2", "gm-2"]
    assert other.packets == []
