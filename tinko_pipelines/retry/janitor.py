"""Settling attempts whose outcome is open, by GET of stored ids; and freeing those a crash left behind.

A call is repeated only under its own key, only within 20 hours, and only while all that allowed it holds. Where
something has come up against it while it may still be running, the case waits: it is closed at once only when
Stripe itself lets nothing succeed any more (paid, cancelled, void), otherwise when 20 hours have left no trace.
No object of the merchant's is ever cancelled to be sure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import attempts, caps, cases
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.leases import holds, lapsed
from tinko_pipelines.ledger.mirror import note_seen
from tinko_pipelines.ledger.schema import SESSION, attempt, case_event, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import checkout_end, poison
from tinko_pipelines.retry.answers import Outcome, from_charge, interpret, is_paid
from tinko_pipelines.retry.looks import FEWEST_LOOKS, REPOST_HOURS
from tinko_pipelines.retry.preflight import LOOK_LASTS, View, look, preflight
from tinko_pipelines.retry.settle import load_case, settle

ACTOR = "janitor"
ACTION_DEADLINE_HOURS = 72
CALLED_AGAIN = "attempt_called_again"
POLLED = ("unknown", "processing", "requires_action")
_REFUSED = ("look", "gone")
"""Stripe has refused the request itself (400, 404), so under that call nothing ran."""
_OPERATIONS = {
    "invoice.pay": "/v1/invoices/{}/pay",
    "payment_intent.confirm": "/v1/payment_intents/{}/confirm",
}

frozen_parameters = attempts.frozen_parameters


def operation_path(row: dict[str, Any]) -> str:
    """The address an attempt is posted to."""
    return _OPERATIONS[row["operation"]].format(row["object_id"])


def waiting(
    ledger: Ledger, now: datetime, account_id: str, livemode: bool | None, limit: int = 500
) -> list[str]:
    """Ids of the account's attempts to look at: a lapsed lease after a crash, or a poll that is due.

    Another account's key, or the other mode's, would find nothing at Stripe and judge wrongly.
    """
    with ledger.read() as connection:
        crashed = attempt.c.state.in_(("prepared", "calling"))
        # One without a next look and looked at often enough is with a person; he may ask for another.
        unplanned = attempt.c.next_poll_at.is_(None) & (attempt.c.poll_count <= FEWEST_LOOKS)
        polled = attempt.c.state.in_(POLLED) & or_(unplanned, attempt.c.next_poll_at <= now)
        ours = attempt.c.account_id == account_id
        if livemode is not None:
            ours &= attempt.c.livemode == livemode
        statement = select(attempt.c.id).where(
            ours, lapsed(ledger, attempt.c.lease_until), or_(crashed, polled)
        )
        statement = statement.order_by(attempt.c.prepared_at)
        return list(connection.execute(statement.limit(limit)).scalars())


def resolve(
    ledger: Ledger,
    gateway: Gateway,
    attempt_id: str,
    clock: Clock,
    owner: str,
    lease_seconds: float,
    boundary: Callable[[str], None],
) -> str:
    """Take over one attempt and bring it as far as Stripe's records allow; its state afterwards.

    Raises GatewayError when Stripe refuses the key. Whatever else goes wrong with it is noted, and it waits.
    """
    try:
        return _resolve(ledger, gateway, attempt_id, clock, owner, lease_seconds, boundary)
    except Exception as error:
        if poison.is_everybodys(error):
            raise
        poison.attempt_failed(ledger, attempt_id, error, clock.now(), ACTOR)
        return "unknown"


def look_now(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    clock: Clock,
    owner: str,
    lease_seconds: float,
    boundary: Callable[[str], None] = lambda _name: None,
) -> str:
    """The same at once, whenever its next look was to be; `skipped` while somebody is at it."""
    with ledger.write() as connection:
        if holds(row["lease_until"], ledger.database_now(connection)):
            return "skipped"
        hastened = (attempt.c.id == row["id"], attempt.c.fence == row["fence"])
        connection.execute(attempt.update().where(*hastened).values(next_poll_at=clock.now()))
    return resolve(ledger, gateway, row["id"], clock, owner, lease_seconds, boundary)


def _resolve(
    ledger: Ledger,
    gateway: Gateway,
    attempt_id: str,
    clock: Clock,
    owner: str,
    lease_seconds: float,
    boundary: Callable[[str], None],
) -> str:
    now = clock.now()
    with ledger.write() as connection:
        # Whose caller is gone is no call any more in the very statement that takes it: none may be one while charging is paused.
        mine = (ledger, connection, attempt_id, owner, lease_seconds)
        lost = attempts.claim(*mine, states=("calling",), state="unknown", answer="lost", next_poll_at=now)
        row = lost or attempts.claim(*mine, states=("prepared", *POLLED))
        if row is None:
            return "skipped"
        if row["state"] in POLLED and row["next_poll_at"] is not None and row["next_poll_at"] > now:
            attempts.update(connection, row, lease_until=None)  # Somebody else has just looked.
            return "skipped"
        found = select(recovery_case).where(recovery_case.c.id == row["case_id"])
        case = dict(connection.execute(found).mappings().one())
        if lost:
            cases.record(connection, case, now, ACTOR, "attempt_unknown", attempt_id=row["id"], detail="lost")
    if row["state"] == "prepared":
        settle(ledger, row, Outcome("abandoned", "never_called"), now, ACTOR)
        return "abandoned"
    if row["operation"] == SESSION:
        outcome = checkout_end.follow(ledger, gateway, row, case, clock, boundary)
        if outcome.answer == "key_refused":
            poison.key_refused(ledger, row["account_id"], now, outcome.detail)
        return outcome.state
    boundary("janitor_before_get")
    view, outcome, close_as = what_became(ledger, gateway, row, case, now)
    boundary("janitor_after_get")
    if outcome.answer == "no_trace" and _recent(row, now):
        outcome = Outcome("unknown", "no_trace_yet")
        again = _cleared_again(ledger, gateway, row, case, clock, lease_seconds)
        if again is not None:
            boundary("janitor_before_call")
            with ledger.read() as connection:
                if attempts.held_up(ledger.database_now(connection), again, lease_seconds):
                    return "skipped"  # Whoever looks at it next asks again whether it may be made.
            row, outcome, now = again, _call_again(gateway, again), clock.now()
    settle(ledger, row, outcome, now, ACTOR, close_as=close_as, paid_twice=view.paid_twice)
    if outcome.answer == "key_refused":
        poison.key_refused(ledger, row["account_id"], now, outcome.detail)
    return outcome.state


def what_became(
    ledger: Ledger, gateway: Gateway, row: dict[str, Any], case: dict[str, Any], now: datetime
) -> tuple[View, Outcome, str | None]:
    """What Stripe shows of the debt, and what that makes of the attempt and of its case; changes nothing."""
    if row["operation"] == SESSION:
        return checkout_end.what_became(ledger, gateway, row, case)
    with ledger.read() as connection:
        past = _past(connection, case, row)
    view = look(gateway, case)
    return view, *judge(row, case, view, past, now)


def _recent(row: dict[str, Any], now: datetime) -> bool:
    """Whether the key still means the same call to Stripe, with room to spare."""
    return bool(now - row["called_at"] < timedelta(hours=REPOST_HOURS))


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows of an attempt's past: its case's other charges and earlier attempts, and whether it was repeated."""

    taken: frozenset[str | None] = frozenset()
    earlier: frozenset[str] = frozenset()
    called_again: bool = False


