# Two commands for a new user: `make quickstart` and `make test`. Everything lands in ./.venv and ./.glasshouse.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= .glasshouse
ARGS ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-slow check format benchmark clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Glasshouse needs Python 3.11, 3.12 or 3.13; {sys.executable} is {v[0]}.{v[1]}. Choose another with: make quickstart PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# The stamps hold what was installed: a change of the pins or of the project file installs again.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Glasshouse into $(VENV) (a few minutes the first time) …"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Glasshouse and its development tools into $(VENV) (a few minutes the first time) …"
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

setup: $(VENV)/.installed  ## Make the virtual environment with what a user needs

quickstart: setup  ## Grow a small OLMo from the text on this machine (ARGS="--depth 6" and so on)
	$(BIN)/glasshouse run quickstart --store $(STORE) $(ARGS)

test: $(VENV)/.installed-dev  ## Set everything up, check style, types and floors, run the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n auto -m 'not slow'

test-slow: $(VENV)/.installed-dev  ## The longer checks: whole recipe, kills at random moments, parity at size
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -m slow

format: $(VENV)/.installed-dev  ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/.installed-dev  ## Side-by-side speeds against named peers, results in benchmarks/results
	$(BIN)/python benchmarks/train_cpu.py
	$(BIN)/python benchmarks/table.py --write

clean:  ## Remove the virtual environment and caches (the store stays)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
