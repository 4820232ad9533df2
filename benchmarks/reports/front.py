"""The reports' own Dagster assets over a made-up business, whose ledger is an export and no database.

`dagster job execute -f benchmarks/reports/front.py -j marts`; `TINKO_STATE` and `MARTS_AS_OF` say of which and when.
"""

import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime

from dagster import AssetSelection, Definitions, define_asset_job, in_process_executor

from assets.reports import report_assets
from resources import TinkoResource
from tinko_pipelines.reports.dbt_child import NodeResult
from tinko_pipelines.reports.dbt_runner import BuildResult, building, ensure_manifest
from tinko_pipelines.settings import Settings, load_settings


@dataclass(frozen=True)
class Marts:
    """Of the application just what builds the marts."""

    settings: Settings
    as_of: datetime

    def building_marts(self) -> Generator[NodeResult, None, BuildResult]:
        """Build and test the marts."""
        return building(self.settings, self.as_of)


class Front(TinkoResource):
    """The resource as the assets know it."""

    def app(self) -> Marts:  # type: ignore[override]
        """What stands for the application."""
        return Marts(_settings(), datetime.fromisoformat(os.environ["MARTS_AS_OF"]))


def _settings() -> Settings:
    return load_settings(stripe_api_base="http://127.0.0.1:1")


defs = Definitions(
    assets=report_assets(json.loads(ensure_manifest(_settings()).read_text()))[:1],
    jobs=[define_asset_job("marts", AssetSelection.all(), executor_def=in_process_executor)],
    resources={"tinko": Front()},
)
