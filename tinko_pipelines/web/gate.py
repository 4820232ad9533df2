"""What every request passes, whatever it asks for: who may ask, how much and how long, and what is told of it afterwards."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinko_pipelines.ledger.events import EVENT_BYTES_MAX
from tinko_pipelines.web.figures import Figures
from tinko_pipelines.web.logs import say, say_failed

BODY_BYTES_MAX = EVENT_BYTES_MAX
"""Nothing that anybody may send is longer than the longest event."""
HEAD_BYTES_MAX = 16_384
"""Of path, query and headers."""
BODY_SECONDS = 10.0
"""For all of a body to come."""
REQUEST_SECONDS = 30.0
"""For body and answer together."""
AT_ONCE = 128
"""Requests that are answered at the same time; who comes besides is told to come again."""
METHODS = frozenset({"GET", "HEAD", "POST"})
UNMATCHED = "unmatched"
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}
"""On every answer, save where a page says otherwise for itself."""
_SANE = re.compile(r"[0-9A-Za-z._-]{4,64}")


class Gate:
    """Around the whole application, its handling of errors included."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], figures: Figures) -> None:
        self._app, self._hosts, self._figures = app, frozenset(hosts), figures
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and tell of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, receive, send)
        self._under_way += 1
        try:
            await self._pass(passage)
        finally:
            self._under_way -= 1
            self._tell(passage)

    async def _pass(self, passage: _Passage) -> None:
        refusal = self._refusal(passage)
        if refusal is not None:
            status, passage.state["outcome"] = refusal
            await passage.answer(status)
            return
        deadline = asyncio.timeout(REQUEST_SECONDS)
        try:
            async with deadline:
                await self._app(passage.scope, passage.receive, passage.send)
        except ClientDisconnect:
            passage.state["outcome"] = "gone"
        except Exception as error:
            late = deadline.expired()
            passage.state["outcome"] = "timeout" if late else "error"
            say_failed("failed", error, id=passage.id, route=passage.route)
            await passage.answer(503 if late else 500)

    def _refusal(self, passage: _Passage) -> tuple[int, str] | None:
        if self._under_way > AT_ONCE:
            return 503, "busy"
        if _name(passage.headers.get("host", "")) not in self._hosts:
            return 404, "host"
        # The HTTP server has seen to it that the length is a number.
        length = int(passage.headers.get("content-length", "0"))
        if passage.head_bytes > HEAD_BYTES_MAX or length > BODY_BYTES_MAX:
            return 404, "large"
        return None

    def _tell(self, passage: _Passage) -> None:
        seconds = time.monotonic() - passage.began
        method = passage.scope["method"] if passage.scope["method"] in METHODS else "other"
        self._figures.requests.labels(passage.route, method, str(passage.status)).inc()
        self._figures.seconds.labels(passage.route).observe(seconds)
        outcome = passage.state.get("outcome")
        say(
            "request", id=passage.id, method=method, route=passage.route, status=passage.status,
            ms=round(seconds * 1000, 1), **({"outcome": outcome} if outcome else {}),
        )  # fmt: skip


class _Passage:
    """One request on its way in and its answer on its way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began = time.monotonic()
        self.scope, self._receive, self._send = scope, receive, send
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if _SANE.fullmatch(given) else uuid.uuid4().hex
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.state["request_id"] = self.id
        self.status = 0
        self._bytes, self._read = 0, False

    @property
    def head_bytes(self) -> int:
        """The HTTP server holds only those to a limit that come in pieces."""
        target = len(self.scope["path"]) + len(self.scope["query_string"])
        return target + sum(len(name) + len(value) for name, value in self.scope["headers"])

    @property
    def route(self) -> str:
        """The pattern of the path, never the path: tokens lie in it."""
        return str(getattr(self.scope.get("route"), "path", UNMATCHED))

    async def receive(self) -> Message:
        """The next piece of the body; 404 where it is too long, or too long in coming."""
        if self._read:
            return await self._receive()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._left_seconds()):
                message = await self._receive()
        except TimeoutError:
            self.state["outcome"] = "slow"
            raise HTTPException(404) from None
        self._bytes += len(message.get("body", b""))
        self._read = not message.get("more_body", False)
        if self._bytes > BODY_BYTES_MAX:
            self.state["outcome"] = "large"
            raise HTTPException(404)
        return message

    def _left_seconds(self) -> float:
        return max(0.0, self.began + BODY_SECONDS - time.monotonic())

    async def send(self, message: Message) -> None:
        """The next piece of the answer, its head with what stands on all of them."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers["x-request-id"] = self.id
            if not self._read and self.scope["method"] not in ("GET", "HEAD"):
                # What is left of the body is not waited for.
                headers["connection"] = "close"
        await self._send(message)

    async def answer(self, status: int) -> None:
        """Say so with nothing else, if nothing was said yet."""
        if not self.status:
            await Response(status_code=status)(self.scope, self.receive, self.send)


def _name(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
