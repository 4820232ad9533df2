"""A small read-only Stripe: lists with cursors and bounds, and single objects."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tinko_pipelines.gateway.bulk import PATHS
from tinko_pipelines.lake.schemas import OBJECTS


class Shelf:
    """Objects by list name; `missing` lists answer 404, `forbidden` ones 403; `asked` counts requests by path."""

    def __init__(self) -> None:
        self.objects: dict[str, list[Any]] = {PATHS.get(name, name): [] for name in OBJECTS}
        self.missing: set[str] = set()
        self.forbidden: set[str] = set()
        self.asked: list[str] = []
        self.base = ""

    def put(self, name: str, *items: Any) -> None:
        fresh = {item["id"] for item in items if isinstance(item, dict) and "id" in item}
        kept = [
            item for item in self.objects[name] if not (isinstance(item, dict) and item.get("id") in fresh)
        ]
        self.objects[name] = kept + list(items)

    def answer(self, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = parts.path.removeprefix("/v1/")
        self.asked.append(name)
        if name in self.forbidden:
            return 403, {"error": {"message": "no right"}}
        if name in self.missing:
            return 404, {"error": {"message": "unknown"}}
        if name not in self.objects:
            name, _, identity = name.rpartition("/")
            found = [
                item for item in self.objects[name] if isinstance(item, dict) and item.get("id") == identity
            ]
            return (200, found[0]) if found else (404, {"error": {"message": "no such object"}})
        return 200, self._page(name, query)

    def _page(self, name: str, query: dict[str, str]) -> dict[str, Any]:
        def born(item: Any) -> int:
            created = item.get("created") if isinstance(item, dict) else None
            return created if isinstance(created, int) and created < 10**11 else 10**11

        rows = sorted(self.objects[name], key=born, reverse=True)
        low, high = int(query.get("created[gte]", 0)), int(query.get("created[lt]", 10**12))
        rows = [
            item
            for item in rows
            if (low <= born(item) < high or born(item) == 10**11) and "deleted" not in item
        ]
        if "starting_after" in query:
            at = next(n for n, item in enumerate(rows) if item.get("id") == query["starting_after"])
            rows = rows[at + 1 :]
        limit = int(query["limit"])
        return {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit}
