"""Reading pages at Stripe on which a customer can pay, and the intents around them, by a closed table of what they may be.

Nothing here writes to the ledger. What is not in the table counts as not read: nothing follows from it.
"""

from dataclasses import dataclass, field
from typing import Any

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer

SESSIONS = "/v1/checkout/sessions"
INTENTS = "/v1/payment_intents"
NOT_READ = ("unread", "key_refused", "no_right")
UNCERTAIN = (401, 403, 409, 429)
"""Refusals that say nothing of the object: the same request may pass later."""
_PAGES = ("open", "complete", "expired")
_INTENTS = (
    "requires_payment_method", "requires_confirmation", "requires_action", "processing", "requires_capture",
    "canceled", "succeeded",
)  # fmt: skip
_AT_ONCE = 100

Row = dict[str, Any]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What Stripe shows of an object: a status of the table, `none`, or one of `NOT_READ`.

    `certain` is false while a request of ours may still change it.
    """

    status: str
    body: Object = field(default_factory=dict)
    reason: str = ""
    certain: bool = True


def _known(body: Object, table: tuple[str, ...]) -> Seen:
    status = body.get("status")
    if status in table:
        return Seen(str(status), body)
    return Seen("unread", body, f"it has the status {status!r}, which is none we know"[:200])


def _seen(answer: Answer, table: tuple[str, ...]) -> Seen:
    if answer.ok and answer.body is not None:
        return _known(answer.body, table)
    why = answer.transport_error or answer.message or f"HTTP {answer.http_status}"
    named = {404: "none", 401: "key_refused", 403: "no_right"}
    return Seen(named.get(answer.http_status or 0, "unread"), reason=why)


def page_at(gateway: Gateway, session_id: str) -> Seen:
    """One page by its id."""
    return _seen(gateway.get(f"{SESSIONS}/{session_id}"), _PAGES)


def intent_at(gateway: Gateway, intent: str | None) -> Seen:
    """One intent by its id; `none` without a name."""
    return _seen(gateway.get(f"{INTENTS}/{intent}"), _INTENTS) if intent else Seen("none")


def give_up(gateway: Gateway, row: Row, intent: str) -> Seen:
    """Cancel an intent, and see by another request whether it is; it is no harm to ask for it twice."""
    asked = gateway.post(
        f"{INTENTS}/{intent}/cancel",
        {"cancellation_reason": "abandoned"},
        f"{row['idempotency_key']}:cancel:{intent}:{row['fence']}",
        row["api_version"],
    )
    shown = intent_at(gateway, intent)
    status = asked.http_status
    done = asked.ok or (status is not None and 400 <= status < 500 and status not in UNCERTAIN)
    return Seen(shown.status, shown.body, shown.reason or asked.message or "", done)


def expired(gateway: Gateway, row: Row, session_id: str) -> Seen:
    """Close a page, and see that it is; a customer who was quicker has paid on it."""
    key = f"{row['idempotency_key']}:expire:{row['fence']}"
    gateway.post(f"{SESSIONS}/{session_id}/expire", {}, key, row["api_version"])
    shown = page_at(gateway, session_id)
    return shown if shown.status != "none" else Seen("unread", reason=shown.reason)


def find(gateway: Gateway, row: Row, page: Row, case: Row) -> Seen:
    """The page at Stripe: by its id, or by the attempt it names where no answer has told that."""
    if page["session_id"]:
        return page_at(gateway, page["session_id"])
    since = int(row["prepared_at"].timestamp()) - 300
    asked = {"customer": case["customer_id"], "created": {"gte": since}, "limit": _AT_ONCE}
    answer = gateway.get(SESSIONS, asked)
    if not answer.ok:
        found = _seen(answer, _PAGES)
        return Seen("unread", reason=found.reason) if found.status == "none" else found
    for one in (answer.body or {}).get("data") or ():
        if (one.get("metadata") or {}).get("tinko_attempt") == row["id"]:
            return _known(one, _PAGES)
    if (answer.body or {}).get("has_more"):
        return Seen("unread", reason=f"more than {_AT_ONCE} pages of one customer in a day")
    return Seen("none", reason="no such page at Stripe")


def name_of(value: Any) -> str | None:
    """The id of what Stripe shows as an id, or whole."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None
