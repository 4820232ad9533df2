"""Files of this machine that nobody reads any more: mails of the file transport, older reports and snapshots, dbt's logs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports import versions
from tinko_pipelines.reports.dbt_runner import only_one
from tinko_pipelines.retention.freed import Freed
from tinko_pipelines.settings import Settings


def outbox(settings: Settings, now: datetime, *, apply: bool) -> Freed:
    """Mails that became files."""
    days = settings.retention_outbox_days
    found = settings.outbox_dir.glob("*.eml")
    return _old("outbox", f"TINKO_RETENTION_OUTBOX_DAYS={days}", found, days, now, apply=apply)


def reports(settings: Settings, now: datetime, *, apply: bool) -> Freed:
    """Reports beside the newest."""
    days, newest = settings.retention_reports_days, settings.report_path
    found = (path for path in newest.parent.glob("*") if path.name != newest.name)
    return _old("reports", f"TINKO_RETENTION_REPORTS_DAYS={days}", found, days, now, apply=apply)


def logs(settings: Settings, now: datetime, *, apply: bool) -> Freed:
    """Dbt's logs; what it compiles it writes over each time."""
    days = settings.retention_logs_days
    found = (settings.state / "dbt" / "logs").rglob("*")
    return _old("dbt's logs", f"TINKO_RETENTION_LOGS_DAYS={days}", found, days, now, apply=apply)


def snapshots(settings: Settings, *, apply: bool) -> Freed:
    """Versions above the number that is kept; publishing does the same."""
    with only_one(settings):
        beyond = versions.beyond(settings)
        found = _freed("snapshots", f"TINKO_SNAPSHOTS_KEPT={settings.snapshots_kept}", beyond)
        if apply:
            _remove(beyond)
    return found


def _old(store: str, setting: str, paths: Iterable[Path], days: int, now: datetime, *, apply: bool) -> Freed:
    if not days:
        return Freed(store, setting)
    before = (now - timedelta(days=days)).timestamp()
    old = [path for path in paths if path.is_file() and path.stat().st_mtime < before]
    found = _freed(store, setting, old)
    if apply:
        _remove(old)
    return found


def _freed(store: str, setting: str, paths: list[Path]) -> Freed:
    return Freed(store, setting, files=len(paths), size_bytes=sum(path.stat().st_size for path in paths))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be removed: {error.strerror or error}; check its rights, and run `tinko retention` again"
            ) from error
