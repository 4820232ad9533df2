"""Who was erased, and what may still be kept of his payments: pages of Stripe's objects without him.

Only hashes are known of him, of his own id and of those of all that is his. One rule says what of an object stays, here
for JSON and in `rows` for rows: what has a column, and is neither personal nor names him.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec
import orjson

from tinko_pipelines.lake.parse import at_path
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT, ERASED, OBJECTS, PEOPLE, TEXT, Column

_NAMED = re.compile(rb'"(?:customer|id)"\s*:\s*"([^"\\]{1,255})"')
_IDS = re.compile(rb'"([a-z]{2,14}_[0-9A-Za-z_]{1,240})"')
_WORD = re.compile(r"[0-9A-Za-z_-]{3,255}")
_ADDRESS = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")
_MONEY = re.compile(r"(?:ch|py|pi|in|inpay|sub|re|pyr|dp|du|txn|cs|evt)_")
"""How ids begin that name money or news of it; they join payments to each other and stay."""
_ALWAYS = ("object", "created", "livemode", "deleted")
_BEYOND_COLUMNS = frozenset({"metadata", "object", "type", "currency"})
"""Fields of an object that name no other one."""


class _Listed(msgspec.Struct):
    """A page whose objects are left as the bytes they are."""

    data: list[msgspec.Raw]
    has_more: bool = False


_LIST = msgspec.json.Decoder(_Listed)
_Tree = dict[str, Any]


def hashed(identity: str) -> str:
    """The name under which an id is remembered once it is erased."""
    return sha256(identity.encode()).hexdigest()


class Erased:
    """The hashes of everything that is an erased person's, in one account; false while there is none.

    Objects of his that come later are his too: their ids are handed to `remember` before anything of them is kept.
    """

    def __init__(
        self, known: Iterable[str] = (), remember: Callable[[set[str]], None] = lambda _ids: None
    ) -> None:
        self.known, self._remember = set(known), remember

    def __bool__(self) -> bool:
        return bool(self.known)

    def knows(self, identity: Any) -> bool:
        """Whether this is the id of something of his."""
        return isinstance(identity, str) and hashed(identity) in self.known

    def names_him(self, text: Any) -> bool:
        """Whether a text holds an address, or an id of his that is not of money."""
        return isinstance(text, str) and self.cleaned(text) != text

    def cleaned(self, text: str) -> str:
        """The text without them."""

        def word(found: re.Match[str]) -> str:
            one = found.group()
            return ERASED if not _MONEY.match(one) and self.knows(one) else one

        return _WORD.sub(word, _ADDRESS.sub(ERASED, text))

    def touches(self, body: bytes) -> bool:
        """Whether anything of his may be in these bytes of JSON."""
        found = {*_NAMED.findall(body), *_IDS.findall(body)}
        return any(sha256(one).hexdigest() in self.known for one in found)

    def page(self, name: str, body: bytes, *, single: bool) -> bytes:
        """A page without him, other objects byte for byte as they were; empty where nothing is left of a `single` one."""
        if not self.known or not self.touches(body):
            return body
        if single:
            return self._without(name, body) or b""
        found = _LIST.decode(body)
        told = [bytes(raw) for raw in found.data]
        kept = [one for raw in told if (one := self._without(name, raw)) is not None]
        if kept == told:
            return body
        more = b"true" if found.has_more else b"false"
        return b'{"object":"list","data":[' + b",".join(kept) + b'],"has_more":' + more + b"}"

    def _without(self, name: str, raw: bytes) -> bytes | None:
        if not self.touches(raw):
            return raw
        item = orjson.loads(raw)
        left = self.object(name, item)
        return raw if left is item else None if left is None else orjson.dumps(left)

    def object(self, name: str, item: Any) -> Any:
        """An object without him, itself where it is not his; None where nothing of it stays."""
        if not isinstance(item, dict):
            return None
        if not self.is_his(name, item):
            return item
        self._learn(name, item)
        return None if name in PEOPLE else self._reduced(name, item)

    def is_his(self, name: str, item: Mapping[str, Any]) -> bool:
        """Whether an object is his: by its own id, by its customer, or by what it is of where it names no customer."""
        if self.knows(item.get("id")) or name == "customers":
            return self.knows(item.get("id"))
        if name == "events":
            inner = at_path(item, "data.object")
            kind = BY_STRIPE_OBJECT.get(str(inner.get("object")), "") if isinstance(inner, dict) else ""
            return isinstance(inner, dict) and self.is_his(kind, inner)
        payer = _identity(item.get("customer"))
        if payer is not None:
            return self.knows(payer)
        return any(self.knows(one) for one in _referred(name, item))

    def _learn(self, name: str, item: Mapping[str, Any]) -> None:
        inner = at_path(item, "data.object") if name == "events" else None
        ids = {item.get("id"), _identity(inner), *(_identity(at_path(item, path)) for path in _own(name))}
        fresh = {one for one in ids if isinstance(one, str) and one != ERASED and not self.knows(one)}
        if fresh:
            self._remember(fresh)
            self.known |= {hashed(one) for one in fresh}

    def _reduced(self, name: str, item: Mapping[str, Any]) -> dict[str, Any]:
        left: dict[str, Any] = {"id": item.get("id"), **self._allowed(_tree(name), item)}
        if any(column.name == "customer_id" for column in OBJECTS[name].columns):
            left["customer"] = ERASED
        return left

    def _allowed(self, node: Any, value: Any) -> Any:
        """What of a value stays: below a branch what has a column, at its end what does not name him."""
        if not isinstance(node, dict):
            value = _identity(value) if node == TEXT and isinstance(value, dict) else value
            return None if isinstance(value, dict | list) or self.names_him(value) else value
        if "0" in node:
            return [self._allowed(node["0"], value[0])] if isinstance(value, list) and value else None
        if not isinstance(value, dict):
            return None
        found = {part: self._allowed(below, value.get(part)) for part, below in node.items()}
        return {part: one for part, one in found.items() if one is not None}

    def row(self, name: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same for a row of the lake; None where nothing of it stays."""
        if name in PEOPLE:
            return None
        left = {**row, "extra": None}
        for column in OBJECTS[name].columns:
            if column.name == "customer_id":
                left[column.name] = ERASED
            elif column.personal or self.names_him(row[column.name]):
                left[column.name] = None
        return left

    def holds(self, body: str) -> bool:
        """Whether a text of any form names something of his; for what is no object, or cut off in its midst."""
        return any(self.knows(one) for one in set(_WORD.findall(body)))


