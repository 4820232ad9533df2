"""From a lake to a candidate as Dagster does it, with what the UI shows of it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dagster import DagsterInstance, build_asset_context, instance_for_test, materialize

from assets.models import recovery_model, training_set
from resources import TinkoResource
from tests.model.timing.attempts import invented
from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.model.timing.recovery import RecoveryModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKO_STRIPE_API_BASE", "http://127.0.0.1:1")
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with instance_for_test(temp_dir=str(home)) as made:
        yield made


def charges(attempts: pa.Table) -> pa.Table:
    """The attempts as the lake has them: each debt a payment intent, each refusal with its own code."""
    schema = OBJECTS["charges"].schema
    rows = attempts.num_rows
    given = {
        "id": attempts["attempt_id"], "created_at": attempts["attempted_at"], "payment_intent_id": attempts["debt_id"],
        "status": pc.if_else(attempts["succeeded"], "succeeded", "failed"), "captured": attempts["succeeded"],
        "account_id": pa.repeat("default", rows), "payment_method_type": pa.repeat("card", rows),
        "outcome_reason": pc.if_else(pc.equal(pc.utf8_length(attempts["debt_id"]), 6), "do_not_honor", "insufficient_funds"),
    }  # fmt: skip
    same = (
        "customer_id",
        "card_fingerprint",
        "amount_minor",
        "currency",
        "card_brand",
        "card_funding",
        "card_country",
    )
    given |= {name: attempts[name] for name in same}
    return pa.table(
        [
            given[name].cast(kind) if name in given else pa.nulls(rows, kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ],
        schema=schema,
    )


def test_a_candidate_comes_with_plots_and_metrics(tmp_path: Path, instance: DagsterInstance) -> None:
    table = invented(6_000)
    Lake(tmp_path / "lake").upsert("charges", "default", charges(table))
    result = materialize(
        [training_set, recovery_model],
        instance=instance,
        resources={"tinko": TinkoResource(state=str(tmp_path))},
    )
    (gathered,) = result.asset_materializations_for_node("training_set")
    assert gathered.metadata["dagster/row_count"].value == table.num_rows
    (made,) = result.asset_materializations_for_node("recovery_model")
    assert "█" in str(made.metadata["calibration_by_decile"].value)
    assert "insufficient_funds" in str(made.metadata["calibration_by_category"].value)
    metrics = {str(row.data["metric"]): row.data for row in made.metadata["metrics"].records}  # type: ignore[union-attr]
    assert metrics["auc"]["low"] > 0.55
    assert metrics["log_loss"]["better than the base rate by"] > 0
    folder = tmp_path / "models" / "timing" / "versions" / str(made.metadata["version"].value)
    assert "log loss: " in str(made.metadata["gates"].value)
    assert made.metadata["in_use"].value is False
    artefact = (folder / "model.skops").read_bytes()
    assert made.metadata["sha256"].value == hashlib.sha256(artefact).hexdigest()
    assert json.loads((folder / "card.json").read_bytes())["sha256"] == made.metadata["sha256"].value
    assert RecoveryModel.loads(artefact).dumps() == artefact
    assert Path(str(made.metadata["card"].value)).read_text("utf-8").startswith("<!doctype html>")


def test_a_young_shop_has_green_runs_and_no_candidate(
    tmp_path: Path, instance: DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    Lake(tmp_path / "lake").upsert("charges", "default", charges(invented(90)))
    result = materialize(
        [training_set, recovery_model],
        instance=instance,
        resources={"tinko": TinkoResource(state=str(tmp_path))},
    )
    assert result.success
    assert result.asset_materializations_for_node("recovery_model") == []
    assert "retries are too few to learn from" in capfd.readouterr().err
    assert not (tmp_path / "models" / "timing").exists()


def test_an_empty_lake_trains_nothing_and_says_so(tmp_path: Path) -> None:
    tinko = TinkoResource(state=str(tmp_path))
    with pytest.raises(StoreError, match="run `tinko ingest --changes` first"):
        training_set(tinko)
    with build_asset_context() as context, pytest.raises(StoreError, match="run `tinko model train` first"):
        list(recovery_model(context, tinko))
