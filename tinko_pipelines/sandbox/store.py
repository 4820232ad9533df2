"""What the sandbox remembers: objects by kind, happenings to come, saved answers; in memory and in SQLite.

All changes of one request become one transaction, so a killed server wakes up between two requests. No
knowledge of Stripe beyond ids, `created` and the fields lists are filtered by.
"""

import heapq
import sqlite3
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

Object = dict[str, Any]
Place = tuple[int, int, str]
"""Where an object stands in its list: created, order of arrival, id."""

REFS: dict[str, tuple[str, ...]] = {
    "charges": ("customer", "payment_intent"),
    "payment_intents": ("customer",),
    "invoices": ("customer", "parent.subscription_details.subscription"),
    "invoice_payments": ("invoice", "payment.payment_intent"),
    "subscriptions": ("customer",),
    "payment_methods": ("customer",),
    "refunds": ("charge", "payment_intent"),
    "disputes": ("charge", "payment_intent"),
    "balance_transactions": ("source",),
    "checkout_sessions": ("customer", "payment_intent", "invoice"),
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (kind TEXT, id TEXT, seq INTEGER, body BLOB, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS happenings (seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, payload BLOB);
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, at INTEGER, request TEXT, status INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER);
"""


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """The answer kept under an idempotency key, and the request it belongs to."""

    key: str
    at: int
    request: str
    status: int
    body: bytes


def field(item: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None where the path ends early."""
    value: Any = item
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


class Store:
    """Not for threads: the server handles one request at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; everything in it is read at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(SCHEMA)
        self.reload()

    def reload(self) -> None:
        """Forget what was not committed and read the file again."""
        self.objects: dict[str, dict[str, Object]] = {}
        self._order: dict[str, list[Place]] = {}
        self._by_ref: dict[tuple[str, str, str], list[Place]] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._listed: set[tuple[str, str, str, str]] = set()
        self._forget_changes()
        self._meta: dict[str, int] = dict(self._db.execute("SELECT key, value FROM meta"))
        for kind, seq, body in self._db.execute("SELECT kind, seq, body FROM objects ORDER BY seq"):
            item = orjson.loads(body)
            if kind == "events":
                item["data"] = orjson.Fragment(orjson.dumps(item["data"]))
            self._place(kind, item, seq)
        self._queue = [
            (at, seq, kind, orjson.loads(payload))
            for seq, at, kind, payload in self._db.execute("SELECT seq, at, kind, payload FROM happenings")
        ]
        heapq.heapify(self._queue)
        saved = self._db.execute("SELECT key, at, request, status, body FROM answers ORDER BY at")
        self._answers = {row[0]: SavedAnswer(*row) for row in saved}

    def _forget_changes(self) -> None:
        self._changed: set[tuple[str, str]] = set()
        self._changed_meta: set[str] = set()
        self._queued: dict[int, tuple[int, str, Mapping[str, object]]] = {}
        self._done: list[int] = []
        self._saved: dict[str, SavedAnswer] = {}
        self._pruned: list[str] = []
        self._dropped: list[tuple[str, str]] = []

    def number(self, key: str, default: int = 0) -> int:
        """A remembered whole number."""
        return self._meta.get(key, default)

    def remember(self, key: str, value: int) -> None:
        """Change a remembered whole number."""
        self._meta[key] = value
        self._changed_meta.add(key)

    def count(self, key: str) -> int:
        """The next number of a series, from 1."""
        self.remember(key, self.number(key) + 1)
        return self._meta[key]

    def get(self, kind: str, object_id: str) -> Object | None:
        """One object, itself and not a copy; call `put` after changing it."""
        return self.objects.get(kind, {}).get(object_id)

    def put(self, kind: str, item: Object) -> Object:
        """Take up a new object, or note that a known one has changed."""
        known = self._places.get((kind, item["id"]))
        self._place(kind, item, self.count("seq") if known is None else known[1])
        self._changed.add((kind, item["id"]))
        return item

    def _place(self, kind: str, item: Object, seq: int) -> None:
        name = item["id"]
        self.objects.setdefault(kind, {})[name] = item
        place = self._places.get((kind, name))
        if place is None:
            created = item.get("created")
            place = (created if isinstance(created, int) else 0, seq, name)
            self._places[kind, name] = place
            insort(self._order.setdefault(kind, []), place)
        for path in REFS.get(kind, ()):
            value = field(item, path)
            if isinstance(value, str) and (kind, name, path, value) not in self._listed:
                self._listed.add((kind, name, path, value))
                insort(self._by_ref.setdefault((kind, path, value), []), place)

    def drop_oldest(self, kind: str, before: int) -> int:
        """Forget the objects of a kind without references that were created before a moment; how many."""
        order = self._order.get(kind, [])
        gone = bisect_left(order, (before,))
        for place in order[:gone]:
            name = place[2]
            del self.objects[kind][name]
            del self._places[kind, name]
            self._changed.discard((kind, name))
            self._dropped.append((kind, name))
        del order[:gone]
        return gone

    def places(self, kind: str, wanted: Mapping[str, str] | None = None) -> list[Place]:
        """Places oldest first; narrowed by one of `wanted` where that is indexed, so check the rest."""
        for path, value in (wanted or {}).items():
            if path in REFS.get(kind, ()):
                return self._by_ref.get((kind, path, value), [])
        return self._order.get(kind, [])

    def place_of(self, kind: str, object_id: str) -> Place | None:
        """Where an object stands in its list."""
        return self._places.get((kind, object_id))

    def related(self, kind: str, path: str, value: str) -> list[Object]:
        """The objects whose field at `path` is `value`, oldest first."""
        found = (self.objects[kind][name] for _, _, name in self.places(kind, {path: value}))
        return [item for item in found if field(item, path) == value]

    def push(self, at: int, kind: str, payload: Mapping[str, object]) -> None:
        """Put a happening in the queue."""
        seq = self.count("happenings")
        heapq.heappush(self._queue, (at, seq, kind, dict(payload)))
        self._queued[seq] = (at, kind, payload)

    def pop(self, until: int) -> tuple[int, str, Mapping[str, object]] | None:
        """Take out the earliest happening not after `until`."""
        if not self._queue or self._queue[0][0] > until:
            return None
        at, seq, kind, payload = heapq.heappop(self._queue)
        if self._queued.pop(seq, None) is None:
            self._done.append(seq)
        return at, kind, payload

    def answer(self, key: str) -> SavedAnswer | None:
        """The answer kept under a key."""
        return self._answers.get(key)

    def save_answer(self, saved: SavedAnswer) -> None:
        """Keep an answer under its key."""
        self._answers[saved.key] = self._saved[saved.key] = saved

    def prune_answers(self, before: int) -> None:
        """Drop the answers kept before a moment; they are held in the order they were saved."""
        while self._answers:
            oldest = next(iter(self._answers.values()))
            if oldest.at >= before:
                return
            del self._answers[oldest.key]
            self._saved.pop(oldest.key, None)
            self._pruned.append(oldest.key)

    @property
    def changed(self) -> bool:
        """Whether anything waits to be committed."""
        return bool(self._changed or self._changed_meta or self._queued or self._done or self._dropped)

    def commit(self) -> None:
        """Write all changes since the last commit in one transaction."""
        if not (self.changed or self._saved or self._pruned):
            return
        write = self._db.executemany
        self._db.execute("BEGIN IMMEDIATE")
        write(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
            (
                (kind, name, self._places[kind, name][1], orjson.dumps(self.objects[kind][name]))
                for kind, name in self._changed
            ),
        )
        write("DELETE FROM objects WHERE kind = ? AND id = ?", self._dropped)
        write("DELETE FROM happenings WHERE seq = ?", ((seq,) for seq in self._done))
        write(
            "INSERT INTO happenings VALUES (?, ?, ?, ?)",
            ((seq, at, kind, orjson.dumps(load)) for seq, (at, kind, load) in self._queued.items()),
        )
        write("DELETE FROM answers WHERE key = ?", ((key,) for key in self._pruned))
        rows = ((one.key, one.at, one.request, one.status, one.body) for one in self._saved.values())
        write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", rows)
        meta = ((key, self._meta[key]) for key in self._changed_meta)
        write("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
        self._db.execute("COMMIT")
        self._forget_changes()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
