"""`/c/{token}`: the page of a mail about a card that ends. A look does nothing, a button leads to Stripe's portal."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.errors import TinkoError
from tinko_pipelines.ledger.schema import card_notice, message
from tinko_pipelines.outreach.addresses import id_of, read_or_make_salt
from tinko_pipelines.outreach.merchant import CARD
from tinko_pipelines.web.recovery import _Desk

if TYPE_CHECKING:
    from tinko_pipelines.app import App

Row = dict[str, Any]


def routes(app: App) -> list[BaseRoute]:
    """The pages of mails about cards."""
    desk = _CardDesk(app)
    return [
        Route("/c/{token}", desk.answer, methods=["GET"]),
        Route("/c/{token}/card", desk.answer, methods=["POST"]),
    ]


class _CardDesk(_Desk):
    """Answers as recovery links are answered; it is about a card, and no case stands behind it."""

    def __init__(self, app: App) -> None:
        super().__init__(app, lambda _name: None)

    @cached_property
    def _salt(self) -> bytes:
        return read_or_make_salt(self._app.settings.mail_salt)

    async def answer(self, request: Request) -> Response:
        """What it is about, and a button; for the button Stripe's portal, or why not."""
        return await run_in_threadpool(self._answer, request)

    def _answer(self, request: Request) -> Response:
        """The answer to a good address; 404 to everything else."""
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.method == "POST":
            raise HTTPException(404)
        token = str(request.path_params["token"])
        try:
            notice = self._of(token)
            if notice is None:
                raise HTTPException(404)
            if self._app.clock.now() >= notice["expires_at"]:
                return self._html(self._said("card_over", notice))
            if request.method != "POST":
                return self._html(self._said("card_open", notice, token=token, card=True))
            if not self._presses.allowed(notice["id"]):
                return self._html(self._said("wait", notice), 503)
            way = self._app.account(notice["account_id"]).card_desk().change(notice)
            return self._gone_on(way, token, notice, up="../")
        except (TinkoError, SQLAlchemyError):
            return self._html(self._said("wait", None), 503)

    def _of(self, token: str) -> Row | None:
        """The notice of a token of ours, of an account and a mode served here, whose person was not erased."""
        identity = id_of(self._salt, CARD, token)
        if identity is None:
            return None
        query = (
            select(card_notice, message.c.locale)
            .join(message, message.c.card_notice_id == card_notice.c.id)
            .where(card_notice.c.id == identity, card_notice.c.customer_id.is_not(None))
        )
        with self._app.ledger.glance() as connection:
            row = connection.execute(query).mappings().first()
        settings = self._app.settings
        if row is None or row["account_id"] not in settings.account_names:
            return None
        return dict(row) if row["livemode"] == settings.livemode else None
