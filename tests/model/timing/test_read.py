"""A table somebody exported is read, or its column and row are named."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.model.timing.attempts import invented
from tinko_pipelines.errors import InputError
from tinko_pipelines.model.timing.read import read_attempts
from tinko_pipelines.model.timing.schema import COLUMNS, SCHEMA, completed, retries

HEAD = "debt_id,attempted_at,paid,amount_minor"


def csv(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "attempts.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    table = invented(60)
    pq.write_table(table, tmp_path / "a.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "a.csv")
    one, other = (read_attempts(tmp_path / name) for name in ("a.parquet", "a.csv"))
    assert completed(one).equals(completed(other))
    assert completed(one).num_rows == table.num_rows


def test_missing_columns_are_filled_from_the_rows(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "in_1,2026-01-01T08:00:00,0,100",
        "in_1,2026-01-03T08:00:00Z,0,100",
        "in_1,2026-01-04T09:00:00+01:00,yes,",
        "in_2,2026-01-02T08:00:00Z,TRUE,5",
    )
    rows = completed(read_attempts(path, "paid")).to_pylist()
    first = datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert [(row["debt_id"], row["attempt_number"], row["succeeded"]) for row in rows] == [
        ("in_1", 1, False), ("in_2", 1, True), ("in_1", 2, False), ("in_1", 3, True),
    ]  # fmt: skip
    assert [row["first_failed_at"] for row in rows] == [None, None, first, first]
    assert rows[3]["previous_attempt_at"] == first + timedelta(days=2)
    assert rows[3]["attempted_at"] == first + timedelta(days=3)
    assert rows[3]["amount_minor"] is None
    assert {row["account_id"] for row in rows} == {"default"}
    assert retries(completed(read_attempts(path, "paid"))).num_rows == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("in_1,2026-01-05T08:00:00Z,maybe,1", r"column paid is no outcome: row 2 holds 'maybe'"),
        ("in_1,2026-01-05T08:00:00Z,2,1", r"row 2 holds '2'"),
        ("in_1,2026-01-05T08:00:00Z,,1", r"row 2 holds None"),
        ("in_1,yesterday,1,1", r"column attempted_at holds 'yesterday' in row 2, which is not a moment"),
        (
            "in_1,2026-01-05T08:00:00Z,1,much",
            r"column amount_minor holds 'much' in row 2, which is not int64",
        ),
    ],
)
def test_a_value_of_no_use_is_named_by_column_and_row(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_attempts(csv(tmp_path, "in_0,2026-01-01T08:00:00Z,0,1", line), "paid")


@pytest.mark.parametrize(
    ("head", "outcome", "told"),
    [
        (
            "debt_id,attempted_at,paid",
            "succeeded",
            "has no column succeeded; it has debt_id, attempted_at, paid",
        ),
        ("attempted_at,paid,debt", "paid", "has no column debt_id: What was to be paid"),
        ("debt_id,when,paid", "paid", "has no column attempted_at: When the attempt was made"),
        ("debt_id,attempted_at,authenticated", "authenticated", "is known before an attempt"),
    ],
)
def test_a_column_that_is_missing_or_no_outcome_is_named(
    tmp_path: Path, head: str, outcome: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        read_attempts(csv(tmp_path, "in_1,2026-01-01T08:00:00Z,1", head=head), outcome)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("not parquet")
    (tmp_path / "a.xlsx").write_text("not a table")
    for name, told in (
        ("a.parquet", "cannot be read"),
        ("a.xlsx", "neither .parquet nor .csv"),
        ("b.csv", "no file"),
    ):
        with pytest.raises(InputError, match=told):
            read_attempts(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"attempt_id": "a0"}, "attempt a0 occurs more than once"),
        ({"debt_id": None}, "column debt_id is empty in row 2"),
        (
            {"first_failed_at": datetime(2026, 2, 1, tzinfo=UTC)},
            "first_failed_at of attempt a1 lies after attempted_at",
        ),
    ],
)
def test_rows_that_cannot_be_are_refused(change: dict[str, Any], told: str) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    plain = {"debt_id": "in_1", "attempted_at": day, "succeeded": False}
    rows = [{"attempt_id": f"a{number}", **plain} for number in range(3)]
    rows[1] |= change
    with pytest.raises(InputError, match=told):
        completed(pa.Table.from_pylist(rows, schema=SCHEMA))


def test_every_column_is_documented() -> None:
    assert [column.name for column in COLUMNS] == SCHEMA.names
    assert [column.name for column in COLUMNS if column.required] == ["debt_id", "attempted_at", "succeeded"]
    assert all(column.sentence.endswith(".") for column in COLUMNS)
