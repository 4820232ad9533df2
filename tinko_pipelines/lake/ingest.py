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
LOOKED_UP_MAX = 10_000
MISSING: Mapping[str, str] = {
    "customers": "SELECT account_id, customer_id AS id, created_at AS seen_at FROM charges"
    " WHERE status = 'failed' AND customer_id IS NOT NULL",
    "subscriptions": "SELECT account_id, subscription_id AS id, created_at AS seen_at FROM invoices"
    " WHERE status = 'open' AND subscription_id IS NOT NULL",
    "payment_methods": """
        SELECT account_id, payment_method_id AS id, created_at AS seen_at FROM charges
        WHERE status = 'failed' AND payment_method_id IS NOT NULL
        UNION ALL SELECT c.account_id, c.default_payment_method_id, f.created_at FROM customers c
        JOIN charges f ON f.account_id = c.account_id AND f.customer_id = c.id AND f.status = 'failed'
        WHERE c.default_payment_method_id LIKE 'pm_%'
        UNION ALL SELECT s.account_id, s.default_payment_method_id, i.created_at FROM subscriptions s
        JOIN invoices i ON i.account_id = s.account_id AND i.subscription_id = s.id AND i.status = 'open'
        WHERE s.default_payment_method_id LIKE 'pm_%'""",
}
"""What is needed to judge failed debts, however old it is: the last ones name what the first ones brought."""
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
    for name, found in look_up_missing(reader, lake, now, results).items():
        results[name] = results[name].plus(found)
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


def look_up_missing(
    reader: BulkReader, lake: Lake, now: datetime, names: Iterable[str] = tuple(MISSING)
) -> dict[str, IngestResult]:
    """Fetch by id what failed debts hang on and the lists did not show, being older or not listed at all."""
    results: dict[str, IngestResult] = {}
    for name in [name for name in MISSING if name in set(names)]:
        with lake.connect() as connection:
            wanted = connection.execute(
                f"SELECT id, min(seen_at) FROM ({MISSING[name]}) WHERE account_id = ?"
                f" AND id NOT IN (SELECT id FROM {name}) GROUP BY id ORDER BY id LIMIT ?",
                [reader.account_id, LOOKED_UP_MAX],
            ).fetchall()
        # A deleted object no longer says when it was created; what is known is when it was last needed.
        known = {
            str(row[0]): {"object": OBJECTS[name].stripe_object, "created": int(row[1].timestamp())}
            for row in wanted
        }
        results[name] = take_in(lake, reader, name, fetch_by_id(reader, name, known, known), now)
    return results


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
