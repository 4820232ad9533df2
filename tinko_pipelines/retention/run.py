"""All stores one after the other. Killed between two of them, or within one, it can be run again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from tinko_pipelines.retention import files, ledger, pages, tables
from tinko_pipelines.retention.freed import Freed
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    from tinko_pipelines.lake.store import Lake
    from tinko_pipelines.ledger.store import Ledger


def retain(
    settings: Settings, lake: Lake, books: Ledger, now: datetime, machine_now: datetime, *, apply: bool
) -> list[Freed]:
    """What each store frees by its setting, or would; `machine_now` is the time by which files are dated.

    The caller sees to it that nobody is erased meanwhile.
    """
    return [
        # What is purged need not be put together first.
        pages.purge(lake, settings.retention_pages_months, now, apply=apply),
        pages.roll_up(lake, settings.retention_roll_up_months, now, apply=apply),
        tables.roll_up(lake, settings.retention_roll_up_months, now, apply=apply),
        ledger.bodies(books, settings.retention_bodies_days, now, apply=apply),
        ledger.events(books, settings.retention_webhooks_days, now, apply=apply),
        files.snapshots(settings, apply=apply),
        files.reports(settings, machine_now, apply=apply),
        files.outbox(settings, machine_now, apply=apply),
        files.logs(settings, machine_now, apply=apply),
    ]
