"""Lists as Stripe pages them: newest first, cursors by id, bounds on `created`, one filter after another."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import bad_parameter, missing
from tinko_pipelines.sandbox.store import Object, Place, field

Test = Callable[[Object], bool]


def page(
    book: Book,
    kind: str,
    url: str,
    params: Mapping[str, Any],
    wanted: Mapping[str, Any],
    test: Test | None = None,
) -> Object:
    """One page of a kind: objects whose fields at the paths of `wanted` have those values, and pass `test`."""
    limit = _limit(params)
    places = book.store.places(
        kind, {path: value for path, value in wanted.items() if isinstance(value, str)}
    )
    lower, upper = _bounds(places, params.get("created"))
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise bad_parameter("You cannot parameterize both ending_before and starting_after.", "ending_before")
    if after:
        upper = min(upper, bisect_left(places, _place(book, kind, after, "starting_after")))
    if before:
        lower = max(lower, bisect_right(places, _place(book, kind, before, "ending_before")))
    objects = book.store.objects.get(kind, {})

    def matching(order: Iterator[int]) -> Iterator[Object]:
        for index in order:
            item = objects[places[index][2]]
            if item.get("deleted"):
                continue
            if any(field(item, path) != value for path, value in wanted.items()):
                continue
            if test is None or test(item):
                yield item

    newest_first = range(upper - 1, lower - 1, -1)
    order = matching(iter(reversed(newest_first) if before else newest_first))
    found = [item for _, item in zip(range(limit + 1), order, strict=False)]
    data = found[:limit]
    if before:
        data.reverse()
    return {"object": "list", "data": data, "has_more": len(found) > limit, "url": url}


def _limit(params: Mapping[str, Any]) -> int:
    limit = int(params.get("limit", 10))
    if limit < 1:
        message = "This value must be greater than or equal to 1."
        raise bad_parameter(message, "limit", "parameter_invalid_integer")
    if limit > 100:
        message = f"This value must be less than or equal to 100 (it currently is '{limit}')."
        raise bad_parameter(message, "limit", "parameter_invalid_integer")
    return limit


def _bounds(places: list[Place], created: Any) -> tuple[int, int]:
    """Which stretch of the places lies within the bounds."""
    lower, upper = 0, len(places)
    if created is None:
        return lower, upper
    if isinstance(created, int):
        created = {"gte": created, "lte": created}
    if "gte" in created:
        lower = max(lower, bisect_left(places, (created["gte"],)))
    if "gt" in created:
        lower = max(lower, bisect_left(places, (created["gt"] + 1,)))
    if "lt" in created:
        upper = min(upper, bisect_left(places, (created["lt"],)))
    if "lte" in created:
        upper = min(upper, bisect_left(places, (created["lte"] + 1,)))
    return lower, upper


def _place(book: Book, kind: str, object_id: str, param: str) -> Place:
    place = book.store.place_of(kind, object_id)
    if place is None:
        raise missing(kind.removesuffix("s").replace("_", " "), object_id, param)
    return place
