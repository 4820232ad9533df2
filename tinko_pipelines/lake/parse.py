"""One Stripe object to one typed row, or the reason why it cannot be one. Nothing is stored here.

This says what a row is; `columns` does the same for whole pages of objects in good order, only faster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from tinko_pipelines.lake.schemas import FLAG, JSON, MOMENT, WHOLE, Column, ObjectSpec, known_fields

Row = dict[str, Any]
LATEST = 253_402_300_799
"""The last second of the year 9999; a later moment is a mistake."""
BODY_LENGTH_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Malformed:
    """An object that cannot be a row: what is wrong with it, and what it was."""

    id: str | None
    reason: str
    body: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose object it is, and when and in which API version it was told. `livemode` stands in where it does not say."""

    account_id: str
    livemode: bool
    fetched_at: datetime
    api_version: str


def parse(spec: ObjectSpec, item: Any, origin: Origin) -> Row | Malformed:
    """The row of one object as Stripe sent it."""
    try:
        return _row(spec, item, origin)
    except ValueError as error:
        found = item.get("id") if isinstance(item, dict) else None
        body = orjson.dumps(item, default=str).decode()[:BODY_LENGTH_MAX]
        return Malformed(found if isinstance(found, str) else None, str(error), body)


def _row(spec: ObjectSpec, item: Any, origin: Origin) -> Row:
    if not isinstance(item, dict):
        raise ValueError(f"is {type(item).__name__}, not an object")
    if item.get("object") != spec.stripe_object:
        raise ValueError(f"object is {item.get('object')!r}, not {spec.stripe_object!r}")
    name, created_at = item.get("id"), _moment(item.get("created"), "created")
    if not isinstance(name, str) or not name or created_at is None:
        raise ValueError(f"{'created' if isinstance(name, str) and name else 'id'} is missing")
    row: Row = {
        "id": name,
        "account_id": origin.account_id,
        "livemode": bool(item.get("livemode", origin.livemode)),
        "created_at": created_at,
        "fetched_at": origin.fetched_at,
        "version_at": origin.fetched_at,
        "api_version": origin.api_version,
        "deleted": bool(item.get("deleted", False)),
        "extra": _extra(spec, item),
    }
    for column in spec.columns:
        row[column.name] = _value(column, item)
    currency = row.get("currency")
    if currency is not None and not is_currency(currency):
        raise ValueError(f"currency is {currency[:50]!r}, not three letters")
    missing = sorted(name for name in spec.required if row[name] is None)
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return row


def is_currency(code: str) -> bool:
    """Whether it has the form of an ISO code."""
    return len(code) == 3 and code.isascii() and code.isalpha()


def _extra(spec: ObjectSpec, item: Mapping[str, Any]) -> str | None:
    """Fields that the pinned API version does not have, as JSON."""
    beyond = {name: value for name, value in item.items() if name not in known_fields(spec.name)}
    return as_json(beyond)


def as_json(found: Any) -> str | None:
    """Its one form as text, or None for what is empty."""
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode() if found else None


def _value(column: Column, item: Mapping[str, Any]) -> Any:
    for path in column.paths:
        found = at_path(item, path)
        if found is not None:
            return _typed(column, found)
    return None


def at_path(item: Any, path: str) -> Any:
    """What lies at a path such as `outcome.type` or `items.data.0.price`; None where nothing does."""
    for part in path.split("."):
        if isinstance(item, dict):
            item = item.get(part)
        elif isinstance(item, list) and part.isdigit():
            item = item[int(part)] if int(part) < len(item) else None
        else:
            return None
    return item


def _typed(column: Column, found: Any) -> Any:
    if column.type == JSON:
        return as_json(found)
    if column.type == MOMENT:
        return _moment(found, column.name)
    if column.type == WHOLE:
        if isinstance(found, bool) or not isinstance(found, int) or abs(found) >= 2**63:
            raise ValueError(f"{column.name} is {str(found)[:50]!r}, not a whole number")
        return found
    if column.type == FLAG:
        if not isinstance(found, bool):
            raise ValueError(f"{column.name} is {str(found)[:50]!r}, neither true nor false")
        return found
    if isinstance(found, dict):  # An object that Stripe expanded in place of its id.
        found = found.get("id")
    if found is not None and not isinstance(found, str):
        raise ValueError(f"{column.name} is {str(found)[:50]!r}, not text")
    return found


def _moment(found: Any, name: str) -> datetime | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= LATEST:
        raise ValueError(f"{name} is {str(found)[:50]!r}, not a moment in unix seconds")
    return datetime.fromtimestamp(found, UTC)
