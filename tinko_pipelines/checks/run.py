"""Runs the invariants in DuckDB over the exported ledger and the lake. The queries themselves are in `invariants`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.checks.invariants import INVARIANTS, Invariant
from tinko_pipelines.checks.written import secrets_below
from tinko_pipelines.errors import StoreError

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS_MAX = 5
LEDGER_TABLES = (
    "control",
    "recovery_case",
    "attempt",
    "recovery_link",
    "checkout_session",
    "card_notice",
    "message",
    "card_message",
    "suppression",
    "case_event",
    "webhook_event",
    "network_attempt",
    "cap_rule",
    "cap_refusal",
    "anomaly",
    "control_event",
    "reconciliation",
    "ledger_meta",
    "erasure",
)
PRIVATE = {("message", "message_id_header"), ("card_message", "message_id_header")}
"""Text that only looks like an address."""
REVEALING = (
    r"(^|[^0-9A-Za-z])(sk|rk)_(live|test)_[0-9A-Za-z]{8,}|whsec_[0-9A-Za-z]{8,}"
    r"|[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+\.[0-9A-Za-z.-]+"
)
"""Keys, webhook secrets and e-mail addresses."""
CARD_NUMBER = r"(^|[^0-9A-Za-z_])([3-6][0-9]{12,18})($|[^0-9A-Za-z_])"
LUHN = """
CREATE MACRO luhn(digits) AS list_sum(list_transform(range(1, length(digits) + 1), lambda i:
  CASE WHEN (length(digits) - i) % 2 = 0 THEN digits[i]::INT
       ELSE (digits[i]::INT * 2) // 10 + (digits[i]::INT * 2) % 10 END)) % 10 = 0
"""
"""The check digit every card number ends with."""
REPORTED = {
    "reported_attempt": ("fct_attempts", "account_id VARCHAR, livemode BOOLEAN, currency VARCHAR, amount_minor BIGINT,"
                         " settled_at TIMESTAMPTZ, is_succeeded BOOLEAN"),
    "reported_at": ("build_info", "as_of TIMESTAMPTZ"),
}  # fmt: skip
"""What the invariants read of the published report, by its marts."""
LAKE_COLUMNS = {
    "charges": "id VARCHAR, account_id VARCHAR, livemode BOOLEAN, created_at TIMESTAMPTZ, fetched_at TIMESTAMPTZ,"
    " amount_minor BIGINT, currency VARCHAR, status VARCHAR, refunded BOOLEAN, captured BOOLEAN, payment_intent_id VARCHAR,"
    " customer_id VARCHAR, payment_method_id VARCHAR",
    "payment_intents": "id VARCHAR, account_id VARCHAR, canceled_at TIMESTAMPTZ, metadata VARCHAR,"
    " customer_id VARCHAR, payment_method_id VARCHAR",
    "customers": "id VARCHAR, account_id VARCHAR",
    "payment_methods": "id VARCHAR, account_id VARCHAR",
    "invoice_payments": "id VARCHAR, account_id VARCHAR, invoice_id VARCHAR, payment_intent_id VARCHAR,"
    " charge_id VARCHAR",
    "balance_transactions": "id VARCHAR, account_id VARCHAR, source_id VARCHAR, type VARCHAR, amount_minor BIGINT,"
    " currency VARCHAR",
    "disputes": "id VARCHAR, account_id VARCHAR, charge_id VARCHAR, created_at TIMESTAMPTZ",
    "failed_payments": "account_id VARCHAR, debt_id VARCHAR, status VARCHAR, first_failed_at TIMESTAMPTZ,"
    " last_failed_at TIMESTAMPTZ, amount_minor BIGINT, paid_elsewhere_by VARCHAR, disputed BOOLEAN,"
    " customer_deleted BOOLEAN, subscription_status VARCHAR",
}
"""The columns the invariants read; a lake without the table counts as one without rows."""
CHARGES_OF_CASE = """
CREATE TABLE case_charge AS
WITH named AS (
  SELECT id AS case_id, account_id, unnest([debt_id, live_object_id]) AS object_id FROM recovery_case
  UNION SELECT case_id, account_id, object_id FROM attempt
  UNION SELECT case_id, account_id, payment_intent_id FROM checkout_session
), invoice_charge AS (
  SELECT c.account_id, c.id, p.invoice_id FROM charges c
  JOIN invoice_payments p ON p.account_id = c.account_id AND p.payment_intent_id = c.payment_intent_id
  UNION ALL
  SELECT c.account_id, c.id, p.invoice_id FROM charges c
  JOIN invoice_payments p ON p.account_id = c.account_id AND p.charge_id = c.id
), owed_for AS (
  SELECT account_id, id, id AS object_id FROM charges
  UNION ALL SELECT account_id, id, payment_intent_id FROM charges WHERE payment_intent_id IS NOT NULL
  UNION ALL SELECT account_id, id, invoice_id FROM invoice_charge
)
SELECT DISTINCT n.case_id, c.id AS charge_id, c.created_at, c.refunded
FROM named n
JOIN owed_for o ON o.account_id = n.account_id AND o.object_id = n.object_id
JOIN charges c ON c.account_id = o.account_id AND c.id = o.id
WHERE c.status = 'succeeded' AND coalesce(c.captured, true)
"""
"""Each way a charge can be for a case's debt by itself, since a join over alternatives grows with their product."""


@dataclass(frozen=True, slots=True)
class InvariantResult:
    """How many rows break one invariant (0 is good), with at most five of them."""

    name: str
    number: int
    title: str
    rows: int
    sample: list[dict[str, Any]]


def run_invariants(
    export_dir: Path,
    lake_root: Path,
    now: datetime,
    *,
    enrol_max_age_days: int = 30,
    report: Path | None = None,
    state: Path | None = None,
) -> list[InvariantResult]:
    """Every invariant over `{export_dir}/<table>.parquet`, the lake and the published `report` as of `now`.

    Logs and mails below `state` are looked through for secrets.

    `now` is timezone-aware. Failures older than `enrol_max_age_days` are not taken up and so need no case.
    """
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            _load(connection, export_dir, lake_root)
            _load_report(connection, report)
            _load_files(connection, state)
            moment = now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            connection.execute(f"SET VARIABLE now_at = TIMESTAMPTZ '{moment}'")
            connection.execute(f"SET VARIABLE max_age_days = {int(enrol_max_age_days)}")
            return [_run(connection, invariant) for invariant in INVARIANTS]
    except duckdb.Error as error:
        raise StoreError(f"the invariants cannot be checked: {error}; export the ledger again") from error


def _load(connection: duckdb.DuckDBPyConnection, export_dir: Path, lake_root: Path) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    for table in LEDGER_TABLES:
        path = export_dir / f"{table}.parquet"
        if not path.exists():
            raise StoreError(f"{path} is missing; export the ledger first")
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet(?)", [str(path)])
    for table, columns in LAKE_COLUMNS.items():
        connection.execute(f"CREATE TABLE {table} ({columns})")
        files = sorted((lake_root / "tables" / table).rglob("*.parquet"))
        derived = lake_root / "derived" / f"{table}.parquet"
        files = [derived] if derived.exists() else files
        if files:
            names = ", ".join(column.split()[0] for column in columns.split(","))
            connection.execute(
                f"INSERT INTO {table} SELECT {names}"
                " FROM read_parquet(?, union_by_name = true, hive_partitioning = false)",
                [[str(file) for file in files]],
            )
    connection.execute(CHARGES_OF_CASE)
    connection.execute(LUHN)
    connection.execute(_suspicious_text(connection))


def _load_report(connection: duckdb.DuckDBPyConnection, report: Path | None) -> None:
    for table, (_, columns) in REPORTED.items():
        connection.execute(f"CREATE TABLE {table} ({columns})")
    if report is None or not report.exists():
        return
    connection.execute(f"ATTACH '{str(report).replace(chr(39), chr(39) * 2)}' AS report (READ_ONLY)")
    for table, (mart, columns) in REPORTED.items():
        names = ", ".join(column.split()[0] for column in columns.split(","))
        connection.execute(f"INSERT INTO {table} SELECT {names} FROM report.{mart}")
    connection.execute("DETACH report")


def _load_files(connection: duckdb.DuckDBPyConnection, state: Path | None) -> None:
    connection.execute("CREATE TABLE suspicious_file (place VARCHAR, what VARCHAR, begins VARCHAR)")
    for found in secrets_below(state) if state is not None else []:
        row = [found.path, found.kind, found.begins]
        connection.execute("INSERT INTO suspicious_file VALUES (?, ?, ?)", row)


def _suspicious_text(connection: duckdb.DuckDBPyConnection) -> str:
    """A view of every text of the ledger that looks like a secret; empty as long as all is well."""
    listed = ", ".join(repr(table) for table in LEDGER_TABLES)
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE data_type = 'VARCHAR'"
        f" AND table_name IN ({listed}) ORDER BY ALL"
    ).fetchall()
    read: dict[str, list[str]] = {}
    for table, column in columns:
        if (table, column) not in PRIVATE:
            read.setdefault(table, []).append(column)
    # Each table once, all its columns together: a branch for each column took longer to plan than all else to run.
    parts = [
        f"SELECT '{table}' AS table_name, unnest({names}) AS column_name, unnest([{', '.join(names)}]) AS text FROM {table}"
        for table, names in read.items()
    ]
    return (
        f"CREATE VIEW suspicious_text AS SELECT * FROM ({' UNION ALL '.join(parts)})"
        f" WHERE regexp_matches(text, '{REVEALING}')"
        f" OR coalesce(luhn(regexp_extract(text, '{CARD_NUMBER}', 2)), false)"
    )


def _run(connection: duckdb.DuckDBPyConnection, invariant: Invariant) -> InvariantResult:
    counted = connection.execute(f"SELECT count(*) FROM ({invariant.sql})").fetchone()
    rows = int(counted[0]) if counted else 0
    sample: list[dict[str, Any]] = []
    if rows:
        found = connection.execute(
            f"SELECT to_json(x)::VARCHAR FROM ({invariant.sql}) x LIMIT {SAMPLE_ROWS_MAX}"
        )
        sample = [json.loads(row[0]) for row in found.fetchall()]
    return InvariantResult(invariant.name, invariant.number, invariant.title, rows, sample)
