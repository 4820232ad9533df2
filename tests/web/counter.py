"""A shop whose customers come by link: the web's own routes on a real server, and hands to press buttons with."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette

from tests.retry.shop import Shop
from tinko_pipelines.app import App
from tinko_pipelines.outreach.links import recovery_link
from tinko_pipelines.web import cards, recovery

PUBLIC = "https://pay.example.com"


def made_web(app: App, boundary: Any = lambda _name: None) -> Starlette:
    made = Starlette(routes=[*recovery.routes(app, boundary), *cards.routes(app)])
    made.router.redirect_slashes = False
    return made


@contextmanager
def served(app: App, made: Starlette | None = None) -> Iterator[str]:
    """The routes on loopback, in a thread; or what is `made` of them."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(made or made_web(app), log_level="error", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listening.close()


class Customer:
    """Somebody with a browser, who follows no address by himself."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx.Client(timeout=60, follow_redirects=False)

    def look(self, link: str) -> httpx.Response:
        return self.http.get(self.base + urlsplit(link).path)

    def press(self, link: str, what: str = "", **form: str) -> httpx.Response:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        path = urlsplit(link).path + (f"/{what}" if what else "")
        return self.http.post(self.base + path, content=urlencode(form), headers=headers)

    def goes_to(self, link: str, what: str = "") -> str:
        answer = self.press(link, what)
        assert answer.status_code == 303, (answer.status_code, answer.text)
        return answer.headers["location"]

    def pays(self, page: str, card: str = "pm_card_visa") -> httpx.Response:
        return self.http.post(page, data={"card": card})


def link_for(shop: Shop, debt: str) -> str:
    """As a mail would have it."""
    case, settings = shop.case(debt), shop.app.settings
    made = recovery_link(
        shop.app.ledger,
        case,
        shop.app.clock.now(),
        public_url=settings.public_url,
        days=settings.link_days,
        pages=True,
    )
    assert made is not None
    return made


def sessions(shop: Shop) -> list[dict[str, Any]]:
    """Every page there is at Stripe."""
    body = shop.app.account().gateway.get("/v1/checkout/sessions", {"limit": 100}).body or {}
    return body["data"]
