"""Making a page at Stripe on which a customer pays an intent's debt, as an attempt of its case.

The page comes first and is shown last: Stripe has made it before the old intent is cancelled, so that nothing is
cancelled for a page that cannot be, and until the ledger holds it as open nobody knows its address.
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
from tinko_pipelines.ledger.schema import SESSION, attempt, checkout_session, recovery_case, recovery_link
from tinko_pipelines.ledger.store import Ledger, repeated
from tinko_pipelines.retry import checkout_end
from tinko_pipelines.retry.answers import Outcome, interpret
from tinko_pipelines.retry.checkout_book import page_row, settle_page, settle_page_within, tell_refused
from tinko_pipelines.retry.checkout_end import CANCEL_UNKNOWN
from tinko_pipelines.retry.checkout_look import NOT_READ, SESSIONS, Object, Row, expired, give_up
from tinko_pipelines.retry.preflight import LOOK_LASTS, View
from tinko_pipelines.retry.settle import load_case

ACTOR = "link"
LASTS = timedelta(hours=23)
"""An hour inside the day Stripe allows, so that its clock may differ, and the mail behind it is not late."""
MOST_PAGES, MOST_TRIES = 10, 50
"""Pages of a case that were shown, and those that were begun."""
CANCEL_WITHIN = timedelta(seconds=120)
"""So long after the slot was taken the old intent is not cancelled any more: the answer must be there before others look."""
MOST_METADATA = 50
"""What Stripe keeps of an object."""
_COPIED = ("description", "setup_future_usage")
_UNLIKE = ("application_fee_amount", "on_behalf_of", "transfer_data", "transfer_group", "review")
"""An intent with one of these means more than its amount, which a page made by us would lose."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a customer goes on, or a word why he cannot: `paid`, `closed`, `busy`, `wait` or `ask`."""

    standing: str
    url: str | None = None


def way_of(standing: str) -> Way:
    """What a link leads to that is not good, by its standing."""
    return Way({"paid": "paid", "human": "ask"}.get(standing, "closed"))


def can_be_made(view: View) -> bool:
    """Whether a page can stand for this intent."""
    manual = view.body.get("capture_method") == "manual"
    return bool(view.customer_id) and not manual and not any(view.body.get(name) for name in _UNLIKE)


