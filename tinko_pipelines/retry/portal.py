"""Stripe's customer portal, opened where a card is replaced. Nothing is charged there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.schema import card_notice
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.checkout_make import Way

Row = dict[str, Any]


def opened(gateway: Gateway, customer_id: str, back: str, key: str) -> Way:
    """A new way into the portal for this customer; `back` is where it leads afterwards."""
    flow = {
        "type": "payment_method_update",
        "after_completion": {"type": "redirect", "redirect": {"return_url": back}},
    }
    params = {"customer": customer_id, "return_url": back, "flow_data": flow}
    made = gateway.post("/v1/billing_portal/sessions", params, key, gateway.api_version)
    url = (made.body or {}).get("url") if made.ok else None
    return Way("go", url) if url else Way("wait" if made.http_status is None else "ask")


@dataclass(frozen=True, slots=True)
class CardDesk:
    """With what the button of a mail about a card is served. `wanted` says whether the card is still to be replaced."""

    ledger: Ledger
    gateway: Gateway
    clock: Clock
    back: str
    wanted: Callable[[Row], bool]
    for_real: bool

    def change(self, notice: Row) -> Way:
        """The portal of this card's customer, after a look at Stripe; raises GatewayError where that cannot be asked."""
        if not self.for_real:
            return Way("ask")
        if not self.wanted(notice):
            return Way("card_done")
        with self.ledger.write() as connection:
            ours = card_notice.c.id == notice["id"]
            counted = {"clicks": card_notice.c.clicks + 1, "last_clicked_at": self.clock.now()}
            connection.execute(card_notice.update().where(ours).values(**counted))
            times = connection.execute(select(card_notice.c.clicks).where(ours)).scalar_one()
        return opened(
            self.gateway, notice["customer_id"], self.back, f"tinko:v1:portal:{notice['id']}:{times}"
        )
