"""The radios, and a ward over each, for every test of this package."""

import logging
from collections.abc import AsyncIterator

import pytest

from tests.bluetooth.radio import Radio, bluez_bus, bluez_radio, radio
from tests.bluetooth.ward import Ward

__all__ = ["bluez_bus", "bluez_radio", "radio"]


@pytest.fixture
async def ward(radio: Radio) -> AsyncIterator[Ward]:
    ward = Ward(radio)
    logger = logging.getLogger("ingest.links")
    logger.addHandler(ward)
    yield ward
    logger.removeHandler(ward)