def _past(connection: Connection, case: dict[str, Any], row: dict[str, Any]) -> Past:
    others = select(attempt.c.id, attempt.c.n, attempt.c.charge_id).where(
        attempt.c.case_id == case["id"], attempt.c.id != row["id"]
    )
    again = select(case_event.c.id).where(
        case_event.c.case_id == case["id"],
        case_event.c.attempt_id == row["id"],
        case_event.c.kind == CALLED_AGAIN,
    )
    found = connection.execute(others).all()
    return Past(
        frozenset((*(other.charge_id for other in found), case["first_charge_id"])),
        frozenset(other.id for other in found if other.n < row["n"]),
        connection.execute(again).first() is not None,
    )


def _cleared_again(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    case: dict[str, Any],
    clock: Clock,
    lease_seconds: float,
) -> dict[str, Any] | None:
    """The row as it is called with again, its lease renewed, if all that had to hold for the first call holds now."""
    if row["answer"] == "idempotency_error" or case["state"] != "open" or row["livemode"] != gateway.livemode:
        return None
    frozen_parameters(row)
    looked_at = clock.now()
    clearance = preflight(gateway, case)
    if not clearance.go:
        return None
    try:
        with ledger.write() as connection:
            present = load_case(ledger, connection, case["id"])
            now = clock.now()
            if now - looked_at > LOOK_LASTS or attempts.held_up(
                ledger.database_now(connection), row, lease_seconds
            ):
                return None
            if present["state"] != "open" or not charging_allowed(connection, row["account_id"], now):
                return None
            note_seen(ledger, connection, row["account_id"], clearance.charges)
            if not _recent(row, now) or caps.reached(connection, row, now, besides=row["id"]) is not None:
                return None
            values = {
                "lease_until": ledger.database_now(connection) + timedelta(seconds=lease_seconds),
                "repeated_at": now,
            }
            if not attempts.update(connection, row, **values):
                return None
            cases.record(connection, present, now, ACTOR, CALLED_AGAIN, attempt_id=row["id"])
            return row | values
    except IntegrityError:
        return None  # The database has seen a pause or a limit in between.


