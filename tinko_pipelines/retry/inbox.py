"""Webhook events put cases on the list to be looked at; none of them settles anything."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, and_, func, literal, or_, select, union

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import anomalies, cases, claims
from tinko_pipelines.ledger.schema import (
    BLOCKING,
    attempt,
    checkout_session,
    recovery_case,
    webhook_event,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime
from tinko_pipelines.retry import checkout_late, poison
from tinko_pipelines.retry.janitor import POLLED
from tinko_pipelines.retry.preflight import View, look
from tinko_pipelines.retry.settle import load_case

ACTOR = "inbox"
_AT_ONCE = 1000
UNREAD_WAIT = timedelta(minutes=15)
_STATES = {"paid": "paid_elsewhere", "dead": "cancelled"}
_PAID = ("recovered", "paid_elsewhere")
"""Cases that are over and still looked at when money comes, since it may come a second time."""
_OVER = (*_PAID, "cancelled", "exhausted", "not_ours", "needs_human")
"""The same where it has come by a page."""
_TELL_OF_MONEY = ("succeeded", "paid", "completed")


def mark(ledger: Ledger, now: datetime, limit: int = 1000) -> int:
    """Turn unread events into marks on the cases they touch, and hasten what waits for an outcome; events read.

    However many cases there are, only those touched are read: all statements of a batch go through indexes.
    """
    event = webhook_event.c
    with ledger.write() as connection:
        unread = (
            select(event.event_id, event.object_id, event.type)
            .where(event.processed_at.is_(None))
            .order_by(event.received_at, event.event_id)
            .limit(limit)
            # What another drain reads just now is its own.
            .with_for_update(skip_locked=True)
        )
        events = connection.execute(unread).all()
        # An event of nothing with a name touches nobody: compared with NULL it would touch every second case.
        named = {row.object_id for row in events} - {None}
        paid = {row.object_id for row in events if row.type.endswith(_TELL_OF_MONEY)} - {None}
        touched, told_paid = _touched(connection, named), _touched(connection, paid)
        by_page = _touched_by_page(connection, paid)
        _mark(connection, [name for name, state in touched.items() if state == "open"], ("open",), now)
        _mark(connection, [name for name, state in told_paid.items() if state in _PAID], _PAID, now)
        _mark(connection, [name for name, state in by_page.items() if state != "open"], _OVER, now)
        _hasten(connection, list(touched), now)
        for ids in _batches([row.event_id for row in events]):
            connection.execute(webhook_event.update().where(event.event_id.in_(ids)).values(processed_at=now))
    return len(events)


def _batches(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))


def _touched(connection: Connection, objects: Collection[str]) -> dict[str, str]:
    """The states of the cases these objects belong to; each column by itself, since only so its index is used."""
    case, found = recovery_case.c, dict[str, str]()
    columns = (case.live_object_id, case.payment_intent_id, case.subscription_id, case.customer_id)
    for names in _batches(sorted(objects)):
        each = union(*(select(case.id, case.state).where(column.in_(names)) for column in columns))
        found |= connection.execute(each).tuples().all()
    return found | _touched_by_page(connection, objects)


def _touched_by_page(connection: Connection, objects: Collection[str]) -> dict[str, str]:
    """The states of the cases whose pages, or the intents of these, they are."""
    case, found = recovery_case.c, dict[str, str]()
    of_page = select(case.id, case.state).join(checkout_session, checkout_session.c.case_id == case.id)
    for names in _batches(sorted(objects)):
        columns = (checkout_session.c.session_id, checkout_session.c.payment_intent_id)
        each = union(*(of_page.where(column.in_(names)) for column in columns))
        found |= connection.execute(each).tuples().all()
    return found


def _mark(connection: Connection, ids: list[str], states: Sequence[str], now: datetime) -> None:
    case = recovery_case.c
    for some in _batches(sorted(ids)):
        # Locked in one order, so that two drains at most wait for each other.
        connection.execute(select(case.id).where(case.id.in_(some)).order_by(case.id).with_for_update()).all()
        connection.execute(
            recovery_case.update()
            .where(case.id.in_(some), case.state.in_(states))
            # The earliest mark stays, so that a case is not pushed back by its own events.
            .values(
                look_after=func.coalesce(case.look_after, literal(now, UtcDateTime())),
                version=case.version + 1,
            )
        )


def _hasten(connection: Connection, case_ids: list[str], now: datetime) -> None:
    """Have the outcomes of these cases looked at now that are still open."""
    for some in _batches(sorted(case_ids)):
        connection.execute(
            attempt.update()
            .where(
                attempt.c.case_id.in_(some),
                attempt.c.state.in_(POLLED),
                or_(attempt.c.next_poll_at.is_(None), attempt.c.next_poll_at > now),
            )
            .values(next_poll_at=now)
        )


def look_at_marked(
    ledger: Ledger, gateway: Gateway, now: datetime, limit: int = 200, until: float = math.inf
) -> int:
    """Read Stripe for the cases marked longest and close those that were settled behind our back; cases read.

    None is begun after `until` on the monotonic clock, so that slow answers keep no retry from its turn.
    Raises GatewayError when Stripe refuses the key. What else goes wrong with a case is noted on it.
    """
    case = recovery_case.c
    with ledger.read() as connection:
        marked = connection.execute(
            select(recovery_case)
            .where(
                case.look_after <= now,
                or_(
                    and_(case.state == "open", claims.not_blocked()),
                    case.state.in_(_PAID),
                    and_(case.state.in_(_OVER), checkout_late.has_pages()),
                ),
                case.account_id == gateway.account_id,
                case.livemode == gateway.livemode,
            )
            .order_by(case.look_after, case.id)
            .limit(limit)
        ).mappings()
        found = [dict(row) for row in marked]
    in_time = takewhile(lambda _row: time.monotonic() < until, found)
    return sum(_look_at(ledger, gateway, row, now) for row in in_time)


def _look_at(ledger: Ledger, gateway: Gateway, case: dict[str, Any], now: datetime) -> bool:
    try:
        view = checkout_late.with_pages(ledger, gateway, case, look(gateway, case))
        if view.standing == "key_refused":
            poison.key_refused(ledger, case["account_id"], now, view.reason)
        return _act_on(ledger, case, view, now)
    except Exception as error:
        if poison.is_everybodys(error):
            raise
        poison.case_failed(ledger, case["id"], error, now, ACTOR)
        return False


def _act_on(ledger: Ledger, case: dict[str, Any], view: View, now: datetime) -> bool:
    unread = view.standing == "unread"
    with ledger.write() as connection:
        current = load_case(ledger, connection, case["id"])
        busy = select(attempt.c.id).where(attempt.c.case_id == case["id"], attempt.c.state.in_(BLOCKING))
        if current["version"] != case["version"]:
            return False
        if current["state"] == "open" and connection.execute(busy).first():
            return False
        reason, state = view.reason, _STATES.get(view.standing)
        if view.paid_twice:
            state, reason = "needs_human", anomalies.paid_twice(connection, current, view.paid_twice, now)
        if state is not None and current["state"] == "open":
            cases.close(connection, current, state, reason, now, ACTOR, look_after=None)
        else:
            if view.late and current["state"] not in ("open", *_PAID):
                checkout_late.tell(connection, current, view.late, now)
            cases.change(connection, current, now, look_after=now + UNREAD_WAIT if unread else None)
    return not unread
