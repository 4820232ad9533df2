"""A promotion as people make it, by the command line, beside an application that runs on and plans by it at once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.model_checks import timing_model_is_usable
from resources import TinkoResource
from tests.retry.shop import Shop, passing_later
from tinko_pipelines.app import App
from tinko_pipelines.learning import TRAINING_SET, Trained
from tinko_pipelines.model.registry import ARTEFACT_FILE, Registry
from tinko_pipelines.model.timing.schema import completed
from tinko_pipelines.retry.replan import Plan
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings


def exported(until: datetime, *, count: int = 12_000, best_hour: int = 18, seed: int = 0) -> pa.Table:
    """Debts that failed and were retried once, more often with success about the best hour; up to that moment."""
    draw = np.random.default_rng(seed)
    start = until - timedelta(hours=0.25 * count + 130)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        failed = start + timedelta(hours=0.25 * number)
        at = failed + timedelta(hours=float(draw.uniform(24, 120)))
        away = min((at.hour - best_hour) % 24, (best_hour - at.hour) % 24)
        passed = bool(draw.random() < 1 / (1 + np.exp(-(1.3 - away * 0.28))))
        same = {"debt_id": f"in_{number}", "customer_id": f"cus_{draw.integers(0, 4_000)}", "currency": "usd",
                "amount_minor": int(draw.integers(500, 9_000)), "card_brand": "visa"}  # fmt: skip
        code = {"category": "insufficient_funds", "decline_code": "insufficient_funds"}
        nothing = dict.fromkeys(code)
        rows += [
            {**same, **nothing, "attempted_at": failed, "succeeded": False},
            {**same, **code, "attempted_at": at, "succeeded": passed},
        ]
    return pa.Table.from_pylist(rows)


class Place:
    """A shop whose application runs on, and the command line beside it."""

    def __init__(self, base: str, folder: Path) -> None:
        self.shop = Shop(base, folder / "state")
        self.folder = folder
        self.began_at = self.shop.app.clock.now()
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("TINKO_", "STRIPE_"))
        }
        self.environment = {**clean, "TINKO_STATE": str(folder / "state"), "TINKO_STRIPE_API_BASE": base,
                            "TINKO_CLOCK": "sandbox"}  # fmt: skip

    def tinko(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from tinko_pipelines.cli import main; main()", "model", *arguments],
            env={**self.environment, **environment}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def found(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self.tinko(*arguments, "--json", **environment)
        assert done.returncode == 0, done.stderr
        parsed: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return parsed

    def train(self, attempts: pa.Table, promotion: str = "manual") -> Trained:
        """By an application of its own, as another process would."""
        path = self.folder / "attempts.parquet"
        pq.write_table(attempts, path)
        app = App(load_settings(state=self.folder / "state", stripe_api_base=self.shop.app.settings.stripe_api_base,
                                clock="sandbox", model_promotion=promotion))  # fmt: skip
        return app.train_timing(path, by="cli:test", reason="a test")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("promotions")
    with SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process:
        made = Place(process.base, folder)
        table = completed(exported(made.began_at))
        made.shop.app.lake.write_derived(TRAINING_SET, table)
        made.shop.refresh()
        yield made
        made.shop.app.ledger.close()


pytestmark = pytest.mark.slow


def debt(place: Place, number: int) -> str:
    made = place.shop.stripe.fixture(
        "failed_invoice", codes=passing_later(place.shop), email=f"{number}@example.com"
    )
    return str(made["invoice"])


def test_promoted_rolled_back_and_broken_the_running_application_follows(place: Place) -> None:
    shop = place.shop
    first = debt(place, 1)
    shop.refresh()
    assert shop.case(first)["policy_version"] == "ladder-1"
    ladder = Plan.of(shop.case(first)["plan"]).times

    path = place.folder / "exported.parquet"
    pq.write_table(exported(place.began_at).rename_columns({"succeeded": "paid"}), path)
    trained = place.found("train", "--attempts", str(path), "--outcome", "paid", "--reason", "a test")
    version = trained["version"]["id"]
    assert (trained["passed"], trained["promoted"]) == (True, False)
    shop.refresh()
    assert shop.case(first)["policy_version"] == "ladder-1", "a candidate plans nothing"
    place.found("promote", version, "--reason", "it is better")
    second = debt(place, 2)
    shop.refresh()
    for one in (first, second):
        case, plan = shop.case(one), Plan.of(shop.case(one)["plan"])
        assert case["policy_version"] == f"ladder-1+timing:{version}"
        assert all(chance is not None and 0 < chance < 1 for chance in plan.chances)
        assert sum(at.hour in range(14, 23) for at in plan.times) > len(plan.times) / 2
    assert Plan.of(shop.case(first)["plan"]).rungs == ladder
    before = shop.case(first)
    shop.refresh()
    assert shop.case(first) == before, "planned by the same model it stays as it is"

    explained = place.found("explain", first)
    assert (explained["model"], explained["seen_by"]) == (version, version)
    assert len(explained["plan"]) == len(ladder)
    best = explained["outlook"]["best_hours"]
    assert len(explained["outlook"]["hours"]) == 168
    assert best[0]["chance"] == max(hour["chance"] for hour in explained["outlook"]["hours"])
    assert {one["property"] for one in explained["outlook"]["contributions"]} & {"amount_minor", "category"}
    told = place.tinko("explain", first).stdout
    assert f"ladder-1+timing:{version}" in told
    assert "where the chance is best" in told

    artefact = place.shop.app.settings.timing_dir / "versions" / version / ARTEFACT_FILE
    whole = artefact.read_bytes()
    artefact.write_bytes(b"\x80\x04" + whole)
    third = debt(place, 3)
    shop.app.ingest_changes()
    result = shop.app.plan()
    assert result.created == 1
    assert "no skops file but a pickle" in result.notices[0]
    assert shop.case(third)["policy_version"] == "ladder-1"
    assert shop.case(first) == before, "what a model planned stands while it cannot be read"
    assert not checked(place).passed
    beside = place.train(exported(place.began_at, seed=5)).judgement
    assert beside.against == "the base rate", "what cannot be opened is no measure"
    artefact.write_bytes(whole)
    shop.refresh()
    assert shop.case(third)["policy_version"] == f"ladder-1+timing:{version}"
    assert checked(place).passed

    back = place.found("rollback", "--reason", "it was a test")
    assert back["act"]["version"] is None
    shop.refresh()
    assert shop.case(first)["policy_version"] == "ladder-1"
    assert Plan.of(shop.case(first)["plan"]).times == ladder
    assert "the ladder for insufficient_funds" in place.tinko("explain", first).stdout
    shop.until_due(first)
    shop.app.drain(owner="test")
    assert [row["state"] for row in shop.attempts(first)] == ["succeeded"]


def checked(place: Place) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment.items():
            patch.setenv(name, value)
        return timing_model_is_usable(TinkoResource(state=str(place.shop.app.settings.state)))


def test_a_promotion_is_refused_with_the_gate_and_its_number_unless_anyway(place: Place) -> None:
    now, app = place.began_at, place.shop.app
    good = place.train(exported(now, seed=3)).version.id
    other = place.train(exported(now, seed=3, best_hour=6)).version.id
    app.promote(good, reason="it is better", by="ada")
    refused = place.tinko("promote", other, "--reason", "for fun", "--by", "ada")
    assert refused.returncode == 7
    assert "measured on different attempts" in refused.stderr
    assert "Traceback" not in refused.stderr
    forced = place.found("promote", other, "--reason", "for fun", "--anyway", "--by", "ada")
    assert (forced["act"]["anyway"], forced["passed"]) == (True, False)
    acts = Registry(app.settings.timing_dir).journal.history()[-2:]
    assert [(act.act, act.by, act.anyway, act.version) for act in acts] == [
        ("refused", "cli:ada", False, other),
        ("promote", "cli:ada", True, other),
    ]
    assert all("log loss" in act.detail for act in acts)
    assert app.rollback_model(reason="enough", by="ada").version == good
    compared = place.found("compare", good, other)
    assert compared["gain"]["high"] < 0, "on the training set's own attempts the other is worse"
    states = {one.version.id: one.state for one in app.registry.versions()}
    assert (states[good], states[other]) == ("promoted", "retired")
    assert place.tinko("list").stdout.count(good) >= 3
    assert app.rollback_model(reason="enough", by="ada").version is None


def test_by_setting_a_candidate_that_passes_is_promoted_by_itself(place: Place) -> None:
    app = place.shop.app
    good = place.train(exported(place.began_at, seed=11), "auto")
    assert good.promoted, good.judgement.refusal
    same = place.train(exported(place.began_at, seed=12), "auto")
    assert not same.promoted
    assert "better than the model in use" in same.judgement.refusal
    acts = [(act.act, act.by, act.version) for act in app.registry.journal.history()]
    assert acts[-3:] == [
        ("promote", "auto", good.version.id),
        ("added", "cli:test", same.version.id),
        ("refused", "auto", same.version.id),
    ]
    assert app.model_in_use() == good.version.id
    assert place.tinko("evaluate", good.version.id).stdout.count("log loss: ") == 1
    names = {one["name"] for one in place.found("drift")["findings"]}
    assert names == {"features", "scores", "calibration", "unknown verdicts", "new codes and texts"}
