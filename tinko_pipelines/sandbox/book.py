"""The book: all objects of one Stripe account, its clock, and the events that tell of every change.

Knows how things are kept, named and told, and nothing of what they mean; that is in `charging`, `billing`,
`aftermath` and `people`. One request or one happening at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinko_pipelines.sandbox.errors import missing
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.ports import EPOCH, World
from tinko_pipelines.sandbox.shapes import aftermath as shapes
from tinko_pipelines.sandbox.store import Object, Store

API_VERSION = "2026-10-28.endive"
DAY = 86_400
EVENTS_KEPT_SECONDS = 30 * DAY
"""Stripe lists events of the last 30 days only."""
NAMES = {
    "charges": "charge",
    "payment_intents": "payment_intent",
    "customers": "customer",
    "payment_methods": "PaymentMethod",
    "invoices": "invoice",
    "invoice_payments": "invoice_payment",
    "subscriptions": "subscription",
    "events": "event",
    "refunds": "refund",
    "disputes": "dispute",
    "prices": "price",
    "products": "product",
    "balance_transactions": "balance transaction",
    "checkout_sessions": "checkout.session",
    "portal_sessions": "billing_portal.session",
    "webhook_endpoints": "webhook endpoint",
    "test_clocks": "test clock",
}
"""Every kind of object that is shown, and what Stripe calls it when there is no such one."""


class Book:
    """Objects live in `store`; everything outside Stripe is `world`."""

    def __init__(self, store: Store, world: World, seed: int) -> None:
        self.store, self.world, self.seed = store, world, seed
        self.request_id: str | None = None
        self.idempotency_key: str | None = None
        self.outgoing: list[str] = []
        """Ids of events that webhook endpoints are still to be told of."""

    @property
    def now(self) -> int:
        """The present moment, in unix seconds."""
        return self.store.number("now")

    @now.setter
    def now(self, at: int) -> None:
        self.store.remember("now", at)

    @contextmanager
    def asked_by(self, request_id: str | None, idempotency_key: str | None) -> Iterator[None]:
        """While this lasts, events name this request; with None they are of Stripe's own doing."""
        before = self.request_id, self.idempotency_key
        self.request_id, self.idempotency_key = request_id, idempotency_key
        try:
            yield
        finally:
            self.request_id, self.idempotency_key = before

    def fresh_id(self, kind: str, prefix: str, *parts: object) -> str:
        """An id that belongs to these parts; the second object of the same parts gets another, and so on."""
        first = object_id(self.seed, prefix, *parts)
        if self.store.get(kind, first) is None:
            return first
        return object_id(self.seed, prefix, *parts, self.store.count(f"again:{first}") + 1)

    def find(self, kind: str, object_id: str, param: str | None = None) -> Object:
        """The object, or the refusal Stripe gives: 404 for the one addressed, 400 for one that `param` names."""
        item = self.store.get(kind, object_id)
        if item is None:
            raise missing(NAMES[kind], object_id, param)
        return item

    def find_card(self, method_id: str) -> Object:
        """What the world knows of a payment method; never shown."""
        return self.store.objects["cards"][method_id]

    def put(self, kind: str, item: Object) -> Object:
        """Take up a new object, or note that one has changed."""
        return self.store.put(kind, item)

    def change(self, kind: str, item: Object, event: str | None = None, **fields: Any) -> Object:
        """Set fields; with `event`, tell of it together with the values before. Nothing if all are as they were."""
        before = {name: item.get(name) for name in fields if item.get(name) != fields[name]}
        if not before:
            return item
        item.update(fields)
        self.store.put(kind, item)
        if event is not None:
            self.emit(event, item, before if event.endswith(".updated") else None)
        return item

    def emit(self, kind: str, item: Object, previous: Object | None = None) -> None:
        """Tell of something that happened to `item` just now."""
        now = self.now
        if now < EPOCH - EVENTS_KEPT_SECONDS:
            return  # It would be forgotten before the first request.
        listening = sum(hears(endpoint, kind) for endpoint in self.endpoints())
        event = shapes.event(
            self.fresh_id("events", "evt", kind, item["id"], now),
            now,
            kind,
            API_VERSION,
            item,
            previous,
            self.request_id,
            self.idempotency_key,
            listening,
        )
        self.store.put("events", event)
        if listening:
            self.outgoing.append(event["id"])

    def endpoints(self) -> list[Object]:
        """The webhook endpoints there are."""
        return list(self.store.objects.get("webhook_endpoints", {}).values())

    def forget_old_events(self) -> None:
        """Drop the events that Stripe would no longer list."""
        self.store.drop_oldest("events", self.now - EVENTS_KEPT_SECONDS)


def hears(endpoint: Object, kind: str) -> bool:
    """Whether an endpoint wants events of that kind."""
    wanted = endpoint["enabled_events"]
    return (
        endpoint["status"] == "enabled" and not endpoint.get("deleted") and ("*" in wanted or kind in wanted)
    )
