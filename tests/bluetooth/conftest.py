"""The radios, and a ward over each, for every test of this package."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from simulators.bluez import FakeBluez
from tests.bluetooth.radio import Radio, bluez_bus, bluez_radio, radio
from tests.bluetooth.ward import Ward

__all__ = ["bluez_bus", "bluez_radio", "radio"]


@contextmanager
def _listening(radio: Radio) -> Iterator[Ward]:
    ward = Ward(radio)
    logger = logging.getLogger("ingest.links")
    logger.addHandler(ward)
    yield ward
    logger.removeHandler(ward)


@pytest.fixture
async def ward(radio: Radio) -> AsyncIterator[Ward]:
    """On each level in turn."""
    with _listening(radio) as ward:
        yield ward


@pytest.fixture
async def bluez_ward(bluez_radio: Radio) -> AsyncIterator[Ward]:
    """For what only a bluetoothd can do."""
    with _listening(bluez_radio) as ward:
        yield ward


@pytest.fixture
def bluez(bluez_radio: Radio) -> FakeBluez:
    if bluez_radio.bluez is None:
        pytest.skip("the real bluetoothd cannot be told to do this: level B alone")
    return bluez_radio.bluez
