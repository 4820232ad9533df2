"""The Dagster home we prepare is one Dagster accepts."""

from pathlib import Path

from dagster import DagsterInstance

from tinko_pipelines.settings import load_settings
from tinko_pipelines.ui import dagster_home


def test_dagster_accepts_its_home(tmp_path: Path) -> None:
    home = dagster_home(load_settings(state=tmp_path))
    with DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_monitoring_enabled
        assert instance.run_retries_max_retries == 0
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
