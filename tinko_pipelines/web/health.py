"""Whether this process lives, whether it can do its work, and its numbers: for a supervisor and for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.clock import SystemClock
from tinko_pipelines.errors import TinkoError
from tinko_pipelines.ledger.store import HEAD_REVISION

if TYPE_CHECKING:
    from tinko_pipelines.app import App

T = TypeVar("T")
LOOK_SECONDS = 5.0
SKEW_SECONDS_MAX = 5.0
"""By so much the clocks of the database's machine and of ours may differ; leases are reckoned by the one, due times by the other."""
OK = "ok"


def routes(app: App) -> list[BaseRoute]:
    """`/healthz`, `/readyz`, `/metrics`."""
    beside = _Beside()

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_request: Request) -> Response:
        found = await beside.do(lambda: standing(app)) or {"ledger": "no answer"}
        fine = all(said == OK for said in found.values())
        return JSONResponse({"ready": fine, **found}, 200 if fine else 503)

    async def metrics(request: Request) -> Response:
        text = await beside.do(request.app.state.figures.text)
        return Response(text, 200 if text else 503, media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]


def standing(app: App) -> dict[str, str]:
    """Of ledger, schema and clock `ok`, or what is wrong with it."""
    try:
        with app.ledger.glance() as connection:
            revision = app.ledger.revision(connection)
            apart_seconds = (app.ledger.database_now(connection) - SystemClock().now()).total_seconds()
    except (TinkoError, SQLAlchemyError):
        return {"ledger": "no answer"}
    schema = OK if revision == HEAD_REVISION else f"{revision}, and this version knows {HEAD_REVISION}"
    return {"ledger": OK, "schema": schema, "clock": _clock(app, apart_seconds)}


def _clock(app: App, apart_seconds: float) -> str:
    if abs(apart_seconds) > SKEW_SECONDS_MAX:
        return f"the database's is {apart_seconds:+.1f} seconds from ours"
    try:
        app.clock.now()
    except TinkoError:
        return "the sandbox whose time it is does not answer"
    return OK


class _Beside:
    """One thread for looks at the ledger, so that one which hangs holds up nothing but the next look."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "looks")

    async def do(self, look: Callable[[], T]) -> T | None:
        """What was found, or None where there is no answer in time."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, look)
        except TimeoutError:
            return None
