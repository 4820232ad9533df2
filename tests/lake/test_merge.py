"""Of several versions of an object the newest is kept, whatever the order in which they come."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lake.rows import put
from tests.lake.stripe_objects import START, charge, customer, event
from tinko_pipelines.lake.merge import Upserted
from tinko_pipelines.lake.store import Gone, Lake

NOW = datetime.fromtimestamp(START, UTC)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_the_newest_version_is_kept_whatever_the_order(order: list[int], portion: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        for number in order:
            put(lake, NOW + timedelta(minutes=number), charge("ch_1", START, amount=100 + number))
        [row] = lake.table("charges").to_pylist()
        assert row["amount_minor"] == 105


def test_what_is_the_same_is_counted_as_such_and_yet_known_to_be_so_now(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert put(lake, NOW, charge("ch_1", START)) == Upserted(new=1)
    assert put(lake, NOW + timedelta(hours=1), charge("ch_1", START)) == Upserted(unchanged=1)
    assert lake.table("charges")["version_at"].to_pylist() == [NOW + timedelta(hours=1)]
    assert put(lake, NOW + timedelta(minutes=30), charge("ch_1", START, amount=5)) == Upserted(unchanged=1)
    assert put(lake, NOW + timedelta(hours=1), charge("ch_1", START, amount=5)) == Upserted(changed=1)


def test_an_event_stays_as_it_was_first_known(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake, NOW, event("evt_1", START, "charge.failed", charge("ch_1", START)))
    put(lake, NOW + timedelta(hours=1), event("evt_1", START, "charge.failed", charge("ch_2", START)))
    [row] = lake.table("events").to_pylist()
    assert (row["fetched_at"], row["object_id"]) == (NOW, "ch_1")


def test_a_deleted_object_keeps_what_was_known_and_is_not_brought_back_by_an_older_page(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path)
    put(lake, NOW, customer("cus_1", START))
    gone = Gone("cus_1", False, NOW, NOW + timedelta(hours=2))
    assert lake.bury("customers", "default", [gone]) == 1
    assert lake.bury("customers", "default", [gone]) == 0
    assert put(lake, NOW + timedelta(hours=1), customer("cus_1", START)).changed == 0
    [row] = lake.table("customers").to_pylist()
    assert (row["deleted"], row["preferred_locale"]) == (True, "de-DE")


def test_rows_lie_in_the_file_of_their_day_in_order(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake, NOW, *(charge(f"ch_{n}", START + n * 7_000) for n in (5, 1, 30, 2, 13)))
    times = [row["created_at"] for row in lake.table("charges").to_pylist()]
    assert all(one < other for one, other in pairwise(sorted(times)))
    names = sorted(path.name for path in (tmp_path / "tables" / "charges" / "default").iterdir())
    assert names == sorted({f"{at:%Y-%m-%d}.parquet" for at in times})
