"""Reads columns of the lake, the derived tables and the ledger's export, and has what all marts do to columns.

Nothing of recovery is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.json as pj

from tinko_pipelines.lake.schemas import OBJECTS

DEBT = ["account_id", "debt_id"]
MAIL_CREDIT_DAYS = 14
STRIPE_RETRY_WINDOW_HOURS = 2
MATURE_DAYS = 28
NETWORK_FEE_PER_ATTEMPT_MINOR = 0
MAIL_COST_MINOR = 0


@dataclass(frozen=True)
class Sources:
    """Where the Parquet is, and the moment the marts are of."""

    lake: Path
    export: Path
    as_of: pd.Timestamp

    def stripe(
        self, name: str, columns: list[str], rows: pc.Expression | None = None, id: str | None = None
    ) -> pd.DataFrame:
        """Columns of one of Stripe's objects with the account first, and its id under the name given."""
        schema, folder = OBJECTS[name].schema, self.lake / "tables" / name
        named = ["account_id", *(["id"] if id else []), *columns]
        if not folder.exists():
            found = schema.empty_table().select(named)
        else:
            found = ds.dataset(folder, schema=schema, format="parquet").to_table(columns=named, filter=rows)
        return _frame(found).rename(columns={"id": id} if id else {})

    def derived(self, name: str, columns: list[str]) -> pd.DataFrame:
        """Columns of a derived table."""
        return _frame(ds.dataset(self.lake / "derived" / f"{name}.parquet").to_table(columns=columns))

    def ledger(self, name: str, columns: list[str], id: str | None = None) -> pd.DataFrame:
        """Columns of a table of the ledger, and its id under the name given."""
        named = ["id", *columns] if id else columns
        found = _frame(ds.dataset(self.export / f"{name}.parquet").to_table(columns=named))
        return found.rename(columns={"id": id} if id else {})


def _frame(table: pa.Table) -> pd.DataFrame:
    found: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    if "currency" in found:
        found["currency"] = lower(found.currency)
    return found


def lower(texts: pd.Series) -> pd.Series:
    """A column of few different texts in lower case."""
    known = texts.drop_duplicates().dropna()
    return texts if known.str.islower().all() else texts.str.lower()


def parsed(texts: pd.Series, fields: dict[str, Any]) -> pd.DataFrame:
    """Fields of JSON objects, one row for each text; null where there is none."""
    schema = pa.schema(list(fields.items()))
    if texts.empty:
        return _frame(schema.empty_table())
    lines = pa.BufferReader("\n".join(texts.fillna("{}")).encode())
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return _frame(pj.read_json(lines, parse_options=options)).set_index(texts.index)


def yes(flags: pd.Series, otherwise: bool = False) -> pd.Series:
    """Flags of which some are null, as plain ones."""
    plain: pd.Series = flags.astype("boolean").fillna(otherwise).astype(bool)
    return plain


def whole(numbers: pd.Series) -> pd.Series:
    """Whole numbers that a merge made floats of, 0 where null."""
    filled: pd.Series = numbers.fillna(0).astype("int64")
    return filled


def day_of(moments: pd.Series) -> pd.Series:
    """The day in UTC."""
    days: pd.Series = moments.dt.tz_localize(None).dt.normalize()
    return days


def month_of(moments: pd.Series) -> pd.Series:
    """The first day of the month in UTC."""
    months = moments.dt.tz_localize(None).to_numpy().astype("datetime64[M]")
    return pd.Series(months.astype("datetime64[us]"), index=moments.index)


def chosen(*cases: tuple[pd.Series, str | pd.Series], otherwise: str | pd.Series | None = None) -> pd.Series:
    """SQL's `case when`: for each row the value of the first condition that holds."""
    index = cases[0][0].index
    values = [value if isinstance(value, pd.Series) else pd.Series(value, index) for _, value in cases]
    last = otherwise if isinstance(otherwise, pd.Series) else pd.Series(otherwise, index, dtype="str")
    return last.case_when(list(zip((when for when, _ in cases), values, strict=True)))


def first_of(frame: pd.DataFrame, key: list[str], order: list[str]) -> pd.DataFrame:
    """Of the rows that share a key the first; only those are sorted, since most keys have one row."""
    is_shared = frame.duplicated(key, keep=False)
    first = frame[is_shared].sort_values(order).drop_duplicates(key)
    return pd.concat([frame[~is_shared], first]) if len(first) else frame


def summed(frame: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Sums by group; a null is a group too."""
    return frame.groupby(by, dropna=False, sort=False)[columns].sum().reset_index()


def share(part: pd.Series, of: pd.Series) -> pd.Series:
    """A quotient, null where there is nothing to divide by."""
    return part / of.where(of != 0, np.nan)
