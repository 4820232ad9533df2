"""A lake and a ledger's export to build from: two histories made by hand, and as many charges more as are asked for.

The more comes from those two by repeating them under other ids at other hours, and from charges that passed, nine for
each debt that failed. Ids are hashes, which compress as badly as Stripe's.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tests.reports.history import AS_OF, history
from tests.reports.synthetic import settings_in, story
from tinko_pipelines.settings import Settings

GOOD_A_DEBT = 9
HOURS_BACK_MAX = 300 * 24
PARTS = ("history", "story")
"""Ledgers of both know some debts by the same name, so the second one's ids are always others."""
ALONE = ("cap_rule",)
"""Tables of which there is one for all."""
NAMED = ("id", "card_fingerprint", "idempotency_key", "paid_elsewhere_by")


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: rows and bytes of lake and export, and the charges and debts among the rows."""

    settings: Settings
    rows: int
    bytes: int
    charges: int
    debts: int


def write(folder: Path, charges: int) -> Made:
    """Both histories, repeated until there are about so many charges; none are added when these are enough."""
    shutil.rmtree(folder, ignore_errors=True)
    parts = []
    for name, world in zip(PARTS, (history(), story()), strict=True):
        part = settings_in(folder / name)
        world.write(part)
        parts.append(part)
    whole = settings_in(folder)
    files = sorted(path.relative_to(parts[1].state) for path in parts[1].state.rglob("*.parquet"))
    debts, known = _counted(parts)
    copies = max(0, round((charges - known) / (known + debts * GOOD_A_DEBT)))
    for file in files:
        _write_one(file, parts, whole, copies, copies * debts * GOOD_A_DEBT)
    for part in parts:
        shutil.rmtree(part.state.parent)
    written = list(whole.state.rglob("*.parquet"))
    debts, known = _counted([whole])
    rows = sum(pq.read_metadata(path).num_rows for path in written)
    return Made(whole, rows, sum(path.stat().st_size for path in written), known, debts)


def _counted(parts: list[Settings]) -> tuple[int, int]:
    """Failed debts and charges."""
    debts = sum(
        pq.read_metadata(part.lake_dir / "derived" / "failed_payments.parquet").num_rows for part in parts
    )
    charges = sum(
        pq.read_metadata(path).num_rows
        for part in parts
        for path in (part.lake_dir / "tables" / "charges").rglob("*.parquet")
    )
    return debts, charges


def _write_one(file: Path, parts: list[Settings], whole: Settings, copies: int, good: int) -> None:
    """A table of both histories, of their copies, and of what passed."""
    found = [part.state / file for part in parts]
    target = whole.state / file
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = pq.read_schema(found[0])
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, path in zip(PARTS, found, strict=True):
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")
        kinds = connection.execute("DESCRIBE history").fetchall()
        copied = ", ".join(f'{_copied(name, kind)} AS "{name}"' for name, kind, *_ in kinds)
        columns = copied if file.stem not in ALONE else "* EXCLUDE (k)"
        connection.execute(
            f"CREATE VIEW one AS SELECT * FROM history UNION ALL BY NAME SELECT {columns} FROM (SELECT *, 0 AS k FROM story)"
        )
        sql = "SELECT * FROM one"
        if copies and file.stem not in ALONE:
            sql += f" UNION ALL BY NAME SELECT {copied} FROM one CROSS JOIN (SELECT range AS k FROM range(1, {copies + 1}))"
        passed = PASSED.get(file.parent.name) if file.stem != "empty" else None
        if passed and good:
            sql += f" UNION ALL BY NAME {passed.format(rows=good, as_of=AS_OF.isoformat())}"
        reader = connection.sql(sql).to_arrow_reader(100_000)
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch.select(schema.names).cast(schema))


def _copied(name: str, kind: str) -> str:
    """A column of the k-th copy: its own ids, everything some hours earlier."""
    column = f'"{name}"'
    if name == "account_id":
        return column
    if name in NAMED or name.endswith("_id"):
        if kind == "VARCHAR":
            return f"left({column}, 3) || substr(md5({column} || '/' || k), 1, 24)"
        return f"{column} + k * 1000"
    if name == "metadata":
        return (
            'CASE WHEN metadata LIKE \'{"tinko_debt": %\' THEN \'{"tinko_debt": "\' || left(metadata[17:], 3)'
            " || substr(md5(metadata[17:-3] || '/' || k), 1, 24) || '\"}' ELSE metadata END"
        )
    if kind.startswith("TIMESTAMP") and name != "fetched_at":
        return f"{column} - to_hours((k * 7 % {HOURS_BACK_MAX})::INTEGER)"
    return column


_ID = "substr(md5('{kind}' || range), 1, 24)"
_COMMON = (
    "'a' AS account_id, false AS livemode, TIMESTAMPTZ '{as_of}' AS fetched_at,"
    f" TIMESTAMPTZ '{{as_of}}' - to_minutes((range * 7919 % {HOURS_BACK_MAX * 60})::INTEGER) AS created_at"
)
_MONEY = "500 + range * 31 % 20000 AS amount_minor, 'usd' AS currency"
_FROM = "FROM range({rows})"


def _passed(kind: str, columns: str) -> str:
    return f"SELECT '{kind}_' || {_ID.format(kind=kind)} AS id, {_COMMON}, {columns} {_FROM}"


def _other(kind: str) -> str:
    return f"'{kind}_' || {_ID.format(kind=kind)}"


_CUSTOMER = "'cus_' || substr(md5('cus' || range // 10), 1, 24) AS customer_id"
PASSED = {
    "charges": _passed(
        "ch",
        f"{_MONEY}, {_CUSTOMER}, 'succeeded' AS status, true AS captured, 500 + range * 31 % 20000 AS amount_captured_minor,"
        f" 0 AS amount_refunded_minor, false AS disputed, {_other('pi')} AS payment_intent_id,"
        f" {_other('txn')} AS balance_transaction_id, 'card' AS payment_method_type, 'visa' AS card_brand,"
        f" {_other('pm')} AS payment_method_id, substr(md5('card' || range // 10), 1, 16) AS card_fingerprint",
    ),
    "payment_intents": _passed("pi", f"{_MONEY}, {_CUSTOMER}, 'succeeded' AS status"),
    "invoices": _passed(
        "in",
        f"{_CUSTOMER}, 'usd' AS currency, 'paid' AS status, 500 + range * 31 % 20000 AS amount_due_minor,"
        " 'subscription_cycle' AS billing_reason, 'charge_automatically' AS collection_method",
    ),
    "invoice_payments": _passed(
        "inpay", f"{_other('in')} AS invoice_id, {_other('pi')} AS payment_intent_id"
    ),
    "balance_transactions": _passed(
        "txn", f"{_MONEY}, {_other('ch')} AS source_id, 'charge' AS type, 59 AS fee_minor, 441 AS net_minor"
    ),
}
"""What belongs to a charge that passed, by object: its intent, invoice, payment and balance transaction."""
