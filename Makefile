# make quickstart    an environment, a small real dataset, a small real sweep, what to try next
# make test          everything that must hold; test-slow: the minutes-long rest; test-faults: kills, damage, full disks
# make lint          ruff and pyright; make coverage: what the tests run, as a page in htmlcov/
# make matrix        install, quickstart and unit tests with every Python at hand; for an hour and more
# make clean         build leftovers and caches; distclean: the environment too
#
# PYTHON=python3.12 chooses the interpreter; QUICKSTART=smallest the shortest run that goes the whole way.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help quickstart env test test-slow test-faults coverage lint matrix clean distclean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell command -v uv 2>/dev/null)
TORCH := $(shell grep '^torch==' constraints.txt)

# Two at once, whatever the cores: the Ray heads and tracking servers that tests start need some as well.
PROCESSES ?= 2
RECENT := import sys; sys.exit(sys.version_info < (3, 11))

ifdef UV
  # Where python3 is too old, uv finds or fetches one that is not.
  PYTHON ?= $(shell python3 -c '$(RECENT)' 2>/dev/null && echo python3 || echo '>=3.11')
  # uv does not read pip's setting for a folder of wheels.
  INSTALL := $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python $(addprefix --find-links ,$(PIP_FIND_LINKS))
  # Without such a folder, let uv match torch to this machine's driver (CPU build where there is none).
  INSTALL_TORCH := $(if $(PIP_FIND_LINKS),,$(INSTALL) --torch-backend auto "$(TORCH)" 2>/dev/null ||) $(INSTALL) "$(TORCH)"
  CREATE := $(UV) venv --quiet --python "$(PYTHON)" $(VENV)
else
  PYTHON ?= python3
  INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
  INSTALL_TORCH := $(INSTALL) "$(TORCH)"
  CREATE := $(PYTHON) -m venv $(VENV)
endif

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -7

quickstart: $(STAMP)
	@$(BIN)/flowsweep quickstart $(if $(filter smallest,$(QUICKSTART)),--smallest)
	@echo "The commands above are in $(BIN); to have them at hand: source $(BIN)/activate"

env: $(STAMP)

# Torch goes first and by name: its build (CPU, CUDA) is then decided once, and the rest keeps it.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(CREATE); }
	@$(BIN)/python -c '$(RECENT)' || { \
		echo "$$($(BIN)/python --version) in $(VENV) is too old for flowsweep, which needs 3.11 or later." >&2; \
		echo "Run: make distclean $(or $(MAKECMDGOALS),quickstart) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing $(TORCH) ..."
	@$(INSTALL_TORCH)
	@echo "Installing flowsweep and its other requirements (minutes when nothing is cached) ..."
	@$(INSTALL) --constraint constraints.txt --editable ".[dev]"
	@touch $@

test: $(STAMP)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

test-slow: $(STAMP)
	@$(BIN)/python -m pytest -m slow

# One after the other: each disturbs a sweep that needs both cores.
test-faults: $(STAMP)
	@$(BIN)/python -m pytest -m faults -n 0 tests/faults

# What the tests run of the package; workers that Ray starts are not seen.
coverage: $(STAMP)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --cov=flowsweep --cov-report=term:skip-covered --cov-report=html

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/pyright

# MATRIX="3.13:newest" tries that cell alone; KEEP=1 leaves the environments.
matrix:
	@.ci/matrix $(MATRIX)

clean:
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV) .matrix
