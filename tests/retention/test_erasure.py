"""A person is taken out of what was put together by month as out of anything else."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from tests.lake.stripe_objects import charge
from tests.privacy.places import unpacked
from tests.retention.shelves import FIRST, NOW
from tinko_pipelines.gateway.bulk import API_VERSION
from tinko_pipelines.gateway.page import Page
from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.schemas import ERASED
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.privacy.shelves import Shelves
from tinko_pipelines.retention import pages, tables

GONE = "cus_gone"


def test_nothing_of_him_is_left_in_any_month(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for day in range(40):
        at = datetime.fromtimestamp(FIRST.timestamp() + day * 86_400, UTC)
        items = [
            charge(f"ch_{day}_{n}", int(at.timestamp()), customer=who)
            for n, who in enumerate((GONE, "cus_other"))
        ]
        with Intake(lake, "default", livemode=False) as intake:
            body = orjson.dumps({"object": "list", "data": items, "has_more": False})
            intake.take([Page("charges", "default", body, at, API_VERSION, None, items)])
    before = {row["id"]: row for row in lake.table("charges").to_pylist()}
    assert pages.roll_up(lake, 1, NOW, apply=True).files > 0
    assert tables.roll_up(lake, 1, NOW, apply=True).files > 0
    assert any(GONE in str(pq.read_table(path).to_pylist()) for path in tmp_path.rglob("2026-09.parquet"))

    his = Shelves(lake, "default", Erased({hashed(GONE)}))
    assert his.left() == {"raw_pages": his.left()["raw_pages"], "charges": 40}
    his.empty()
    assert his.left() == {}
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert GONE.encode() not in content + unpacked(str(path), content), path
    after = {row["id"]: row for row in lake.table("charges").to_pylist()}
    assert after.keys() == before.keys()
    assert {row["customer_id"] for row in after.values()} == {ERASED, "cus_other"}
    assert all(after[name] == row for name, row in before.items() if row["customer_id"] == "cus_other")
    assert [path.name for path in (tmp_path / "tables/charges/default").iterdir() if len(path.stem) == 7]
