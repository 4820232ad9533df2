"""Holds marts written as Parquet against the tables of a warehouse: columns, rows, and every value of them."""

from __future__ import annotations

from pathlib import Path

import duckdb

LEFT_OUT = ("build_info", "metrics")
NEAR = 1e-9


def unlike(warehouse: Path, folder: Path) -> dict[str, str]:
    """What differs, by mart; empty where `folder` has all marts as the warehouse has them.

    Numbers with fractions may differ by 1e-9 (of the greater, where that is above one); everything else must be equal, row for row.
    """
    found = {}
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY)")
        columns: dict[str, dict[str, str]] = {}
        for table, column, kind in connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'warehouse'"
            " AND schema_name = 'main' ORDER BY table_name, column_index"
        ).fetchall():
            columns.setdefault(table, {})[column] = kind
        for name, kinds in columns.items():
            path = folder / f"{name}.parquet"
            if name in LEFT_OUT:
                continue
            difference = _difference(connection, name, kinds, path) if path.exists() else "not made"
            if difference:
                found[name] = difference
    return found


def _difference(connection: duckdb.DuckDBPyConnection, name: str, kinds: dict[str, str], path: Path) -> str:
    made = {row[0] for row in connection.execute(f"DESCRIBE FROM '{path}'").fetchall()}
    if missing := kinds.keys() - made:
        return f"without {', '.join(sorted(missing))}"
    cast = ", ".join(f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in kinds.items())
    sides = {"theirs": f"SELECT {cast} FROM '{path}'", "ours": f"FROM warehouse.main.{name}"}
    exact = ", ".join(f'"{column}"' for column, kind in kinds.items() if kind != "DOUBLE")
    near = [column for column, kind in kinds.items() if kind == "DOUBLE"]
    only = [
        connection.execute(
            f"SELECT count(*) FROM (SELECT {exact} FROM ({sides[one]}) EXCEPT ALL SELECT {exact} FROM ({sides[other]}))"
        ).fetchall()[0][0]
        for one, other in (("theirs", "ours"), ("ours", "theirs"))
    ]
    if any(only):
        return f"{only[0]} rows only in pandas, {only[1]} only in the warehouse"
    for column in near:
        # The rest of the row is equal on both sides, so rows in its order stand beside each other.
        lists = [
            f'(SELECT "{column}" AS {side} FROM ({sql}) ORDER BY {exact}, 1)' for side, sql in sides.items()
        ]
        count = connection.execute(
            f"SELECT count(*) FROM {lists[0]} POSITIONAL JOIN {lists[1]} WHERE (theirs IS NULL) <> (ours IS NULL)"
            f" OR isnan(theirs) OR abs(theirs - ours) > {NEAR} * greatest(1, abs(ours))"
        ).fetchall()[0][0]
        if count:
            return f"{count} rows with another {column}"
    return ""
