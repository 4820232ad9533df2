"""The table of attempts that a timing model is trained on: its columns, and what follows from the rows themselves.

One row is one executed attempt to take a payment, the first of each debt included. Everything in a row but its
outcome must have been known when the attempt was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.errors import InputError
from tinko_pipelines.lake.schemas import ERASED

TEXT, WHOLE, FLAG, MOMENT = pa.string(), pa.int64(), pa.bool_(), pa.timestamp("us", tz="UTC")
ATTEMPTS_MAX = 20_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, what it says in a sentence, and whether a table without it can be used."""

    name: str
    type: pa.DataType
    sentence: str
    required: bool = False


COLUMNS = (
    Column("attempt_id", TEXT, "Names the attempt; numbered by row where missing."),
    Column("account_id", TEXT, "The merchant's account; `default` where missing."),
    Column("debt_id", TEXT, "What was to be paid: an invoice, a payment intent, a purchase.", required=True),
    Column("customer_id", TEXT, "Who was to pay; unknown where missing or `erased`."),
    Column("card_fingerprint", TEXT, "The card, the same for the same card at several customers."),
    Column("attempted_at", MOMENT, "When the attempt was made; UTC where no zone is given.", required=True),
    Column("succeeded", FLAG, "The outcome: whether the money came.", required=True),
    Column("amount_minor", WHOLE, "The amount in the currency's smallest unit."),
    Column("currency", TEXT, "ISO code."),
    Column("first_failed_at", MOMENT, "When the debt first failed, before this attempt; else from the rows."),
    Column("previous_attempt_at", MOMENT, "When the debt was last tried before this; else from the rows."),
    Column("attempt_number", WHOLE, "1 for a debt's first attempt; else from the rows."),
    Column("category", TEXT, "Our category of the refusal that this attempt follows, not of its own."),
    Column("decline_code", TEXT, "The code of the refusal that this attempt follows, not of its own."),
    Column("card_brand", TEXT, "visa, mastercard and so on."),
    Column("card_funding", TEXT, "credit, debit, prepaid."),
    Column("card_country", TEXT, "Where the card was issued."),
    Column("payment_method_type", TEXT, "card and so on."),
    Column("processor", TEXT, "Through whom the attempt is made, where there are several."),
    Column("authenticated", FLAG, "Whether 3-D Secure was asked for."),
    Column("source", TEXT, "Who made it: `ours`, `stripe`, or `history` for anybody else."),
)
"""Every column a timing model knows. Others in a table are left aside."""

SCHEMA = pa.schema([(column.name, column.type) for column in COLUMNS])
OUTCOME = "succeeded"
KNOWN_BEFORE = frozenset(SCHEMA.names) - {OUTCOME}
"""What is known of an attempt before it is made."""


def completed(attempts: pa.Table) -> pa.Table:
    """The same attempts as `SCHEMA`, in order of time; what follows from earlier rows of a debt is filled in.

    Raises InputError naming a column that is missing, or the row of a value that cannot be.
    """
    if attempts.num_rows > ATTEMPTS_MAX:
        raise InputError(
            f"{attempts.num_rows:,} attempts are more than {ATTEMPTS_MAX:,}; hand over the newest"
        )
    missing = [one.name for one in COLUMNS if one.required and one.name not in attempts.column_names]
    if missing:
        raise InputError(f"the attempts have no column {missing[0]}; required are {', '.join(_required())}")
    table = _whole(attempts).combine_chunks()
    _refuse_gaps(table)
    table = table.take(pc.sort_indices(table, [("attempted_at", "ascending"), ("attempt_id", "ascending")]))
    table = _numbered(table)
    _refuse_later(table, "first_failed_at")
    _refuse_later(table, "previous_attempt_at")
    return table


def cases(table: pa.Table) -> pa.Table:
    """Attempts that are still to be made, in the columns of `SCHEMA` but moment and outcome; empty where not told."""
    names = [name for name in SCHEMA.names if name not in ("attempted_at", OUTCOME)]
    return _whole(table).select(names)


def retries(attempts: pa.Table) -> pa.Table:
    """The rows of a completed table that follow a failure of their debt: what is to be predicted."""
    follows = pc.and_(pc.greater(attempts["attempt_number"], 1), pc.is_valid(attempts["first_failed_at"]))
    return attempts.filter(pc.fill_null(follows, False))


