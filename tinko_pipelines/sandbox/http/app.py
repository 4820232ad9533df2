"""The ASGI application: bytes in, bytes out, and the trouble that was ordered in between.

Handlers run one at a time and to their end; only waiting (slow answers, webhooks) is concurrent.
"""

import asyncio
import socket
import struct
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tinko_pipelines.sandbox.errors import StripeRefusalError
from tinko_pipelines.sandbox.http import pages
from tinko_pipelines.sandbox.http.control import Control
from tinko_pipelines.sandbox.http.faults import (
    UNREADABLE,
    Fault,
    Faults,
    rate_limited,
    server_error,
    unreadable,
)
from tinko_pipelines.sandbox.http.journal import Journal
from tinko_pipelines.sandbox.http.service import JSON_TYPE, Reply, Request, Service, in_use, refusal
from tinko_pipelines.sandbox.http.webhooks import Deliveries
from tinko_pipelines.sandbox.life import Sandbox

LARGEST_BODY_BYTES = 8_000_000
HANG_SECONDS = 60.0
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
NO_LINGER = struct.pack("ii", 1, 0)


class App:
    """Serves one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.service = Service(sandbox)
        self.faults = Faults(sandbox.book.seed)
        self.journal = Journal(sandbox.book)
        self.pages = pages.Pages(sandbox)
        self.control = Control(sandbox, self.faults, self.journal)
        self.deliveries = Deliveries(sandbox.book)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or break its connection."""
        if scope["type"] != "http":
            raise RuntimeError(f"the sandbox speaks HTTP only, not {scope['type']}")
        try:
            request = await _read(scope, receive)
        except ConnectionResetError:
            return
        reply: Reply | None
        try:
            if request is None:
                reply = refusal(StripeRefusalError(413, "The request is too large."), "req_large")
            elif request.path.startswith("/_sandbox"):
                reply = self.control.answer(request)
                self.journal.note(request, reply.status)
            elif request.path.startswith(pages.PREFIX):
                reply = self.pages.answer(request)
            else:
                reply = await self._stripe(request)
                if reply is not None:
                    reply = pages.own_addresses(self.service.sandbox.book, request, reply)
        except (
            Exception
        ):  # the sandbox itself is broken: say so where a person looks, and answer as Stripe would
            traceback.print_exc(file=sys.stderr)
            reply = refusal(server_error(saved=False), "req_broken")
        if reply is None:
            _reset(receive)
            return
        headers = {**JSON_TYPE, "content-length": str(len(reply.body)), **reply.headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": reply.body})
        self.deliveries.wake()

    async def _stripe(self, request: Request) -> Reply | None:
        """The answer, or None when the connection is to break."""
        if self.faults.over_limit():
            self.journal.note(request, 429)
            return refusal(rate_limited("global-rate"), "req_limited")
        name = request.key or f"{request.query}{request.body}{self.service.sandbox.book.now}"
        fault = self.faults.strikes(request.method, request.path, name)
        return self._answer(request) if fault is None else await self._struck(request, fault)

    def _answer(
        self,
        request: Request,
        *,
        spoil: StripeRefusalError | None = None,
        arrived: dict[str, Any] | None = None,
    ) -> Reply:
        with self.journal.watching(request, arrived) as noted:
            reply = self.service.answer(request, spoil=spoil)
            noted["status"] = reply.status
            noted["replayed"] = "idempotent-replayed" in reply.headers
        return reply

    async def _struck(self, request: Request, fault: Fault) -> Reply | None:
        undone = {
            "rate_limit": rate_limited(fault.reason, fault.seconds or 1),
            "error_before": server_error(saved=False),
            "conflict": in_use(str(request.key)),
            "reset_before": None,
        }
        if fault.kind in undone:
            error = undone[fault.kind]
            self.journal.note(request, error.status if error else 0, fault.kind)
            return refusal(error, "req_undone") if error else None
        if fault.kind == "latency":
            return await self._late(request, fault.seconds)
        spoil = server_error(saved=True) if fault.kind == "error_after" else None
        reply = self._answer(request, spoil=spoil)
        if fault.kind == "error_after":
            return reply if reply.status >= 400 else refusal(server_error(saved=True), "req_failed")
        if fault.kind in UNREADABLE:
            status, body, kind = unreadable(fault.kind, reply.body)
            headers = {"content-type": kind}
            if fault.kind == "truncated":
                headers["content-length"] = str(len(reply.body))
            return Reply(status, body, headers)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds or HANG_SECONDS)
        return None

    async def _late(self, request: Request, seconds: float) -> Reply:
        """Begin, wait, and only then do it: meanwhile the key is under way."""
        key, under_way = request.key if self.service.keys_count else None, self.service.under_way
        if key is not None and key in under_way:
            self.journal.note(request, 409, "conflict")
            return refusal(in_use(key), "req_conflict")
        arrived = self.journal.arrival(request, seconds)
        if key is not None:
            under_way.add(key)
        try:
            await asyncio.sleep(seconds)
        finally:
            if key is not None:
                under_way.discard(key)
        return self._answer(request, arrived=arrived)


async def _read(scope: Message, receive: Receive) -> Request | None:
    """The whole request; None when it is too large. Raises ConnectionResetError when its sender ends in its middle."""
    chunks: list[bytes] = []
    size, more = 0, scope["method"] != "GET"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("half a request asks for nothing")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        more = bool(message.get("more_body", False))
        if size > LARGEST_BODY_BYTES:
            return None
    return Request(
        scope["method"],
        scope["path"],
        scope["query_string"].decode("latin-1"),
        b"".join(chunks).decode(errors="replace"),
        {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
    )


def _reset(receive: Receive) -> None:
    """Cut the connection as a crashed peer does; uvicorn's `receive` is a method of what holds the transport."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("this server gives no way to break a connection")
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()
