"""A run that reads days tells how far it is while it is at it, by account, and may be repeated for any day."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, instance_for_test, materialize

import assets.ingest
from assets.ingest import stripe_objects
from resources import TinkoResource
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxClient]:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=60, history_days=5) as process:
        monkeypatch.setenv("TINKO_STRIPE_API_BASE", process.base)
        monkeypatch.setenv("TINKO_CLOCK", "sandbox")
        monkeypatch.setenv("TINKO_STATE", str(tmp_path / "state"))
        monkeypatch.setenv("TINKO_STRIPE_REQUESTS_PER_SECOND", "1000")
        yield SandboxClient(process.base)


def test_how_far_it_is_stands_at_the_asset_before_it_is_done(
    sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(assets.ingest, "SAID_SECONDS", 0.0)
    day = f"{sandbox.now():%Y-%m-%d}"
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        for _ in range(2):  # Any day may be read once more.
            done = materialize(
                [stripe_objects],
                resources={"tinko": TinkoResource()},
                instance=instance,
                partition_key=day,
                selection=["charges"],
            )
            assert done.success
        seen = instance.fetch_observations(AssetKey("charges"), limit=100).records
        made = done.asset_materializations_for_node("stripe_objects")
    told = [record.asset_observation.metadata for record in seen if record.asset_observation]
    assert {metadata["account"].value for metadata in told} == {"default"}
    assert max(float(str(metadata["read_share"].value)) for metadata in told) == 1.0
    assert [one.asset_key.to_user_string() for one in made] == ["charges"]
