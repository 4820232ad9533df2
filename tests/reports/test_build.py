"""The marts, through the front door: Parquet in, `build`, DuckDB out."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from jinja2 import Template

from tests.reports.synthetic import AS_OF, FAILED_AT, World, days, settings_in
from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports import dbt_runner
from tinko_pipelines.reports.dbt_runner import (
    BuildResult,
    build,
    building,
    built_mark,
    ensure_manifest,
    only_one,
    project_dir,
)
from tinko_pipelines.settings import Settings

Told = tuple[Settings, BuildResult]


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_build_passes_its_tests_in_silence(told: Told) -> None:
    _, result = told
    assert result.models >= 25
    assert result.tests >= 50
    assert result.warnings == []
    assert 0 < result.seconds < 60
    assert {node.status for node in result.nodes} == {"success", "pass"}
    assert len(result.nodes) == result.models + result.tests


def test_a_build_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)
    World().write(settings)
    monkeypatch.setattr(dbt_runner, "BUILD_SECONDS_MAX", 0.5)
    with pytest.raises(StoreError, match="dbt did not finish within"):
        build(settings, AS_OF)
    assert not built_mark(settings).exists()


def test_models_come_as_they_are_done_and_dbt_ends_with_who_listens(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    World().write(settings)
    steps = building(settings, AS_OF)
    first = next(steps)
    assert first.status == "success"
    running = [child for child in psutil.Process().children() if str(settings.state) in child.cwd()]
    assert len(running) == 1
    steps.close()
    assert not running[0].is_running()
    assert not built_mark(settings).exists()
    with only_one(settings):
        """The place at the warehouse is free."""


def test_no_payment_may_count_for_two_debts(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    made = World()
    for id in ("in_1", "in_2"):
        made.debt(id)
        made.paid(id, AS_OF)
    made.write(settings)
    build(settings, AS_OF)
    sql = (project_dir() / "data-tests" / "no_payment_counts_twice.sql").read_text()
    asked = Template(sql).render(
        ref=lambda name: name, mends=lambda: False, row_number_of=lambda names: f"hash({', '.join(names)})"
    )
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        assert connection.execute(asked).fetchall() == []
        connection.execute("UPDATE fct_failed_payments SET payment_charge_id = 'ch_in_1_2'")
        assert [row[1] for row in connection.execute(asked).fetchall()] == [2]
    made.case("in_1")
    later = AS_OF + timedelta(hours=5)
    made.write_made(settings, later)
    with pytest.raises(
        StoreError, match="no_payment_counts_twice"
    ):  # one that is made anew meets one that is not
        build(settings, later)


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        ("efforts_agree", "UPDATE int_model_months SET executed_count = executed_count + 1"),
        ("efforts_agree", "UPDATE int_recovery_days SET executed_attempts = executed_attempts + 1"),
        ("efforts_agree", "UPDATE int_recovery_days SET messages_sent = messages_sent + 1"),
        ("sums_agree", "UPDATE int_recovery_days SET cash_count = cash_count + 1"),
        ("sums_agree", "UPDATE int_outcome_days SET debts = debts + 1 WHERE fate = 'recovered'"),
        ("sums_agree", "UPDATE int_outcome_days SET debts = debts + 1 WHERE fate = 'ended'"),
    ],
)
def test_a_kept_sum_that_is_wrong_is_seen(
    told: Told, test: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marts above it, made anew from it as a build that mends makes them, fail the test."""
    settings, compiled = told[0], told[0].state / "dbt" / "target" / "compiled" / "tinko"
    monkeypatch.chdir(settings.state)
    copy = tmp_path / settings.warehouse_path.name
    copy.write_bytes(settings.warehouse_path.read_bytes())
    asked = (compiled / "data-tests" / f"{test}.sql").read_text()
    with duckdb.connect(str(copy)) as connection:
        assert connection.execute(asked).fetchall() == []
        connection.execute("USE intermediate")
        connection.execute(wrong)
        for name in ("int_recovery_curves", "recovery_daily", "model_performance", "time_to_recover"):
            (path,) = compiled.rglob(f"{name}.sql")
            schema = "intermediate" if name.startswith("int_") else "main"
            connection.execute(f"CREATE OR REPLACE TABLE {schema}.{name} AS {path.read_text()}")
        assert connection.execute(asked).fetchall() != []


