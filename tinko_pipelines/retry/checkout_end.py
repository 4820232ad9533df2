"""Looking after a page at Stripe on which a customer can pay, until it is paid or gone and its debt has an intent again.

Whatever a crash has left of it is taken over here. A page that the ledger does not hold as open was shown to nobody,
so nobody can pay on it; and no successor is made before Stripe shows everything cancelled that could still be paid.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import cases, links
from tinko_pipelines.ledger.attempts import frozen_parameters
from tinko_pipelines.ledger.schema import checkout_session
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.looks import PAGE_GRACE
from tinko_pipelines.retry.preflight import View
from tinko_pipelines.retry.settle import load_case, settle_within

ACTOR = "janitor"
SESSIONS = "/v1/checkout/sessions"
_UNREAD = ("unread", "key_refused")
_UNCERTAIN = (401, 403, 409, 429)
_PAGE = 100

Row = dict[str, Any]
Object = dict[str, Any]
Boundary = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What Stripe shows of an object: its status, or `none`, `unread` or `key_refused`.

    `certain` is false while a request of ours may still change it.
    """

    status: str
    body: Object = field(default_factory=dict)
    reason: str = ""
    certain: bool = True


def seen(answer: Answer) -> Seen:
    """Read one object."""
    if answer.ok and answer.body is not None:
        return Seen(str(answer.body.get("status")), answer.body)
    why = answer.transport_error or answer.message or f"HTTP {answer.http_status}"
    if answer.http_status == 404:
        return Seen("none", reason=why)
    return Seen("key_refused" if answer.http_status in (401, 403) else "unread", reason=why)


def status_of(gateway: Gateway, session_id: str) -> str:
    """A page's status at Stripe: `open`, `complete` or `expired`; `not found`, or `unread`."""
    found = seen(gateway.get(f"{SESSIONS}/{session_id}"))
    return {"none": "not found", "key_refused": "unread"}.get(found.status, found.status)


def give_up(gateway: Gateway, row: Row, intent: str) -> Seen:
    """Cancel an intent, and see by another request whether it is; it is no harm to ask for it twice."""
    asked = gateway.post(
        f"/v1/payment_intents/{intent}/cancel",
        {"cancellation_reason": "abandoned"},
        f"{row['idempotency_key']}:cancel:{intent}:{row['fence']}",
        row["api_version"],
    )
    shown = seen(gateway.get(f"/v1/payment_intents/{intent}"))
    status = asked.http_status
    done = asked.ok or (status is not None and 400 <= status < 500 and status not in _UNCERTAIN)
    return Seen(shown.status, shown.body, shown.reason or asked.message or "", done)


def page_row(ledger: Ledger, attempt_id: str) -> Row:
    """What the ledger knows of a page beside its attempt."""
    with ledger.read() as connection:
        found = connection.execute(
            select(checkout_session).where(checkout_session.c.attempt_id == attempt_id)
        )
        return dict(found.mappings().one())


def find(gateway: Gateway, row: Row, page: Row, case: Row) -> Seen:
    """The page at Stripe: by its id, or by the attempt it names where no answer has told that."""
    if page["session_id"]:
        return seen(gateway.get(f"{SESSIONS}/{page['session_id']}"))
    since = int(row["prepared_at"].timestamp()) - 300
    asked = {"customer": case["customer_id"], "created": {"gte": since}, "limit": _PAGE}
    answer = gateway.get(SESSIONS, asked)
    if not answer.ok:
        found = seen(answer)
        return Seen("unread", reason=found.reason) if found.status == "none" else found
    listed = (answer.body or {}).get("data") or ()
    for one in listed:
        if (one.get("metadata") or {}).get("tinko_attempt") == row["id"]:
            return Seen(str(one.get("status")), one)
    if (answer.body or {}).get("has_more"):
        return Seen("unread", reason=f"more than {_PAGE} pages of one customer in a day")
    return Seen("none", reason="no such page at Stripe")


def what_became(ledger: Ledger, gateway: Gateway, row: Row, case: Row) -> tuple[View, Outcome, str | None]:
    """The same without changing anything: paid, or open as long as nobody has put its debt in order again."""
    found = find(gateway, row, page_row(ledger, row["id"]), case)
    if found.status in _UNREAD:
        return View(found.status, found.reason), Outcome("unknown", found.status, detail=found.reason), None
    view = View("open", f"the page at Stripe is {found.status}", status=found.status, body=found.body)
    intent = _name(found.body.get("payment_intent"))
    if intent and found.status == "complete":
        paid = seen(gateway.get(f"/v1/payment_intents/{intent}"))
        if paid.status == "succeeded":
            return View("paid", "the page was paid", status="paid"), _won(paid), None
    state = "requires_action" if row["state"] == "requires_action" else "unknown"
    return view, Outcome(state, "open_page", detail=view.reason), None


