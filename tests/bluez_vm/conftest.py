"""The tests of this directory run inside the machine that `make test-bluez-vm` starts, and nowhere else."""

import os

collect_ignore_glob = [] if os.environ.get("HOMEWARD_BLUETOOTH_LEVEL") == "C" else ["test_*.py"]
