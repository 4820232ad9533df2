"""The webhook inbox: each event as it was told, written down once, until the lake has what it tells of.

Whoever brings events (the web's door, a replay) hands them in here. What they mean is the business of those who take
them out: `retry.inbox` marks cases, and `inbox` brings them into the lake, each in its own time and at least once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from operator import attrgetter
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, bindparam, func, literal, or_, select

from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

T = TypeVar("T")
EVENT_BYTES_MAX = 500_000
NAME_LENGTH_MAX = 255
LATEST = 253_402_300_799
"""The last second of the year 9999."""
COUNTED_MOST = 10_000
LAND_WAITS = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 300, 900))
"""After each try to read what an event tells of that failed; after one more it is left to the look at changes."""
_AT_ONCE = 500

Accounts = Mapping[str | None, str]
"""Our names of accounts by Stripe's ids of them; under None of the one whose events name no account."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event of one of our accounts. `payload`: its JSON as it came, less whom it may not tell of any more."""

    event_id: str
    account_id: str
    livemode: bool
    type: str
    api_version: str | None
    created_at: datetime
    object_id: str | None
    payload: str | None


Allowed = Callable[[Told], Told]
"""What may be kept of an event: without those who were erased; without a payload where that leaves nothing."""


class OtherAccountError(InputError):
    """An event of an account that is none of those it may be of."""


class OtherModeError(InputError):
    """An event of live mode where our key is of test mode, or the other way round."""


def read_event(body: bytes, accounts: Accounts, *, livemode: bool) -> Told:
    """An event from the bytes of its JSON; raises InputError with the reason why it is refused."""
    if len(body) > EVENT_BYTES_MAX:
        raise InputError(f"is longer than {EVENT_BYTES_MAX} bytes")
    try:
        event = orjson.loads(body)
    except ValueError as error:
        raise InputError(f"is not JSON: {error}") from None
    if not isinstance(event, dict) or event.get("object") != "event":
        raise InputError("is no event of Stripe's: its `object` is not 'event'")
    about = event["data"].get("object") if isinstance(event.get("data"), dict) else None
    if not isinstance(about, dict):
        raise InputError("data.object is missing")
    identity, version = about.get("id"), event.get("api_version")
    return Told(
        _name(event, "id"),
        _account(event, accounts),
        _of_mode(event, livemode),
        _name(event, "type"),
        version if isinstance(version, str) and _is_name(version) else None,
        _moment(event.get("created")),
        identity if isinstance(identity, str) and _is_name(identity) else None,
        body.decode(),
    )


def _name(event: Mapping[str, Any], field: str) -> str:
    found = event.get(field)
    if not isinstance(found, str) or not _is_name(found):
        raise InputError(f"{field} is {str(found)[:50]!r}, no name")
    return found


def _is_name(found: str) -> bool:
    return 0 < len(found) <= NAME_LENGTH_MAX and found.isprintable()


def _moment(found: Any) -> datetime:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= LATEST:
        raise InputError(f"created is {str(found)[:50]!r}, not a moment in unix seconds")
    return datetime.fromtimestamp(found, UTC)


def _of_mode(event: Mapping[str, Any], livemode: bool) -> bool:
    if event.get("livemode") is not livemode:
        ours = "live" if livemode else "test"
        raise OtherModeError(f"livemode is {event.get('livemode')!r}, and the key is of {ours} mode")
    return livemode


def _account(event: Mapping[str, Any], accounts: Accounts) -> str:
    named = event.get("account")
    found = accounts.get(named) if named is None or isinstance(named, str) else None
    if found is None:
        what = "it names no account" if named is None else f"account {str(named)[:50]!r} is none of ours"
        raise OtherAccountError(what)
    return found


def put(ledger: Ledger, events: Sequence[Told], now: datetime, allowed: Allowed) -> set[str]:
    """Write down the events that are not known yet; the ids of those. They are safe when this returns."""
    taken: set[str] = set()
    # In one order, so that two who bring the same events at most wait for each other.
    events = sorted((allowed(one) for one in events), key=attrgetter("event_id"))
    with ledger.write() as connection:
        for some in _batches(events):
            rows = [{**asdict(event), "received_at": now} for event in some]
            insert = insert_ignoring(ledger.dialect, webhook_event).values(rows)
            # PostgreSQL's driver does not say how many of several rows went in.
            taken |= set(connection.execute(insert.returning(webhook_event.c.event_id)).scalars())
    return taken