def test_each_debt_has_the_outcome_and_the_reason_its_evidence_allows(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT debt_id, outcome, recovered_by, recovered_amount_minor, reversed_amount_minor, is_closed"
        " FROM fct_failed_payments WHERE account_id = 'acct_1'",
    )
    assert {row[0]: row[1:] for row in found} == {
        "in_own": ("recovered", "own_retry", 1000, 0, True),
        "in_stripe": ("recovered", "stripe_retry", 1000, 0, True),
        "in_mail": ("recovered", "after_mail", 1000, 0, True),
        "in_self": ("recovered", "customer", 700, 300, True),
        "pi_shop": ("recovered", "other", 1000, 0, True),
        "pi_again": ("merged", None, 0, 0, True),
        "in_given_back": ("reversed", None, 0, 1000, True),
        "in_disputed": ("reversed", None, 0, 1000, True),
        "in_won": ("recovered", "customer", 1000, 0, True),
        "in_open": ("owed", None, 0, 0, False),
        "in_left_alone": ("owed", None, 0, 0, False),
        "in_void": ("canceled", None, 0, 0, True),
        "in_exhausted": ("owed", None, 0, 0, True),
        "pi_yen": ("recovered", "customer", 5000, 0, True),
    }


def test_cohorts_and_costs_keep_currencies_and_accounts_apart(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT account_id, currency, sum(failed_count), sum(failed_amount_minor), sum(recovered_count),"
        " sum(recovered_amount_minor), sum(closed_count) FROM recovery_cohorts GROUP BY ALL ORDER BY ALL",
    )
    assert found == [
        ("acct_1", "jpy", 1, 5000, 1, 5000, 1),
        ("acct_1", "usd", 13, 13000, 6, 5700, 11),
        ("acct_2", "usd", 2, 16000, 0, 0, 0),
    ]
    costs = (
        "SELECT account_id, sum(executed_attempts), sum(messages_sent) FROM retry_costs GROUP BY 1 ORDER BY 1"
    )
    assert rows(told[0], costs) == [("acct_1", 3, 4), ("acct_2", 0, 0)]


def test_an_attempt_counts_for_the_account_it_was_made_in(told: Told) -> None:
    debts = "SELECT account_id, own_attempts FROM fct_failed_payments WHERE debt_id = 'in_own' ORDER BY 1"
    assert rows(told[0], debts) == [("acct_1", 2), ("acct_2", 0)]
    nth = "SELECT attempt_number, executed_count, succeeded_count, success_rate FROM recovery_by_attempt_number ORDER BY 1"
    assert rows(told[0], nth) == [(1, 2, 0, 0.0), (2, 1, 1, 1.0)]


def test_a_cohort_is_mature_28_days_after_its_last_failure(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT strftime(cohort_month, '%Y-%m'), is_mature, failed_count FROM recovery_cohorts"
        " WHERE account_id = 'acct_1' AND currency = 'usd' ORDER BY 1",
    )
    assert found == [("2026-09", True, 12), ("2026-10", False, 1)]


def test_cash_lies_on_the_day_of_the_payment(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT day::varchar, cash_amount_minor, cash_customer_amount_minor FROM recovery_daily"
        " WHERE day >= '2026-09-11' AND cash_count > 0 ORDER BY 1",
    )
    assert found == [("2026-09-11", 1000, 0), ("2026-09-21", 700, 700)]


def test_first_attempts_that_passed_are_in_the_denominator(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT first_attempt_count, failed_first_attempt_count, failure_rate_count FROM recovery_daily"
        " WHERE day = '2026-09-01' AND currency = 'usd' AND account_id = 'acct_1'",
    )
    assert found == [(16, 12, 0.75)]


