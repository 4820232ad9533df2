"""Whole pages of objects in good order to typed columns, by decoding their bytes into just the fields that are wanted.

What `parse` says of one object holds here, and a test holds the two together. A page with anything out of order is
not judged here: it is left to `parse`, object by object.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import orjson
import pyarrow as pa

from tinko_pipelines.gateway.page import Listing, plain
from tinko_pipelines.lake.parse import LATEST, Origin, as_json, is_currency
from tinko_pipelines.lake.schemas import (
    COMMON,
    FLAG,
    JSON,
    MOMENT,
    OBJECTS,
    TEXT,
    WHOLE,
    ObjectSpec,
    known_fields,
)

_EMPTY_JSON = (b"", b"null", b"{}", b"[]", b'""', b"0", b"false")
_SECONDS = pa.timestamp("s", tz="UTC")
_TOLD_BY_ORIGIN = {
    "account_id": "account_id",
    "fetched_at": "fetched_at",
    "version_at": "fetched_at",
    "api_version": "api_version",
}


class Named(msgspec.Struct):
    """An object that Stripe expanded in place of its id."""

    id: str | None = None


_TYPES: Mapping[Any, Any] = {
    TEXT: str | Named | None,
    WHOLE: Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)] | None,
    FLAG: bool | None,
    MOMENT: Annotated[int, msgspec.Meta(ge=0, le=LATEST)] | None,
    JSON: msgspec.Raw,
}


@dataclass(slots=True)
class _Node:
    """What is wanted below one field: the columns that end here, and the fields below it. `listed`: of a list's first."""

    kind: Any = None
    below: dict[str, "_Node"] = field(default_factory=dict)
    listed: bool = False
    empty: Any = None


@cache
def page_decoder(name: str) -> Callable[[bytes], Listing]:
    """Reads a page of these objects: into typed ones where all are in good order, into dictionaries otherwise."""
    decode = _page_of(name).decode

    def read(body: bytes) -> Listing:
        try:
            found: Listing = decode(body)
        except msgspec.DecodeError:
            return plain(body)
        return found

    return read


@cache
def _page_of(name: str) -> Any:
    page = msgspec.defstruct("Page", [("data", _list_of(_struct_of(name))), ("has_more", bool, False)])
    return msgspec.json.Decoder(page)


def _list_of(kind: Any) -> Any:
    return types.GenericAlias(list, (kind,))


@cache
def _tree(spec: ObjectSpec) -> _Node:
    root = _Node()
    for name, kind in (
        ("id", TEXT),
        ("object", TEXT),
        ("created", MOMENT),
        ("livemode", FLAG),
        ("deleted", FLAG),
    ):
        root.below[name] = _Node(kind)
    for column in spec.columns:
        for path in column.paths:
            node = root
            for part in path.split("."):
                if part.isdigit():
                    node.listed = True
                else:
                    node = node.below.setdefault(part, _Node())
            node.kind = column.type
    return root


@cache
def _struct_of(name: str) -> Any:
    spec = OBJECTS[name]
    root = _tree(spec)
    wanted = [(part, *_field(node)) for part, node in root.below.items()]
    unused = [
        (part, msgspec.Raw, msgspec.Raw()) for part in sorted(known_fields(name)) if part not in root.below
    ]
    return msgspec.defstruct(spec.stripe_object, [*wanted, *unused], forbid_unknown_fields=True, gc=False)


def _field(node: _Node) -> tuple[Any, Any]:
    """The type of a field, and its default."""
    if node.below:
        inner = msgspec.defstruct(
            "Part", [(part, *_field(child)) for part, child in node.below.items()], gc=False
        )
        node.empty = inner()
        kind: Any = inner | None
    else:
        kind = _TYPES[node.kind]
    if node.listed:
        kind = _list_of(kind) | None
    return kind, msgspec.Raw() if kind is msgspec.Raw else None


def as_columns(name: str, pages: Sequence[tuple[Sequence[Any], Origin]]) -> pa.RecordBatch | None:
    """Rows of pages that `page_decoder` read, or None where something in them is out of order.

    A thousand rows at once cost a fifth of what they cost in tens.
    """
    kind = _struct_of(name)
    if any(type(data[0]) is not kind for data, _ in pages if data):
        return None
    spec = OBJECTS[name]
    found: dict[str, list[Any]] = {}
    _gather(_tree(spec), [one for data, _ in pages for one in data], "", found)
    if not all(found["id"]) or any(found["deleted"]) or set(found["object"]) - {spec.stripe_object}:
        return None
    origins = [(len(data), origin) for data, origin in pages]
    try:
        columns = [*_common(found, origins), *(_column(spec, at, found) for at in range(len(spec.columns)))]
    except (_OutOfOrderError, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    return pa.RecordBatch.from_arrays(columns, schema=spec.schema)


class _OutOfOrderError(ValueError):
    """Something that `parse` has to explain."""


def _gather(node: _Node, objects: Sequence[Any], prefix: str, found: dict[str, list[Any]]) -> None:
    """The values at each wanted path, one for each object."""
    for part, child in node.below.items():
        values = list(map(attrgetter(part), objects))
        path = prefix + part
        if child.listed:
            values = [value[0] if value else None for value in values]
            path += ".0"
        if child.below:
            empty = child.empty
            _gather(child, [empty if value is None else value for value in values], path + ".", found)
        else:
            found[path] = values


def _common(found: Mapping[str, list[Any]], origins: Sequence[tuple[int, Origin]]) -> list[pa.Array]:
    if None in found["created"]:
        raise _OutOfOrderError
    modes = [origin.livemode for count, origin in origins for _ in range(count)]
    told = {
        "id": pa.array(found["id"], TEXT),
        "livemode": pa.array(
            [mode if one is None else one for one, mode in zip(found["livemode"], modes, strict=True)], FLAG
        ),
        "created_at": pa.array(found["created"], _SECONDS).cast(MOMENT),
    }

    def same(name: str, kind: pa.DataType) -> pa.Array:
        values = {"deleted": False, "extra": None}
        parts = [
            pa.repeat(
                pa.scalar(values.get(name, getattr(origin, _TOLD_BY_ORIGIN.get(name, ""), None)), kind), count
            )
            for count, origin in origins
        ]
        return pa.concat_arrays(parts)

    return [told[one.name] if one.name in told else same(one.name, one.type) for one in COMMON]


def _column(spec: ObjectSpec, at: int, found: Mapping[str, list[Any]]) -> pa.Array:
    column = spec.columns[at]
    values = found[column.paths[0]]
    for path in column.paths[1:]:
        values = [other if value is None else value for value, other in zip(values, found[path], strict=True)]
    if column.type == JSON:
        told = [bytes(one) for one in values]
        values = [None if one in _EMPTY_JSON else as_json(orjson.loads(one)) for one in told]
    elif column.type == TEXT:
        try:
            built = pa.array(values, TEXT)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            values = [one.id if isinstance(one, Named) else one for one in values]
            built = pa.array(values, TEXT)
        if column.name == "currency" and not all(is_currency(one) for one in set(values) if one is not None):
            raise _OutOfOrderError
        return _required(spec, column.name, built)
    if column.type == MOMENT:
        return _required(spec, column.name, pa.array(values, _SECONDS).cast(MOMENT))
    return _required(spec, column.name, pa.array(values, column.arrow_type))


def _required(spec: ObjectSpec, name: str, built: pa.Array) -> pa.Array:
    if built.null_count and name in spec.required:
        raise _OutOfOrderError
    return built