def _batches(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    return (whole[start : start + _AT_ONCE] for start in range(0, len(whole), _AT_ONCE))


def _due(account_id: str, livemode: bool | None, now: datetime) -> ColumnElement[bool]:
    event = webhook_event.c
    due = or_(event.land_after.is_(None), event.land_after <= now)
    ours = event.account_id == account_id
    return (
        event.landed_at.is_(None) & due & (ours if livemode is None else ours & (event.livemode == livemode))
    )


def count_unlanded(ledger: Ledger, account_id: str, livemode: bool | None, now: datetime) -> int:
    """How many events the lake may have by now and does not; counted up to `COUNTED_MOST`."""
    some = select(literal(1)).select_from(webhook_event).where(_due(account_id, livemode, now))
    query = select(func.count()).select_from(some.limit(COUNTED_MOST).subquery())
    with ledger.glance() as connection:
        return int(connection.execute(query).scalar_one())


def unlanded(
    ledger: Ledger, account_id: str, livemode: bool, now: datetime, limit: int
) -> dict[str, str | None]:
    """Payloads of such events by id, the oldest first; those that failed before come by themselves, after all others."""
    event = webhook_event.c
    query = (
        select(event.event_id, event.payload, event.land_tries)
        .where(_due(account_id, livemode, now))
        .order_by(event.land_tries, event.received_at, event.event_id)
        .limit(limit)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    alike = takewhile(lambda row: (row.land_tries > 0) == (rows[0].land_tries > 0), rows)
    return {row.event_id: row.payload for row in alike}


def landed(ledger: Ledger, ids: Collection[str], now: datetime) -> None:
    """Note that the lake has them. The payload goes: it holds personal data, and the lake keeps it as it came."""
    _change(ledger, ids, {"landed_at": now, "payload": None, "note": None})


def put_off(ledger: Ledger, ids: Collection[str], until: datetime, note: str) -> None:
    """Let events wait that could not even be tried."""
    _change(ledger, ids, {"land_after": until, "note": note})


def _change(ledger: Ledger, ids: Collection[str], values: Mapping[str, Any]) -> None:
    event = webhook_event.c
    with ledger.write() as connection:
        for some in _batches(sorted(ids)):
            unlanded_ones = event.event_id.in_(some) & event.landed_at.is_(None)
            connection.execute(webhook_event.update().where(unlanded_ones).values(values))


def failed(ledger: Ledger, reasons: Mapping[str, str], now: datetime) -> int:
    """Note by id why what an event tells of could not be read, and when to try again; how many are given up with that."""
    event = webhook_event.c
    with ledger.write() as connection:
        tries: dict[str, int] = {}
        for some in _batches(sorted(reasons)):
            query = select(event.event_id, event.land_tries).where(event.event_id.in_(some))
            tries |= connection.execute(query).tuples().all()
        rows = [_tried(name, tried + 1, reasons[name], now) for name, tried in tries.items()]
        fields: dict[str, Any] = {
            name: bindparam(name) for name in ("land_tries", "land_after", "landed_at", "note")
        }
        change = webhook_event.update().where(event.event_id == bindparam("name"), event.landed_at.is_(None))
        if rows:
            connection.execute(change.values(fields), rows)
        given_up = [row["name"] for row in rows if row["landed_at"] is not None]
        for some in _batches(given_up):
            gone = webhook_event.update().where(event.event_id.in_(some), event.landed_at.is_not(None))
            connection.execute(gone.values(payload=None))
    return len(given_up)


def _tried(name: str, tries: int, reason: str, now: datetime) -> dict[str, Any]:
    if tries > len(LAND_WAITS):
        note = f"left to the next look at changes after {tries} tries: {reason}"
        return {"name": name, "land_tries": tries, "land_after": None, "landed_at": now, "note": note}
    after = now + LAND_WAITS[tries - 1]
    return {"name": name, "land_tries": tries, "land_after": after, "landed_at": None, "note": reason}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the inbox holds: not yet in the lake, not yet turned into marks, since when, and left to the look at changes."""

    unlanded: int
    unmarked: int
    oldest_received_at: datetime | None
    retried: int
    given_up: int


def waiting(ledger: Ledger) -> Waiting:
    """Of all accounts; for a person."""
    event = webhook_event.c
    open_ones = event.landed_at.is_(None)

    def count(*conditions: ColumnElement[bool]) -> Any:
        return select(func.count()).select_from(webhook_event).where(*conditions).scalar_subquery()

    oldest = select(func.min(event.received_at)).where(or_(open_ones, event.processed_at.is_(None)))
    query = select(
        count(open_ones),
        count(event.processed_at.is_(None)),
        oldest.scalar_subquery(),
        count(open_ones, event.land_tries > 0),
        count(event.landed_at.is_not(None), event.land_tries > len(LAND_WAITS)),
    )
    with ledger.glance() as connection:
        return Waiting(*connection.execute(query).one())
