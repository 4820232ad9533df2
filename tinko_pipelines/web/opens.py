"""`/o/{token}`: the picture of a mail, where that is switched on. It counts once and says nothing to nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tinko_pipelines.ledger.schema import MAILED, message
from tinko_pipelines.outreach.addresses import id_of, read_or_make_salt
from tinko_pipelines.outreach.merchant import PIXEL

if TYPE_CHECKING:
    from tinko_pipelines.app import App

PICTURE = bytes.fromhex(
    "47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b"
)
"""One transparent point, as GIF."""
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
    "cross-origin-resource-policy": "cross-origin",
}


def routes(app: App) -> list[BaseRoute]:
    """The picture; nothing at all where opens are not counted."""
    if not app.settings.mail_opens:
        return []
    salt = read_or_make_salt(app.settings.mail_salt)

    def opened(request: Request) -> Response:
        identity = id_of(salt, PIXEL, str(request.path_params["token"]))
        if identity is None or not _note(app, identity):
            raise HTTPException(404)
        return Response(PICTURE, media_type="image/gif", headers=_HEADERS)

    return [Route("/o/{token}", opened, methods=["GET"])]


def _note(app: App, identity: str) -> bool:
    """Keep when a mail was first opened; whether it is one that went out."""
    known = (message.c.id == identity) & message.c.state.in_(MAILED)
    with app.ledger.write(durable=False) as connection:
        first = message.update().where(known, message.c.opened_at.is_(None))
        if connection.execute(first.values(opened_at=app.clock.now())).rowcount == 1:
            return True
        return connection.execute(message.select().where(known)).first() is not None