def follow(
    ledger: Ledger, gateway: Gateway, row: Row, case: Row, clock: Clock, boundary: Boundary
) -> Outcome:
    """Look at a page whose attempt was claimed, bring it as far as Stripe allows, and write that down; the outcome."""
    return _Follow(ledger, gateway, row, case, page_row(ledger, row["id"]), clock, boundary).all()


def settle_page(
    ledger: Ledger,
    row: Row,
    page: Row,
    outcome: Outcome,
    now: datetime,
    actor: str = ACTOR,
    *,
    close_as: str | None = None,
    live_object_id: str | None = None,
    **known: Any,
) -> bool:
    """Store what became of a page in one transaction, if the fence is still ours: attempt, page, link and case."""
    with ledger.write() as connection:
        if not settle_within(ledger, connection, row, outcome, now, actor, close_as=close_as):
            return False
        values = {name: value for name, value in known.items() if value is not None}
        if values:
            connection.execute(
                checkout_session.update().where(checkout_session.c.attempt_id == row["id"]).values(**values)
            )
        if live_object_id is not None:
            case = load_case(ledger, connection, row["case_id"])
            names = {"live_object_id": live_object_id, "payment_intent_id": live_object_id}
            cases.change(connection, case, now, **names)
        if outcome.state == "succeeded":
            links.used(connection, page["link_id"], now)
        return True


