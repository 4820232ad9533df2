"""Asks the snapshot for metrics by name. What each of them is says the snapshot's own table `metrics`; nothing is defined here.

Amounts are never added up over currencies, nor anything over test and live: an amount without `currency` among its
columns gets it, and where there is live data, test data is left out. A mart has a column of each metric's name, so
that what a mart has can be summed from its few rows and not from facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import InputError

if TYPE_CHECKING:
    import duckdb

MODE = "livemode = (SELECT coalesce(bool_or(livemode), false) FROM fct_failed_payments)"
"""The mode that is reported: live as soon as anything live is there."""
METRICS_MOST = 40


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as the snapshot holds it: a sum of `summed` over the rows of `made_of`, or a quotient of two of those."""

    name: str
    label: str
    description: str
    unit: str
    numerator: str | None
    denominator: str | None
    summed: str | None
    made_of: str
    dimensions: tuple[str, ...]

    @property
    def is_amount(self) -> bool:
        """Whether it has a currency, or is a share of what has one."""
        return any(str(name).endswith("_minor") for name in (self.name, self.numerator, self.denominator))


Catalogue = dict[str, Metric]


def catalogue(connection: duckdb.DuckDBPyConnection) -> Catalogue:
    """Every metric of an opened snapshot by its name."""
    rows = connection.execute(
        "SELECT metric, label, description, unit, numerator, denominator, summed, made_of, dimensions FROM metrics"
        " ORDER BY metric"
    ).fetchall()
    return {
        name: Metric(name, label, about, unit, above, below, summed, made_of, tuple(dimensions.split(",")))
        for name, label, about, unit, above, below, summed, made_of, dimensions in rows
    }


def metrics_sql(
    known: Catalogue, names: Sequence[str], by: Iterable[str] = (), where: str = "", mart: str | None = None
) -> str:
    """One SELECT of these metrics by these columns, ordered by them; all metrics must be made of one table.

    With a `mart` its columns of the metrics' names are summed, and ratios made of those sums; it must have them and `by`.
    Raises InputError, with what was probably meant, for a name that is none.
    """
    found = [_known(known, name) for name in names[:METRICS_MOST]]
    if not found:
        raise InputError("name at least one metric; `tinko metric` lists them")
    tables = sorted({one.made_of for one in found})
    if len(tables) > 1:
        raise InputError(
            f"{', '.join(names)} are made of {' and '.join(tables)}: ask for those of one at a time"
        )
    columns = list(dict.fromkeys(by))
    for column in () if mart else columns:
        if column not in found[0].dimensions:
            raise InputError(
                f"{found[0].name} cannot be broken down by {column!r}{_meant(column, found[0].dimensions)};"
                f" it can by {', '.join(found[0].dimensions)}"
            )
    if "currency" not in columns and any(one.is_amount for one in found):
        columns.append("currency")
    selected = [*columns, *(f"{_expression(known, one, mart)} AS {one.name}" for one in found)]
    filters = [MODE, *([f"({where})"] if where else [])]
    grouped = f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if columns else ""
    return f"SELECT {', '.join(selected)} FROM {mart or tables[0]} WHERE {' AND '.join(filters)}{grouped}"


def measured(
    connection: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    by: Iterable[str] = (),
    where: str = "",
    mart: str | None = None,
) -> list[dict[str, Any]]:
    """The rows of these metrics by these columns, from an opened snapshot; from a `mart` where one has them."""
    return rows(connection, metrics_sql(catalogue(connection), names, by, where, mart))


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """What a query on an opened snapshot finds, by the names of its columns."""
    cursor = connection.execute(sql)
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _expression(known: Catalogue, one: Metric, mart: str | None) -> str:
    if one.summed is not None:
        return f"coalesce(sum({one.name if mart else one.summed}), 0)::bigint"
    above, below = (_expression(known, known[str(name)], mart) for name in (one.numerator, one.denominator))
    return f"{above} / nullif({below}, 0)::double"


def _known(known: Catalogue, name: str) -> Metric:
    if name not in known:
        raise InputError(f"there is no metric {name!r}{_meant(name, known)}; `tinko metric` lists them")
    return known[name]


def _meant(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
