"""The use cases from cases and lake to what people read, and how long it is kept. Holds no decision of its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.planning import Planning

if TYPE_CHECKING:
    from tinko_pipelines.reports.dbt_child import NodeResult
    from tinko_pipelines.reports.dbt_runner import BuildResult
    from tinko_pipelines.reports.digest import Digest
    from tinko_pipelines.reports.export import Exported
    from tinko_pipelines.reports.mailing import Mailed
    from tinko_pipelines.reports.query import QueryResult
    from tinko_pipelines.reports.versions import Version
    from tinko_pipelines.retention.freed import Freed


@dataclass(frozen=True)
class Publishing(Planning):
    """Marts, snapshot, report, exports; and what goes when it is old."""

    def export_ledger(self) -> dict[str, int]:
        """Write every ledger table to Parquet in one read transaction; rows by table."""
        from tinko_pipelines.ledger.export import export

        return export(self.ledger, self.settings.export_dir, self.clock.now())

    def build_marts(self) -> BuildResult:
        """Export the ledger, then build and test the marts with dbt."""
        from tinko_pipelines.reports.dbt_runner import finished

        return finished(self.building_marts())

    def building_marts(self) -> Generator[NodeResult, None, BuildResult]:
        """The same, step by step: each model and test as soon as it is done."""
        from tinko_pipelines.lake.compact import reading
        from tinko_pipelines.reports.dbt_runner import building

        self.lake.refuse_if_empty()
        self.export_ledger()
        with reading(self.lake):
            return (yield from building(self.settings, self.clock.now()))

    def publish_snapshot(self) -> Path:
        """Swap in the marts as the file analysts open."""
        from tinko_pipelines.reports.snapshot import publish

        return publish(self.settings)

    def snapshots(self) -> list[Version]:
        """Every version of the snapshot that is kept, the newest first."""
        from tinko_pipelines.reports.versions import kept

        return kept(self.settings)

    def restore_snapshot(self, name: str) -> Path:
        """Make a kept version what analysts open, until the next one is published."""
        from tinko_pipelines.reports.snapshot import restore

        return restore(self.settings, name)

    def write_report(self) -> Path:
        """Write the HTML report from the published snapshot."""
        from tinko_pipelines.reports.html import write_report

        return write_report(self.settings, self.clock.now())

    def report(self) -> Path:
        """Marts, snapshot and report, in this order; the old ones stay when a step fails."""
        self.build_marts()
        self.publish_snapshot()
        return self.write_report()

    def report_waits(self) -> int:
        """How many still wait for this week's report; cheap enough for a schedule's tick."""
        from tinko_pipelines.reports.mailing import waiting

        return waiting(self.settings, self.clock.now())

    def mail_report(self) -> Mailed:
        """Write the report and send it to everybody who has not had this week's; a dry run sends nothing."""
        from tinko_pipelines.reports.mailing import send_report

        page = self.write_report().read_bytes()
        return send_report(self.settings, self.digest(), page, self.clock.now())

    def write_docs(self) -> Path:
        """Write dbt's documentation of the last build as one page that needs no network."""
        from tinko_pipelines.reports.dbt_runner import generate_docs

        return generate_docs(self.settings)

    def export_table(
        self, name: str, format: str | None = None, out: Path | None = None, where: str = ""
    ) -> Exported:
        """Write one table or view of the published snapshot to a file."""
        from tinko_pipelines.reports.export import export_one

        return export_one(self.settings, name, format, out, where)

    def export_tables(self, folder: Path, format: str | None = None) -> list[Exported]:
        """Write every table of the published snapshot to a file of its own."""
        from tinko_pipelines.reports.export import export_all

        return export_all(self.settings, folder, format)

    def retention(self, *, apply: bool) -> list[Freed]:
        """What each store frees by its setting, or would; Dagster's own storage is not of the domain."""
        from tinko_pipelines.clock import SystemClock
        from tinko_pipelines.retention.run import retain

        with self.nobody_erased():
            return retain(
                self.settings, self.lake, self.ledger, self.clock.now(), SystemClock().now(), apply=apply
            )

    def summary(self) -> dict[str, Any]:
        """The core numbers of the published snapshot."""
        from tinko_pipelines.reports.summary import summary

        return summary(self.settings)

    def digest(self) -> Digest:
        """The published snapshot in a few sentences and small tables."""
        from tinko_pipelines.reports.digest import digest

        return digest(self.settings)

    def metrics_sql(self, names: Sequence[str], by: Sequence[str], where: str) -> str:
        """The SELECT for these metrics by these columns on the published snapshot."""
        from tinko_pipelines.reports.metrics import catalogue, metrics_sql
        from tinko_pipelines.reports.snapshot import opened

        with opened(self.settings) as connection:
            return metrics_sql(catalogue(connection), names, by, where)

    def query(self, sql: str, max_rows: int) -> QueryResult:
        """Rows of one SELECT on the published snapshot."""
        from tinko_pipelines.reports.query import query

        return query(self.settings, sql, max_rows)