@dataclass(frozen=True, slots=True)
class Maker:
    """With what pages are made; see `checkout.Till`."""

    ledger: Ledger
    gateway: Gateway
    clock: Clock
    owner: str
    back: str
    merchant: str
    methods: tuple[str, ...]
    boundary: Callable[[str], None]
    lease_seconds: float

    def page(self, link: Row, case: Row, view: View, looked_at: datetime) -> Way | None:
        """A new page for the debt, as it was seen at `looked_at`; None to look again."""
        params = self._parameters(case, view)
        self.boundary("page_before_begin")
        row = repeated(lambda: self._begin(link, case, params, looked_at))
        return row if isinstance(row, Way) or row is None else self._make(link, row)

    def _parameters(self, case: Row, view: View) -> Object:
        """All that is sent, from the amount in the ledger; of the old intent what tells which order it is for."""
        body = view.body
        with self.ledger.read() as connection:
            name = _next_attempt(connection, case)
        tags = {"tinko_case": case["id"], "tinko_debt": case["debt_id"], "tinko_attempt": name}
        of_page = {**tags, "tinko_page": "1"}
        copied = {key: body[key] for key in _COPIED if body.get(key) and "@" not in str(body[key])}
        kept = _kept(body.get("metadata") or {}, MOST_METADATA - len(of_page))
        price = {
            "currency": case["currency"],
            "unit_amount": case["amount_minor"],
            "product_data": {"name": self.merchant},
        }
        methods = {"allowed_payment_method_types": list(self.methods)} if self.methods else {}
        return {
            "mode": "payment",
            "customer": view.customer_id,
            "client_reference_id": name,
            "metadata": tags,
            "line_items": [{"quantity": 1, "price_data": price}],
            "payment_intent_data": {**copied, "metadata": {**kept, **of_page}},
            "adaptive_pricing": {"enabled": False},
            "success_url": self.back,
            "cancel_url": self.back,
            "expires_at": int((self.clock.now() + LASTS).timestamp()),
            **methods,
        }

    def _begin(self, link: Row, case: Row, params: Object, looked_at: datetime) -> Row | Way | None:
        """Take the case's slot and commit to the calls; a word where that is not to be, None to look again."""
        try:
            with self.ledger.write() as connection:
                current, now = load_case(self.ledger, connection, case["id"]), self.clock.now()
                obstacle = _obstacle(connection, link, current, now) or _too_many(connection, case)
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

    def _make(self, link: Row, row: Row) -> Way:
        """Make the page, cancel the old intent, see that it is, write the page down, and only then show it."""
        self.boundary("page_after_begin")
        if self._is_late(row):
            return Way("wait")
        made = self.gateway.post(
            SESSIONS, attempts.frozen_parameters(row), row["idempotency_key"], row["api_version"]
        )
        self.boundary("page_after_create")
        body = made.body or {}
        if not (made.ok and body.get("id") and body.get("url")):
            return self._not_made(row, made)
        with self.ledger.read() as connection:
            obstacle = _obstacle(connection, link, _case(connection, row), self.clock.now())
        if self._is_late(row):
            return Way("wait")
        if obstacle is not None:
            return self._taken_back(row, body, obstacle)
        before = give_up(self.gateway, row, row["object_id"])
        self.boundary("page_after_cancel")
        if before.status != "canceled":
            if before.status in NOT_READ or (before.status != "succeeded" and not before.certain):
                doubt = Outcome("unknown", CANCEL_UNKNOWN, detail=before.reason)
                settle_page(self.ledger, row, page_row(self.ledger, row["id"]), doubt, self.clock.now())
                return Way("wait")
            busy = before.status in ("processing", "requires_capture")
            word = "paid" if before.status == "succeeded" else "busy" if busy else "ask"
            return self._taken_back(row, body, Way(word))
        self.boundary("page_after_cancel_seen")
        return self._show(link, row, made)

    def _is_late(self, row: Row) -> bool:
        """Whether the process was asleep for so long that somebody else may be about to take its work over."""
        with self.ledger.glance() as connection:
            present = self.ledger.database_now(connection)
        began: datetime = row["lease_until"] - timedelta(seconds=self.lease_seconds)
        return present - began > CANCEL_WITHIN

    def _not_made(self, row: Row, made: Answer) -> Way:
        """There is no page: nothing was cancelled for it, so the case goes on as before, unless that is not certain."""
        page, now, status = page_row(self.ledger, row["id"]), self.clock.now(), made.http_status
        why = made.message or made.error_code or made.transport_error or "no address in the answer"
        if status in (400, 402, 403, 404) and made.error_type != "idempotency_error":
            settle_page(self.ledger, row, page, Outcome("abandoned", "no_page", detail=why), now, actor=ACTOR)
            subject = str(row["account_id"] if status == 403 else row["object_id"])
            tell_refused(self.ledger, row, subject, why, now)
            return Way("ask")
        outcome = interpret(made)
        if status != 401 and outcome.state != "unknown":
            outcome = Outcome("unknown", outcome.answer, detail=outcome.detail)
        settle_page(self.ledger, row, page, outcome, now, actor=ACTOR)
        return Way("wait")

    def _taken_back(self, row: Row, body: Object, way: Way) -> Way:
        """Close a page that nobody has seen, and leave the debt with an intent that can be charged."""
        with self.ledger.read() as connection:
            case = _case(connection, row)
        checkout_end.follow(self.ledger, self.gateway, row, case, self.clock, self.boundary, body)
        return way

    def _show(self, link: Row, row: Row, made: Answer) -> Way:
        body, page, now = made.body or {}, page_row(self.ledger, row["id"]), self.clock.now()
        opened = Outcome(
            "requires_action",
            "open_page",
            http_status=made.http_status,
            request_id=made.request_id,
            detail="the customer can pay on the page",
        )
        name = str(body["id"])
        with self.ledger.write() as connection:
            case = load_case(self.ledger, connection, row["case_id"])
            obstacle = _obstacle(connection, link, case, now)
            kept = obstacle is None and settle_page_within(
                self.ledger, connection, row, page, opened, now, ACTOR, session_id=name
            )
            if kept:
                links.clicked(connection, link["id"], now)
        if obstacle is not None:
            return self._taken_back(row, body, obstacle)
        if not kept:
            # Somebody has taken it over, so this page may be in no book: nobody is sent there.
            expired(self.gateway, row, name)
            return Way("wait")
        self.boundary("page_after_settle")
        return Way("go", str(body["url"]))


def _case(connection: Connection, row: Row) -> Row:
    query = select(recovery_case).where(recovery_case.c.id == row["case_id"])
    return dict(connection.execute(query).mappings().one())


def _kept(metadata: dict[str, Any], most: int) -> dict[str, Any]:
    """What the merchant has written on the intent, as far as there is room for it; the order above all."""
    plain = {
        name: value
        for name, value in metadata.items()
        if "@" not in f"{name}{value}" and not name.startswith("tinko_")
    }
    first = sorted(plain, key=lambda name: name != "order_id")
    return {name: plain[name] for name in first[:most]}


def _obstacle(connection: Connection, link: Row, case: Row, now: datetime) -> Way | None:
    """What has come up against a page since the case was read: its end, a person, the link's end, or a pause."""
    query = select(recovery_link).where(recovery_link.c.id == link["id"])
    standing = links.standing(dict(connection.execute(query).mappings().one()), case, now)
    if standing != "good":
        return way_of(standing)
    return None if charging_allowed(connection, case["account_id"], now) else Way("wait")


def _too_many(connection: Connection, case: Row) -> Way | None:
    of_case = (attempt.c.case_id == case["id"], attempt.c.operation == SESSION)
    counts = select(func.count(), func.count(checkout_session.c.session_id)).join_from(
        attempt, checkout_session, checkout_session.c.attempt_id == attempt.c.id
    )
    tried, shown = connection.execute(counts.where(*of_case)).one()
    return Way("ask") if shown >= MOST_PAGES or tried >= MOST_TRIES else None


def _next_attempt(connection: Connection, case: Row) -> str:
    last = connection.execute(select(func.max(attempt.c.n)).where(attempt.c.case_id == case["id"])).scalar()
    return ids.attempt_id(case["id"], int(last or 0) + 1)
