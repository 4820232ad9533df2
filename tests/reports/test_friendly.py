"""Names in plain words, and amounts in whole units of their currency, exact to the last minor unit."""

from decimal import Decimal
from typing import Any

import duckdb
import pytest

from tinko_pipelines.reports.friendly import column_words, currency_column, table_words, views

TYPES = {
    "account_id": "VARCHAR",
    "currency": "VARCHAR",
    "failed_amount_minor": "BIGINT",
    "sum_minor": "HUGEINT",
    "average_minor": "DOUBLE",
    "network_fee_minor": "BIGINT",
    "fee_currency": "VARCHAR",
    "sum": "BIGINT",
}


def node(name: str = "fct_failed_payments", **more: Any) -> dict[str, Any]:
    told = {
        "currency": {"description": "The currency."},
        "failed_amount_minor": {"description": "It's owed, in minor units."},
    }
    return {"name": name, "description": "One row each; it's all.", "columns": told, **more}


@pytest.fixture
def made() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    connection.execute(f"CREATE TABLE fct_failed_payments ({columns}); CREATE SCHEMA friendly")
    (view,) = views([node()], {"fct_failed_payments": TYPES})
    for statement in view.statements():
        connection.execute(statement)
    return connection


@pytest.mark.parametrize(
    ("currency", "minor", "whole"),
    [
        ("usd", 123, "1.230"),
        ("USD", -1, "-0.010"),
        ("jpy", 123, "123.000"),
        ("kwd", 1_234_567, "1234.567"),
        ("isk", 500, "5.000"),
        ("usd", 2**63 - 1, "92233720368547758.070"),
        ("jpy", 2**63 - 1, "9223372036854775807.000"),
        ("kwd", -(2**63), "-9223372036854775.808"),
        (None, 100, None),
        ("usd", None, None),
    ],
)
def test_amounts_are_divided_by_what_their_currency_has(
    made: duckdb.DuckDBPyConnection, currency: str | None, minor: int | None, whole: str | None
) -> None:
    row = ["acct_1", currency, minor, minor, minor, minor, "kwd", 7]
    made.execute("INSERT INTO fct_failed_payments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    query = 'SELECT "Failed amount", "Sum", "Average", "Network fee" FROM friendly."Failed payments"'
    amount, total, average, fee = made.execute(query).fetchall()[0]
    expected = None if whole is None else Decimal(whole)
    assert (amount, total) == (expected, expected)
    assert average == (None if expected is None else pytest.approx(float(expected)))
    assert fee == (None if minor is None else Decimal(minor) / 1000), "a fee has a currency of its own"


def test_names_comments_and_types_are_carried_over(made: duckdb.DuckDBPyConnection) -> None:
    names = [column[0] for column in made.execute('FROM friendly."Failed payments"').description or []]
    assert names == [
        "Account ID", "Currency", "Failed amount", "Sum", "Average", "Network fee", "Fee currency", "Sum (sum)",
    ]  # fmt: skip
    comments = dict(
        made.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'friendly'"
        ).fetchall()
    )
    assert comments["Failed amount"] == "It's owed. Here in whole units of currency, with three decimals."
    assert comments["Currency"] == "The currency."
    assert made.execute(
        "SELECT comment FROM duckdb_views() WHERE view_name = 'Failed payments'"
    ).fetchone() == ("One row each; it's all.",)


def test_a_label_of_the_model_goes_first() -> None:
    labelled = node(config={"meta": {"label": 'The "lost" ones'}})
    labelled["columns"] = {
        "sum_minor": {"description": "S.", "meta": {"label": "All", "currency": "fee_currency"}}
    }
    other = node("mart_x", meta={"label": 'the "LOST" ones'})
    first, second = views(
        [other, labelled], {"fct_failed_payments": TYPES, "mart_x": {"amount_minor": "BIGINT"}}
    )
    assert (first.label, second.label) == ('The "lost" ones', 'the "LOST" ones (mart_x)')
    total = next(column for column in first.columns if column.label == "All")
    assert 'lower("fee_currency")' in total.sql
    assert second.columns[0].sql == '"amount_minor"', "nothing says what it is in"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fct_failed_payments", "Failed payments"),
        ("recovery_by_code", "Recovery by code"),
        ("dim_customers", "Customers"),
    ],
)
def test_tables_in_words(name: str, words: str) -> None:
    assert table_words(name) == words


def test_columns_in_words() -> None:
    assert [column_words(one) for one in ("customer_id", "livemode", "first_failed_at", "_minor", "n")] == [
        "Customer ID", "Live mode", "First failed at", "Minor", "N",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "columns", "found"),
    [
        ("incurred_fee_minor", ["fee_currency", "incurred_fee_minor"], "fee_currency"),
        ("amount_minor", ["currency", "fee_currency"], "currency"),
        ("network_fee_minor", ["currency"], "currency"),
        ("amount_minor", ["fee_currency", "settled_currency"], None),
        ("amount_minor", [], None),
    ],
)
def test_whose_currency_it_is(column: str, columns: list[str], found: str | None) -> None:
    assert currency_column(column, columns) == found