def known_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names with those of erased people empty, since they are nobody any more."""
    return pc.if_else(pc.equal(column, ERASED), pa.scalar(None, TEXT), column)


def micros(column: pa.ChunkedArray) -> np.ndarray:
    """Moments as microseconds since 1970, the smallest number where there is none."""
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NEVER).to_numpy())


NEVER = np.iinfo(np.int64).min


def _required() -> list[str]:
    return [column.name for column in COLUMNS if column.required]


def _whole(attempts: pa.Table) -> pa.Table:
    """All columns in their types and order; empty ones where the table has none."""
    rows = attempts.num_rows
    found = []
    for column in COLUMNS:
        if column.name in attempts.column_names:
            found.append(attempts[column.name].cast(column.type))
        elif column.name == "attempt_id":
            found.append(pc.utf8_lpad(pa.array(np.arange(rows)).cast(TEXT), 9, "0"))
        else:
            found.append(pa.nulls(rows, column.type))
        if column.name == "account_id":
            found[-1] = pc.fill_null(found[-1], "default")
    return pa.Table.from_arrays(found, schema=SCHEMA)


def _refuse_gaps(table: pa.Table) -> None:
    for name in (*_required(), "attempt_id"):
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise InputError(f"column {name} is empty in row {row + 1}; every attempt needs one")
    codes = codes_of(table.select(["account_id", "attempt_id"]))
    names, counts = np.unique(codes, return_counts=True)
    if len(names) < len(codes):
        twice = table["attempt_id"][int(np.argmax(codes == names[np.argmax(counts)]))]
        raise InputError(f"attempt {twice} occurs more than once in column attempt_id; an attempt is one row")


def _refuse_later(table: pa.Table, name: str) -> None:
    later = pc.fill_null(pc.greater(table[name], table["attempted_at"]), False)
    row = pc.index(later, True).as_py()
    if row >= 0:
        which = table["attempt_id"][row]
        raise InputError(
            f"column {name} of attempt {which} lies after attempted_at, so it was not known at the attempt;"
            " correct it or leave the column out"
        )


def _numbered(table: pa.Table) -> pa.Table:
    """Fill in what earlier rows of the same debt tell; rows at the same moment do not know of each other."""
    if not table.num_rows:
        return table
    pairs = pa.Table.from_arrays([table["account_id"], table["debt_id"]], names=["a", "d"])
    debt = codes_of(pairs)
    at = micros(table["attempted_at"])
    failed = ~np.asarray(table[OUTCOME].to_numpy(zero_copy_only=False))
    order = np.lexsort((at, debt))
    first = np.flatnonzero(np.r_[True, np.diff(debt[order]) != 0])
    start = np.repeat(first, np.diff(np.r_[first, len(order)]))
    moved = np.r_[True, (np.diff(debt[order]) != 0) | (np.diff(at[order]) != 0)]
    same = np.maximum.accumulate(np.where(moved, np.arange(len(order)), 0))
    number = np.empty(len(order), np.int64)
    number[order] = same - start + 1
    previous, failure = np.full(len(order), NEVER), np.full(len(order), NEVER)
    previous[order] = np.where(same > start, at[order][same - 1], NEVER)
    failure[order] = _first_failure(at[order], failed[order], start, same)
    for name, values in (("previous_attempt_at", previous), ("first_failed_at", failure)):
        told = pa.chunked_array([pa.array(values, pa.int64(), mask=values == NEVER).cast(MOMENT)])
        table = _filled(table, name, told)
    return _filled(table, "attempt_number", pa.chunked_array([pa.array(number)]))


def _first_failure(at: np.ndarray, failed: np.ndarray, start: np.ndarray, same: np.ndarray) -> np.ndarray:
    """For rows in order of debt and time the first failure of the debt before them."""
    places = np.flatnonzero(failed)
    next_failed = np.searchsorted(places, start)
    place = np.append(places, len(at))[next_failed]
    return np.where(place < same, at[np.minimum(place, len(at) - 1)], NEVER)


def _filled(table: pa.Table, name: str, told: pa.ChunkedArray) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(
        at, SCHEMA.field(name), pc.coalesce(table[name], told.cast(SCHEMA.field(name).type))
    )


def codes_of(columns: pa.Table) -> np.ndarray:
    """A number for each distinct combination of the columns, -1 where one of them is empty."""
    combined = np.zeros(columns.num_rows, np.int64)
    empty = np.zeros(columns.num_rows, bool)
    for column in columns.columns:
        coded = column.combine_chunks().dictionary_encode()
        codes = np.asarray(pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)).astype(np.int64)
        empty |= codes < 0
        combined = combined * (len(coded.dictionary) + 1) + codes + 1
        _, combined = np.unique(combined, return_inverse=True)
    return np.where(empty, -1, combined)
