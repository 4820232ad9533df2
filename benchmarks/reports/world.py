"""Puts a made-up business of so many charges where the pipelines would have: lake, derived tables, export of the ledger.

The lake is laid out as the real one lays it out: one file for each object and day, packed by the lake's own code. A day
more is the same business a day later; only what differs is written.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.reports.lives import CHARGES_A_DAY, live
from benchmarks.reports.shapes import FAILED, LAKE, LEDGER, TOUCHED, VERDICT
from tinko_pipelines.lake.debts import FAILED_PAYMENTS
from tinko_pipelines.lake.merge import by_day, in_schema, ordered
from tinko_pipelines.lake.parquet import packed
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger.export import export_order, export_schema, write_stamped
from tinko_pipelines.ledger.network_caps import published
from tinko_pipelines.ledger.schema import metadata
from tinko_pipelines.planning import DEBT
from tinko_pipelines.settings import Settings

ACCOUNT = "acct_1"
DAYS_AT_ONCE = 40
DAY = timedelta(days=1)


class World:
    """The business as of `now`, in the state folder of `settings`."""

    def __init__(self, settings: Settings, charges: int) -> None:
        """Live it, and write it up to the moment by which so many charges were made, where that is not done yet."""
        self.settings, self.charges = settings, charges
        self.lake = Lake(settings.lake_dir)
        self.connection = duckdb.connect(
            ":memory:", config={"threads": 2, "python_enable_replacements": False}
        )
        self.now = live(self.connection, charges)
        self.began = self.now - DAY * max(round(charges / CHARGES_A_DAY), 1)
        if (settings.lake_dir / "derived" / "verdicts.parquet").exists():
            return
        start = self.began
        while start < self.now + DAY:
            self._write_days(list(LAKE), start, start + DAY * DAYS_AT_ONCE)
            start += DAY * DAYS_AT_ONCE
        self._write_rest()

    def add_day(self) -> dict[str, int]:
        """Let a day pass: new debts, and what became of old ones; files written by object."""
        before, self.now = self.now, self.now + DAY
        written = dict.fromkeys(LAKE, 0)
        for name in LAKE:
            touched = {before.date()}
            if name in TOUCHED:
                rows = self._all(
                    f"SELECT DISTINCT created_at::DATE FROM ({TOUCHED[name]}) q(created_at)", s=before
                )
                touched |= {row[0] for row in rows if row[0] < self.now.date()}
            for day in sorted(touched):
                start = datetime(day.year, day.month, day.day, tzinfo=self.now.tzinfo)
                written[name] += self._write_days([name], start, start + DAY)
        self._write_rest()
        return written

    def _asked(self, sql: str, **more: Any) -> duckdb.DuckDBPyRelation:
        told = {"t": self.now, **more}
        return self.connection.sql(sql, params={name: told[name] for name in told if f"${name}" in sql})

    def _all(self, sql: str, **more: Any) -> list[tuple[Any, ...]]:
        return self._asked(sql, **more).fetchall()

    def _write_days(self, names: list[str], start: datetime, end: datetime) -> int:
        written = 0
        end = min(end, self.now)
        for name in names if start < end else []:
            rows = _common(self._asked(LAKE[name], a=start, b=end).to_arrow_table())
            for day, few in by_day(in_schema(rows, OBJECTS[name].schema)) if rows.num_rows else ():
                path = self.settings.lake_dir / "tables" / name / ACCOUNT / f"{day}.parquet"
                _put(path, packed(ordered(few)))
                written += 1
        return written

    def _write_rest(self) -> None:
        export = self.settings.export_dir
        export.mkdir(parents=True, exist_ok=True)
        self.connection.execute("DROP TABLE IF EXISTS failed")
        self._asked(FAILED).create("failed")
        failed = in_schema(self._asked("FROM failed").to_arrow_table(), FAILED_PAYMENTS)
        self.lake.write_derived("failed_payments", failed, DEBT, self.now)
        verdicts = self._asked(f"SELECT * EXCLUDE (n), {VERDICT} FROM failed").to_arrow_table()
        self.lake.write_derived("verdicts", verdicts, DEBT, self.now)
        for table in metadata.sorted_tables:
            schema = export_schema(table)
            if table.name == "cap_rule":
                rows = pa.Table.from_pylist([asdict(rule) for rule in published()], schema=schema)
            elif table.name in LEDGER:
                rows = in_schema(self._asked(LEDGER[table.name]).to_arrow_table(), schema)
            else:
                rows = schema.empty_table()
            rows = rows.sort_by([(name, "ascending") for name in export_order(table)])
            write_stamped(export / f"{table.name}.parquet", rows, table, self.now)


def _common(rows: pa.Table) -> pa.Table:
    count = rows.num_rows
    if "account_id" not in rows.column_names:
        rows = rows.append_column("account_id", pa.repeat(ACCOUNT, count))
    rows = rows.append_column("livemode", pa.repeat(False, count))
    for name in ("fetched_at", "version_at"):
        if name not in rows.column_names:
            rows = rows.append_column(name, rows["created_at"])
    return rows


def _put(path: Path, content: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(content)
    partial.replace(path)
