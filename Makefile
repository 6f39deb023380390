# Starts from a bare clone with Python 3.11 or newer and make; everything else goes into .venv.
# PYTHON=... chooses the interpreter, ARGS=... goes to the demo or to pytest.

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-bluez-vm fuzz bench score check lock clean

help:
	@echo "make venv    .venv with Homeward and its simulators, and nothing else"
	@echo "make demo    simulated patients, readings, alerts and the doctor's page (ARGS=\"--fresh --port 8010\")"
	@echo "make test    run the tests (ARGS=\"-k influx\" chooses)"
	@echo "make test-bluez-vm  the Bluetooth tests against a real bluetoothd, in a virtual machine (docs/bluetooth.md)"
	@echo "make fuzz    any octets from any device, for FUZZ_SECONDS (600)"
	@echo "make bench   measure beside a floor and peers (ARGS=--short: about a minute; docs/performance.md)"
	@echo "make score   what the detectors find and miss on recorded traces (ARGS=\"--shared ../shared --disturb 1\")"
	@echo "make check   format, lint, types, import contracts"
	@echo "make lock    pin the dependencies of pyproject.toml again (needs uv)"
	@echo "make clean   remove .venv and caches"

venv: .venv/runtime

demo: .venv/runtime
	.venv/bin/python -m simulators.demo $(ARGS)

test: .venv/dev
	.venv/bin/python -m pytest $(ARGS)

test-bluez-vm: .venv/dev
	tests/bluez_vm/run .venv/bin/python $(ARGS)

# Each round has three times the examples of `make test`, from a new seed, and says how many seconds are left.
FUZZ_SECONDS ?= 600
fuzz: .venv/dev
	@set -e; round=0; end=$$(($$(date +%s) + $(FUZZ_SECONDS))); \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
	    round=$$((round + 1)); \
	    HOMEWARD_FUZZ_TIMES=3 .venv/bin/python -m pytest -q -o faulthandler_timeout=900 \
	        --hypothesis-seed=random tests/ingest/test_any_bytes.py $(ARGS); \
	    echo "fuzz: round $$round done, $$((end - $$(date +%s))) s left"; \
	done

bench: .venv/dev
	.venv/bin/python -m benchmarks.run $(ARGS)

score: .venv/runtime
	.venv/bin/python -m benchmarks.score $(ARGS)

check: .venv/dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.venv/runtime: requirements.lock pyproject.toml
	@set -e; \
	for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$python -m venv .venv"; "$$python" -m venv .venv; exit 0; \
	    fi; \
	done; \
	echo "Homeward needs Python 3.11 or newer with its venv module. Found: $$(python3 --version 2>&1)." >&2; \
	echo "Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or say make PYTHON=/path/to/python." >&2; \
	exit 1
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# No address of an index or a file goes into a lock: each installer asks the index it is configured for.
LOCK := uv pip compile pyproject.toml --extra simulators --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: python3 -m pip install uv" >&2; exit 1; }
	$(LOCK) --output-file requirements.lock
	$(LOCK) --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
