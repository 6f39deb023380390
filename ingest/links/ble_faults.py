"""What can go wrong with the adapter, with a pairing and with a device, each as one sentence that says what to do.

The same sentences stand in `homeward check`, in `homeward pair`, in the health view and on the page of the devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bleak.backends.device import BLEDevice
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)

from ingest.links.ble_gatt import SessionError

# What bleak and its backends raise when a radio or a device is at fault. EOFError: the system bus went away.
RADIO_ERRORS: Final = (BleakError, TimeoutError, OSError, EOFError)

# The adapter
NO_ADAPTER: Final = "no Bluetooth adapter was found; plug one in"
NO_LOW_ENERGY: Final = "the adapter cannot do Bluetooth LE; use another one"
SWITCHED_OFF: Final = (
    "the adapter is switched off; `rfkill unblock bluetooth` and `bluetoothctl power on` switch it on"
)
DENIED: Final = "access to Bluetooth was denied; let this user use it (group `bluetooth`, or the D-Bus policy)"
NO_BUS: Final = "the system's D-Bus cannot be reached; install and start `dbus` and `bluez`"
NO_BLUEZ: Final = "the Bluetooth service BlueZ is not running; install `bluez` and `systemctl start bluetooth`"
ADAPTER_HANGS: Final = "the adapter does not answer; unplug it and plug it in again, or restart the Bluetooth service"
ADAPTER_DEAF: Final = (
    "the adapter scans and hears no Bluetooth device at all, also after it was switched off and on; unplug it and "
    "plug it in again, and keep it away from USB 3 ports and metal"
)

# The bond
WRONG_PASSKEY: Final = (
    "the device did not accept the passkey; run `homeward pair` again and type the six digits that it shows"
)
PAIRING_REFUSED: Final = (
    "the device refused to be paired; put it into its pairing mode as its manual says, then run `homeward pair` again"
)
NOT_PAIRED: Final = "the device tells nothing before it is paired; run `homeward pair`"
BOND_LOST: Final = (
    "the device no longer knows its pairing with this computer (reset, new battery, or paired with a phone); remove "
    "the pairing on the device, if it can, and run `homeward pair` again"
)

# The device
OUT_OF_REACH: Final = "the device was seen but is out of reach now"
NO_ANSWER: Final = "the device was seen but did not answer; it may be too far away or switched off"
HUNG_UP: Final = "the device hung up before it could be asked anything; bring it nearer, it is tried again"
UNKNOWN_MODEL: Final = (
    "the device answers but offers nothing that Homeward can read (no service 1808, 181f or 1810); this model needs "
    "another way, or is not the device that was meant"
)
ADAPTER_LEFT: Final = "the connection ended because the adapter was unplugged, switched off or restarted"

_Reason = BleakBluetoothNotAvailableReason
_NOT_AVAILABLE: Final = {
    _Reason.NO_BLUETOOTH: NO_ADAPTER,
    _Reason.NO_BLE_CENTRAL_ROLE: NO_LOW_ENERGY,
    _Reason.POWERED_OFF: SWITCHED_OFF,
    _Reason.DENIED_BY_USER: DENIED,
    _Reason.DENIED_BY_SYSTEM: DENIED,
    _Reason.DENIED_BY_UNKNOWN: DENIED,
}
_BUS_SAYS_ABSENT: Final = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
_PAIRING_FAILED: Final = (
    "org.bluez.Error.AuthenticationFailed",
    "org.bluez.Error.AuthenticationRejected",
    "org.bluez.Error.AuthenticationCanceled",
    "org.bluez.Error.AuthenticationTimeout",
)
# Insufficient authentication, authorization, key size, encryption: what a device answers whose bond is not in order.
_WANTS_BOND: Final = frozenset((0x05, 0x08, 0x0C, 0x0F))
# How the kernel's refusal of a lost key reaches bleak: the connection ends before the services are known. So it does
# at the edge of the range, and a cuff there must not be left alone for ten minutes for that.
_ENDED_EARLY: Final = "device disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a session failed. needs_person: trying again will not help before somebody has done what it `says`."""

    says: str
    needs_person: bool = False


class UnknownModel(SessionError):
    """The device is connected and has no service that Homeward reads."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN_MODEL)


def is_bonded(device: BLEDevice) -> bool | None:
    """Whether this computer keeps a bond with a device; None where the system does not tell (not BlueZ)."""
    properties = device.details.get("props") if isinstance(device.details, dict) else None
    return bool(properties.get("Paired")) if properties else None


def adapter_fault(error: BaseException) -> str:
    """A failure to scan, as a sentence that says what to do."""
    match error:
        case BleakBluetoothNotAvailableError(reason=reason) if reason in _NOT_AVAILABLE:
            return _NOT_AVAILABLE[reason]
        case BleakDBusError(dbus_error=name) if name in _BUS_SAYS_ABSENT:
            return NO_BLUEZ
        case BleakDBusError(dbus_error="org.bluez.Error.NotReady"):
            return SWITCHED_OFF
        case TimeoutError():
            return ADAPTER_HANGS
        case OSError() | EOFError():
            return NO_BUS
    return f"scanning failed ({error}); see `systemctl status bluetooth`"


def pairing_fault(error: BaseException, *, passkey_given: bool) -> str:
    """A failed pairing, as a sentence. passkey_given: a person had typed one, so that it may have been wrong."""
    match error:
        case BleakDBusError(dbus_error=name) if name in _PAIRING_FAILED:
            return WRONG_PASSKEY if passkey_given else PAIRING_REFUSED
        case BleakDeviceNotFoundError():
            return OUT_OF_REACH
        case TimeoutError():
            return NO_ANSWER
    return f"the pairing failed ({error}); run `homeward pair` again"


def session_fault(error: BaseException, *, bonded: bool | None, before: str | None = None) -> Fault:
    """A failed session with one device.

    bonded: whether this computer kept a bond with it when it began. before: what the session before said, if it
    failed too.
    """
    match error:
        case BleakDBusError(dbus_error=name) if name in _PAIRING_FAILED:
            return Fault(says=BOND_LOST if bonded else PAIRING_REFUSED, needs_person=True)
        case BleakDBusError(dbus_error="org.bluez.Error.NotPermitted"):
            return Fault(says=BOND_LOST if bonded else NOT_PAIRED, needs_person=True)
        case BleakGATTProtocolError() if int(error.code) in _WANTS_BOND:
            return Fault(says=BOND_LOST if bonded else NOT_PAIRED, needs_person=True)
        case BleakGATTProtocolError():
            return Fault(says=f"the device refused a request (ATT error 0x{int(error.code):02X}: {error.args[-1]})")
        case BleakDeviceNotFoundError():
            return Fault(says=OUT_OF_REACH)
        case SessionError():
            return Fault(says=str(error), needs_person=isinstance(error, UnknownModel))
        case TimeoutError():
            return Fault(says=NO_ANSWER)
    if _ENDED_EARLY in str(error):
        lost = bonded and before in (HUNG_UP, BOND_LOST)
        return Fault(says=BOND_LOST, needs_person=True) if lost else Fault(says=HUNG_UP)
    return Fault(says=f"the connection failed ({error})")
