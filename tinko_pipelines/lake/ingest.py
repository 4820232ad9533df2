"""From Stripe's lists into the lake: whole ranges of time, and single objects by id. Decides nothing about payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.bulk import UNBOUNDED
from tinko_pipelines.gateway.page import Page
from tinko_pipelines.lake.backfill import Backfill, Left, Progress, quiet
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.portion import Results
from tinko_pipelines.lake.ranges import Range, from_told
from tinko_pipelines.lake.schemas import ERASED, OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.lake.turns import only_one

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

LOOKED_UP_MAX = 10_000
READ_AT_ONCE = 100
"""So many single objects are asked for before what came is kept."""
RESUMED_HOURS = 24
"""What is left of an older back-fill is begun anew: what it had read is too old to be finished."""
MISSING: Mapping[str, str] = {
    "customers": "SELECT account_id, customer_id AS id, created_at AS seen_at FROM charges"
    f" WHERE status = 'failed' AND customer_id <> '{ERASED}'",
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
NAMED_IN: Mapping[str, tuple[str, ...]] = {
    "customers": ("charges",),
    "subscriptions": ("invoices",),
    "payment_methods": ("charges", "customers", "subscriptions", "invoices"),
}
"""The tables each of these looks through; to open all of the lake for it would take several times as long."""


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
    progress: Progress = quiet,
    resume_as: str | None = None,
) -> Results:
    """Read everything created in `[since, until)`. A run that died on the way is gone on with, under the same name.

    By default the name is made of the bounds. Raises GatewayError, after keeping what had come.
    """
    names = named(objects)
    note = _note(reader, names, resume_as or f"{since}-{until}")
    with only_one(lake, note), Intake(lake, reader.account_id, livemode=reader.livemode) as intake:
        begun_at, ranges = _left_of(lake, note, now)
        if ranges is None:
            ranges = [range_of(name, since, until or now, open_ended=until is None) for name in names]

        def remember(left: Left) -> None:
            told = [one.told() for one in left.ranges]
            lake.write_note(note, {"begun_at": begun_at, "ranges": told, "pages": left.pages, "rows": left.rows,
                                   "covered": left.covered}, durable=True)  # fmt: skip
            progress(left)

        Backfill(reader, intake, ranges, remember).run()
        intake.flush()
        look_up_missing(reader, lake, intake, [name for name in MISSING if name in names])
        lake.drop_note(note)
    return {name: intake.results[name] for name in names}


def range_of(name: str, since: datetime | None, until: datetime, *, open_ended: bool = False) -> Range:
    """Everything of one list that was created in `[since, until)`; `until` is the present where it is open-ended."""
    gte = int(since.timestamp()) if since else 0
    lt = int(until.timestamp()) + (1 if open_ended else 0)
    return Range(name, gte, lt, listed_by_time=name not in UNBOUNDED, open_ended=open_ended)


def _note(reader: BulkReader, names: Sequence[str], what: str) -> str:
    mode = "live" if reader.livemode else "test"
    digest = sha256(" ".join((*names, what)).encode()).hexdigest()[:12]
    return f"backfill-{reader.account_id}-{mode}-{digest}"


def _left_of(lake: Lake, note: str, now: datetime) -> tuple[str, list[Range] | None]:
    """When a run of that name began, and what it has left to read; None where there was none, or long ago."""
    told = lake.read_note(note)
    if not told or now - datetime.fromisoformat(told["begun_at"]) > timedelta(hours=RESUMED_HOURS):
        return now.isoformat(), None
    return str(told["begun_at"]), [from_told(one) for one in told["ranges"]]


def look_up_missing(
    reader: BulkReader, lake: Lake, intake: Intake, names: Iterable[str] = tuple(MISSING)
) -> None:
    """Fetch by id what failed debts hang on and the lists did not show, being older or not listed at all."""
    for name in names:
        with lake.connect(name, *NAMED_IN[name]) as connection:
            wanted = connection.execute(
                f"SELECT id, min(seen_at) FROM ({MISSING[name]}) WHERE account_id = ?"
                f" AND id NOT IN (SELECT id FROM {name}) GROUP BY id ORDER BY id LIMIT ?",
                [reader.account_id, LOOKED_UP_MAX],
            ).fetchall()
        # A deleted object no longer says when it was created; what is known is when it was last needed.
        known = {str(row[0]): {"created": int(row[1].timestamp())} for row in wanted}
        fetch_by_id(reader, intake, name, known)
        intake.flush()


def fetch_by_id(
    reader: BulkReader,
    intake: Intake,
    name: str,
    known: Mapping[str, Mapping[str, Any]],
    *,
    gone_if_missing: bool = False,
) -> None:
    """Read objects by id. `known` says by id what a deleted one no longer says of itself: at least `created`.

    What Stripe does not have is passed over, or taken for deleted.
    """
    ids = list(known)
    workers = max(1, min(reader.most_at_once, len(ids)))
    with ThreadPoolExecutor(workers, "read") as pool:
        for start in range(0, len(ids), READ_AT_ONCE):
            few = ids[start : start + READ_AT_ONCE]
            found = pool.map(lambda identity: reader.retrieve(name, identity), few)
            pages = [
                page or (missing_page(reader, name, identity) if gone_if_missing else None)
                for identity, page in zip(few, found, strict=True)
            ]
            intake.take_single([page for page in pages if page is not None], known)


def missing_page(reader: BulkReader, name: str, identity: str) -> Page:
    """A page that says of an object what Stripe says by not having it."""
    item = {"id": identity, "object": OBJECTS[name].stripe_object, "deleted": True}
    return Page(name, reader.account_id, orjson.dumps(item), reader.now(), "", None, [item])
