# SPDX-License-Identifier: Apache-2.0
# One command for each thing a contributor does; `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# What measures no time can share the cores; a file stays together, for what it makes once.
PARALLEL := -n auto --dist loadfile
# These wait for daemons, timers and machines half of the time.
BY_FILE := --dist loadfile --no-loadscope-reorder
WAITING := -n 3 $(BY_FILE)
# A second for each process that does not use it.
PLAIN := -p no:schemathesis
CODE := $(foreach folder,src tests bench scripts demo conformance,$(if $(shell find $(folder) -name "*.py" 2>/dev/null),$(folder)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CONFORMANCE := .venv-conformance
NEUTRON := .venv-neutron
COMPILE := CUSTOM_COMPILE_COMMAND="make locks" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.DEFAULT_GOAL := help
# The targets of `test` need what those before them made, and would measure each other.
.NOTPARALLEL:
.PHONY: help venv packages lint types imports checks unit unit-postgresql lab test-stock-kernel compat conformance-venv \
	conformance-fast system fuzz neutron-venv remote conformance test demo bench pictures locks format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

venv: $(VENV)/stamp ## make .venv from the hash-pinned lock

# The stamp holds the locks it was made from, so that a touched but equal lock costs nothing.
$(VENV)/stamp: requirements.lock requirements-dev.lock pyproject.toml
	@if cat $^ | cmp -s - $@; then touch $@; else \
	set -e; rm -f $@; $(PYTHON) -m venv $(VENV); \
	echo "venv: installing the locked packages"; \
	$(PIP) install --quiet --no-compile --require-hashes -r requirements-dev.lock; \
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .; \
	cat $^ > $@; fi

conformance-venv: $(CONFORMANCE)/stamp ## make .venv-conformance: a Keystone and OpenStack's API tests

$(CONFORMANCE)/stamp: conformance/requirements.lock
	@if cmp -s $< $@; then touch $@; else \
	set -e; rm -rf $(CONFORMANCE); $(PYTHON) -m venv $(CONFORMANCE); \
	echo "conformance-venv: installing the locked packages"; \
	$(CONFORMANCE)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-compile --require-hashes -r $<; \
	cp $< $@; fi

neutron-venv: $(NEUTRON)/stamp ## make .venv-neutron: a Neutron server, as the remote of the neutron backend

$(NEUTRON)/stamp: conformance/neutron.lock
	@if cmp -s $< $@; then touch $@; else \
	set -e; rm -rf $(NEUTRON); $(PYTHON) -m venv $(NEUTRON); \
	echo "neutron-venv: installing the locked packages"; \
	$(NEUTRON)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-compile --require-hashes -r $<; \
	cp $< $@; fi

packages: ## install the Debian packages that tests and the demo need
	@bash scripts/packages.sh

lint: venv ## ruff: rules and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: venv ## mypy, strict
	$(BIN)/mypy $(CODE)

imports: venv ## which folder may import which
	$(BIN)/lint-imports

checks: venv ## lint, types and imports, while .venv-conformance is made
	@$(MAKE) --no-print-directory conformance-venv & made=$$!; \
	$(MAKE) --no-print-directory lint types imports; code=$$?; wait $$made && exit $$code

unit: venv ## tests that need no root
	$(PYTEST) $(PLAIN) $(WAITING) tests/unit

unit-postgresql: packages venv ## the tests of store and API once more, on a PostgreSQL server of their own
	PORTICO_TEST_DATABASE=postgresql $(PYTEST) $(PLAIN) $(WAITING) tests/unit/store tests/unit/api

lab: venv ## tests in network namespaces of their own; needs root
	$(PYTEST) $(PLAIN) $(WAITING) tests/lab

test-stock-kernel: packages venv ## the agent's lab tests under Debian's kernel, in QEMU: slow
	$(BIN)/python scripts/stock_kernel.py -- -q tests/lab/agent

compat: packages venv ## other people's clients against Portico
	$(PYTEST) tests/compat

fuzz: packages venv ## many times the requests of `compat`, from the OpenAPI document, on both databases
	PORTICO_FUZZ_EXAMPLES=100 $(PYTEST) tests/compat/test_openapi.py
	PORTICO_FUZZ_EXAMPLES=100 PORTICO_TEST_DATABASE=postgresql $(PYTEST) tests/compat/test_openapi.py

conformance-fast: venv conformance-venv ## a part of `make conformance` that needs less than three minutes
	$(PYTEST) tests/conformance

system: packages venv conformance-venv ## `lab`, `compat` and `conformance-fast` side by side: all wait for servers and timers half of the time
	$(PYTEST) -n 4 $(BY_FILE) tests/lab tests/conformance tests/compat

conformance: packages venv conformance-venv remote ## OpenStack's API tests against Portico, with a real Keystone
	$(BIN)/python -m conformance $(if $(POSTGRESQL),--postgresql)

remote: venv conformance-venv neutron-venv ## the neutron backend on a real Neutron, and with more worlds on a second Portico
	$(PYTEST) tests/remote
	PORTICO_NEUTRON_EXAMPLES=12 $(PYTEST) $(PARALLEL) tests/unit/backends/test_neutron.py

test: packages venv checks unit unit-postgresql system ## everything; what a change must pass

demo: packages venv ## containers and a VM on Portico networks, a BGP speaker beyond, and a table of who reaches whom
	$(BIN)/python -m demo

bench: packages venv conformance-venv ## the figures of docs/performance.md
	$(BIN)/python -m bench

pictures: packages venv ## take the pictures in docs/ui.md anew
	PORTICO_UI_PICTURES=docs/img $(PYTEST) tests/compat/test_ui.py -k pictures

fast-path: packages venv ## compile the programs of the agent's fast path anew
	$(BIN)/python scripts/compile_fast_path.py

locks: venv ## write the lock files anew
	$(COMPILE) --upgrade -o requirements.lock pyproject.toml
	$(COMPILE) --upgrade --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	$(COMPILE) --upgrade -o conformance/requirements.lock conformance/requirements.in
	$(COMPILE) --upgrade -o conformance/neutron.lock conformance/neutron.in

format: venv ## let ruff format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --select I --fix $(CODE)

clean: ## remove what these targets made
	rm -rf $(VENV) $(CONFORMANCE) $(NEUTRON) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
