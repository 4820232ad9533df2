"""What an endpoint is, and finding the one that a request addresses."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tinko_pipelines.sandbox.actions import Actions
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.http.params import Spec
from tinko_pipelines.sandbox.store import Object


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it: `ids` are those in the path, `params` are typed already."""

    book: Book
    actions: Actions
    ids: tuple[str, ...]
    params: dict[str, Any]
    url: str

    @property
    def id(self) -> str:
        """The object addressed."""
        return self.ids[0]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, in which `*` stands for an id. `sdk` names the SDK's class of its parameters."""

    method: str
    path: str
    handler: Callable[[Call], Object]
    params: Spec
    sdk: str
    shows: str
    """The SDK's class of the object that is answered, or of those listed."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path in pieces."""
        return tuple(self.path.split("/"))


class Routes:
    """Endpoints by shape: at most one for a method and path; named parts win over ids."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._by_shape: Mapping[tuple[str, int], list[Endpoint]] = {}
        shapes: dict[tuple[str, int], list[Endpoint]] = {}
        for endpoint in sorted(self.endpoints, key=lambda one: one.parts.count("*")):
            shapes.setdefault((endpoint.method, len(endpoint.parts)), []).append(endpoint)
        self._by_shape = shapes

    def find(self, method: str, path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
        """The endpoint and the ids in the path; the path begins below `/v1/`."""
        given = path.split("/")
        for endpoint in self._by_shape.get((method, len(given)), ()):
            pairs = list(zip(endpoint.parts, given, strict=True))
            if all(part in ("*", found) and found for part, found in pairs):
                return endpoint, tuple(found for part, found in pairs if part == "*")
        return None
