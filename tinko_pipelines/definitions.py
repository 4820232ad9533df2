"""The composition root: the one place where the rooms and the domain meet. Nothing imports it."""

from collections.abc import Mapping
from typing import Any

from dagster import Definitions

from assets import ASSETS
from resources import TinkoResource
from sensors import JOBS, SCHEDULES, SENSORS
from tinko_pipelines.settings import Settings, load_settings


def build_definitions(settings: Settings, *, overrides: Mapping[str, Any] | None = None) -> Definitions:
    """All of Tinko for one deployment; `overrides` replaces resources by name, for tests."""
    resources: dict[str, Any] = {
        "tinko": TinkoResource(state=str(settings.state)),
        **(overrides or {}),
    }
    return Definitions(
        assets=ASSETS,
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources=resources,
    )


defs = build_definitions(load_settings())
