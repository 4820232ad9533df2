"""Looking after a page at Stripe on which a customer can pay, until it is paid or gone and its debt has an intent again.

Whatever a crash has left of it is taken over here. A page that the ledger does not hold as open was shown to nobody, so
nobody can pay on it, and it is closed; no successor is made before Stripe shows all that could still be paid as over.
"""

from collections.abc import Callable
from typing import Any

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import cases
from tinko_pipelines.ledger.attempts import frozen_parameters
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.checkout_book import page_row, settle_page, tell_refused
from tinko_pipelines.retry.checkout_look import (
    INTENTS,
    NOT_READ,
    UNCERTAIN,
    Object,
    Row,
    Seen,
    expired,
    find,
    give_up,
    intent_at,
    name_of,
    page_at,
)
from tinko_pipelines.retry.looks import BANK_DEBIT, PAGE_GRACE
from tinko_pipelines.retry.preflight import View, paid_besides

CANCEL_UNKNOWN = "cancel_unknown"
"""What became of cancelling the old intent is not known, so it is cancelled again before anything else."""

Boundary = Callable[[str], None]


def status_of(gateway: Gateway, session_id: str) -> str:
    """A page's status at Stripe: `open`, `complete` or `expired`; `not found`, or `unread`."""
    found = page_at(gateway, session_id).status
    return "not found" if found == "none" else "unread" if found in NOT_READ else found


def what_became(ledger: Ledger, gateway: Gateway, row: Row, case: Row) -> tuple[View, Outcome, str | None]:
    """The same without changing anything: paid, or open as long as nobody has put its debt in order again."""
    found = find(gateway, row, page_row(ledger, row["id"]), case)
    if found.status in NOT_READ:
        return View("unread", found.reason), Outcome("unknown", found.status, detail=found.reason), None
    view = View("open", f"the page at Stripe is {found.status}", status=found.status, body=found.body)
    intent = name_of(found.body.get("payment_intent"))
    if intent and found.status == "complete":
        paid = intent_at(gateway, intent)
        if paid.status == "succeeded":
            return View("paid", "the page was paid", status="paid"), _won(paid), None
    state = "requires_action" if row["state"] == "requires_action" else "unknown"
    return view, Outcome(state, "open_page", detail=view.reason), None


