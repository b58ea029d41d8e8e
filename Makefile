# Everything runs in .venv, which is made on first use and again when the pins change.
#   make demo    make test    make test-long    make lint    make bench    make runtime-test    make docs    make timm    make peers    make emulated    make debian

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
RUNTIME_VENV := .venv-runtime
TFLITE_VENV := .venv-tflite
BIN := $(VENV)/bin
READY := $(VENV)/.edgeml-ready
RUNTIME_READY := $(RUNTIME_VENV)/.edgeml-ready
TFLITE_READY := $(TFLITE_VENV)/.edgeml-ready
TIMM := .build/timm
TIMM_READY := $(TIMM)/.edgeml-ready
PEERS := .build/peers
PEERS_READY := $(PEERS)/.edgeml-ready
DEMO := demo
EMULATED_DEVICES := raspberry-pi-4b raspberry-pi-5
PYTEST_ARGS ?=
# A process per core, and at most four: each loads PyTorch. The tests of a file share fixtures and stay together.
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The first of these that runs, is 3.11 or 3.12 and can make an environment; PYTHON=... decides otherwise.
PYTHON_FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	"$$python" -c '$(PYTHON_FITS)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

# tflite-runtime 2.14 exists for Linux and Python up to 3.11 only.
TFLITE_FITS := import sys, venv, ensurepip; sys.exit(sys.platform != "linux" or sys.version_info[:2] != (3, 11))
TFLITE_PYTHON ?= $(shell for python in $(BIN)/python python3.11 python3; do \
	"$$python" -c '$(TFLITE_FITS)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

.PHONY: help venv demo test test-long lint layers bench runtime-test tflite-test timm peers emulated debian docs docs-check clean

help:  ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

venv: $(READY)  ## Make .venv and install everything, pinned

$(READY): constraints.txt pyproject.toml runtime/pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		test -n "$(PYTHON)" || { echo "edgeml needs Python 3.11 or 3.12 with the venv module, and none of python3," \
			"python3.12 and python3.11 is that. Install it (Debian, Ubuntu: apt install python3 python3-venv)," \
			"or name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }; \
		"$(PYTHON)" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ./runtime -e '.[all,dev]'
	@touch $@

$(RUNTIME_READY): constraints-runtime.txt runtime/pyproject.toml | $(READY)
	$(BIN)/python -m venv --clear $(RUNTIME_VENV)
	$(RUNTIME_VENV)/bin/python -m pip install --disable-pip-version-check --quiet \
		-c constraints-runtime.txt -e './runtime[image,litert,onnx,openvino]' pytest
	@touch $@

# Without such a Python nothing is made: the tests that need it skip and say so. Of tflite-support only the schema of the
# metadata is used, in Python: what else it would bring stays away.
$(TFLITE_READY): constraints-tflite.txt runtime/pyproject.toml | $(READY)
	@test -n "$(TFLITE_PYTHON)" || { echo "$(TFLITE_VENV) not made: tflite-runtime 2.14 needs Linux and Python 3.11;" \
		"install python3.11 with the venv module, or name one: make TFLITE_PYTHON=/path/to/python3.11 ..." >&2; exit 0; }; \
	set -e; test -z "$(TFLITE_PYTHON)" || { "$(TFLITE_PYTHON)" -m venv --clear $(TFLITE_VENV); \
		$(TFLITE_VENV)/bin/python -m pip install --disable-pip-version-check --quiet \
		-c constraints-tflite.txt -e ./runtime tflite-runtime pytest; \
		$(TFLITE_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
		-c constraints-tflite.txt tflite-support flatbuffers; touch $@; }

# Beside .venv and not in it: a torchvision built for another PyTorch than the one there, as PyPI's is where PyTorch is
# without CUDA, keeps Lightning from being imported.
$(TIMM_READY): constraints.txt | $(READY)
	@rm -rf $(TIMM)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --target $(TIMM) \
		-c constraints.txt timm torchvision
	@touch $@

# Beside .venv as well: their own pins would change it, and what they need beyond it is for other devices.
$(PEERS_READY): constraints-peers.txt | $(READY)
	@rm -rf $(PEERS)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --target $(PEERS) -r constraints-peers.txt
	@touch $@

demo: $(READY)  ## Train on handwritten digits, export, bench and predict, in ./demo
	$(BIN)/edgeml demo $(DEMO)

test: $(READY) $(TFLITE_READY)  ## Run the tests
	$(BIN)/python -m pytest -q $(PARALLEL) $(PYTEST_ARGS)

test-long: $(READY) $(TIMM_READY)  ## Run the tests that take minutes
	$(BIN)/python -m pytest -q -m long $(PYTEST_ARGS)

lint: $(READY)  ## ruff, formatting, strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

layers: $(READY)  ## Check who imports whom
	$(BIN)/python -m pytest -q tests/test_layers.py

# The first run trains and exports the bundles it measures, into .build/bench. Rounds of at least 2 ms keep the JSON small.
bench: $(READY)  ## Run the pytest-benchmark suites
	$(BIN)/python -m pytest -q benchmarks --ignore=benchmarks/emulated --benchmark-min-time=0.002 $(PYTEST_ARGS)

runtime-test: $(RUNTIME_READY)  ## Run the runtime's tests with numpy and the backends alone
	$(RUNTIME_VENV)/bin/python -m pytest -q tests/runtime $(PYTEST_ARGS)

tflite-test: $(READY) $(TFLITE_READY)  ## Run the tests of tflite-runtime 2.14, in an environment of its own
	$(BIN)/python -m pytest -q tests/compat $(PYTEST_ARGS)

# A board in each process; what they say is shown one after the other.
emulated: $(READY)  ## Check instructions and size of the templates' bundles on emulated boards
	$(BIN)/edgeml devices setup-emulator aarch64
	@mkdir -p .build/emulated; status=0; started=; \
	for device in $(EMULATED_DEVICES); do \
		$(BIN)/python -m pytest -q -p no:cacheprovider benchmarks/emulated --edgeml-device $$device --edgeml-on emulator \
			$(PYTEST_ARGS) >.build/emulated/$$device.txt 2>&1 & started="$$started $$!"; done; \
	for process in $$started; do wait $$process || status=1; done; \
	for device in $(EMULATED_DEVICES); do cat .build/emulated/$$device.txt; done; exit $$status

timm: $(TIMM_READY)  ## Put timm and torchvision into .build/timm, for the test of a network from a package

# The tests start daemons of their own: those of the packages are neither started now (policy-rc.d, exit code 101:
# invoke-rc.d(8)) nor with the system.
peers: $(PEERS_READY)  ## Put ExecuTorch and ncnn into .build/peers, for benchmarks/test_peers.py

debian:  ## Install the Debian packages that some tests need, as root; otherwise say which are missing
	@missing=; test "$$(uname -sm)" != "Linux x86_64" || command -v qemu-x86_64 >/dev/null || missing=qemu-user; \
	test "$$(uname -s)" != Linux || command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	test "$$(uname -s)" != Linux || PATH="$$PATH:/usr/sbin" command -v sshd >/dev/null || missing="$$missing openssh-server"; \
	test "$$(uname -s)" != Linux || command -v adb >/dev/null || missing="$$missing adb"; \
	test "$$(uname -s)" != Linux || command -v chromium >/dev/null || missing="$$missing chromium"; \
	if test -z "$$missing"; then echo "nothing is missing"; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		trap 'rm -f "$$ours"' EXIT; ours=; \
		test -e /usr/sbin/policy-rc.d || { ours=/usr/sbin/policy-rc.d; \
			printf '#!/bin/sh\nexit 101\n' >$$ours && chmod 755 $$ours; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing && \
		case "$$missing" in *openssh-server*) ! command -v systemctl >/dev/null || systemctl disable -q ssh.service;; esac; \
	else echo "missing, and the tests that need it skip: $$missing (as root: make debian)" >&2; fi

docs: $(READY)  ## Generate docs/cli.md and docs/edgeml.schema.json
	$(BIN)/python docs/build_cli.py
	$(BIN)/python docs/build_schema.py

docs-check: $(READY)  ## Fail when a generated document is not current
	$(BIN)/python docs/build_cli.py --check
	$(BIN)/python docs/build_schema.py --check

clean:  ## Remove the environments and the demo
	rm -rf $(VENV) $(RUNTIME_VENV) $(TFLITE_VENV) $(DEMO)
