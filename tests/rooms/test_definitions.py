"""The code location loads, its jobs run on real Dagster storages, and its sensors only look."""

import io
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    DagsterInstance,
    DagsterRunStatus,
    RunRequest,
    ScheduleDefinition,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
    materialize,
)
from dagster._core.test_utils import create_run_for_test, instance_for_test

from assets.checks import nothing_quarantined
from assets.recovery import failed_payments
from assets.reports import report_assets
from resources import TinkoResource
from sensors.schedules import email_net, reconcile_hourly, refresh, retry_net
from sensors.watch import due_messages, due_retries, webhook_inbox
from tests.fake_stripe import NOW, failed_row, failed_table
from tests.postgres import database
from tinko_pipelines import inbox
from tinko_pipelines.app import App
from tinko_pipelines.checks.invariants import INVARIANTS
from tinko_pipelines.definitions import build_definitions
from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.parse import Malformed
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reports.dbt_child import NodeResult
from tinko_pipelines.reports.dbt_runner import ensure_manifest
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.settings import load_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all, since each new one makes dbt read its project again; each test has its own ledger."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, state: Path, tmp_path: Path) -> None:
    (state / "ledger-seen.json").unlink(missing_ok=True)
    monkeypatch.setenv("TINKO_STATE", str(state))
    monkeypatch.setenv("TINKO_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("TINKO_STRIPE_API_BASE", "http://127.0.0.1:1")
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DagsterInstance]:
    if request.param == "sqlite":
        with instance_for_test(temp_dir=str(tmp_path)) as made:
            yield made
        return
    with database(request.getfixturevalue("postgres_url"), f"d{uuid.uuid4().hex}") as url:
        plain = url.replace("postgresql+psycopg://", "postgresql://")
        storage = {"storage": {"postgres": {"postgres_url": plain}}}
        with instance_for_test(temp_dir=str(tmp_path), overrides=storage) as made:
            assert type(made.run_storage).__name__ == "PostgresRunStorage"
            yield made


def owing() -> None:
    """A ledger with one case whose first retry and first mail are long due."""
    settings = load_settings()
    settings.state.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(settings.ledger)
    ledger.migrate()
    row = failed_row("pi_1", move="both")
    enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(settings))
    ledger.close()


def test_everything_is_there() -> None:
    repository = build_definitions(load_settings()).get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {
        "ingest_job", "recovery_job", "retry_job", "email_job", "retrain_job", "timing_job", "report_job", "reconcile_job",
        "inbox_job", "report_mail_job",
    }  # fmt: skip
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "due_retries",
        "due_messages",
        "webhook_inbox",
        "drifted",
    }
    assert {each.name for each in repository.schedule_defs} == {
        "refresh", "retry_net", "email_net", "reconcile_hourly", "nightly_reading", "nightly_report", "weekly_report", "weekly_retrain",
        "weekly_timing", "daily_drift",
        "weekly_retention",
    }  # fmt: skip


def test_assets_come_in_pipeline_order_and_say_what_they_are() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    ours = {key for key in graph.get_all_asset_keys() if graph.get(key).is_materializable}
    groups = {key: graph.get(key).group_name for key in ours}
    order = ["ingest", "classify", "plan", "learn", "report"]
    assert set(groups.values()) == set(order)
    for key in ours:
        node = graph.get(key)
        assert node.owners, key
        assert node.kinds, key
        assert node.description, key
        for parent in node.parent_keys & ours:
            assert order.index(str(groups[parent])) <= order.index(str(groups[key])), (parent, key)
    outside = {parent for key in ours for parent in graph.get(key).parent_keys} - ours
    assert outside == set(), "every table dbt reads is written by an asset of ours"


