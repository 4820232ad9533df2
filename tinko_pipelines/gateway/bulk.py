"""Reading many objects: whole pages as bytes over plain HTTP, since SDK objects cost ten times their parsing.

Reads may be repeated safely, so unlike writes they are, a bounded number of times.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.port import RequestRate

API_VERSION = "2026-10-28.endive"
PAGE_SIZE = 100
MOST_PAGES = 100_000
MOST_TRIES = 6
PATHS = {"checkout_sessions": "checkout/sessions"}
UNBOUNDED = frozenset({"payment_methods"})
"""Objects whose list takes no `created` bounds and so is always read whole, or only by customer."""
EXTRA_PARAMS: dict[str, dict[str, str]] = {"subscriptions": {"status": "all"}}


class NotOfferedError(GatewayError):
    """The server at this address has no such list; Stripe has them all, a stand-in may not."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page as Stripe sent it, with its objects parsed once."""

    object_name: str
    account_id: str
    body: bytes
    fetched_at: datetime
    api_version: str
    request_id: str | None
    data: list[Any]


class BulkReader:
    """Pages of one account. Raises GatewayError in one sentence for 400, 401, 403 and a lost connection."""

    def __init__(
        self,
        key: str,
        api_base: str,
        account_id: str,
        *,
        rate: RequestRate | None = None,
        timeout_seconds: float = 25,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.account_id = account_id
        self.livemode = key.startswith(("sk_live_", "rk_live_"))
        self._base, self._rate, self._sleep = api_base, rate, sleep
        headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION}
        self._client = httpx.Client(base_url=api_base, headers=headers, timeout=timeout_seconds)

    def close(self) -> None:
        """Give back the connection."""
        self._client.close()

    def pages(
        self,
        object_name: str,
        *,
        created_gte: datetime | None = None,
        created_lt: datetime | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[Page]:
        """Every page of a list, newest first, of objects created in `[created_gte, created_lt)`."""
        query = {"limit": str(PAGE_SIZE), **EXTRA_PARAMS.get(object_name, {}), **(params or {})}
        if object_name not in UNBOUNDED:
            if created_gte is not None:
                query["created[gte]"] = str(int(created_gte.timestamp()))
            if created_lt is not None:
                query["created[lt]"] = str(int(created_lt.timestamp()))
        for _ in range(MOST_PAGES):
            page, more = self._page(object_name, f"/v1/{PATHS.get(object_name, object_name)}", query)
            yield page
            if not more or not page.data:
                return
            query["starting_after"] = _cursor(object_name, page)
        raise GatewayError(f"{object_name}: more than {MOST_PAGES} pages; read a shorter range")

    def retrieve(self, object_name: str, object_id: str) -> Page | None:
        """One object by id as a page of its own, or None when Stripe does not have it."""
        path = f"/v1/{PATHS.get(object_name, object_name)}/{object_id}"
        response = self._get(path, {})
        if response.status_code == 404:
            return None
        return self._parsed(object_name, response, lambda document: [document])[0]

    def _page(self, object_name: str, path: str, query: Mapping[str, str]) -> tuple[Page, bool]:
        by_customer = object_name in UNBOUNDED
        response = self._get(path, query, by_customer=by_customer)
        if response.status_code == 404 and "starting_after" not in query:
            raise NotOfferedError(f"{self._base} has no {path}")
        if response.status_code == 400:
            raise NotOfferedError(f"{path} is only listed by customer; what is needed is read by id")
        return self._parsed(object_name, response, lambda document: document["data"])

    def _parsed(
        self, object_name: str, response: httpx.Response, rows: Callable[[Any], list[Any]]
    ) -> tuple[Page, bool]:
        try:
            document = orjson.loads(response.content)
            data = rows(document)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise GatewayError(f"{response.url.path} at {self._base} did not answer as Stripe does") from None
        page = Page(
            object_name,
            self.account_id,
            response.content,
            datetime.now(UTC),
            response.headers.get("stripe-version", API_VERSION),
            response.headers.get("request-id"),
            data,
        )
        return page, bool(document.get("has_more"))

    def _get(self, path: str, query: Mapping[str, str], *, by_customer: bool = False) -> httpx.Response:
        why = ""
        for attempt in range(MOST_TRIES):
            if self._rate is not None:
                self._rate.acquire()
            try:
                response = self._client.get(path, params=dict(query))
            except httpx.TransportError as error:
                why = type(error).__name__
                self._sleep(min(8.0, 0.25 * 2**attempt))
                continue
            if response.status_code == 429 or response.status_code >= 500:
                why = f"HTTP {response.status_code}"
                wait_seconds = _wait_seconds(response, attempt)
                if response.status_code == 429 and self._rate is not None:
                    self._rate.back_off(wait_seconds)
                self._sleep(wait_seconds)
                continue
            if response.status_code in {200, 404} or (response.status_code == 400 and by_customer):
                return response
            raise self._refused(path, response)
        raise GatewayError(f"{self._base}{path} cannot be read ({why}): check the address and try again")

    def _refused(self, path: str, response: httpx.Response) -> GatewayError:
        said = {
            400: "the request is refused",
            401: "the key is refused: set STRIPE_SECRET_KEY to a valid key",
            403: "the key lacks the right to read it: widen the key's rights",
        }.get(response.status_code, f"HTTP {response.status_code}")
        try:
            detail = str(orjson.loads(response.content)["error"]["message"])[:200]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            detail = ""
        return GatewayError(
            f"{path}: {said}" + (f" ({detail})" if detail and response.status_code == 400 else "")
        )


def _cursor(object_name: str, page: Page) -> str:
    """The id to go on after: the last one, or the nearest before it where the last object is malformed."""
    for item in reversed(page.data):
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            return str(item["id"])
    raise GatewayError(f"{object_name}: a page of {len(page.data)} objects has no id to go on from")


def _wait_seconds(response: httpx.Response, attempt: int) -> float:
    try:
        return min(60.0, max(0.0, float(response.headers["retry-after"])))
    except (KeyError, ValueError):
        return min(8.0, 0.25 * float(2**attempt))