class _Follow:
    """One look at one page."""

    def __init__(
        self,
        ledger: Ledger,
        gateway: Gateway,
        row: Row,
        case: Row,
        page: Row,
        clock: Clock,
        boundary: Boundary,
    ) -> None:
        self._ledger, self._gateway, self._clock, self._boundary = ledger, gateway, clock, boundary
        self._row, self._case, self._page = row, case, page

    def all(self) -> Outcome:
        """Open pages stay open, or are closed for a retry; paid ones win; what is gone gives way to a successor."""
        self._boundary("page_before_look")
        found = find(self._gateway, self._row, self._page, self._case)
        self._boundary("page_after_look")
        if found.status == "open" and self._must_end():
            found = self._expire(found)
        if found.status in _UNREAD:
            return self._wait(found)
        if found.status == "open":
            return self._keep(found)
        intent = _name(found.body.get("payment_intent")) or self._page["payment_intent_id"]
        if found.status == "complete":
            shown = self._look_at(intent)
            if shown.status in _UNREAD or shown.status in ("processing", "requires_capture"):
                return self._wait(shown)
            if shown.status == "succeeded":
                return self._paid(shown)
        return self.roll_back(intent, found)

    def _must_end(self) -> bool:
        """Whether something else waits for the debt: a retry that is due, or a person who has stopped it."""
        case, now = self._case, self._clock.now()
        if case["state"] != "open":
            return True
        due = case["due_at"] is not None and case["due_at"] <= now
        ahead = case["executed_attempts"] < case["max_attempts"]
        return bool(due and ahead and now - self._row["called_at"] >= PAGE_GRACE)

    def _expire(self, found: Seen) -> Seen:
        """Close the page, and see that it is; a customer who was quicker has paid on it."""
        key = f"{self._row['idempotency_key']}:expire:{self._row['fence']}"
        path = f"{SESSIONS}/{found.body['id']}"
        self._gateway.post(f"{path}/expire", {}, key, self._row["api_version"])
        self._boundary("page_after_expire")
        shown = seen(self._gateway.get(path))
        return shown if shown.status != "none" else Seen("unread", reason=shown.reason)

    def _look_at(self, intent: str | None) -> Seen:
        return seen(self._gateway.get(f"/v1/payment_intents/{intent}")) if intent else Seen("none")

    def _keep(self, found: Seen) -> Outcome:
        outcome = Outcome("requires_action", "open_page", detail="the customer can pay on the page")
        return self._settle(
            outcome, session_id=found.body["id"], payment_intent_id=_name(found.body.get("payment_intent"))
        )

    def _wait(self, found: Seen) -> Outcome:
        """What cannot be read, or is under way, stays as it is until the next look."""
        state = "requires_action" if self._row["state"] == "requires_action" else "unknown"
        answer = found.status if found.status in _UNREAD else "under_way"
        return self._settle(Outcome(state, answer, detail=found.reason or found.status))

    def _paid(self, shown: Seen) -> Outcome:
        intent = str(shown.body["id"])
        return self._settle(_won(shown), payment_intent_id=intent, live_object_id=intent)

    def roll_back(self, intent: str | None, found: Seen) -> Outcome:
        """Give the debt an intent again once nothing can be paid any more: neither the page's nor the one before."""
        if intent is not None:
            shown = self._cancelled(intent)
            if shown.status == "succeeded":
                return self._paid(shown)
            if shown.status not in ("canceled", "none"):
                return self._wait(shown)
        before = self._cancelled(self._row["object_id"])
        if before.status in _UNREAD or (before.status != "canceled" and not before.certain):
            return self._wait(before)
        why = f"the page is {found.status}"
        if before.status == "succeeded":
            return self._settle(
                Outcome("abandoned", "paid", detail=before.reason or why), close_as="paid_elsewhere"
            )
        if before.status == "none":
            return self._settle(Outcome("abandoned", "gone", detail=before.reason), close_as="needs_human")
        gone = found.status if found.status == "expired" else "no_page"
        if before.status != "canceled":
            return self._settle(
                Outcome("abandoned", "not_cancelled", detail=f"{why}, the intent {before.status}")
            )
        if self._case["state"] in cases.CLOSED:
            return self._settle(Outcome("abandoned", gone, detail=why))
        return self._succeed(Outcome("abandoned", gone, detail=why), intent)

    def _cancelled(self, intent: str) -> Seen:
        shown = self._look_at(intent)
        open_still = shown.status not in (*_UNREAD, "none", "canceled", "succeeded")
        return give_up(self._gateway, self._row, intent) if open_still else shown

    def _succeed(self, outcome: Outcome, intent: str | None) -> Outcome:
        """Make the intent that retries confirm from now on; it charges nobody by itself."""
        key = f"{self._row['idempotency_key']}:successor"
        self._boundary("page_before_successor")
        made = self._gateway.post(
            "/v1/payment_intents", successor_of(self._row), key, self._row["api_version"]
        )
        self._boundary("page_after_successor")
        if made.ok and (made.body or {}).get("id"):
            name = str((made.body or {})["id"])
            return self._settle(outcome, payment_intent_id=intent, successor_id=name, live_object_id=name)
        refused = made.http_status is not None and 400 <= made.http_status < 500
        if not refused or made.http_status in _UNCERTAIN:
            return self._wait(seen(made) if not made.ok else Seen("unread", reason="no intent in the answer"))
        why = f"no new intent can be made for it: {made.message or made.error_code}"
        return self._settle(Outcome("abandoned", "no_successor", detail=why), close_as="needs_human")

    def _settle(
        self,
        outcome: Outcome,
        *,
        close_as: str | None = None,
        live_object_id: str | None = None,
        **known: Any,
    ) -> Outcome:
        now = self._clock.now()
        settle_page(
            self._ledger,
            self._row,
            self._page,
            outcome,
            now,
            close_as=close_as,
            live_object_id=live_object_id,
            **known,
        )
        return outcome


def roll_back(
    ledger: Ledger, gateway: Gateway, row: Row, case: Row, clock: Clock, boundary: Boundary, why: str
) -> Outcome:
    """Put the debt in order again after Stripe has refused to make a page."""
    followed = _Follow(ledger, gateway, row, case, page_row(ledger, row["id"]), clock, boundary)
    return followed.roll_back(None, Seen("refused", reason=why))


def successor_of(row: Row) -> Object:
    """The intent that takes the place of a cancelled one, out of what was frozen for the page."""
    page = frozen_parameters(row)
    meant = dict(page["payment_intent_data"])
    tags = {**meant.pop("metadata")}
    tags.pop("tinko_attempt", None)
    return {
        "amount": row["amount_minor"],
        "currency": row["currency"],
        "customer": page["customer"],
        "metadata": tags,
        **meant,
    }


def _won(shown: Seen) -> Outcome:
    charge = _name(shown.body.get("latest_charge"))
    return Outcome("succeeded", "paid_on_page", charge_id=charge, detail="the customer has paid on the page")


def _name(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None
