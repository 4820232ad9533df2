"""`/r/{token}`: a look does nothing, a button leads to Stripe's own page for the same debt, or puts a charge off.

Whatever is no good link of ours is answered 404, always alike. Nobody is led to an address outside of Stripe, and no
word of a request (its host least of all) becomes part of an answer.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.errors import TinkoError
from tinko_pipelines.ledger import links
from tinko_pipelines.retry.checkout import Till
from tinko_pipelines.retry.checkout_make import Way
from tinko_pipelines.retry.later import postpone, window
from tinko_pipelines.web.limit import Presses
from tinko_pipelines.web.recovery_page import STYLE_HASH, Said, page

if TYPE_CHECKING:
    from tinko_pipelines.app import App

LARGEST_FORM_BYTES = 1_024
LONG_AGO = timedelta(days=90)
"""So long after its end a link is as one that never was."""
PATIENCE_SECONDS = 2.0
MOST_WAITING = 2
BACK = "done"
"""Where Stripe sends customers afterwards: a page that holds no token, since Stripe and the ledger keep its address."""
_WORDS = {"paid": "paid", "closed": "closed", "human": "ask", "revoked": "expired", "expired": "expired"}

Row = dict[str, Any]


def routes(app: App, boundary: Callable[[str], None] = lambda _name: None) -> list[BaseRoute]:
    """The pages of recovery links."""
    desk = _Desk(app, boundary)
    return [
        Route(f"/r/{BACK}", desk.back, methods=["GET"]),
        Route("/r/{token}", desk.look, methods=["GET"]),
        Route("/r/{token}", desk.pay, methods=["POST"]),
        Route("/r/{token}/card", desk.card, methods=["POST"]),
        Route("/r/{token}/later", desk.later, methods=["POST"]),
    ]


class _Desk:
    def __init__(self, app: App, boundary: Callable[[str], None]) -> None:
        self._app, self._boundary = app, boundary
        self._presses = Presses()
        self._turns = threading.Condition()
        self._at_it: set[str] = set()
        self._waiting: Counter[str] = Counter()

    async def back(self, request: Request) -> Response:
        """Thanks, whatever was done."""
        return self._html(self._said("back", {"locale": request.headers.get("accept-language", "")[:2]}))

    async def look(self, request: Request) -> Response:
        """What is to be paid, and a button."""
        return await run_in_threadpool(self._answered, request, self._shown)

    async def pay(self, request: Request) -> Response:
        """On to Stripe's page, or why not."""
        return await run_in_threadpool(self._answered, request, self._paying)

    async def card(self, request: Request) -> Response:
        """On to Stripe's portal, or why not."""
        return await run_in_threadpool(self._answered, request, self._changing)

    async def later(self, request: Request) -> Response:
        """Put the next charge off."""
        day = await _day_of(request)
        return await run_in_threadpool(
            self._answered, request, lambda token, link, case: self._putting_off(token, link, case, day)
        )

    def _answered(self, request: Request, act: Callable[[str, Row, Row], Response]) -> Response:
        """The answer to a good link, whoever else is behind the same address; 404 to everything else."""
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.method == "POST":
            raise HTTPException(404)
        token = str(request.path_params["token"])
        try:
            with self._app.ledger.read() as connection:
                found = links.find(connection, token)
            if found is None or not self._serves(*found):
                raise HTTPException(404)
            if request.method == "POST" and not self._presses.allowed(found[0]["id"]):
                return self._html(self._said("wait", found[1], again=True, token=token), 503)
            if request.method == "GET" and found[0]["first_opened_at"] is None:
                with self._app.ledger.write(durable=False) as connection:
                    links.opened(connection, found[0], self._app.clock.now())
            return act(token, *found)
        except (TinkoError, SQLAlchemyError):
            # Stripe or the ledger cannot be used; what was begun is settled by the next drain.
            return self._html(self._said("wait", None, again=True, token=token), 503)

    def _serves(self, link: Row, case: Row) -> bool:
        """Whether the link is of an account and a mode served here, and not long over."""
        settings, now = self._app.settings, self._app.clock.now()
        known = link["account_id"] in settings.account_names and link["livemode"] == settings.livemode
        over = max(moment for moment in (link["expires_at"], link["used_at"], case["closed_at"]) if moment)
        return bool(known and now < over + LONG_AGO)

    def _shown(self, token: str, link: Row, case: Row) -> Response:
        now = self._app.clock.now()
        standing = links.standing(link, case, now)
        if standing != "good":
            return self._html(self._said(_WORDS[standing], case))
        with self._app.ledger.read() as connection:
            days = window(connection, case, now)
        return self._html(
            self._said(
                "open",
                case,
                token=token,
                pay=True,
                card=bool(case["subscription_id"] and case["customer_id"]),
                days=days,
                amount=(link["amount_minor"], link["currency"]),
            )
        )

    def _paying(self, token: str, link: Row, case: Row) -> Response:
        with self._alone(case["id"]) as ours:
            way = self._till(link).pay(link) if ours else Way("wait")
        return self._gone_on(way, token, case)

    def _changing(self, token: str, link: Row, case: Row) -> Response:
        return self._gone_on(self._till(link).change_card(link), token, case, up="../")

    def _putting_off(self, token: str, link: Row, case: Row, day: date | None) -> Response:
        if day is None:
            raise HTTPException(404)
        now = self._app.clock.now()
        done = postpone(self._app.ledger, link, day, now)
        if done == "closed":
            standing = links.standing(link, case, now)
            return self._html(self._said(_WORDS.get(standing, "closed"), case))
        with self._app.ledger.read() as connection:
            days = window(connection, case, now) if done == "outside" else None
        return self._html(
            self._said(done, case, token=token, up="../", back=True, day=day, days=days),
            200 if done == "done" else 409,
        )

    def _till(self, link: Row) -> Till:
        return self._app.account(link["account_id"]).till(f"web:{os.getpid()}", self._boundary)

    def _gone_on(self, way: Way, token: str, case: Row, up: str = "") -> Response:
        if way.url is not None and self._is_stripes(way.url):
            return RedirectResponse(way.url, 303, headers=self._headers())
        word = "ask" if way.url is not None else way.standing
        again = word in ("wait", "busy")
        status = 503 if word == "wait" else 200
        return self._html(self._said(word, case, token=token, up=up, again=again), status)

    def _is_stripes(self, url: str) -> bool:
        """The only addresses anybody is led to: Stripe's, or those of its stand-in on this machine."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https" and not parts.username and parts.port in (None, 443):
            return host == "stripe.com" or host.endswith(".stripe.com")
        return self._stand_in is not None and url.startswith(f"{self._stand_in}/")

    @property
    def _stand_in(self) -> str | None:
        settings = self._app.settings
        return settings.stripe_api_base.rstrip("/") if settings.is_loopback else None

    def _said(self, what: str, case: Row | None, **more: Any) -> Said:
        settings = self._app.settings
        locale = case["locale"] if case else None
        return Said(what, locale, settings.merchant_name, settings.support_email, **more)

    def _html(self, said: Said, status: int = 200) -> Response:
        return HTMLResponse(page(said), status, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        where = " ".join(["'self'", "https://*.stripe.com", *([self._stand_in] if self._stand_in else [])])
        return {
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-robots-tag": "noindex, nofollow",
            "content-security-policy": f"default-src 'none'; style-src '{STYLE_HASH}'; form-action {where};"
            " frame-ancestors 'none'; base-uri 'none'",
        }

    @contextmanager
    def _alone(self, case_id: str) -> Iterator[bool]:
        """One at a time for a case; the ledger holds that anyhow, this only spares Stripe the others' questions."""
        with self._turns:
            ours = case_id not in self._at_it
            if not ours and self._waiting[case_id] < MOST_WAITING:
                self._waiting[case_id] += 1
                ours = self._turns.wait_for(lambda: case_id not in self._at_it, PATIENCE_SECONDS)
                self._waiting[case_id] -= 1
                if not self._waiting[case_id]:
                    del self._waiting[case_id]
            if ours:
                self._at_it.add(case_id)
        try:
            yield ours
        finally:
            if ours:
                with self._turns:
                    self._at_it.discard(case_id)
                    self._turns.notify_all()


async def _day_of(request: Request) -> date | None:
    """The day of the form; None for what is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM_BYTES:
            return None
    try:
        (text,) = parse_qs(body.decode("ascii"), max_num_fields=5).get("day", [])
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        return None
