"""Older snapshots are a place like any other: searched for a person, and emptied of him by going."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.privacy.made import made_of_him
from tinko_pipelines.reports import versions
from tinko_pipelines.reports.snapshot import drop_older
from tinko_pipelines.settings import Settings, load_settings


def published(settings: Settings, customer: str, at: datetime) -> None:
    partial = versions.begin(settings)
    with duckdb.connect(str(partial)) as connection:
        connection.execute("CREATE TABLE debts AS SELECT ? AS customer_id", [customer])
    versions.take(settings, partial, at)


def test_a_person_is_found_in_older_versions_until_they_are_gone(tmp_path: Path) -> None:
    settings = load_settings(state=tmp_path)
    lake, erased = Lake(settings.lake_dir), Erased({hashed("cus_gone")})
    for hour, customer in enumerate(("cus_gone", "cus_gone", "cus_other")):
        published(settings, customer, datetime(2026, 11, 1, hour, tzinfo=UTC))
    found = made_of_him(settings, lake, erased)
    assert found == {f"snapshots/2026-11-01T0{hour}0000Z/debts": 1 for hour in (0, 1)}
    assert drop_older(settings) == 2
    assert made_of_him(settings, lake, erased) == {}
    assert settings.snapshot_path.exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"cus_gone" in path.read_bytes()]
