"""The radios, for every test of this package."""

from tests.bluetooth.radio import bluez_bus, bluez_radio, radio

__all__ = ["bluez_bus", "bluez_radio", "radio"]