NOBODY = Erased()
"""Of an account where no one was erased."""


def _identity(value: Any) -> str | None:
    """The id that a field names, whether or not Stripe expanded it."""
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _referred(name: str, item: Mapping[str, Any]) -> Iterator[str | None]:
    """The ids of what an object is of."""
    yield from (_identity(value) for field, value in item.items() if field not in _BEYOND_COLUMNS)
    if name in OBJECTS:
        columns = (column for column in OBJECTS[name].columns if column.name.endswith("_id"))
        yield from (_identity(at_path(item, path)) for column in columns for path in column.paths)


@cache
def _own(name: str) -> tuple[str, ...]:
    """Where an object names what is of its payer alone."""
    columns = OBJECTS[name].columns
    return tuple(
        path for one in columns if one.personal and one.name.endswith("method_id") for path in one.paths
    )


@cache
def _tree(name: str) -> _Tree:
    """What may stay of an object, as its fields lie: the type of a column at the end of each path."""
    root: _Tree = dict.fromkeys(_ALWAYS)
    for column in OBJECTS[name].columns:
        if not column.personal:
            _plant(root, column)
    return root


def _plant(root: _Tree, column: Column) -> None:
    for path in column.paths:
        *branch, leaf = path.split(".")
        node = root
        for part in branch:
            node = node.setdefault(part, {})
        node[leaf] = column.type
