"""From Stripe's lists into the lake: whole ranges, and later only what has changed. Decides nothing about payments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.bulk import NotOfferedError, Page
from tinko_pipelines.lake.parse import Malformed, Row, parse
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

ROWS_AT_ONCE = 20_000
"""So many rows are held in memory before they are written."""
METHODS_LOOKED_UP_MAX = 10_000
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What reading one object came to; `notices` are things a person should know."""

    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    pages: int = 0
    notices: tuple[str, ...] = ()

    @property
    def written(self) -> int:
        """Rows that are in the lake now and were not before, or not so."""
        return self.new + self.changed

    def plus(self, other: IngestResult) -> IngestResult:
        """Both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return IngestResult(**sums, notices=self.notices + other.notices)

    def counts(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


_COUNTS = ("read", "new", "changed", "unchanged", "quarantined", "pages")


def named(objects: Iterable[str]) -> list[str]:
    """The names in reading order; raises InputError for one that is not an object of the lake."""
    wanted = set(objects)
    unknown = sorted(wanted - set(OBJECTS))
    if unknown:
        raise InputError(f"there is no object {unknown[0]!r}; choose from {', '.join(OBJECTS)}")
    return [name for name in OBJECTS if name in wanted]


def ingest(
    reader: BulkReader,
    lake: Lake,
    *,
    objects: Iterable[str] = tuple(OBJECTS),
    since: datetime | None = None,
    until: datetime | None = None,
    now: datetime,
    progress: Progress | None = None,
) -> dict[str, IngestResult]:
    """Read everything created in `[since, until)`; what is there already is not written again."""
    results: dict[str, IngestResult] = {}
    for name in named(objects):
        total = IngestResult()
        try:
            batch: list[Page] = []
            for page in reader.pages(name, created_gte=since, created_lt=until):
                batch.append(page)
                if progress is not None:
                    progress(name, len(page.data))
                if sum(len(one.data) for one in batch) >= ROWS_AT_ONCE:
                    total = total.plus(take_in(lake, reader, name, batch, now))
                    batch = []
            total = total.plus(take_in(lake, reader, name, batch, now))
        except NotOfferedError as error:
            total = replace(total, notices=(*total.notices, str(error)))
        results[name] = total
    if "payment_methods" in results:
        found = look_up_methods(reader, lake, now)
        results["payment_methods"] = results["payment_methods"].plus(found)
    return results


def take_in(lake: Lake, reader: BulkReader, name: str, pages: Sequence[Page], now: datetime) -> IngestResult:
    """Keep pages and bring their objects into the lake, setting malformed ones aside."""
    rows: list[Row] = []
    bad: list[Malformed] = []
    spec = OBJECTS[name]
    for page in pages:
        about = {
            "fetched_at": page.fetched_at.isoformat(),
            "api_version": page.api_version,
            "request_id": page.request_id,
        }
        if page.data:
            lake.keep_page(name, page.account_id, page.body, about)
        for item in page.data:
            parsed = parse(spec, item, page.account_id, reader.livemode, now)
            (bad if isinstance(parsed, Malformed) else rows).append(parsed)  # type: ignore[arg-type]
    upserted = lake.upsert(name, rows)
    lake.quarantine(name, reader.account_id, bad, now)
    lake.release(name, reader.account_id, {row["id"] for row in rows})
    return IngestResult(
        read=len(rows) + len(bad),
        new=upserted.new,
        changed=upserted.changed,
        unchanged=upserted.unchanged,
        quarantined=len(bad),
        pages=len(pages),
    )


def look_up_methods(reader: BulkReader, lake: Lake, now: datetime) -> IngestResult:
    """Fetch the payment methods of failed charges that the list did not show, each by its id."""
    with lake.connect("charges", "payment_methods") as connection:
        wanted = connection.execute(
            "SELECT DISTINCT payment_method_id FROM charges WHERE status = 'failed' AND account_id = ?"
            " AND payment_method_id IS NOT NULL AND payment_method_id NOT IN (SELECT id FROM payment_methods)"
            " ORDER BY 1 LIMIT ?",
            [reader.account_id, METHODS_LOOKED_UP_MAX],
        ).fetchall()
    pages = fetch_by_id(reader, "payment_methods", [str(row[0]) for row in wanted])
    return take_in(lake, reader, "payment_methods", pages, now)


def fetch_by_id(
    reader: BulkReader,
    name: str,
    ids: Iterable[str],
    fallback: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Page]:
    """One page for each object Stripe still has; `fallback` fills in what a deleted one no longer says."""
    pages = []
    for identity in ids:
        page = reader.retrieve(name, identity)
        if page is None:
            continue
        known = (fallback or {}).get(identity)
        if known is not None and isinstance(page.data[0], dict) and page.data[0].get("deleted"):
            page = replace(page, data=[{**known, **page.data[0]}])
        pages.append(page)
    return pages