def test_what_a_failed_build_did_not_make_is_not_told_as_made(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def building(_: App) -> Iterator[NodeResult]:
        yield NodeResult("model.tinko.int_charges", "success", 0.1)
        yield NodeResult("model.tinko.recovery_cohorts", "error", 0.1, "no such column")
        yield NodeResult("model.tinko.recovery_daily", "skipped", 0.1)
        raise StoreError("the model recovery_cohorts failed")

    monkeypatch.setattr(App, "building_marts", building)
    models = report_assets(json.loads(ensure_manifest(load_settings()).read_text()))[0]
    result = materialize(
        [models], instance=instance, resources={"tinko": TinkoResource()}, raise_on_error=False
    )
    assert not result.success
    made = {key.path[-1] for key in models.keys if instance.get_latest_materialization_event(key) is not None}
    assert made == {"int_charges"}


def test_each_test_of_a_model_is_an_asset_check_of_it() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    checks = {(key.asset_key.path[-1], key.name) for key in graph.asset_check_keys}
    for model in ("fct_failed_payments", "int_debt_payments", "int_cap_refusals"):
        assert (model, f"{model}_has_one_row_each") in checks


def test_each_invariant_is_an_asset_check() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    names = {key.name for key in graph.asset_check_keys}
    assert {invariant.name for invariant in INVARIANTS} <= names
    assert {"nothing_quarantined", "debts_are_sound", "most_are_understood"} <= names


def test_jobs_that_charge_or_mail_take_no_configuration_and_no_retries() -> None:
    definitions = build_definitions(load_settings())
    for name in ("retry_job", "email_job", "inbox_job", "report_mail_job"):
        job = definitions.resolve_job_def(name)
        assert job.tags["dagster/max_retries"] == "0"
        assert all(not node.definition.config_schema.as_field().is_required for node in job.nodes)


def test_a_drain_with_nothing_due_is_a_green_run(instance: DagsterInstance) -> None:
    result = (
        build_definitions(load_settings()).resolve_job_def("retry_job").execute_in_process(instance=instance)
    )
    assert result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.job_name == "retry_job"


def test_the_report_job_publishes_even_when_nothing_has_happened(instance: DagsterInstance) -> None:
    app = App(load_settings())
    app.lake.write_note(
        "changes-default", {"read_until": NOW.isoformat()}
    )  # Stripe was read and had nothing.
    app.plan()
    job = build_definitions(load_settings()).resolve_job_def("report_job")
    result = job.execute_in_process(instance=instance)
    assert result.success
    checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert {invariant.name for invariant in INVARIANTS} <= set(checks)
    assert all(checks.values())
    assert load_settings().snapshot_path.exists()
    assert load_settings().report_path.exists()


def test_an_empty_lake_is_not_reported_as_one_without_failures(tmp_path: Path) -> None:
    tinko = TinkoResource(state=str(tmp_path / "fresh"))
    with pytest.raises(StoreError, match="run `tinko ingest --changes` first"):
        failed_payments(tinko)
    with pytest.raises(StoreError, match="run `tinko ingest --changes` first"):
        tinko.app().build_marts()
    assert not tinko.app().settings.snapshot_path.exists()


def test_a_run_tells_what_is_paused(instance: DagsterInstance) -> None:
    app = App(load_settings())
    pause(app.ledger, "default", "the shop is shut", "ada", NOW)
    for name in ("retry_job", "email_job"):
        job = build_definitions(load_settings()).resolve_job_def(name)
        result = job.execute_in_process(instance=instance)
        (step,) = result.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT")
        told = step.step_output_data.metadata["paused"].value
        assert (
            told
            == "- default: charging and mailing stopped by ada until a person resumes it: the shop is shut"
        )
    app.ledger.close()


@pytest.mark.parametrize(
    "each", [refresh, retry_net, email_net, reconcile_hourly], ids=lambda each: each.name
)
def test_each_beat_starts_a_run_unless_one_is_at_it_or_no_key_is_set(
    each: ScheduleDefinition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        instance_for_test(temp_dir=str(tmp_path)) as instance,
        build_schedule_context(instance=instance) as context,
    ):
        assert isinstance(each(context), RunRequest)
        create_run_for_test(instance, job_name=each.job_name, status=DagsterRunStatus.STARTED)
        busy = each(context)
        assert isinstance(busy, SkipReason)
        assert "still at it" in (busy.skip_message or "")
        monkeypatch.delenv("TINKO_STRIPE_API_BASE")
        keyless = each(context)
        assert isinstance(keyless, SkipReason)
        assert "STRIPE_SECRET_KEY" in (keyless.skip_message or "")


def test_a_quarantined_object_turns_a_check_yellow() -> None:
    app = App(load_settings())
    app.lake.quarantine("charges", "default", [Malformed("ch_1", "amount is text", "{}")], NOW)
    result = nothing_quarantined(TinkoResource())
    app.lake.release("charges", "default", pa.chunked_array([["ch_1"]]))
    assert isinstance(result, AssetCheckResult)
    assert not result.passed
    assert result.severity == AssetCheckSeverity.WARN


def test_sensors_skip_when_nothing_is_due_and_start_when_something_is() -> None:
    with DagsterInstance.ephemeral() as instance:
        tinko = TinkoResource()
        with build_sensor_context(instance=instance, resources={"tinko": tinko}) as context:
            for sensor in (due_retries, due_messages):
                assert isinstance(sensor(context), SkipReason)
            owing()
            for sensor in (due_retries, due_messages):
                request = sensor(context)
                assert isinstance(request, RunRequest)
                assert request.run_key is None


def a_webhook(name: str = "evt_1") -> None:
    about = {"id": "ch_1", "object": "charge", "created": 1_790_000_000}
    event = {
        "id": name,
        "object": "event",
        "type": "charge.updated",
        "created": 1_790_000_000,
        "livemode": False,
    }
    App(load_settings()).replay_events(io.BytesIO(json.dumps({**event, "data": {"object": about}}).encode()))


def test_webhooks_start_a_run_that_waits_behind_no_back_fill(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with build_sensor_context(instance=instance, resources={"tinko": TinkoResource()}) as context:
        idle = webhook_inbox(context)
        assert isinstance(idle, SkipReason)
        assert idle.skip_message == "no webhook events due"
        a_webhook()
        request = webhook_inbox(context)
        assert isinstance(request, RunRequest)
        assert request.run_key is None
        job = build_definitions(load_settings()).resolve_job_def("inbox_job")
        assert {node.definition.pool for node in job.nodes} == {None}
        create_run_for_test(instance, job_name="ingest_job", status=DagsterRunStatus.STARTED)
        assert isinstance(webhook_inbox(context), RunRequest)
        create_run_for_test(instance, job_name="inbox_job", status=DagsterRunStatus.STARTED)
        busy = webhook_inbox(context)
        assert isinstance(busy, SkipReason)
        assert "still at it" in (busy.skip_message or "")
        monkeypatch.delenv("TINKO_STRIPE_API_BASE")
        keyless = webhook_inbox(context)
        assert isinstance(keyless, SkipReason)
        assert "1 webhook events due, but no Stripe key" in (keyless.skip_message or "")


def test_the_run_tells_what_became_of_each_event(
    monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance
) -> None:
    monkeypatch.setattr(inbox, "IDLE_SECONDS", 0.0)
    App(load_settings()).lake.write_note("changes-default", {"read_until": NOW.isoformat()})
    a_webhook(f"evt_{uuid.uuid4().hex}")
    job = build_definitions(load_settings()).resolve_job_def("inbox_job")
    result = job.execute_in_process(instance=instance)
    (step,) = result.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT")
    told = step.step_output_data.metadata["result"].value
    assert (told["marked"], told["landed"], told["failed"]) == (1, 0, 1), "nobody answers at that address"
    assert App(load_settings()).events_waiting() == 0


def test_sensors_say_when_no_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINKO_STRIPE_API_BASE")
    owing()
    with (
        DagsterInstance.ephemeral() as instance,
        build_sensor_context(instance=instance, resources={"tinko": TinkoResource()}) as context,
    ):
        result = due_retries(context)
    assert isinstance(result, SkipReason)
    assert "STRIPE_SECRET_KEY" in (result.skip_message or "")


def test_sensors_start_nothing_in_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    owing()
    monkeypatch.setenv("TINKO_CHARGING", "dry_run")
    monkeypatch.setenv("TINKO_MAILING", "dry_run")
    with (
        DagsterInstance.ephemeral() as instance,
        build_sensor_context(instance=instance, resources={"tinko": TinkoResource()}) as context,
    ):
        for sensor in (due_retries, due_messages):
            result = sensor(context)
            assert isinstance(result, SkipReason)
            assert "dry run" in (result.skip_message or "")


@pytest.mark.parametrize(("drain_seconds", "waits"), [("50", True), ("0.1", False)])
def test_a_run_that_must_be_dead_by_now_keeps_nobody_waiting(
    drain_seconds: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    owing()
    monkeypatch.setenv("TINKO_DRAIN_SECONDS", drain_seconds)
    monkeypatch.setenv("TINKO_DRAIN_LEASE_SECONDS", "1")
    with DagsterInstance.ephemeral() as instance:
        create_run_for_test(instance, job_name="retry_job", status=DagsterRunStatus.STARTED)
        time.sleep(1.2)
        with build_sensor_context(instance=instance, resources={"tinko": TinkoResource()}) as context:
            result = due_retries(context)
    assert isinstance(result, SkipReason if waits else RunRequest)
