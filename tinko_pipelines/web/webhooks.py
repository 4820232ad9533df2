"""The door for Stripe's webhooks: what Stripe has signed for the account of the path goes into the inbox, and nothing else.

Nothing is settled here. Stripe sends again whatever was not answered with 200, so that is said only of what is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.accounts import accounts_of
from tinko_pipelines.clock import SystemClock
from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.signature import StaleError, UnsignedError, verify
from tinko_pipelines.ledger.events import OtherAccountError, OtherModeError, Told, read_event
from tinko_pipelines.web.logs import say_failed

if TYPE_CHECKING:
    from tinko_pipelines.app import App

TOGETHER_MOST = 200
"""Events that are written down in one transaction."""
WRITE_SECONDS = 20.0
"""Stripe has given up by then, and sends again."""
OUTCOMES: dict[type[InputError], str] = {
    UnsignedError: "unsigned",
    StaleError: "stale",
    OtherAccountError: "other_account",
    OtherModeError: "other_mode",
}
"""Why an event is refused; all else that is signed and cannot be read is `unreadable`."""

Waiting = tuple[Told, asyncio.Future[bool]]


def routes(app: App) -> list[BaseRoute]:
    """`POST /webhooks/stripe/{account}`."""
    return [Route("/webhooks/stripe/{account}", _Door(app).answer, methods=["POST"])]


class _Door:
    def __init__(self, app: App) -> None:
        settings = app.settings
        self._livemode, self._secrets = settings.livemode, settings.webhook_secrets
        self._ids = {one.name: one.connected_id for one in accounts_of(settings)}
        self._inbox = Together(app.take_events)
        # Stripe signs by the time of day, and so does the sandbox, whatever its own clock shows.
        self._time_of_day = SystemClock()

    async def answer(self, request: Request) -> Response:
        account = request.path_params["account"]
        if account not in self._secrets:
            request.state.outcome = "no_secret" if account in self._ids else "no_account"
            return Response(status_code=404)
        outcome, status = await self._taken(account, await request.body(), request)
        request.state.outcome = outcome
        request.app.state.figures.webhooks.labels(account, outcome).inc()
        return Response(status_code=status)

    async def _taken(self, account: str, body: bytes, request: Request) -> tuple[str, int]:
        try:
            verify(
                body, request.headers.get("stripe-signature"), self._secrets[account], self._time_of_day.now()
            )
            told = read_event(body, {self._ids[account]: account}, livemode=self._livemode)
        except InputError as error:
            return OUTCOMES.get(type(error), "unreadable"), 404
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                new = await self._inbox.take(told)
        except Exception as error:
            say_failed("not stored", error, id=request.state.request_id)
            return "failed", 500
        return ("taken" if new else "known"), 200


class Together:
    """Writes events down beside the event loop: those that come while a transaction is under way share the next one."""

    def __init__(self, write: Callable[[Sequence[Told]], set[str]]) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, "inbox")
        self._waiting: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def take(self, told: Told) -> bool:
        """Whether it was new; it is on disk when this returns. Raises what the ledger raised."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((told, done))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            few, self._waiting = self._waiting[:TOGETHER_MOST], self._waiting[TOGETHER_MOST:]
            if not await self._written(few):
                for one in few:
                    # Each by itself, so that one which cannot be written takes no other with it.
                    await self._written([one])

    async def _written(self, few: Sequence[Waiting]) -> bool:
        """Write those for whom somebody still waits; whether each has his answer, which one alone has in any case."""
        few = [(told, done) for told, done in few if not done.done()]
        if not few:
            return True
        try:
            loop = asyncio.get_running_loop()
            new = await loop.run_in_executor(self._thread, self._write, [told for told, _ in few])
        except Exception as error:
            if len(few) > 1:
                return False
            if not few[0][1].done():
                few[0][1].set_exception(error)
            return True
        for told, done in few:
            if not done.done():
                done.set_result(told.event_id in new)
                new.discard(told.event_id)
        return True
