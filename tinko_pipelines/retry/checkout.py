"""What a customer's button leads to: Stripe's own page for the same debt, after all that a retry would ask first.

An open invoice has its page already. For an intent one is made, as an attempt of its case, so that slot, lease, fence and
frozen parameters are a retry's. A page is shown only once the ledger holds it as open: what is not is paid by nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import attempts, ids, links
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.leases import holds
from tinko_pipelines.ledger.schema import (
    BLOCKING,
    SESSION,
    attempt,
    checkout_session,
    recovery_case,
    recovery_link,
)
from tinko_pipelines.ledger.store import Ledger, repeated
from tinko_pipelines.retry import checkout_end, janitor
from tinko_pipelines.retry.answers import Outcome, interpret
from tinko_pipelines.retry.checkout_end import SESSIONS, give_up, settle_page
from tinko_pipelines.retry.preflight import LOOK_LASTS, Clearance, View, before_page
from tinko_pipelines.retry.settle import load_case

ACTOR = "link"
LASTS = timedelta(hours=23)
"""An hour inside the day Stripe allows, so that its clock may differ, and the mail behind it is not late."""
MOST_PAGES = 10
LEASE_SECONDS = 180.0
_MOST_ROUNDS = 3
_COPIED = ("description", "setup_future_usage")
_UNLIKE = ("application_fee_amount", "on_behalf_of", "transfer_data", "transfer_group", "review")
"""An intent with one of these means more than its amount, which a page made by us would lose."""

Row = dict[str, Any]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """Where a customer goes on, or a word why he cannot: `paid`, `closed`, `busy`, `wait` or `ask`."""

    standing: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Till:
    """With what a button of a customer is served. `back` is where Stripe sends him afterwards; `for_real` allows writes."""

    ledger: Ledger
    gateway: Gateway
    clock: Clock
    owner: str
    back: str
    merchant: str
    for_real: bool
    boundary: Callable[[str], None] = lambda _name: None
    lease_seconds: float = LEASE_SECONDS

    def pay(self, link: Row) -> Way:
        """The page on which the debt of `link` is paid."""
        for _ in range(_MOST_ROUNDS):
            case, blocker = self._present(link)
            standing = links.standing(link, case, self.clock.now())
            if standing != "good":
                return Way({"paid": "paid", "human": "ask"}.get(standing, "closed"))
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
            return Way("paid" if standing == "paid" else "ask" if standing in ("good", "human") else "closed")
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
            page = checkout_end.page_row(self.ledger, blocker["id"])
            found = checkout_end.find(self.gateway, blocker, page, case)
            if found.status == "open" and found.body.get("url"):
                return self._go(page["link_id"], found.body["url"])
            if found.status in ("unread", "key_refused"):
                return Way("wait")
        with self.ledger.write() as connection:
            present = self.ledger.database_now(connection)
            if holds(blocker["lease_until"], present):
                return Way("wait")
            hastened = (attempt.c.id == blocker["id"], attempt.c.fence == blocker["fence"])
            connection.execute(attempt.update().where(*hastened).values(next_poll_at=self.clock.now()))
        state = janitor.resolve(
            self.ledger,
            self.gateway,
            blocker["id"],
            self.clock,
            self.owner,
            self.lease_seconds,
            self.boundary,
        )
        return Way("wait") if state in ("skipped", "unknown") else None

    def _look_and_go(self, link: Row, case: Row) -> Way | None:
        looked_at = self.clock.now()
        view, clearance = before_page(self.gateway, case)
        if not clearance.go:
            return self._stopped(case, clearance)
        if case["debt_kind"] == "invoice":
            url = view.body.get("hosted_invoice_url")
            return self._go(link["id"], url) if url else Way("ask")
        if not self.for_real or case["debt_kind"] != "payment_intent" or not view.customer_id:
            return Way("ask")
        if view.body.get("capture_method") == "manual" or any(view.body.get(name) for name in _UNLIKE):
            return Way("ask")
        params = self._parameters(case, view)
        self.boundary("page_before_begin")
        row = repeated(lambda: self._begin(link, case, params, looked_at))
        return row if isinstance(row, Way) or row is None else self._make(link, case, row)

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
        if clearance.close_as is None:
            return Way("wait" if clearance.answer in ("unread", "asked_too_often") else "busy")
        return Way({"paid_elsewhere": "paid", "cancelled": "closed"}.get(clearance.close_as, "ask"))

    def _go(self, link_id: str, url: str) -> Way:
        with self.ledger.write() as connection:
            links.clicked(connection, link_id, self.clock.now())
        return Way("go", url)

    def _parameters(self, case: Row, view: View) -> Object:
        """All that is sent, from the amount in the ledger; of the old intent what tells which order it is for."""
        body = view.body
        tags = {"tinko_case": case["id"], "tinko_debt": case["debt_id"]}
        kept = {
            name: value
            for name, value in (body.get("metadata") or {}).items()
            if "@" not in f"{name}{value}" and not name.startswith("tinko_")
        }
        copied = {name: body[name] for name in _COPIED if body.get(name) and "@" not in str(body[name])}
        price = {
            "currency": case["currency"],
            "unit_amount": case["amount_minor"],
            "product_data": {"name": self.merchant},
        }
        with self.ledger.read() as connection:
            named = {**tags, "tinko_attempt": _next_attempt(connection, case)}
        return {
            "mode": "payment",
            "customer": view.customer_id,
            "client_reference_id": named["tinko_attempt"],
            "metadata": named,
            "line_items": [{"quantity": 1, "price_data": price}],
            "payment_intent_data": {**copied, "metadata": {**kept, **named}},
            "adaptive_pricing": {"enabled": False},
            "success_url": self.back,
            "cancel_url": self.back,
            "expires_at": int((self.clock.now() + LASTS).timestamp()),
        }

    def _begin(self, link: Row, case: Row, params: Object, looked_at: datetime) -> Row | Way | None:
        """Take the case's slot and commit to the calls; a word where that is not to be, None to look again."""
        try:
            with self.ledger.write() as connection:
                current, now = load_case(self.ledger, connection, case["id"]), self.clock.now()
                obstacle = self._obstacle(connection, link, current, now)
                if obstacle is not None:
                    return obstacle
                changed = current["version"] != case["version"] or now - looked_at > LOOK_LASTS
                if changed or _next_attempt(connection, case) != params["client_reference_id"]:
                    return None
                row = attempts.prepare(
                    self.ledger,
                    connection,
                    current,
                    params,
                    api_version=self.gateway.api_version,
                    owner=self.owner,
                    at=now,
                    lease_seconds=self.lease_seconds,
                    operation=SESSION,
                )
                connection.execute(
                    checkout_session.insert().values(
                        attempt_id=row["id"],
                        case_id=case["id"],
                        account_id=case["account_id"],
                        link_id=link["id"],
                        expires_at=datetime.fromtimestamp(params["expires_at"], now.tzinfo),
                    )
                )
                begun = {"state": "calling", "called_at": now}
                attempts.update(connection, row, **begun)
                return row | begun
        except IntegrityError:
            return None  # Somebody else has the slot, or has just had it.

    def _obstacle(self, connection: Connection, link: Row, case: Row, now: datetime) -> Way | None:
        fresh = (
            connection.execute(select(recovery_link).where(recovery_link.c.id == link["id"])).mappings().one()
        )
        standing = links.standing(dict(fresh), case, now)
        if standing != "good":
            return Way({"paid": "paid", "human": "ask"}.get(standing, "closed"))
        if not charging_allowed(connection, case["account_id"], now):
            return Way("wait")
        pages = select(func.count()).where(attempt.c.case_id == case["id"], attempt.c.operation == SESSION)
        return Way("ask") if connection.execute(pages).scalar_one() >= MOST_PAGES else None

    def _asleep(self, row: Row) -> bool:
        with self.ledger.glance() as connection:
            return attempts.held_up(self.ledger.database_now(connection), row, self.lease_seconds)

    def _make(self, link: Row, case: Row, row: Row) -> Way:
        """Cancel the old intent, see that it is, make the page, write it down, and only then show it."""
        self.boundary("page_after_begin")
        if self._asleep(row):
            return Way("wait")
        before = give_up(self.gateway, row, row["object_id"])
        self.boundary("page_after_cancel")
        if before.status != "canceled":
            return self._not_cancelled(row, case, before.status, before.certain, before.reason)
        self.boundary("page_after_cancel_seen")
        if self._asleep(row):
            return Way("wait")
        made = self.gateway.post(
            SESSIONS, attempts.frozen_parameters(row), row["idempotency_key"], row["api_version"]
        )
        self.boundary("page_after_create")
        body = made.body or {}
        page = checkout_end.page_row(self.ledger, row["id"])
        if made.ok and body.get("id") and body.get("url"):
            return self._show(link, row, page, made)
        if made.http_status in (400, 402, 404) and made.error_type != "idempotency_error":
            why = made.message or made.error_code or "refused"
            checkout_end.roll_back(self.ledger, self.gateway, row, case, self.clock, self.boundary, why)
            return Way("ask")
        outcome = interpret(made)
        outcome = (
            outcome
            if outcome.state == "unknown"
            else Outcome("unknown", outcome.answer, detail=outcome.detail)
        )
        settle_page(self.ledger, row, page, outcome, self.clock.now(), ACTOR)
        return Way("wait")

    def _not_cancelled(self, row: Row, case: Row, status: str, certain: bool, why: str) -> Way:
        """The old intent lives on, so no page is made beside it."""
        page, now = checkout_end.page_row(self.ledger, row["id"]), self.clock.now()
        if status in ("unread", "key_refused") or (status != "succeeded" and not certain):
            settle_page(self.ledger, row, page, Outcome("unknown", "unread", detail=why), now, ACTOR)
            return Way("wait")
        if status == "succeeded":
            paid = Outcome("abandoned", "paid", detail="payment intent is succeeded")
            settle_page(self.ledger, row, page, paid, now, ACTOR, close_as="paid_elsewhere")
            return Way("paid")
        close_as = "needs_human" if status == "none" else None
        alive = Outcome("abandoned", "not_cancelled", detail=f"the intent is {status}: {why}")
        settle_page(self.ledger, row, page, alive, now, ACTOR, close_as=close_as)
        return Way("busy" if status in ("processing", "requires_capture") else "ask")

    def _show(self, link: Row, row: Row, page: Row, made: Answer) -> Way:
        body = made.body or {}
        opened = Outcome(
            "requires_action",
            "open_page",
            http_status=made.http_status,
            request_id=made.request_id,
            detail="the customer can pay on the page",
        )
        kept = settle_page(
            self.ledger,
            row,
            page,
            opened,
            self.clock.now(),
            ACTOR,
            session_id=str(body["id"]),
        )
        if not kept:
            # Somebody has taken it over, so this page may be in no book: nobody is sent there.
            key = f"{row['idempotency_key']}:expire:{row['fence']}"
            self.gateway.post(f"{SESSIONS}/{body['id']}/expire", {}, key, row["api_version"])
            return Way("wait")
        self.boundary("page_after_settle")
        return self._go(link["id"], str(body["url"]))


def _next_attempt(connection: Connection, case: Row) -> str:
    last = connection.execute(select(func.max(attempt.c.n)).where(attempt.c.case_id == case["id"])).scalar()
    return ids.attempt_id(case["id"], int(last or 0) + 1)
