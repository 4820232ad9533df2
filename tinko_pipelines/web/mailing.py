"""What mails lead back to: the page to stop them, its one-click form for mail programs, and a provider's reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.outreach import bounces, postmark
from tinko_pipelines.outreach.addresses import hash_address, read_or_make_salt, unsubscribing
from tinko_pipelines.outreach.suppression import suppress

if TYPE_CHECKING:
    from tinko_pipelines.app import App

MOST_BYTES = 262_144
"""No report of a provider is nearly so long."""
_CLOSED = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
}
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Stop e-mails from {merchant}",
        "ask": "Press the button, and we will write no more e-mails about payments to your address.",
        "button": "Stop these e-mails",
        "done_title": "No more e-mails",
        "done": "Thank you. We will write no more e-mails about payments to your address. What is owed is not changed by this.",
        "gone": "This page does not exist.",
    },
    "de": {
        "title": "E-Mails von {merchant} abbestellen",
        "ask": "Mit dem Knopf bestellen Sie unsere E-Mails über Zahlungen an Ihre Adresse ab.",
        "button": "Keine E-Mails mehr",
        "done_title": "Keine E-Mails mehr",
        "done": "Danke. Wir schreiben Ihnen keine E-Mails über Zahlungen mehr. An offenen Beträgen ändert das nichts.",
        "gone": "Diese Seite gibt es nicht.",
    },
}
_PAGE = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<style>body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 34em; margin: 12vh auto; padding: 0 1.2em }}
button {{ font: inherit; padding: .7em 1.2em }}</style></head>
<body><main><h1>{title}</h1>{body}</main></body>
</html>
"""


class Mailing:
    """The pages over the use cases' parts."""

    def __init__(self, app: App) -> None:
        self._app = app

    @cached_property
    def _salt(self) -> bytes:
        return read_or_make_salt(self._app.settings.mail_salt)

    def ask(self, request: Request) -> Response:
        """A page with a button; opening it, as scanners of mails do, changes nothing."""
        words = _words(request)
        if self._asked_for(request) is None:
            return _gone(words)
        form = f'<p>{words["ask"]}</p><form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        title = words["title"].format(merchant=self._app.settings.merchant_name)
        return _page(words, title, f"{form}<button>{words['button']}</button></form>")

    def stop(self, request: Request) -> Response:
        """Suppress the address of this link: for the button, and for the one click of a mail program (RFC 8058)."""
        words = _words(request)
        found = self._asked_for(request)
        if found is None:
            return _gone(words)
        suppress(self._app.ledger, found[1], "unsubscribed", self._app.clock.now())
        return _page(words, words["done_title"], f"<p>{words['done']}</p>")

    async def report(self, request: Request) -> Response:
        """A bounce or complaint that the provider tells of, under the secret agreed with it."""
        secret = self._app.settings.postmark_webhook_secret
        if request.path_params["provider"] != "postmark" or secret is None:
            return _gone(_words(request))
        if not postmark.is_postmark(request.headers.get("authorization", ""), secret.get_secret_value()):
            return PlainTextResponse("the secret is missing or wrong", 401, {"WWW-Authenticate": "Basic"})
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return PlainTextResponse("too long", 413)
        try:
            event = json.loads(bytes(body))
        except ValueError:
            event = None
        if not isinstance(event, dict):
            return PlainTextResponse("a JSON object is wanted", 400)
        await run_in_threadpool(self._take, event)
        return PlainTextResponse("ok")

    def _take(self, event: dict[str, Any]) -> None:
        told = postmark.told(event)
        if told is None:
            return
        kind, address, message_id, detail = told
        about = frozenset({hash_address(address, self._salt)})
        report = bounces.Report(kind, detail, message_id, about, is_trusted=True)
        bounces.apply(self._app.ledger, report, self._app.clock.now())

    def _asked_for(self, request: Request) -> tuple[str, str] | None:
        token = str(request.path_params["token"])
        return unsubscribing(self._salt, self._app.settings.account_names, token)


def routes(app: App) -> list[BaseRoute]:
    """What `tinko serve` answers for mails."""
    pages = Mailing(app)
    return [
        Route("/unsubscribe/{token}", pages.ask, methods=["GET"]),
        Route("/unsubscribe/{token}", pages.stop, methods=["POST"]),
        Route("/mail/events/{provider}", pages.report, methods=["POST"]),
    ]


def _words(request: Request) -> Mapping[str, str]:
    """The texts in the first language asked for that we have."""
    for asked in request.headers.get("accept-language", "").split(",")[:10]:
        language = asked.strip()[:2].lower()
        if language in _TEXTS:
            return {**_TEXTS[language], "language": language}
    return {**_TEXTS["en"], "language": "en"}


def _page(words: Mapping[str, str], title: str, body: str, status: int = 200) -> Response:
    page = _PAGE.format(language=words["language"], title=escape(title), body=body)
    return HTMLResponse(page, status, _CLOSED)


def _gone(words: Mapping[str, str]) -> Response:
    return _page(words, words["gone"], "", 404)
