"""From what the daily look found to checks with a plot and a training, and to no second training for it."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_sensor_context

from assets.drift import plot
from assets.model_checks import DRIFT, drift_checks
from resources import TinkoResource
from sensors.watch import drifted
from tests.model.stand_in import SmallWorkshop, attempts
from tinko_pipelines.app import App
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.model.drift import Bar, Finding
from tinko_pipelines.watching import DRIFT_NOTE

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SHIFTED = Finding(
    "features", False, "amount_minor 0.40", "train a candidate", (Bar("below 5", 0.1, 0.4),), True
)
WORDS = Finding(
    "new codes and texts", False, "new: code e-77 (6)", "give them a rule", (Bar("code e-77", 0, 0.6),)
)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("TINKO_STATE", str(tmp_path))
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
    made = TinkoResource(state=str(tmp_path)).app()
    made.__dict__["clock"] = FixedClock(NOW)
    return made


def found(app: App, *findings: Finding, at: datetime = NOW) -> None:
    retrain = any(one.retrain for one in findings)
    told = [asdict(one) for one in findings]
    app.lake.write_note(DRIFT_NOTE, {"at": at.isoformat(), "retrain": retrain, "findings": told})


def look(app: App) -> RunRequest | SkipReason:
    with DagsterInstance.ephemeral() as instance, build_sensor_context(instance=instance) as context:
        said = drifted(context, tinko=TinkoResource(state=str(app.settings.state)))
    assert isinstance(said, RunRequest | SkipReason)
    return said


def test_drift_that_training_helps_starts_one_training(app: App) -> None:
    assert isinstance(look(app), SkipReason)
    found(app, WORDS)
    assert isinstance(look(app), SkipReason)
    found(app, WORDS, SHIFTED)
    first, again = look(app), look(app)
    assert isinstance(first, RunRequest)
    assert isinstance(again, RunRequest)
    assert first.run_key == again.run_key == f"drift-{NOW.isoformat()}"
    assert first.tags["tinko/drift"] == "amount_minor 0.40"


@pytest.mark.parametrize(("days_ago", "asks"), [(0, False), (2, False), (4, True)])
def test_a_candidate_trained_lately_is_enough(app: App, days_ago: int, asks: bool) -> None:
    found(app, SHIFTED)
    made = SmallWorkshop().train(attempts(600), NOW)
    app.registry.add(
        made.artefact, made.card, made.card_html, by="ada", reason="weekly",
        now=NOW - timedelta(days=days_ago), code_version="0.1.0",
    )  # fmt: skip
    assert isinstance(look(app), RunRequest) is asks


def test_each_finding_is_a_yellow_check_with_a_plot_and_what_to_do(app: App) -> None:
    found(app, SHIFTED, WORDS)
    results = {one.check_name: one for one in drift_checks(TinkoResource(state=str(app.settings.state)))}
    assert set(results) == set(DRIFT)
    shifted = results["features_are_as_in_training"]
    assert not shifted.passed
    assert shifted.severity.value == "WARN"
    assert shifted.metadata["what_to_do"].value == "train a candidate"
    assert "████████████████████" in str(shifted.metadata["plot"].value)
    assert not results["words_are_known"].passed
    assert results["chances_come_in"].passed
    assert "no timing model is in use" in str(results["chances_come_in"].metadata["found"].value)


def test_a_plot_shows_then_and_now() -> None:
    lines = plot((Bar("visa", 0.5, 0.25), Bar("amex", 0.0, 0.25))).splitlines()
    assert lines[2] == f"| visa | 0.500 | {'░' * 20} | 0.250 | {'█' * 10} |"
    assert lines[3] == f"| amex | 0.000 |  | 0.250 | {'█' * 10} |"
    assert plot(()) == "nothing to show"
