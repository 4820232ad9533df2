# One way to do each thing. Every target sets itself up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test ui properties bench clean

setup: $(STAMP)

# uv installs several times faster than pip and compiles the bytecode, which every step process needs.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/tinko demo

ui: setup
	$(BIN)/tinko ui

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile

# So many random histories on each database, anew every time; a failure prints how to repeat it.
TINKO_EXAMPLES ?= 300
properties: setup
	TINKO_EXAMPLES=$(TINKO_EXAMPLES) $(BIN)/python -m pytest -n 2 tests/properties/test_engine.py

bench: setup
	$(BIN)/python -m benchmarks.drain.throughput
	$(BIN)/python -m benchmarks.drain.claims

# TRIALS=n SEED=s make crash; a campaign that was stopped goes on. TRIAL=i SEED=s repeats one trial.
crash: setup
	$(BIN)/python -m tests.crash

mutants: setup
	$(BIN)/python -m tests.crash.mutants

crash-dagster: setup
	$(BIN)/python -m tests.crash.dagster

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
