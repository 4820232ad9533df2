"""The analyst's notebook and dbt's documentation, as a person would open them on the snapshot of the story."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.reports.synthetic import settings_in
from tinko_pipelines.app import App
from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports.dbt_docs import server
from tinko_pipelines.reports.dbt_runner import BuildResult
from tinko_pipelines.reports.snapshot import publish
from tinko_pipelines.settings import Settings

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "recovery.py"
RUN = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("recovery", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
_, found = module.app.run()
names = ("headline", "by_currency", "cohorts", "lost_by_code", "curves", "sliced", "definitions")
tables = {name: json.loads(found[name].to_json(orient="records", date_format="iso")) for name in names}
tables["exported"], tables["month"] = found["exported"].decode("utf-8-sig"), found["month"].value
print(json.dumps(tables))
"""


def python(settings: Settings, *arguments: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    given = {"TINKO_STATE": str(settings.state), "TINKO_STRIPE_API_BASE": settings.stripe_api_base}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=clean | given,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def settings(told: tuple[Settings, BuildResult]) -> Settings:
    publish(told[0])
    return told[0]


def asked(settings: Settings, names: list[str], by: list[str]) -> list[dict[str, Any]]:
    app = App(settings)
    found = app.query(app.metrics_sql(names, by, ""), 1_000)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def test_it_runs_from_the_first_cell_to_the_last_and_agrees_with_the_metrics(settings: Settings) -> None:
    tables = json.loads(python(settings, "-c", RUN, str(NOTEBOOK)).splitlines()[-1])
    rates = [
        "failed_count",
        "recovered_count",
        "recovery_rate_count",
        "closed_count",
        "recovery_rate_closed_count",
    ]
    command = json.loads(
        python(settings, "-m", "tinko_pipelines.cli", "metric", *rates, "--json").splitlines()[-1]
    )
    assert [dict(zip(command["columns"], row, strict=True)) for row in command["rows"]] == asked(
        settings, rates, []
    )
    assert tables["headline"] == [pytest.approx(row) for row in asked(settings, rates, [])]
    by_month = asked(settings, rates[:3], ["cohort_month"])
    shown = [{**row, "cohort_month": row["cohort_month"][:10]} for row in tables["cohorts"]]
    assert [{name: row[name] for name in ("cohort_month", *rates[:3])} for row in shown] == [
        pytest.approx(row) for row in by_month
    ]
    assert tables["month"] == "2026-09-01", "the month before the build"
    lost = asked(settings, ["lost_amount_minor"], ["decline_code", "cohort_month"])
    assert {row["decline_code"]: row["lost_amount_minor"] for row in tables["lost_by_code"]} == {
        row["decline_code"]: row["lost_amount_minor"]
        for row in lost
        if (row["currency"], row["cohort_month"]) == ("usd", "2026-09-01")
    }
    assert tables["exported"].startswith("decline_code,failed_count,lost_count,lost_amount_minor")
    assert sum(row["failed_count"] for row in tables["sliced"]) == 16
    assert len(tables["definitions"]) > 40
    assert max(row["day"] for row in tables["curves"]) == 60


def test_marimo_finds_no_fault_with_it(settings: Settings) -> None:
    python(settings, "-m", "marimo", "check", "--strict", str(NOTEBOOK))


def test_dbts_documentation_is_one_page_that_stays_offline(settings: Settings) -> None:
    page = App(settings).write_docs()
    text = page.read_text()
    assert '"send_anonymous_usage_stats": false' in text
    assert "where trying again stops paying" in " ".join(text.split())
    with server(page, 0) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{door.server_address[1]}"
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == page.read_bytes()
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/manifest.json")
        with pytest.raises(StoreError, match="choose another with --port"):
            server(page, int(door.server_address[1]))
        door.shutdown()


def test_without_a_build_there_is_nothing_to_document(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `tinko report` first"):
        App(settings_in(tmp_path)).write_docs()
