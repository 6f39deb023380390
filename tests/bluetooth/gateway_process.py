"""A gateway in a process of its own: the real house, its controller on the air of the process that began it.

python -m tests.bluetooth.gateway_process DATA SOCKET
"""

import asyncio
import sys
from pathlib import Path

from bumble import hci
from bumble.device import Device
from bumble.transport import open_transport

from gateway.clock import SystemClock
from gateway.config import Config
from gateway.house import Radio, keep_house
from gateway.people import DeviceKind, DeviceLink
from simulators.bleak_backend import CENTRAL_ADDRESS, Central
from tests.bluetooth.ward import BRISK, METER
from tests.real_house import enrol


async def main(data: Path, socket: str) -> None:
    """Until it is killed."""
    async with await open_transport(f"unix-client:{socket}") as transport:
        device = Device.with_hci("gateway", hci.Address(CENTRAL_ADDRESS), transport.source, transport.sink)
        await device.power_on()
        central = Central(device)
        radio = Radio(scanner_kwargs=central.scanner_kwargs, client_kwargs=central.client_kwargs, timings=BRISK)
        config = Config.model_validate({"data": data, "web": {"port": 0}, "bluetooth": {}})
        async with keep_house(config, SystemClock(), radio=radio) as house:
            if house.people.patient("p-1") is None:
                await enrol(house, "p-1", METER, DeviceKind.METER, DeviceLink.BLE)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
