# Everything runs in .venv, which is made on first use and again when the pins change.
#   make demo    make test    make test-long    make lint    make bench    make runtime-test    make docs

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
RUNTIME_VENV := .venv-runtime
BIN := $(VENV)/bin
READY := $(VENV)/.edgeml-ready
RUNTIME_READY := $(RUNTIME_VENV)/.edgeml-ready
DEMO := demo
PYTEST_ARGS ?=

# The first of these that runs, is 3.11 or 3.12 and can make an environment; PYTHON=... decides otherwise.
PYTHON_FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	"$$python" -c '$(PYTHON_FITS)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

.PHONY: help venv demo test test-long lint layers bench runtime-test docs docs-check clean

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
		-c constraints-runtime.txt -e './runtime[image,litert,onnx]' pytest
	@touch $@

demo: $(READY)  ## Train on handwritten digits, export, bench and predict, in ./demo
	$(BIN)/edgeml demo $(DEMO)

test: $(READY)  ## Run the tests
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

test-long: $(READY)  ## Run the tests that take minutes
	$(BIN)/python -m pytest -q -m long $(PYTEST_ARGS)

lint: $(READY)  ## ruff, formatting, strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

layers: $(READY)  ## Check who imports whom
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(READY)  ## Run the pytest-benchmark suites
	$(BIN)/python -m pytest -q benchmarks $(PYTEST_ARGS)

runtime-test: $(RUNTIME_READY)  ## Run the runtime's tests with numpy and the backends alone
	$(RUNTIME_VENV)/bin/python -m pytest -q tests/runtime $(PYTEST_ARGS)

docs: $(READY)  ## Generate docs/cli.md and docs/edgeml.schema.json
	$(BIN)/python docs/build_cli.py
	$(BIN)/python docs/build_schema.py

docs-check: $(READY)  ## Fail when a generated document is not current
	$(BIN)/python docs/build_cli.py --check
	$(BIN)/python docs/build_schema.py --check

clean:  ## Remove the environments and the demo
	rm -rf $(VENV) $(RUNTIME_VENV) $(DEMO)
