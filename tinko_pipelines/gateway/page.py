"""One page of a list as Stripe sent it, and what reads its bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from tinko_pipelines.errors import GatewayError


class Listing(Protocol):
    """A page that was read: its objects in Stripe's order, and whether there are more."""

    @property
    def data(self) -> list[Any]:
        """The objects, of whatever form the reader of the page asked for."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether the list goes on."""
        ...


Decode = Callable[[bytes], Listing]
"""Makes a page of its bytes; raises ValueError where they are none."""


@dataclass(frozen=True, slots=True)
class _Plain:
    data: list[Any]
    has_more: bool


def plain(body: bytes) -> Listing:
    """A page whose objects are dictionaries."""
    document = orjson.loads(body)
    try:
        return _Plain(list(document["data"]), bool(document.get("has_more")))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("is no list") from None


@dataclass(frozen=True, slots=True)
class Page:
    """One page as Stripe sent it, with its objects parsed once. `fetched_at` is when it was asked for."""

    object_name: str
    account_id: str
    body: bytes
    fetched_at: datetime
    api_version: str
    request_id: str | None
    data: list[Any]
    has_more: bool = False
    seconds: float = 0.0
    """How long Stripe took to answer."""


def single_object(body: bytes) -> Listing:
    """A page of the one object that was asked for."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("is no object")
    return _Plain([found], False)


def last_id(page: Page) -> str:
    """The id to go on after: the last one, or the nearest before it where the last object is malformed."""
    for item in reversed(page.data):
        found = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
        if isinstance(found, str) and found:
            return found
    raise GatewayError(f"{page.object_name}: a page of {len(page.data)} objects has no id to go on from")
