"""The demo as a person runs it, small: the same numbers for the same seed, and nothing twice when it goes on."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

pytestmark = pytest.mark.slow
SMALL = ("--charges", "250", "--days", "2", "--seed", "11", "--json")
SHORT = "import tinko_pipelines.demo as demo; demo.HISTORY_DAYS = 20; from tinko_pipelines.cli import main; main()"
"""The command line with less history: Dagster writes down each day of each table, which takes longer than all else."""
NUMBERS = ("failed_count", "recovered_count", "recovery_rate_count", "by_currency", "attempts", "messages")


def tinko(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    return subprocess.run(
        [sys.executable, "-c", SHORT, *arguments],
        capture_output=True, text=True, check=False, timeout=900,
        env={**clean, "TINKO_STATE": str(state)},
    )  # fmt: skip


def demo(state: Path) -> dict[str, Any]:
    done = tinko(state, "demo", *SMALL)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    state = tmp_path_factory.mktemp("first")
    return state, demo(state)


def test_it_recovers_something_and_charges_nobody_twice(first: tuple[Path, dict[str, Any]]) -> None:
    state, found = first
    assert found["failed_count"] > found["recovered_count"] > 0
    assert found["recovery_rate_count"] == pytest.approx(found["recovered_count"] / found["failed_count"])
    assert found["attempts"] > 0
    assert found["messages"] > 0
    assert found["double_charges"] == 0
    for row in found["by_currency"].values():
        assert 0 <= row["recovered_amount_minor"] <= row["failed_amount_minor"]
    assert Path(found["report_path"]).read_text("utf-8").startswith("<!doctype html>")
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        sent = dict(ledger.execute("SELECT kind, count(*) FROM message WHERE state = 'sent' GROUP BY kind"))
    assert sent["dunning"] == found["messages"]
    assert len(list((state / "outbox").rglob("*.eml"))) == sum(sent.values())


def test_it_says_what_its_rates_are_over(first: tuple[Path, dict[str, Any]]) -> None:
    state, found = first
    done = tinko(state, "query", "SELECT count(*) FROM fct_failed_payments WHERE case_id IS NULL", "--json")
    assert json.loads(done.stdout)["rows"] == [[found["never_taken_up_count"]]]
    assert 0 < found["never_taken_up_count"] < found["failed_count"]


def test_the_same_seed_gives_the_same_numbers(first: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    again = demo(tmp_path / "second")
    assert {name: again[name] for name in NUMBERS} == {name: first[1][name] for name in NUMBERS}


def test_its_checks_are_clean_and_its_runs_are_in_dagster(first: tuple[Path, dict[str, Any]]) -> None:
    state, _ = first
    done = tinko(state, "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    with DagsterInstance.from_config(str(state / "dagster")) as instance:
        jobs = {run.job_name for run in instance.get_runs()}
    assert jobs == {"ingest_job", "recovery_job", "retry_job", "email_job", "retrain_job", "report_job"}


def test_run_again_it_goes_on(first: tuple[Path, dict[str, Any]]) -> None:
    state, before = first
    done = tinko(state, "query", "SELECT count(*) AS n FROM fct_failed_payments", "--json")
    assert json.loads(done.stdout)["rows"] == [[before["failed_count"]]]
    done = tinko(state, "demo", "--charges", "900", "--days", "2", "--seed", "12")
    assert done.returncode == 0, done.stderr
    assert (
        "goes on as it began, with --charges 250 --seed 11; --charges 900 --seed 12 is ignored" in done.stderr
    )
    said = " ".join(done.stdout.split())
    assert f"{before['never_taken_up_count']:,} of them were never taken up" in said
    assert "charged twice, by the sandbox's own book: 0" in said
    told = re.search(r"([0-9,]+) retries \(.*\), ([0-9,]+) mails \(", said)
    assert told is not None, said
    attempts, messages = (int(number.replace(",", "")) for number in told.groups())
    assert attempts >= before["attempts"]
    assert messages > before["messages"]
    done = tinko(state, "query", "SELECT count(*) AS n FROM fct_failed_payments", "--json")
    assert json.loads(done.stdout)["rows"][0][0] >= before["failed_count"]
    until = json.loads((state / "sandbox.json").read_text())["now"]
    assert until > before["until"]
