"""What a customer's button leads to: Stripe's own page for the same debt, after all that a retry would ask first.

An open invoice has its page already. For an intent one is made (see `checkout_make`), as an attempt of its case, so that
slot, lease, fence and frozen parameters are a retry's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import cases, links
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.schema import BLOCKING, SESSION, attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import janitor
from tinko_pipelines.retry.checkout_book import page_row
from tinko_pipelines.retry.checkout_look import NOT_READ, find, name_of
from tinko_pipelines.retry.checkout_make import ACTOR, Maker, Way, can_be_made, way_of
from tinko_pipelines.retry.preflight import Clearance, before_page, beside_page
from tinko_pipelines.retry.settle import load_case

LEASE_SECONDS = 180.0
_MOST_ROUNDS = 3

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Till:
    """With what a button of a customer is served. `back` is where Stripe sends him afterwards; `for_real` allows writes.

    `methods` are the ways to pay that a page may offer, of those the account has; all of them where none is named.
    """

    ledger: Ledger
    gateway: Gateway
    clock: Clock
    owner: str
    back: str
    merchant: str
    for_real: bool
    methods: tuple[str, ...] = ()
    boundary: Callable[[str], None] = lambda _name: None
    lease_seconds: float = LEASE_SECONDS

    def pay(self, link: Row) -> Way:
        """The page on which the debt of `link` is paid."""
        for _ in range(_MOST_ROUNDS):
            case, blocker = self._present(link)
            standing = links.standing(link, case, self.clock.now())
            if standing != "good":
                return way_of(standing)
            if blocker is not None and case["debt_kind"] != "invoice":
                way = self._at(blocker, case)
            else:
                way = self._look_and_go(link, case)
            if way is not None:
                return way
        return Way("wait")

    def change_card(self, link: Row) -> Way:
        """Stripe's portal, to keep another card for the subscription; nothing is charged there."""
        case, _ = self._present(link)
        standing = links.standing(link, case, self.clock.now())
        if standing != "good" or not self.for_real or not case["subscription_id"] or not case["customer_id"]:
            return Way("ask") if standing == "good" else way_of(standing)
        _, clearance = before_page(self.gateway, case)
        if not clearance.go:
            return self._stopped(case, clearance)
        with self.ledger.write() as connection:
            times = links.clicked(connection, link["id"], self.clock.now())
        flow = {
            "type": "payment_method_update",
            "after_completion": {"type": "redirect", "redirect": {"return_url": self.back}},
        }
        params = {"customer": case["customer_id"], "return_url": self.back, "flow_data": flow}
        key = f"tinko:v1:portal:{link['id']}:{times}"
        made = self.gateway.post("/v1/billing_portal/sessions", params, key, self.gateway.api_version)
        url = (made.body or {}).get("url") if made.ok else None
        return Way("go", url) if url else Way("wait" if made.http_status is None else "ask")

    def _present(self, link: Row) -> tuple[Row, Row | None]:
        query = select(attempt).where(attempt.c.case_id == link["case_id"], attempt.c.state.in_(BLOCKING))
        with self.ledger.read() as connection:
            case = connection.execute(select(recovery_case).where(recovery_case.c.id == link["case_id"]))
            found = dict(case.mappings().one())
            row = connection.execute(query).mappings().first()
        return found, None if row is None else dict(row)

    def _at(self, blocker: Row, case: Row) -> Way | None:
        """Where something of the case is under way already; None when it is no more."""
        if blocker["operation"] != SESSION or blocker["state"] == "succeeded":
            return Way("paid" if blocker["state"] == "succeeded" else "busy")
        if blocker["state"] == "requires_action":
            page = page_row(self.ledger, blocker["id"])
            found = find(self.gateway, blocker, page, case)
            if found.status in NOT_READ:
                return Way("wait")
            if found.status == "open" and found.body.get("url"):
                clearance = beside_page(self.gateway, case, name_of(found.body.get("payment_intent")))
                if not clearance.go:
                    return self._over(blocker, case, clearance)
                with self.ledger.read() as connection:
                    if not charging_allowed(connection, case["account_id"], self.clock.now()):
                        return Way("wait")
                return self._go(page["link_id"], found.body["url"])
        state = self._settled_now(blocker)
        return Way("wait") if state in ("skipped", "unknown") else None

    def _settled_now(self, blocker: Row) -> str:
        return janitor.look_now(
            self.ledger, self.gateway, blocker, self.clock, self.owner, self.lease_seconds, self.boundary
        )

    def _over(self, blocker: Row, case: Row, clearance: Clearance) -> Way:
        """The debt of an open page is not to be paid on it any more: its case ends, and with that the page."""
        if clearance.close_as is not None:
            with self.ledger.write() as connection:
                current, now = load_case(self.ledger, connection, case["id"]), self.clock.now()
                if current["state"] == "open":
                    cases.close(connection, current, clearance.close_as, clearance.reason, now, ACTOR)
            self._settled_now(blocker)
        return _why_not(clearance)

    def _look_and_go(self, link: Row, case: Row) -> Way | None:
        looked_at = self.clock.now()
        view, clearance = before_page(self.gateway, case)
        if not clearance.go:
            return self._stopped(case, clearance)
        if case["debt_kind"] == "invoice":
            url = view.body.get("hosted_invoice_url")
            return self._go(link["id"], url) if url else Way("ask")
        if not self.for_real or case["debt_kind"] != "payment_intent" or not can_be_made(view):
            return Way("ask")
        maker = Maker(
            self.ledger,
            self.gateway,
            self.clock,
            self.owner,
            self.back,
            self.merchant,
            self.methods,
            self.boundary,
            self.lease_seconds,
        )
        return maker.page(link, case, view, looked_at)

    def _stopped(self, case: Row, clearance: Clearance) -> Way:
        """Nothing is paid by this link now. What ends the case is for the drain to look at and write down."""
        if clearance.close_as is not None:
            with self.ledger.write() as connection:
                unmarked = (recovery_case.c.id == case["id"], recovery_case.c.look_after.is_(None))
                connection.execute(
                    recovery_case.update()
                    .where(*unmarked)
                    .values(look_after=self.clock.now(), version=recovery_case.c.version + 1)
                )
        return _why_not(clearance)

    def _go(self, link_id: str, url: str) -> Way:
        with self.ledger.write() as connection:
            links.clicked(connection, link_id, self.clock.now())
        return Way("go", url)


def _why_not(clearance: Clearance) -> Way:
    if clearance.close_as is None:
        return Way("wait" if clearance.answer in ("unread", "asked_too_often", "key_refused") else "busy")
    return Way({"paid_elsewhere": "paid", "cancelled": "closed"}.get(clearance.close_as, "ask"))
