# One way to do each thing. Every target sets itself up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo notebook explore docs mail test checks pytest coverage ui properties bench bench-door bench-ingest bench-mail bench-model bench-reports flood crash mutants crash-dagster crash-ingest spark clean

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

# The model's notebook on loopback; ARGS='--attempts FILE --outcome COLUMN' takes another table than the training set.
notebook: setup
	$(BIN)/marimo edit --skip-update-check docs/notebooks/timing_model.py -- $(ARGS)

# The analyst's notebook on loopback: the snapshot, and the first questions asked of it in SQL.
explore: setup
	$(BIN)/marimo edit --skip-update-check docs/notebooks/recovery.py

# dbt's documentation of the marts and where they come from, http://127.0.0.1:8081, until Ctrl-C; after `tinko report`.
docs: setup
	$(BIN)/tinko docs $(ARGS)

# The outbox's newest mails in a web page, http://127.0.0.1:1080, until Ctrl-C. Needs Node; MailDev is fetched by npx.
MAILDEV := maildev@3.0.0 --ip 127.0.0.1 --smtp 1025 --web 1080 --web-ip 127.0.0.1 --max-emails 1000
mail: setup
	npx --yes $(MAILDEV) & viewer=$$!; trap 'kill $$viewer 2>/dev/null' EXIT INT TERM; \
	$(BIN)/tinko mail copy --wait 180 && wait $$viewer

# Types, contracts and SQL are looked at while the tests run, which leave a core idle now and then.
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 checks pytest

checks: setup
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd dbt && ../$(BIN)/sqlfluff lint --disable-progress-bar models data-tests

pytest: setup
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

# Lines and branches of what charges, mails and remembers; each of the four parts is held to so many percent.
LEAST := 95
MEASURED := tests/ledger tests/retry tests/outreach tests/checks tests/reconcile
REPORT := $(BIN)/coverage report --fail-under=$(LEAST)
RETRY := tinko_pipelines/retry
coverage: setup
	rm -rf .coverage
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile $(MEASURED)
	$(BIN)/coverage combine --quiet
	$(REPORT) --include='tinko_pipelines/ledger/*'
	$(REPORT) --include='$(RETRY)/drain.py,$(RETRY)/charge.py,$(RETRY)/preflight.py,$(RETRY)/unreadable.py'
	$(REPORT) --include='$(RETRY)/janitor.py,$(RETRY)/settle.py,$(RETRY)/answers.py,$(RETRY)/looks.py,$(RETRY)/naming.py'
	$(REPORT) --include='tinko_pipelines/outreach/outbox.py'

# So many random histories on each database, anew every time; a failure prints how to repeat it.
TINKO_EXAMPLES ?= 300
properties: setup
	TINKO_EXAMPLES=$(TINKO_EXAMPLES) $(BIN)/python -m pytest -n 2 tests/properties/test_engine.py

bench: setup
	$(BIN)/python -m benchmarks.drain.throughput
	$(BIN)/python -m benchmarks.drain.claims

# Ten thousand webhooks at once on each ledger, doubled and shuffled, the server killed in between; FLOOD=n for another number.
FLOOD ?= 10000
flood: setup
	TINKO_FLOOD=$(FLOOD) $(BIN)/python -m pytest -q -s tests/web/test_flood.py

# How soon webhooks are answered, on both databases.
bench-door: setup
	$(BIN)/python -m benchmarks.door

# Ours, Stripe's SDK and dlt read the same charges; TEN_MILLION=1 reads ten million besides.
bench-ingest: setup
	$(BIN)/python -m benchmarks.ingest

# From the ledger to a mail server's answer; ARGS='--mails 10000 --ledgers sqlite --look http memory' for less or more.
bench-mail: setup
	$(BIN)/python -m benchmarks.mail $(ARGS)

# TINKO_GATEWAY_MESSAGES names a file of labelled messages of gateways, TINKO_PSP_FILE one of real attempts; without them
# speed is measured, and learning on made-up attempts.
bench-model: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.model verdicts
	$(BIN)/python -m benchmarks.model timing

# Marts from ten million charges, and a day more; ARGS='--charges 1000000' for less.
bench-reports: setup
	$(BIN)/python -m benchmarks.reports $(ARGS)

# The same marts, verdicts and scores on a cluster of Spark with two executors, held against one machine's; needs Java 17.
# ARGS='--charges 100000' builds from more, ARGS='--charges 0 --break recovery_daily' shows that a difference is seen.
spark: setup
	$(BIN)/python -m benchmarks.spark $(ARGS)

# TRIALS=n SEED=s make crash; a campaign that was stopped goes on. TRIAL=i SEED=s repeats one trial.
crash: setup
	$(BIN)/python -m tests.crash

mutants: setup
	$(BIN)/python -m tests.crash.hunt

crash-dagster: setup
	$(BIN)/python -m tests.crash.dagster

# RUNS=n SEED=s: runs of the ingest killed at random moments, and what their lakes hold in the end.
crash-ingest: setup
	$(BIN)/python -m tests.lake.killing

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache
