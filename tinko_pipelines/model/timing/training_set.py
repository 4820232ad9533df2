"""The training set: every attempt that lake and ledger know of, with what was known before it.

A row is a charge that reached a network, or an executed attempt of ours whose charge the lake does not have yet.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from tinko_pipelines.declines.classify import Predictor
from tinko_pipelines.declines.table import classify_payments
from tinko_pipelines.lake.debts import CHARGE_OF_DEBT
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.model.timing.features import FEATURES, learn_names, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.schema import OUTCOME, SCHEMA, completed

DERIVED = "training_set"

OURS = pa.schema(
    [
        *((name, pa.string()) for name in ("account_id", "charge_id", "debt_id", "customer_id")),
        *((name, pa.string()) for name in ("card_fingerprint", "card_brand", "card_country", "currency")),
        ("payment_method_type", pa.string()),
        ("called_at", pa.timestamp("us", tz="UTC")),
        ("amount_minor", pa.int64()),
        ("succeeded", pa.bool_()),
    ]
)

TRIED = """
CREATE TEMP TABLE tried AS
SELECT c.account_id, c.id AS attempt_id, c.debt_id, c.debt_kind, c.customer_id, c.card_fingerprint,
  c.created_at AS attempted_at, c.status IN ('succeeded', 'reserved') AS succeeded, c.amount_minor, c.currency,
  c.card_brand, c.card_funding, c.card_country, c.payment_method_type,
  CASE WHEN o.charge_id IS NOT NULL THEN 'ours' WHEN c.debt_kind = 'invoice' THEN 'stripe' ELSE 'history' END AS source,
  c.outcome_network_status IS DISTINCT FROM 'not_sent_to_network' OR c.status <> 'failed' AS executed
FROM debt_charge c
LEFT JOIN ours o ON o.account_id = c.account_id AND o.charge_id = c.id
WHERE c.status IN ('failed', 'succeeded', 'reserved')
UNION ALL BY NAME
SELECT o.account_id, o.charge_id AS attempt_id, o.debt_id, 'case' AS debt_kind, o.customer_id, o.card_fingerprint,
  o.called_at AS attempted_at, o.succeeded, o.amount_minor, o.currency, o.card_brand, o.card_country,
  o.payment_method_type, 'ours' AS source, true AS executed
FROM ours o
WHERE o.called_at <= getvariable('as_of')
  AND NOT EXISTS (SELECT 1 FROM debt_charge c WHERE c.account_id = o.account_id AND c.id = o.charge_id)
"""
"""A payment that is only reserved was approved, which is what an attempt is about."""

REFUSED = """
SELECT account_id, id AS attempt_id, coalesce(outcome_reason, failure_code) AS code, failure_code, failure_message,
  outcome_type, outcome_reason, network_decline_code, network_advice_code, advice_code, payment_method_type, card_network
FROM debt_charge WHERE status = 'failed'
"""

ATTEMPTS = """
SELECT t.* EXCLUDE (debt_kind, executed, category, decline_code),
  min(attempted_at) FILTER (NOT succeeded) OVER earlier AS first_failed_at,
  max(attempted_at) OVER earlier AS previous_attempt_at,
  count(*) OVER earlier + 1 AS attempt_number,
  arg_max(category, (attempted_at, attempt_id)) FILTER (NOT succeeded) OVER earlier AS category,
  arg_max(decline_code, (attempted_at, attempt_id)) FILTER (NOT succeeded) OVER earlier AS decline_code
FROM (SELECT tried.*, verdict.category, verdict.code AS decline_code
      FROM tried LEFT JOIN verdict USING (account_id, attempt_id)) t
WINDOW earlier AS (PARTITION BY account_id, debt_id ORDER BY attempted_at
  RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING)
QUALIFY executed
ORDER BY attempted_at, account_id, attempt_id
"""
"""What is told of a debt ends a microsecond before the attempt: of what happens at its moment it knows nothing."""


def attempts(lake: Lake, ledger: Ledger, now: datetime, text_model: Predictor | None = None) -> pa.Table:
    """Every executed attempt up to `now`, as `schema.SCHEMA`, in order of time."""
    ours = _ours(ledger)
    with lake.connect("charges", "invoice_payments", "payment_intents") as connection:
        connection.execute("SET VARIABLE as_of = ?::TIMESTAMPTZ", [now])
        connection.execute(CHARGE_OF_DEBT + "WHERE c.created_at <= getvariable('as_of')")
        connection.register("ours", ours)
        connection.execute(TRIED)
        refused: pa.Table = connection.sql(REFUSED).to_arrow_table()
        judged = classify_payments(refused, now.date(), text_model)
        connection.register("verdict", judged.select(["account_id", "attempt_id", "category", "code"]))
        found: pa.Table = connection.sql(ATTEMPTS).to_arrow_table()
    return completed(found.select([name for name in SCHEMA.names if name in found.column_names]))


def training_set(lake: Lake, ledger: Ledger, now: datetime, text_model: Predictor | None = None) -> pa.Table:
    """The attempts with their features, kept as the derived table of the same name.

    Names stand as such in their own columns; the features hold numbers alone.
    """
    table = attempts(lake, ledger, now, text_model)
    numbers = matrix(table, History(table), learn_names(table))
    for at, feature in enumerate(FEATURES):
        if feature.name not in table.column_names and not feature.of_names:
            table = table.append_column(feature.name, pa.array(numbers[:, at], from_pandas=True))
    lake.write_derived(DERIVED, table)
    return table


def _ours(ledger: Ledger) -> pa.Table:
    """Our own executed attempts that name their charge."""
    same = ("account_id", "charge_id", "customer_id", "card_fingerprint", "card_brand", "currency")
    columns = [
        *(attempt.c[name] for name in (*same, "called_at", "amount_minor", "state")),
        *(recovery_case.c[name] for name in ("debt_id", "card_country", "payment_method_type")),
    ]
    query = (
        select(*columns)
        .join(recovery_case, recovery_case.c.id == attempt.c.case_id)
        .where(attempt.c.executed, attempt.c.charge_id.is_not(None), attempt.c.called_at.is_not(None))
        .where(attempt.c.state.in_(("succeeded", "declined")))
    )
    with ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return pa.Table.from_pylist([{**row, OUTCOME: row["state"] == "succeeded"} for row in rows], schema=OURS)


def summary(table: pa.Table) -> dict[str, int]:
    """Attempts in all, retries, and retries that succeeded."""
    retried = pc.greater(table["attempt_number"], 1)
    won = pc.and_(retried, table[OUTCOME])
    return {
        "attempts": table.num_rows,
        "retries": pc.sum(retried).as_py() or 0,
        "succeeded": pc.sum(won).as_py() or 0,
    }
