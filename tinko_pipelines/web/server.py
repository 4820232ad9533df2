"""The web put together, and served by one process until it is told to stop."""

from __future__ import annotations

import signal
import socket
from asyncio import TimerHandle, Transport
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinko_pipelines.errors import InputError
from tinko_pipelines.guard import guard
from tinko_pipelines.web import cards, health, logs, mailing, opens, recovery, webhooks
from tinko_pipelines.web.figures import Figures
from tinko_pipelines.web.gate import HEAD_BYTES_MAX, Gate

if TYPE_CHECKING:
    from tinko_pipelines.app import App

PARTS = (webhooks, recovery, cards, mailing, opens, health)
HEAD_SECONDS = 10.0
"""For all headers of a request to come."""
IDLE_SECONDS = 75
"""Longer than proxies keep a connection, so that none is closed while a request of theirs is on its way."""
CONNECTIONS_MOST = 512
BACKLOG = 512
STOP_SECONDS = 15
"""For requests under way when we are told to stop."""


def create_app(app: App) -> Starlette:
    """Every route behind the one gate. What is not answered by a route is answered 404, and nothing says why."""
    figures = Figures(app)
    made = Starlette(
        routes=[route for part in PARTS for route in part.routes(app)],
        middleware=[Middleware(Gate, hosts=app.settings.hosts, figures=figures)],
        exception_handlers={HTTPException: _nothing_here},
    )
    # Else a path with a slash too much would be led on to wherever the Host header says.
    made.router.redirect_slashes = False
    made.state.figures = figures
    return made


def _nothing_here(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404)


def serve(app: App, host: str, port: int) -> None:
    """Answer until SIGTERM or Ctrl-C; what is under way then is answered first."""
    guard(app.settings)
    made = create_app(app)
    for name in app.settings.account_names:
        app.erased(
            name
        )  # What is loaded with it, and a ledger that cannot be used, would hold up the first webhook.
    with _listening(host, port) as listener:
        logs.start()
        doors = sorted(app.settings.webhook_secrets)
        logs.say("listening", host=host, port=listener.getsockname()[1], webhooks_for=doors)
        config = uvicorn.Config(
            made, http=_Patient, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            # The proxy before us runs on this machine, and it alone is believed about whom it asks for.
            forwarded_allow_ips="127.0.0.1",
            h11_max_incomplete_event_size=HEAD_BYTES_MAX, limit_concurrency=CONNECTIONS_MOST, backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=STOP_SECONDS,
        )  # fmt: skip
        # It raises the signal once more when it has stopped; that is no failure of ours.
        signal.signal(signal.SIGTERM, _stopped)
        signal.signal(signal.SIGINT, _stopped)
        uvicorn.Server(config).run([listener])
    app.ledger.close()
    logs.say("stopped")


def _stopped(_signal: int, _frame: Any) -> None:
    return


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(
            f"cannot listen on {host} port {port}: {why}; choose another --host or --port"
        ) from None


class _Patient(H11Protocol):
    """Waits for the headers of a request no longer than `HEAD_SECONDS`; the gate sees to the time of its body."""

    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Begin to wait, unless a request has come whose answer is under way."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
