"""A large day is merged a group at a time, and comes to the same as if it were merged whole."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.lake.rows import put
from tests.lake.stripe_objects import START, charge, customer
from tinko_pipelines.lake import parquet
from tinko_pipelines.lake.merge import Upserted
from tinko_pipelines.lake.store import Gone, Lake

NOW = datetime.fromtimestamp(START, UTC)


def day_file(lake: Lake) -> Path:
    [path] = (lake.root / "tables" / "charges" / "default").iterdir()
    return path


def filled(folder: Path, seed: int) -> tuple[Lake, list[Upserted]]:
    """Portions of charges of one day, many in the same second, in no order; some come again, older or newer."""
    chance = random.Random(seed)
    lake, told = Lake(folder), []
    known: list[int] = []
    for _ in range(6):
        ids = {*chance.sample(range(160), 30), *chance.sample(known, min(len(known), 10))}
        objects = [charge(f"ch_{n}", START + n // 9, amount=100 + chance.randrange(3)) for n in sorted(ids)]
        chance.shuffle(objects)
        told.append(put(lake, NOW + timedelta(minutes=chance.randrange(6)), *objects))
        known = sorted({*known, *ids})
    return lake, told


@pytest.mark.parametrize("seed", range(2))
def test_by_groups_or_whole_a_day_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole, told_whole = filled(tmp_path / "whole", seed)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 16)
    grouped, told = filled(tmp_path / "grouped", seed)
    assert told == told_whole
    by_id = [("id", "ascending")]
    assert grouped.table("charges").sort_by(by_id).equals(whole.table("charges").sort_by(by_id))
    file = pq.ParquetFile(day_file(grouped))
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert len(sizes) > 4
    assert sizes[:-1] == [16] * (len(sizes) - 1)
    times = file.read(["created_at"])["created_at"].to_pylist()
    assert all(one <= other for one, other in pairwise(times))


def test_what_a_large_day_holds_already_changes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 16)
    lake = Lake(tmp_path)
    objects = [charge(f"ch_{n}", START + n) for n in range(50)]
    put(lake, NOW, *objects)
    before = day_file(lake).stat()
    assert put(lake, NOW - timedelta(hours=1), *objects[10:20]) == Upserted(unchanged=10)
    assert day_file(lake).stat().st_ino == before.st_ino


def test_an_object_of_a_large_day_is_buried_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 16)
    lake = Lake(tmp_path)
    put(lake, NOW, *(customer(f"cus_{n}", START + n) for n in range(40)))
    gone = [Gone(f"cus_{n}", False, NOW, NOW + timedelta(hours=2)) for n in (3, 33, 77)]
    assert lake.bury("customers", "default", gone) == 3
    assert lake.bury("customers", "default", gone) == 0
    rows = {row["id"]: row for row in lake.table("customers").to_pylist()}
    assert len(rows) == 41
    assert {name for name, row in rows.items() if row["deleted"]} == {"cus_3", "cus_33", "cus_77"}
    assert rows["cus_33"]["preferred_locale"] == "de-DE"
