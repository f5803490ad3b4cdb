# Every target brings what it needs: all it asks for is make, Python 3.11 or newer, and a package index that pip can reach.
#
#   make demo     see it work, in a minute           make check   format, lint, types, floors, tests
#   make test     the tests that need no root        make bench   measure against curl and aria2c
#   make faults   the tests that need root           make soak    the tests with many more tries
#   make clean    remove what make made

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
CODE := p2pstore tests $(wildcard examples benchmarks)
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3

# What `make faults` runs besides Python, each with the Debian package that has it.
FAULT_PROGRAMS := nginx:nginx-light mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mount:mount setpriv:util-linux strace:strace \
	ip:iproute2

# What a caller has set for other environments must not leak into this one.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help demo test faults check bench soak clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/can-run
	@$(PY) -m p2pstore demo

test: $(VENV)/can-develop
	$(PY) -m pytest -q -n 2

check: $(VENV)/can-develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(PY) -m pytest -q -n 2

faults: | need-root need-programs
faults: $(VENV)/can-develop
	$(PY) -m pytest -q tests/faults

bench: $(VENV)/can-run
	$(PY) -m benchmarks

# Hypothesis then searches instead of repeating itself, and the fault tests try as often as the goals say.
soak: $(VENV)/can-develop
	SOAK=1 $(PY) -m pytest -q -n 2 --timeout 3600
	@if [ "$$(id -u)" = 0 ]; then SOAK=1 $(PY) -m pytest -q --timeout 7200 tests/faults; \
	else echo "soak: the fault tests need root and were left out"; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find p2pstore tests $(wildcard examples benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: need-root need-programs
need-root:
	@[ "$$(id -u)" = 0 ] || { echo "make faults: needs root (loop devices, mounts, other users): sudo make faults" >&2; exit 1; }

need-programs:
	@missing=; for pair in $(FAULT_PROGRAMS); do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; done; \
	[ -z "$$missing" ] || { echo "make faults: programs are missing: apt-get install$$missing" >&2; exit 1; }

# The stamps: an environment, an environment that runs the package, one that also has the tools to develop it.
$(VENV)/made:
	@for one in $(CANDIDATES); do \
	  $$one -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  echo "making $(VENV) with $$($$one --version)"; rm -rf $(VENV); \
	  $$one -m venv $(VENV) && touch $@; exit; \
	done; \
	for one in $(CANDIDATES); do \
	  $$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  $$one -c 'import sys; print("%s can not make environments: apt-get install python3.%d-venv" % (sys.executable, sys.version_info[1]))' >&2; \
	  exit 1; \
	done; \
	echo "no Python 3.11 or newer among: $(CANDIDATES) (python3 is $$(python3 --version 2>&1 || true))" >&2; exit 1

$(VENV)/can-run: pyproject.toml $(VENV)/made
	@[ -e $@ ] || [ -e $(VENV)/can-develop ] || echo "installing p2pstore and what it runs on"
	@$(PY) -m pip install -q -e .
	@touch $@

$(VENV)/can-develop: pyproject.toml $(VENV)/made
	@[ -e $@ ] || echo "installing p2pstore with its tools for development"
	@$(PY) -m pip install -q -e '.[dev]'
	@touch $(VENV)/can-run $@
