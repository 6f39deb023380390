"""A D-Bus of one's own: a dbus-daemon that nobody else talks to and that cannot outlive its owner."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STOP_LIMIT_S: Final = 5.0

# A system bus without its policy. Without the limits the daemon cuts off whoever reads a flood of values too slowly.
_CONFIGURATION: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
  <limit name="max_completed_connections">10000</limit>
  <limit name="max_connections_per_user">10000</limit>
  <limit name="max_match_rules_per_connection">10000</limit>
</busconfig>
"""

# The shell waits for the end of its input, which comes when the owner closes it or dies in whatever way.
# It lets go of its output, so that the owner hears of a daemon that does not start.
_KEEPER: Final = """\
"$1" --config-file="$2/bus.conf" --nofork --nopidfile --print-address=1 2>"$2/errors" &
exec >&- 2>&-
read -r _
kill $!
wait
rm -rf "$2"
"""


@contextmanager
def private_bus(dbus_daemon: str) -> Iterator[str]:
    """Run a bus as long as the context lasts; gives its address, as DBUS_SYSTEM_BUS_ADDRESS wants it.

    dbus_daemon: path of the program. Raises RuntimeError with the daemon's own words when it does not start.
    """
    directory = tempfile.mkdtemp(prefix="homeward-bus-")
    (Path(directory) / "bus.conf").write_text(_CONFIGURATION.format(directory=directory))
    keeper = subprocess.Popen(  # noqa: S603 (the program is the caller's)
        ["/bin/sh", "-c", _KEEPER, "keeper", dbus_daemon, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the owner, who then ends the bus
    )
    try:
        address = keeper.stdout.readline().strip() if keeper.stdout else ""
        if not address:
            errors = (Path(directory) / "errors").read_text().strip()
            raise RuntimeError(f"{dbus_daemon} did not start: {errors}")
        yield address
    finally:
        keeper.communicate(timeout=_STOP_LIMIT_S)