def test_the_ledger_is_believed_before_the_lake_has_caught_up_and_days_are_utc(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    world = World()
    world.debt("in_new", first_failed_at=FAILED_AT.replace(hour=1))
    world.case("in_new", "recovered")
    world.attempt("in_new", 1, FAILED_AT + days(2), "succeeded")
    world.write(fresh)
    build(fresh, AS_OF)
    found = rows(
        fresh, "SELECT status, recovered_by, recovered_amount_minor, days_to_recover FROM fct_failed_payments"
    )
    assert found == [("open", "own_retry", 1000, pytest.approx(2 + 7 / 24))]
    assert rows(fresh, "SELECT cohort_month::varchar FROM fct_failed_payments") == [("2026-09-01",)]


def test_caps_are_told_by_rule_and_network_with_the_fees_of_excess(told: Told) -> None:
    found = rows(
        told[0],
        "SELECT strftime(day, '%m-%d'), network, rule, refusals, refused_cases, excess_attempts, own_excess_attempts,"
        " avoided_attempts, fee_currency, incurred_fee_minor, avoided_fee_minor FROM network_compliance ORDER BY ALL",
    )
    assert found == [
        ("09-01", "any", "tinko_card_24h", 1, 1, 0, 0, 0, None, 0, 0),
        ("09-01", "mastercard", "mastercard_24h", 1, 1, 2, 1, 2, "usd", 100, 100),
        ("09-04", "any", "tinko_card_24h", 1, 1, 0, 0, 0, None, 0, 0),
    ]


def test_an_empty_lake_and_ledger_build(fresh: Settings) -> None:
    World().write(fresh)
    result = build(fresh, AS_OF)
    assert result.warnings == []
    assert rows(fresh, "SELECT count(*) FROM fct_failed_payments") == [(0,)]
    assert rows(fresh, "SELECT count(*) FROM recovery_cohorts") == [(0,)]


def test_what_is_missing_is_named_with_the_command_that_makes_it(fresh: Settings) -> None:
    with pytest.raises(StoreError, match="run `tinko ingest` first"):
        build(fresh, AS_OF)
    World().write(fresh)
    (fresh.lake_dir / "derived" / "verdicts.parquet").unlink()
    with pytest.raises(StoreError, match="not classified yet"):
        build(fresh, AS_OF)


def test_a_failed_build_names_the_model_and_leaves_no_mark(fresh: Settings) -> None:
    world = World()
    world.debt("in_twice")
    world.failed.append(dict(world.failed[0]))
    world.write(fresh)
    with pytest.raises(StoreError, match=r"the test stg_\w+_has_one_row_each failed.*snapshot is unchanged"):
        build(fresh, AS_OF)
    assert not built_mark(fresh).exists()


def test_a_broken_file_is_one_sentence(fresh: Settings) -> None:
    World().write(fresh)
    (fresh.lake_dir / "tables" / "charges" / "part.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="the model stg_charges failed") as caught:
        build(fresh, AS_OF)
    assert "\n" not in str(caught.value)


def test_a_state_folder_that_file_patterns_cannot_hold_is_refused(fresh: Settings) -> None:
    odd = fresh.model_copy(update={"state": fresh.state.parent / "what*ever"})
    with pytest.raises(StoreError, match="set TINKO_STATE"):
        build(odd, AS_OF)


def test_the_manifest_is_parsed_when_stale_and_only_then(fresh: Settings) -> None:
    path = ensure_manifest(fresh)
    first = path.stat().st_mtime_ns
    assert ensure_manifest(fresh).stat().st_mtime_ns == first
    path.with_suffix(".sha256").write_text("of another version")
    assert ensure_manifest(fresh).stat().st_mtime_ns > first
    assert not list(fresh.state.parent.glob("target"))


def test_every_column_of_every_mart_is_documented(told: Told) -> None:
    nodes = json.loads(ensure_manifest(told[0]).read_text())["nodes"].values()
    marts = {
        node["name"]: node for node in nodes if node["resource_type"] == "model" and "marts" in node["fqn"]
    }
    found = rows(
        told[0],
        "SELECT table_name, list(column_name) FROM information_schema.columns WHERE table_schema = 'main' GROUP BY 1",
    )
    assert {name for name, _ in found} == set(marts)
    for name, columns in found:
        documented = marts[name]["columns"]
        assert marts[name]["description"]
        assert set(columns) == set(documented)
        assert all(documented[column]["description"] for column in columns)
