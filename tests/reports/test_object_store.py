"""What reads the lake reads it the same from an object store; a lake is filled from one Stripe alone."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.object_store import LocalS3
from tests.reports.synthetic import AS_OF, settings_in, story
from tinko_pipelines.app import App
from tinko_pipelines.checks import run_invariants
from tinko_pipelines.errors import SettingsError, StoreError
from tinko_pipelines.lake.place import Folder, current_folder, place_of
from tinko_pipelines.reports.dbt_runner import BuildResult, build, built_mark
from tinko_pipelines.reports.snapshot import publish, restore
from tinko_pipelines.settings import Settings, load_settings


def on_the_store(s3: LocalS3, bucket: str, folder: Path) -> Settings:
    url, options = s3.bucket(bucket), json.dumps(s3.options())
    return load_settings(
        state=folder / "state", stripe_api_base="http://127.0.0.1:1", lake_url=url, lake_options=options
    )


def marts(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
            ).fetchall()
        ]
        return {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY ALL').fetchall() for name in names}


@pytest.mark.slow
def test_marts_and_checks_are_those_of_a_lake_in_a_folder(
    told: tuple[Settings, BuildResult], s3: LocalS3, tmp_path: Path
) -> None:
    settings, local = on_the_store(s3, "marts", tmp_path), settings_in(tmp_path / "local")
    with pytest.raises(StoreError, match="the lake has no charges"):
        build(settings, AS_OF)
    story().write(local)
    written = Folder(local.lake_dir)
    place_of(settings).write(
        (name, (local.lake_dir / name).read_bytes())
        for name in (*written.names("tables"), *written.names("derived"))
    )
    local.export_dir.rename(settings.export_dir)
    build(settings, AS_OF)
    built = marts(settings)
    assert built == marts(told[0])
    assert len(built["fct_failed_payments"]) == 16
    found = run_invariants(settings.export_dir, current_folder(settings), AS_OF)
    assert found == run_invariants(settings.export_dir, local.lake_dir, AS_OF)
    assert not settings.lake_dir.joinpath("tables").exists()
    for moment in (f"{AS_OF:%Y-%m-%d}T00:00:00+00:00", AS_OF.isoformat()):
        built_mark(settings).write_text(moment)
        publish(settings)
        assert place_of(settings).read("snapshot/recovery.duckdb") == settings.snapshot_path.read_bytes()
    restore(settings, f"{AS_OF:%Y-%m-%d}T000000Z")
    assert place_of(settings).read("snapshot/recovery.duckdb") == settings.snapshot_path.read_bytes()


def test_a_lake_on_a_store_is_filled_from_one_stripe_alone(tmp_path: Path) -> None:
    url, local = f"memory://{tmp_path}", "http://127.0.0.1:1"
    _ = App(load_settings(state=tmp_path / "one", lake_url=url, stripe_api_base=local)).lake
    _ = App(load_settings(state=tmp_path / "two", lake_url=url, stripe_api_base=local)).lake
    with pytest.raises(SettingsError, match=r"holds what came from a stand-in for Stripe .* TINKO_LAKE_URL"):
        _ = App(load_settings(state=tmp_path / "three", lake_url=url)).lake


def test_an_empty_lake_on_a_store_is_told_from_one_without_failures(tmp_path: Path) -> None:
    app = App(load_settings(state=tmp_path, lake_url=f"memory://{tmp_path}"))
    with pytest.raises(StoreError, match=f"nothing was ingested into memory://{tmp_path} yet"):
        app.lake.refuse_if_empty()
    app.lake.write_note("changes-default", {"read_until": AS_OF.isoformat()})
    app.lake.refuse_if_empty()
