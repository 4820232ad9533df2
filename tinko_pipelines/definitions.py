"""The composition root: the one place where the rooms and the domain meet. Nothing imports it but the demo."""

import json
from collections.abc import Mapping
from typing import Any

from dagster import Definitions

from assets import ASSETS, CHECKS, report_assets
from resources import TinkoResource
from sensors import JOBS, SCHEDULES, SENSORS
from tinko_pipelines.reports.dbt_runner import ensure_manifest
from tinko_pipelines.settings import Settings, load_settings


def build_definitions(settings: Settings, *, overrides: Mapping[str, Any] | None = None) -> Definitions:
    """All of Tinko for one deployment; `overrides` replaces resources by name, for tests."""
    resources: dict[str, Any] = {
        "tinko": TinkoResource(state=str(settings.state)),
        **(overrides or {}),
    }
    manifest = json.loads(ensure_manifest(settings).read_bytes())
    return Definitions(
        assets=[*ASSETS, *report_assets(manifest)],
        asset_checks=CHECKS,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources=resources,
    )


defs = build_definitions(load_settings())
