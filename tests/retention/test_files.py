"""Files that are old go, the newest of their kind and what is set to never stay; the command tells before it acts."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.test_cli import last_object, tinko
from tinko_pipelines.app import App
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.reports import versions
from tinko_pipelines.settings import Settings, load_settings

DAYS = dict.fromkeys(
    ("OUTBOX_DAYS", "REPORTS_DAYS", "LOGS_DAYS", "BODIES_DAYS", "WEBHOOKS_DAYS", "RUNS_DAYS"), "10"
)
ASKED = {f"TINKO_RETENTION_{name}": days for name, days in DAYS.items()} | {"TINKO_SNAPSHOTS_KEPT": "1"}


def put(path: Path, days_old: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 1000)
    at = datetime.now(UTC).timestamp() - days_old * 86_400
    os.utime(path, (at, at))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings(state=tmp_path)
    App(made).ledger.close()
    for days_old in (1, 20):
        put(made.outbox_dir / f"{days_old}.eml", days_old)
        put(made.report_path.parent / f"recovery-{days_old}.html", days_old)
        put(made.state / "dbt" / "logs" / f"dbt.log.{days_old}", days_old)
    put(made.report_path, 20)
    for day in (1, 2, 3):
        partial = versions.begin(made)
        partial.write_text("a snapshot")
        versions.take(made, partial, datetime(2026, 11, day, tzinfo=UTC))
    return made


def there(settings: Settings) -> set[str]:
    folders = (
        settings.outbox_dir,
        settings.report_path.parent,
        settings.state / "dbt" / "logs",
        settings.snapshots_dir,
    )
    return {path.name for folder in folders for path in folder.iterdir()} | {settings.snapshot_path.name}


def test_told_first_and_done_with_yes(settings: Settings) -> None:
    before = there(settings)
    told = tinko(settings.state, "retention", "--json", **ASKED)
    assert told.returncode == 0, told.stderr
    found = {one["store"]: one for one in last_object(told)["freed"]}  # type: ignore[attr-defined]
    assert there(settings) == before
    assert [found[name]["files"] for name in ("outbox", "reports", "dbt's logs", "snapshots")] == [1, 1, 1, 2]
    assert found["outbox"]["size_bytes"] == 1000
    assert found["outbox"]["setting"] == "TINKO_RETENTION_OUTBOX_DAYS=10"
    assert "cases, attempts" in json.dumps(last_object(told)["never"])
    done = tinko(settings.state, "retention", "--yes", **ASKED)
    assert done.returncode == 0, done.stderr
    assert "never removed: cases, attempts" in done.stdout
    assert before - there(settings) == {
        "20.eml", "recovery-20.html", "dbt.log.20", "recovery-2026-11-01T000000Z.duckdb", "recovery-2026-11-02T000000Z.duckdb",
    }  # fmt: skip


def test_by_default_only_old_logs_go(settings: Settings) -> None:
    put(settings.state / "dbt" / "logs" / "ancient.log", 40)
    before = there(settings)
    app = App(settings)
    app.retention(apply=True)
    app.ledger.close()
    assert before - there(settings) == {"ancient.log"}


def test_a_webhook_is_kept_longer_than_stripe_repeats_it() -> None:
    with pytest.raises(SettingsError, match=r"TINKO_RETENTION_WEBHOOKS_DAYS: .* at least 7"):
        load_settings(retention_webhooks_days=3)
    assert load_settings(retention_webhooks_days=7).retention_webhooks_days == 7
    assert timedelta(days=load_settings().retention_webhooks_days) == timedelta(0)
