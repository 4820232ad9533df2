"""Keeping the lake up to date: what was created since the last look, and what the events say has changed.

Stripe's lists know no "updated since", so changes are learned from events. An event's own copy of an object may
be old, or of another API version, so the object itself is fetched again. Events older than 30 days are gone;
after such a pause everything is read anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.bulk import UNBOUNDED, NotOfferedError, Page
from tinko_pipelines.lake.ingest import IngestResult, Progress, fetch_by_id, ingest, look_up_missing, take_in
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT, OBJECTS
from tinko_pipelines.lake.store import Lake

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

OVERLAP = timedelta(hours=1)
"""Each look reads this much again, since events and lists show new objects some seconds late."""
EVENTS_KEPT = timedelta(days=29)
"""One day less than Stripe keeps them."""


def ingest_changes(
    reader: BulkReader, lake: Lake, *, now: datetime, since_days: int, progress: Progress | None = None
) -> dict[str, IngestResult]:
    """Bring the lake up to `now`; the first time, and after too long a pause, by reading `since_days` whole."""
    last = lake.read_note(_note(reader.account_id, reader.livemode)).get("read_until")
    read_until = datetime.fromisoformat(last) if last else None
    if read_until is None or now - read_until > EVENTS_KEPT:
        results = ingest(reader, lake, since=now - timedelta(days=since_days), now=now, progress=progress)
    else:
        results = _changes(reader, lake, read_until - OVERLAP, now, progress)
    _mark_read(lake, reader.account_id, reader.livemode, now)
    return results


def ingest_window(
    reader: BulkReader,
    lake: Lake,
    objects: Iterable[str] | None,
    *,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
    since_days: int,
    progress: Progress | None = None,
) -> dict[str, IngestResult]:
    """Read what was created in `[since, until)`, by default all objects of the last `since_days`.

    After a first load of everything the next look at changes starts there. Later loads move nothing, since they see
    no change of what was created before them.
    """
    whole = now - timedelta(days=since_days)
    start = since or whole
    if until is not None and start >= until:
        raise InputError(
            f"--since {start:%Y-%m-%d %H:%M} is not before --until {until:%Y-%m-%d %H:%M} (UTC): nothing lies between them"
        )
    results = ingest(
        reader, lake, objects=objects or OBJECTS, since=start, until=until, now=now, progress=progress
    )
    everything = set(results) == set(OBJECTS) and start <= whole and (until is None or until >= now)
    if everything and not lake.read_note(_note(reader.account_id, reader.livemode)):
        _mark_read(lake, reader.account_id, reader.livemode, now)
    return results


def _mark_read(lake: Lake, account_id: str, livemode: bool, until: datetime) -> None:
    lake.write_note(_note(account_id, livemode), {"read_until": until.astimezone(UTC).isoformat()})


def _note(account_id: str, livemode: bool) -> str:
    return f"changes-{account_id}-live" if livemode else f"changes-{account_id}"


def _changes(
    reader: BulkReader, lake: Lake, since: datetime, now: datetime, progress: Progress | None
) -> dict[str, IngestResult]:
    event_pages = list(reader.pages("events", created_gte=since))
    results: dict[str, IngestResult] = {}
    seen: dict[str, set[str]] = defaultdict(set)
    for name in OBJECTS:
        if name in UNBOUNDED or name == "events":
            continue
        try:
            pages = list(reader.pages(name, created_gte=since))
        except NotOfferedError as error:
            results[name] = IngestResult(notices=(str(error),))
            continue
        seen[name].update(_id(item) for page in pages for item in page.data)
        results[name] = take_in(lake, reader, name, pages, now)
        if progress is not None:
            progress(name, results[name].read)
    for name, changed in _changed_elsewhere(lake, event_pages, seen).items():
        pages = fetch_by_id(reader, name, sorted(changed), changed)
        results[name] = results.get(name, IngestResult()).plus(take_in(lake, reader, name, pages, now))
    for name, found in look_up_missing(reader, lake, now).items():
        results[name] = results.get(name, IngestResult()).plus(found)
    # Events come last: until they are stored, a look that was cut short fetches the same objects again.
    results["events"] = take_in(lake, reader, "events", event_pages, now)
    return results


def _changed_elsewhere(
    lake: Lake, event_pages: list[Page], seen: dict[str, set[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Objects named by events not stored yet and not read just now: by lake name and id, as the event has them."""
    with lake.connect("events") as connection:
        stored = {str(row[0]) for row in connection.execute("SELECT id FROM events").fetchall()}
    wanted: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for page in event_pages:
        for event in page.data:
            if not isinstance(event, dict) or _id(event) in stored:
                continue
            data = event.get("data")
            found = data.get("object") if isinstance(data, dict) else None
            if not isinstance(found, dict):
                continue
            name = BY_STRIPE_OBJECT.get(str(found.get("object")))
            if name is not None and _id(found) and _id(found) not in seen[name]:
                wanted[name].setdefault(_id(found), found)
    return wanted


def _id(item: Any) -> str:
    return str(item.get("id") or "") if isinstance(item, dict) else ""
