"""What others would use for the same work: Node-RED and ThingsBoard's gateway, between the same broker and sink.

Each keeps a session at the broker, so that a crash of it is judged as fairly as ours. Both acknowledge a message when
it comes and hold it in memory; neither validates, admits, or keeps a journal.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.load import Key
from benchmarks.machine import Missing, Program, gateway_python, module, node_red
from tests.peers import free_port

_JOIN: Final = """
const batch = context.get("batch") || [];
const sendNow = () => {
    const ready = context.get("batch") || [];
    context.set("batch", []); clearTimeout(context.get("timer")); context.set("timer", null);
    if (ready.length) node.send({payload: ready, headers: {"content-type": "application/json"}});
};
for (const reading of msg.payload.readings || [msg.payload]) {
    reading.device = msg.payload.device;
    reading.low = reading.kind === "cgm_glucose" && reading.value < 70;
    batch.push(reading);
}
context.set("batch", batch);
if (batch.length >= 500) sendNow();
else if (!context.get("timer")) context.set("timer", setTimeout(sendNow, 50));
return null;
"""


class Sink:
    """The sink in a process of its own (`benchmarks/sink.py`)."""

    def __init__(self, folder: Path) -> None:
        self.http, self.mqtt = free_port(), free_port()
        self.program = Program(module("benchmarks.sink", self.http, self.mqtt), folder / f"sink-{self.http}.log")
        self.program.wait_for("sink is ready")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.http}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()

    def count(self) -> int:
        """Readings that have come."""
        return int(self._ask("count"))

    def keys(self) -> list[Key]:
        """Which readings have come."""
        return [(device, sequence) for device, sequence in json.loads(self._ask("keys"))]

    def _ask(self, what: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/{what}", timeout=30) as answer:
            return bytes(answer.read())


class _Peer:
    """A program of others; what it has passed on counts as durable."""

    program: Program
    copies = True

    def __init__(self, prefix: str, sink: Sink) -> None:
        self.prefix = prefix
        self._sink = sink

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()

    def tail(self) -> int:
        """See Receiver."""
        return self._sink.count()

    def keys(self, after: int) -> list[Key]:
        """See Receiver."""
        return self._sink.keys()[after:]


class NodeRed(_Peer):
    """mqtt in (QoS 1) -> json -> function (one rule, joins 500 or 50 ms) -> http request."""

    def __init__(self, folder: Path, broker: int, sink: Sink) -> None:
        super().__init__("nodered", sink)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "flow.json").write_text(json.dumps(self._flow(broker)))
        (folder / "settings.js").write_text("module.exports = {logging: {console: {level: 'info'}}};")
        self._node = shutil.which("node") or "node"
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        log = self._folder / "nodered.log"
        log.unlink(missing_ok=True)
        where = ["-u", str(self._folder), "-s", str(self._folder / "settings.js"), "-p", str(free_port())]
        self.program = Program([self._node, node_red(), *where, self._folder / "flow.json"], log)
        self.program.wait_for("Connected to broker")

    def _flow(self, broker: int) -> list[dict[str, Any]]:
        session = {"cleansession": False, "protocolVersion": "4", "keepalive": "60", "clientid": "node-red"}
        return [
            {"id": "n-flow", "type": "tab", "label": "readings"},
            {"id": "n-broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker), **session},
            {
                "id": "n-in", "type": "mqtt in", "z": "n-flow", "topic": f"{self.prefix}/#", "qos": "1",
                "datatype": "utf8", "broker": "n-broker", "wires": [["n-json"]],
            },
            {
                "id": "n-json", "type": "json", "z": "n-flow", "property": "payload", "action": "obj",
                "wires": [["n-join"]],
            },
            {"id": "n-join", "type": "function", "z": "n-flow", "func": _JOIN, "outputs": 1, "wires": [["n-post"]]},
            {
                "id": "n-post", "type": "http request", "z": "n-flow", "method": "POST", "url": f"{self._sink.url}/",
                "ret": "txt", "persist": True, "wires": [[]],
            },
        ]  # fmt: skip


class ThingsBoardGateway(_Peer):
    """Its MQTT connector, memory storage, no rate limits, to a ThingsBoard that takes everything.

    It stamps a reading with the time of its arrival, so a copy in the same millisecond is the same point.
    """

    copies = False

    def __init__(self, folder: Path, broker: int, sink: Sink) -> None:
        super().__init__("tb", sink)
        self._folder = folder
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for name, said in self._files(broker).items():
            (folder / name).write_text(json.dumps(said))
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        log = self._folder / "tb.log"
        log.unlink(missing_ok=True)
        launch = (
            f"import os; os.chdir({str(self._folder)!r}); from thingsboard_gateway.tb_gateway import main; main()"
        )
        self.program = Program(
            [gateway_python(), "-c", launch],
            log,
            env={"TB_GW_CONFIG_DIR": f"{self._folder}/", "PYTHONUNBUFFERED": "1"},
        )
        self.program.wait_for("Current limits for devices")
        self.program.wait_for("subscription success")

    def _files(self, broker: int) -> dict[str, Any]:
        limits = ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits",
                  "deviceDpRateLimits")  # fmt: skip
        return {
            "tb_gateway.json": {
                "thingsboard": {
                    "host": "127.0.0.1",
                    "port": self._sink.mqtt,
                    "remoteShell": False,
                    "remoteConfiguration": False,
                    "statistics": {"enable": False},
                    "deviceFiltering": {"enable": False},
                    "maxPayloadSizeBytes": 65536,
                    "minPackSendDelayMS": 10,
                    "minPackSizeToSend": 500,
                    "checkConnectorsConfigurationInSeconds": 60,
                    "security": {"type": "accessToken", "accessToken": "benchmark"},
                    "qos": 1,
                    **dict.fromkeys(limits, "0:0,"),
                },
                "storage": {"type": "memory", "read_records_count": 1000, "max_records_count": 1000000},
                "grpc": {"enabled": False},
                "connectors": [{"type": "mqtt", "name": "readings", "configuration": "mqtt.json"}],
            },
            "mqtt.json": {
                "broker": {
                    "host": "127.0.0.1",
                    "port": broker,
                    "clientId": "tb-gateway",
                    "version": 4,
                    "cleanSession": False,
                    "maxMessageNumberPerWorker": 10,
                    "maxNumberOfWorkers": 100,
                    "security": {"type": "anonymous"},
                },
                "mapping": [
                    {
                        "topicFilter": f"{self.prefix}/v1/+/readings",
                        "subscriptionQos": 1,
                        "converter": {
                            "type": "json",
                            "deviceInfo": {
                                "deviceNameExpressionSource": "message",
                                "deviceNameExpression": "${device}",
                                "deviceProfileExpressionSource": "constant",
                                "deviceProfileExpression": "default",
                            },
                            "sendDataOnlyOnChange": False,
                            "timeout": 60000,
                            "attributes": [],
                            "timeseries": [
                                {"type": "raw", "key": key, "value": f"${{{key}}}"}
                                for key in ("sequence", "kind", "value", "systolic", "diastolic")
                            ],
                        },
                    }
                ],
            },
            "logs.json": {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"console": {"class": "logging.StreamHandler", "level": "INFO"}},
                "root": {"level": "INFO", "handlers": ["console"]},
                "loggers": {},
            },
        }


def installed() -> tuple[list[str], list[str]]:
    """The peers that can run here, and loud sentences about those that cannot."""
    here, missing = [], []
    for name, fetch in (("Node-RED", node_red), ("ThingsBoard gateway", gateway_python)):
        try:
            fetch()
        except Missing as error:
            missing.append(f"PEER LEFT OUT: {error}")
        else:
            here.append(name)
    return here, missing
