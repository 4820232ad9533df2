"""Reading days once more that were read long ago: what the events did not tell is found, repaired and reported.

Refunds and disputes come late, an event may be lost at Stripe or on the way to us. So the lake is not trusted: some
days are held against fresh lists each night, by number, by sums of money and row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from tinko_pipelines.gateway.bulk import UNBOUNDED
from tinko_pipelines.lake.backfill import Backfill, Progress, quiet
from tinko_pipelines.lake.changes import EVENTS_KEPT, follow
from tinko_pipelines.lake.ingest import fetch_by_id, range_of
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.ranges import Range
from tinko_pipelines.lake.schemas import IMMUTABLE, OBJECTS
from tinko_pipelines.lake.store import Lake

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

DAYS_AGO = (1, 7, 35, 120)
GONE_MOST = 10_000
COMPARED = tuple(name for name in OBJECTS if name not in UNBOUNDED)
"""What has a place in time."""

UNTOLD = frozenset({"balance_transactions"})
"""What becomes available after some days without an event that says so; that it differs is no surprise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One object on one day: how many there were and what their amounts came to (minor units, by column), and how it is now."""

    account_id: str
    object_name: str
    day: str
    before_count: int
    after_count: int
    sums: dict[str, tuple[int, int]]
    """By column, before and after; only those that differ."""


@dataclass(slots=True)
class Deep:
    """What reading days once more came to."""

    days: list[str]
    read: int = 0
    missing: int = 0
    changed: int = 0
    deleted: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def repaired(self) -> int:
        """Rows that were missing, not as they are now, or no longer there at Stripe."""
        return self.missing + self.changed + self.deleted

    def plus(self, other: Deep) -> Deep:
        """Those of two accounts together."""
        return Deep(
            sorted({*self.days, *other.days}),
            self.read + other.read,
            self.missing + other.missing,
            self.changed + other.changed,
            self.deleted + other.deleted,
            [*self.differences, *other.differences],
        )

    def told(self) -> dict[str, Any]:
        """As it is written down."""
        return asdict(self)


def days_to_read(now: datetime) -> list[date]:
    """The days that are due on this one."""
    return [(now - timedelta(days=ago)).astimezone(UTC).date() for ago in DAYS_AGO]


def reconcile_days(
    reader: BulkReader,
    lake: Lake,
    days: Iterable[date],
    *,
    now: datetime,
    undated_too: bool = False,
    progress: Progress = quiet,
) -> Deep:
    """Read those days (UTC) once more, repair what differs, and remember what did.

    `undated_too` reads lists whole that know no days, such as payment methods; a large account has many pages of them.
    """
    wanted = sorted(set(days))
    found = Deep([str(day) for day in wanted])
    before = _standing(lake, reader, wanted)
    began = reader.now()
    with Intake(lake, reader.account_id, livemode=reader.livemode) as intake:
        events_since = now - EVENTS_KEPT
        if undated_too:
            Backfill(
                reader, intake, [range_of(name, None, now) for name in sorted(UNBOUNDED)], progress
            ).run()
        Backfill(reader, intake, _ranges(("events",), wanted, events_since.date()), progress).run()
        Backfill(
            reader, intake, _ranges([name for name in COMPARED if name != "events"], wanted), progress
        ).run()
        intake.flush()
        if wanted and wanted[-1] >= events_since.date():
            follow(reader, lake, intake, max(events_since, _midnight(wanted[0])))
        for name in COMPARED:
            if name in IMMUTABLE:
                continue  # Stripe forgets them after a while; that makes them no less true.
            gone = _not_shown(lake, reader, name, wanted, began)
            fetch_by_id(reader, intake, name, gone, gone_if_missing=True)
        intake.flush()
        for result in intake.results.values():
            found.read += result.read
            found.missing += result.new
            found.changed += result.changed
            found.deleted += result.deleted
    after = _standing(lake, reader, wanted)
    found.differences = [
        _difference(reader.account_id, *key, before.get(key, {}), after.get(key, {}))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    mode = "-live" if reader.livemode else ""
    lake.write_note(f"deep-{reader.account_id}{mode}", {"at": now.isoformat(), **found.told()})
    return found


def _ranges(names: Sequence[str], days: Sequence[date], first: date = date.min) -> list[Range]:
    """Days that follow each other are read as one; none before the first that is kept."""
    spans: list[tuple[date, date]] = []
    for day in days:
        if day < first:
            continue
        if spans and spans[-1][1] == day:
            spans[-1] = (spans[-1][0], day + timedelta(days=1))
        else:
            spans.append((day, day + timedelta(days=1)))
    return [range_of(name, _midnight(start), _midnight(end)) for name in names for start, end in spans]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _standing(lake: Lake, reader: BulkReader, days: Sequence[date]) -> dict[tuple[str, str], dict[str, int]]:
    """By object and day: number, sums by column, and a number that stands for all rows."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for name in COMPARED:
        amounts = [column.name for column in OBJECTS[name].columns if column.name.endswith("_minor")]
        sums = "".join(f", coalesce(sum({column}), 0)::BIGINT AS {column}" for column in amounts)
        others = ", ".join(("deleted", *(column.name for column in OBJECTS[name].columns)))
        with lake.connect(name) as connection:
            result = connection.execute(
                f"""SELECT created_at::DATE::VARCHAR AS day, count(*) FILTER (NOT deleted) AS count{sums},
                        bit_xor(hash(id, {others})) % 1000000007 AS content
                    FROM {name} WHERE account_id = ? AND livemode = ? AND list_contains(?, created_at::DATE)
                    GROUP BY 1""",
                [reader.account_id, reader.livemode, list(days)],
            )
            columns = [one[0] for one in result.description]
            for row in result.fetchall():
                found[name, row[0]] = {
                    key: int(value) for key, value in zip(columns[1:], row[1:], strict=True)
                }
    return found


def _not_shown(
    lake: Lake, reader: BulkReader, name: str, days: Sequence[date], began: datetime
) -> dict[str, dict[str, int]]:
    """Objects of those days that the lists did not show any more."""
    with lake.connect(name) as connection:
        rows = connection.execute(
            f"""SELECT id, created_at FROM {name}
                WHERE account_id = ? AND livemode = ? AND list_contains(?, created_at::DATE)
                  AND NOT coalesce(deleted, false) AND fetched_at < ? ORDER BY id LIMIT ?""",
            [reader.account_id, reader.livemode, list(days), began, GONE_MOST],
        ).fetchall()
    return {str(identity): {"created": int(at.timestamp())} for identity, at in rows}


def _difference(
    account_id: str, name: str, day: str, before: dict[str, int], after: dict[str, int]
) -> Difference:
    amounts = [key for key in {**before, **after} if key not in ("count", "content")]
    sums = {key: (before.get(key, 0), after.get(key, 0)) for key in amounts}
    return Difference(
        account_id,
        name,
        day,
        before.get("count", 0),
        after.get("count", 0),
        {key: pair for key, pair in sums.items() if pair[0] != pair[1]},
    )
