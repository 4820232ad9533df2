"""Keeping the lake up to date: what was created since the last look, and what the events say has changed.

Stripe's lists know no "updated since", so changes are learned from events. An event's own copy of an object may
be old, or of another API version, so the object itself is fetched again. Stripe shows some events late, so the
newest minute is left to the next look, and an hour is looked at again. Events older than 30 days are gone; after such
a pause everything is read anew, and that is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.bulk import UNBOUNDED
from tinko_pipelines.lake.backfill import Backfill, Progress, quiet
from tinko_pipelines.lake.ingest import fetch_by_id, ingest, look_up_missing, range_of
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.portion import IngestResult, Results
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT, OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.lake.turns import only_one

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

LAG = timedelta(seconds=60)
"""Events younger than this may not all be shown yet."""
OVERLAP = timedelta(hours=1)
"""Each look reads this much again, for those that were shown later still."""
EVENTS_KEPT = timedelta(days=29)
"""One day less than Stripe keeps them."""
FOLLOWED_AT_ONCE = 5_000
"""So many changed objects of a kind are fetched before it is asked again which are left."""
MOST_FOLLOWS = 2_000


def ingest_changes(
    reader: BulkReader, lake: Lake, *, now: datetime, since_days: int, progress: Progress = quiet
) -> Results:
    """Bring the lake up to `now`; the first time, and after too long a pause, by reading `since_days` whole."""
    note = _note(reader.account_id, reader.livemode)
    with only_one(lake, note):
        last = lake.read_note(note).get("read_until")
        read_until = datetime.fromisoformat(last) if last else None
        if read_until is None or now - read_until > EVENTS_KEPT:
            since = now - timedelta(days=since_days)
            results = ingest(reader, lake, since=since, now=now, progress=progress, resume_as="all")
            if read_until is not None:
                warning = _pause_notice(read_until, since)
                results["events"] = results["events"].plus(IngestResult(notices=(warning,)))
        else:
            results = _changes(reader, lake, read_until - OVERLAP, now, progress)
        _mark_read(lake, reader.account_id, reader.livemode, now - LAG)
    return results


def _pause_notice(read_until: datetime, since: datetime) -> str:
    return (
        f"the last look at events was on {read_until:%Y-%m-%d %H:%M} UTC, and Stripe keeps them for 30 days: everything"
        f" created since {since:%Y-%m-%d} was read anew; changes of older objects since then are not known"
    )


def ingest_window(
    reader: BulkReader,
    lake: Lake,
    objects: Iterable[str] | None,
    *,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
    since_days: int,
    progress: Progress = quiet,
) -> Results:
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
    bounds = f"{since or 'default'}-{until or 'now'}"
    results = ingest(
        reader,
        lake,
        objects=objects or OBJECTS,
        since=start,
        until=until,
        now=now,
        progress=progress,
        resume_as=bounds,
    )
    everything = set(results) == set(OBJECTS) and start <= whole and (until is None or until >= now)
    if everything and not lake.read_note(_note(reader.account_id, reader.livemode)):
        _mark_read(lake, reader.account_id, reader.livemode, now - LAG)
    return results


def _mark_read(lake: Lake, account_id: str, livemode: bool, until: datetime) -> None:
    lake.write_note(_note(account_id, livemode), {"read_until": until.astimezone(UTC).isoformat()})


def _note(account_id: str, livemode: bool) -> str:
    return f"changes-{account_id}-live" if livemode else f"changes-{account_id}"


def _changes(reader: BulkReader, lake: Lake, since: datetime, now: datetime, progress: Progress) -> Results:
    with Intake(lake, reader.account_id, livemode=reader.livemode) as intake:
        # Events come first: what the lists show after them need not be followed.
        Backfill(reader, intake, [range_of("events", since, now - LAG)], progress).run()
        lists = [name for name in OBJECTS if name not in UNBOUNDED and name != "events"]
        Backfill(
            reader, intake, [range_of(name, since, now, open_ended=True) for name in lists], progress
        ).run()
        intake.flush()
        follow(reader, lake, intake, since)
        look_up_missing(reader, lake, intake)
    return {name: intake.results[name] for name in OBJECTS if name in intake.results}


def follow(reader: BulkReader, lake: Lake, intake: Intake, since: datetime) -> None:
    """Fetch what the events since then name and what was not fetched after they were known."""
    for _ in range(MOST_FOLLOWS):
        followed = _changed(lake, reader, since)
        for name, known in followed.items():
            fetch_by_id(reader, intake, name, known, gone_if_missing=True)
        intake.flush()
        if not any(len(known) == FOLLOWED_AT_ONCE for known in followed.values()):
            return


def _changed(lake: Lake, reader: BulkReader, since: datetime) -> dict[str, dict[str, dict[str, Any]]]:
    """Objects named by events that we have known of for longer than our copy of the object: by lake name and id.

    With each when it was made, which a deleted one no longer says.
    """
    wanted: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    of_ours = [reader.account_id, reader.livemode, since]
    with lake.connect("events") as connection:
        told = connection.execute(
            "SELECT DISTINCT object_type FROM events WHERE account_id = ? AND livemode = ? AND created_at >= ?",
            of_ours,
        ).fetchall()
    kinds = {kind: BY_STRIPE_OBJECT[kind] for (kind,) in told if kind in BY_STRIPE_OBJECT and kind != "event"}
    if not kinds:
        return {}
    # One connection, and only for what was told of: to open a table takes longer than to ask it.
    with lake.connect("events", *kinds.values()) as connection:
        for kind, name in sorted(kinds.items()):
            rows = connection.execute(
                f"""SELECT e.object_id, coalesce(any_value(o.created_at), any_value(e.object_created_at), min(e.created_at))
                    FROM events e LEFT JOIN {name} o ON o.account_id = e.account_id AND o.id = e.object_id
                    WHERE e.account_id = ? AND e.livemode = ? AND e.created_at >= ? AND e.object_type = ?
                      AND e.object_id IS NOT NULL AND (o.id IS NULL OR o.fetched_at < e.fetched_at)
                    GROUP BY e.object_id ORDER BY e.object_id LIMIT ?""",
                [*of_ours, kind, FOLLOWED_AT_ONCE],
            ).fetchall()
            for identity, created_at in rows:
                wanted[name][str(identity)] = {"created": int(created_at.timestamp())}
    return dict(wanted)