def _call_again(gateway: Gateway, row: dict[str, Any]) -> Outcome:
    """The same call under the same key. That this one was refused says nothing of the first."""
    answer = gateway.post(
        operation_path(row), frozen_parameters(row), row["idempotency_key"], row["api_version"]
    )
    outcome = interpret(answer)
    return replace(outcome, state="unknown") if outcome.state == "abandoned" else outcome


def judge(
    row: dict[str, Any], case: dict[str, Any], view: View, past: Past, now: datetime
) -> tuple[Outcome, str | None]:
    """What Stripe's records say of the attempt, and the state its case must take (None: by the outcome)."""
    if view.standing in ("unread", "key_refused"):
        return Outcome("unknown", view.standing, detail=view.reason), None
    if view.standing == "gone":
        return Outcome("abandoned", "gone", detail=view.reason), "needs_human"
    close_as = {"paid": "paid_elsewhere", "dead": "cancelled"}.get(view.standing)
    refused = row["answer"] in _REFUSED
    charge = None if refused and not past.called_again else _own_charge(row, view, past)
    if charge is not None:
        outcome = from_charge(charge)
        return outcome, close_as if outcome.state in ("declined", "abandoned") else None
    if refused:
        found = "refused" if close_as is None else view.standing
        return Outcome("abandoned", found, detail=row["detail"]), close_as
    if close_as is not None and (view.final or not _recent(row, now)):
        return Outcome("abandoned", view.standing, detail=view.reason), close_as
    if view.status in ("processing", "requires_action"):
        late = now - row["called_at"] > timedelta(hours=ACTION_DEADLINE_HOURS)
        if view.status == "requires_action" and late:
            return Outcome("abandoned", "action_never_taken", detail=view.reason), "needs_human"
        return Outcome(str(view.status), str(view.status), executed=True), None
    to_person = "needs_human" if row["answer"] == "idempotency_error" else None
    return Outcome("abandoned", "no_trace", detail=view.reason), to_person


def _is_since(charge: dict[str, Any], since: float, row: dict[str, Any], past: Past) -> bool:
    """By name where there is one, whatever Stripe's clock said when; by time else, ours being a little ahead at most.

    The name of an earlier attempt of the case is none: where ours did not reach the intent, its charge bears that one.
    """
    named = (charge.get("metadata") or {}).get("tinko_attempt")
    if named and named not in past.earlier:
        return bool(named == row["id"])
    return int(charge.get("created") or 0) >= since


def _own_charge(row: dict[str, Any], view: View, past: Past) -> dict[str, Any] | None:
    """The charge the attempt has made: one that bears its id, or the first since its call that is nobody else's.

    Where the call was repeated a second one may be there, and the one that took the money counts.
    """
    since = row["called_at"].timestamp() - 5
    card = frozen_parameters(row).get("payment_method")
    ours = [
        charge
        for charge in view.charges
        if charge.get("id") not in past.taken
        and _is_since(charge, since, row, past)
        and (card is None or charge.get("payment_method") in (None, card))
    ]
    paid = [charge for charge in ours if is_paid(charge)] if past.called_again else []
    return next(iter(paid or ours), None)