def follow(
    ledger: Ledger,
    gateway: Gateway,
    row: Row,
    case: Row,
    clock: Clock,
    boundary: Boundary,
    made: Object | None = None,
) -> Outcome:
    """Bring a page whose attempt was claimed as far as Stripe allows, and write that down; the outcome.

    With `made`, a page that was made just now and is not to be shown, no look is needed to find it.
    """
    followed = _Follow(ledger, gateway, row, case, page_row(ledger, row["id"]), clock, boundary)
    return followed.all(None if made is None else Seen("open", made))


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

    def all(self, made: Seen | None) -> Outcome:
        """Open pages stay open, or are closed for a retry; paid ones win; what is gone gives way to a successor."""
        self._boundary("page_before_look")
        found = made or find(self._gateway, self._row, self._page, self._case)
        self._boundary("page_after_look")
        if found.status == "open" and self._must_end():
            found = expired(self._gateway, self._row, str(found.body["id"]))
            self._boundary("page_after_expire")
        if found.status in NOT_READ:
            return self._wait(found)
        if found.status == "open":
            return self._keep(found)
        intent = name_of(found.body.get("payment_intent")) or self._page["payment_intent_id"]
        if found.status == "complete":
            shown = intent_at(self._gateway, intent)
            if shown.status == "succeeded":
                return self._paid(shown)
            if shown.status in (*NOT_READ, "processing", "requires_capture"):
                return self._wait(shown)
        return self._roll_back(intent, found)

    def _must_end(self) -> bool:
        """Whether nobody was shown it, or something else waits for the debt: a retry that is due, or a person."""
        case, now = self._case, self._clock.now()
        if self._row["state"] != "requires_action" or case["state"] != "open":
            return True
        due = case["due_at"] is not None and case["due_at"] <= now
        ahead = case["executed_attempts"] < case["max_attempts"]
        return bool(due and ahead and now - self._row["called_at"] >= PAGE_GRACE)

    def _keep(self, found: Seen) -> Outcome:
        outcome = Outcome("requires_action", "open_page", detail="the customer can pay on the page")
        intent = name_of(found.body.get("payment_intent"))
        return self._settle(outcome, session_id=found.body["id"], payment_intent_id=intent)

    def _wait(self, found: Seen) -> Outcome:
        """What cannot be read, or is under way, stays as it is until the next look."""
        state = "requires_action" if self._row["state"] == "requires_action" else "unknown"
        answer = found.status if found.status in NOT_READ else "under_way"
        if self._row["answer"] == CANCEL_UNKNOWN:
            answer = CANCEL_UNKNOWN
        elif found.status == "processing":
            answer = BANK_DEBIT
        if found.status == "no_right":
            tell_refused(
                self._ledger, self._row, str(self._row["account_id"]), found.reason, self._clock.now()
            )
        return self._settle(Outcome(state, answer, detail=found.reason or found.status))

    def _paid(self, shown: Seen) -> Outcome:
        """It has won; if the same customer has paid as much by another intent besides, a person hears of it."""
        intent = str(shown.body["id"])
        twice = paid_besides(self._gateway, self._case, shown.body)
        return self._settle(_won(shown), payment_intent_id=intent, live_object_id=intent, paid_twice=twice)

    def _roll_back(self, intent: str | None, found: Seen) -> Outcome:
        """Give the debt an intent again once nothing can be paid any more: neither the page's nor the one before."""
        if intent is not None:
            shown = self._cancelled(intent)
            if shown.status == "succeeded":
                return self._paid(shown)
            # Nobody but its page can confirm the intent of a page, and Stripe does not let it be cancelled by name.
            failed = found.status in ("complete", "expired") and shown.status == "requires_payment_method"
            if shown.status not in ("canceled", "none") and not (failed and shown.certain):
                return self._wait(shown)
        old, doubtful = self._row["object_id"], self._row["answer"] == CANCEL_UNKNOWN
        before = self._cancelled(old) if doubtful else intent_at(self._gateway, old)
        if before.status in NOT_READ or (before.status != "canceled" and not before.certain):
            return self._wait(before)
        why = f"the page is {found.status}"
        if before.status == "succeeded":
            paid = Outcome("abandoned", "paid", detail=before.reason or why)
            return self._settle(paid, close_as="paid_elsewhere")
        if before.status == "none":
            return self._settle(Outcome("abandoned", "gone", detail=before.reason), close_as="needs_human")
        if before.status != "canceled":
            alive = f"{why}, the intent {before.status}"
            return self._settle(Outcome("abandoned", "not_cancelled", detail=alive))
        gone = found.status if found.status == "expired" else "no_page"
        if self._case["state"] in cases.CLOSED:
            return self._settle(Outcome("abandoned", gone, detail=why))
        return self._succeed(Outcome("abandoned", gone, detail=why), intent)

    def _cancelled(self, intent: str) -> Seen:
        shown = intent_at(self._gateway, intent)
        over = shown.status in (*NOT_READ, "none", "canceled", "succeeded")
        return shown if over else give_up(self._gateway, self._row, intent)

    def _succeed(self, outcome: Outcome, intent: str | None) -> Outcome:
        """Make the intent that retries confirm from now on; it charges nobody by itself."""
        key = f"{self._row['idempotency_key']}:successor"
        self._boundary("page_before_successor")
        made = self._gateway.post(INTENTS, successor_of(self._row), key, self._row["api_version"])
        self._boundary("page_after_successor")
        name = name_of((made.body or {}).get("id")) if made.ok else None
        if name:
            return self._settle(outcome, payment_intent_id=intent, successor_id=name, live_object_id=name)
        refused = made.http_status is not None and 400 <= made.http_status < 500
        why = made.message or made.transport_error or made.error_code or "no intent in the answer"
        if not refused or made.http_status in UNCERTAIN:
            return self._wait(Seen("unread", reason=why))
        told = Outcome("abandoned", "no_successor", detail=f"no new intent can be made for it: {why}")
        return self._settle(told, close_as="needs_human")

    def _settle(self, outcome: Outcome, **more: Any) -> Outcome:
        settle_page(self._ledger, self._row, self._page, outcome, self._clock.now(), **more)
        return outcome


def successor_of(row: Row) -> Object:
    """The intent that takes the place of a cancelled one, out of what was frozen for the page."""
    page = frozen_parameters(row)
    meant = dict(page["payment_intent_data"])
    of_page = ("tinko_attempt", "tinko_page")
    tags = {name: value for name, value in meant.pop("metadata").items() if name not in of_page}
    return {
        "amount": row["amount_minor"],
        "currency": row["currency"],
        "customer": page["customer"],
        "metadata": tags,
        **meant,
    }


def _won(shown: Seen) -> Outcome:
    charge = name_of(shown.body.get("latest_charge"))
    return Outcome("succeeded", "paid_on_page", charge_id=charge, detail="the customer has paid on the page")
