"""Reading many objects: whole pages as bytes over plain HTTP, since SDK objects cost ten times their parsing.

Reads may be repeated safely, so unlike writes they are, a bounded number of times. A reader may be used by several
threads at once.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import orjson

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.page import Decode, Page, last_id, plain, single_object
from tinko_pipelines.gateway.port import RequestRate, refused_resource, resource_of
from tinko_pipelines.gateway.wire import Reply, Wire, WireError

API_VERSION = "2026-10-28.endive"
PAGE_SIZE = 100
MOST_PAGES = 100_000
MOST_TRIES = 6
MOST_AT_ONCE = 16
"""More requests in flight than this only wait for each other at Stripe."""
PATHS = {"checkout_sessions": "checkout/sessions"}
UNBOUNDED = frozenset({"payment_methods"})
"""Objects whose list takes no `created` bounds and so is always read whole, or only by customer."""
EXTRA_PARAMS: dict[str, dict[str, str]] = {"subscriptions": {"status": "all"}}


class NotOfferedError(GatewayError):
    """The server at this address has no such list; Stripe has them all, a stand-in may not."""


class CursorGoneError(GatewayError):
    """The object a list was to go on after is no longer there; the list can be entered by time."""


class BulkReader:
    """Pages of one account. Raises GatewayError in one sentence for 400, 401, 403 and a lost connection.

    `most_at_once` falls when Stripe says that too many requests are in flight; whoever runs several obeys it.
    """

    def __init__(
        self,
        key: str,
        api_base: str,
        account_id: str,
        *,
        connected_account: str | None = None,
        rate: RequestRate | None = None,
        timeout_seconds: float = 25,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_tries: int | None = None,
    ) -> None:
        self.account_id = account_id
        self.livemode = key.startswith(("sk_live_", "rk_live_"))
        self.most_at_once = MOST_AT_ONCE
        self._most_tries = most_tries or MOST_TRIES
        self._base, self._rate, self._sleep, self.now = api_base.rstrip("/"), rate, sleep, now
        headers = {
            "Authorization": f"Bearer {key}",
            "Stripe-Version": API_VERSION,
            "User-Agent": "tinko-pipelines",
            **({"Stripe-Account": connected_account} if connected_account else {}),
        }
        self._wire = Wire(self._base, headers, timeout_seconds)

    def close(self) -> None:
        """Give back the connections."""
        self._wire.close()

    @property
    def requests_per_second(self) -> float | None:
        """Our ceiling, where there is one."""
        return self._rate.requests_per_second if self._rate is not None else None

    def pages(
        self,
        object_name: str,
        *,
        created_gte: datetime | None = None,
        created_lt: datetime | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[Page]:
        """Every page of a list, newest first, of objects created in `[created_gte, created_lt)`."""
        after = None
        for _ in range(MOST_PAGES):
            page = self.page(
                object_name,
                gte=None if created_gte is None else int(created_gte.timestamp()),
                lt=None if created_lt is None else int(created_lt.timestamp()),
                after=after,
                params=params,
            )
            yield page
            if not page.has_more or not page.data:
                return
            after = last_id(page)
        raise GatewayError(f"{object_name}: more than {MOST_PAGES} pages; read a shorter range")

    def page(
        self,
        object_name: str,
        *,
        gte: int | None = None,
        lt: int | None = None,
        after: str | None = None,
        params: Mapping[str, str] | None = None,
        decode: Decode = plain,
    ) -> Page:
        """One page of the objects created in `[gte, lt)` (unix seconds) that come after the one with the id `after`.

        Raises NotOfferedError where there is no such list, CursorGoneError where there is no such object.
        """
        path = _path(object_name)
        query = {"limit": str(PAGE_SIZE), **EXTRA_PARAMS.get(object_name, {}), **(params or {})}
        bounds = {"created[gte]": gte, "created[lt]": lt} if object_name not in UNBOUNDED else {}
        query |= {name: str(at) for name, at in bounds.items() if at is not None}
        if after is not None:
            query["starting_after"] = after
        return self._read(object_name, f"{path}?{urlencode(query)}", decode, after=after)

    def retrieve(self, object_name: str, object_id: str) -> Page | None:
        """One object by id as a page of its own, or None when Stripe does not have it."""
        try:
            path = f"{_path(object_name)}/{quote(object_id, safe='')}"
            return self._read(object_name, path, single_object, single=True)
        except NotOfferedError:
            return None

    def _read(
        self, object_name: str, path: str, decode: Decode, *, after: str | None = None, single: bool = False
    ) -> Page:
        """The page at a path. What is no page is asked for again, as a server's error is."""
        why = ""
        for attempt in range(self._most_tries):
            if self._rate is not None:
                self._rate.acquire(resource=resource_of(path))
            asked_at, began = self.now(), time.monotonic()
            try:
                reply = self._send(path)
            except WireError as error:
                why = str(error)
                self._sleep(min(8.0, 0.25 * 2**attempt))
                continue
            seconds = time.monotonic() - began
            if reply.status == 429 or reply.status >= 500:
                why = f"HTTP {reply.status}"
                self._wait(path, reply, attempt)
                continue
            if reply.status != 200:
                raise self._refused(object_name, path, reply, after=after, single=single)
            try:
                found = decode(reply.body)
            except ValueError:
                why = "it did not answer as Stripe does"
                self._sleep(min(8.0, 0.25 * 2**attempt))
                continue
            return Page(
                object_name,
                self.account_id,
                reply.body,
                asked_at,
                reply.headers.get("stripe-version", API_VERSION),
                reply.headers.get("request-id"),
                found.data,
                found.has_more,
                seconds,
            )
        shown = path.partition("?")[0]
        raise GatewayError(f"{self._base}{shown} cannot be read ({why}): check the address and try again")

    def _send(self, path: str) -> Reply:
        return self._wire.get(path)

    def _wait(self, path: str, reply: Reply, attempt: int) -> None:
        """As long as Stripe asks for, and with fewer requests at once where those are too many."""
        wait_seconds = _wait_seconds(reply, attempt)
        if reply.status == 429:
            reason = reply.headers.get("stripe-rate-limited-reason", "")
            if reason.endswith("concurrency"):
                self.most_at_once = max(1, self.most_at_once - 1)
            elif self._rate is not None:
                self._rate.back_off(wait_seconds, resource=refused_resource(reason, path))
        self._sleep(wait_seconds)

    def _refused(
        self,
        object_name: str,
        path: str,
        reply: Reply,
        *,
        after: str | None,
        single: bool,
    ) -> GatewayError:
        path = path.partition("?")[0]
        try:
            detail = orjson.loads(reply.body)["error"]
            message, param = str(detail.get("message", ""))[:200], detail.get("param")
        except (ValueError, KeyError, TypeError, AttributeError):
            message, param = "", None
        if after is not None and (reply.status == 404 or param == "starting_after"):
            return CursorGoneError(f"{path}: there is no {after} to go on after")
        if reply.status == 404:
            return NotOfferedError(f"{self._base} has no {path}")
        if reply.status == 400 and object_name in UNBOUNDED and not single:
            return NotOfferedError(f"{path} is only listed by customer; what is needed is read by id")
        said = {
            400: "the request is refused",
            401: "the key is refused: set STRIPE_SECRET_KEY to a valid key",
            403: "the key lacks the right to read it: widen the key's rights",
        }.get(reply.status, f"HTTP {reply.status}")
        return GatewayError(f"{path}: {said}" + (f" ({message})" if message and reply.status == 400 else ""))


def _path(object_name: str) -> str:
    return f"/v1/{PATHS.get(object_name, object_name)}"


def _wait_seconds(reply: Reply, attempt: int) -> float:
    try:
        return min(60.0, max(0.0, float(reply.headers["retry-after"])))
    except (KeyError, ValueError):
        return min(8.0, 0.25 * float(2**attempt))
