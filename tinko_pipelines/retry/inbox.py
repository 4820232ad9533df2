"""Webhook events put cases on the list to be looked at; none of them settles anything."""

import math
import time
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from sqlalchemy import and_, false, func, literal, or_, select

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import anomalies, cases
from tinko_pipelines.ledger.schema import BLOCKING, attempt, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime
from tinko_pipelines.retry import poison
from tinko_pipelines.retry.janitor import POLLED
from tinko_pipelines.retry.preflight import View, look
from tinko_pipelines.retry.settle import load_case

ACTOR = "inbox"
UNREAD_WAIT = timedelta(minutes=15)
_STATES = {"paid": "paid_elsewhere", "dead": "cancelled"}
_PAID = ("recovered", "paid_elsewhere")
"""Cases that are over and still looked at when money comes, since it may come a second time."""


def mark(ledger: Ledger, now: datetime, limit: int = 1000) -> int:
    """Turn unread events into marks on the cases they touch, and hasten what waits for an outcome; events read."""
    with ledger.write() as connection:
        events = connection.execute(
            select(webhook_event.c.event_id, webhook_event.c.object_id, webhook_event.c.type)
            .where(webhook_event.c.processed_at.is_(None))
            .order_by(webhook_event.c.received_at, webhook_event.c.event_id)
            .limit(limit)
        ).all()
        for event_id, object_id, kind in events:
            # An event of nothing with a name touches nobody: compared with NULL it would touch every second case.
            touched = (
                false()
                if object_id is None
                else or_(
                    recovery_case.c.live_object_id == object_id,
                    recovery_case.c.payment_intent_id == object_id,
                    recovery_case.c.subscription_id == object_id,
                    recovery_case.c.customer_id == object_id,
                )
            )
            states = ("open", *_PAID) if kind.endswith(("succeeded", "paid")) else ("open",)
            connection.execute(
                recovery_case.update()
                .where(touched, recovery_case.c.state.in_(states))
                # The earliest mark stays, so that a case is not pushed back by its own events.
                .values(
                    look_after=func.coalesce(recovery_case.c.look_after, literal(now, UtcDateTime())),
                    version=recovery_case.c.version + 1,
                )
            )
            connection.execute(
                attempt.update()
                .where(
                    attempt.c.case_id.in_(select(recovery_case.c.id).where(touched)),
                    attempt.c.state.in_(POLLED),
                    or_(attempt.c.next_poll_at.is_(None), attempt.c.next_poll_at > now),
                )
                .values(next_poll_at=now)
            )
            connection.execute(
                webhook_event.update().where(webhook_event.c.event_id == event_id).values(processed_at=now)
            )
    return len(events)


def look_at_marked(
    ledger: Ledger, gateway: Gateway, now: datetime, limit: int = 200, until: float = math.inf
) -> int:
    """Read Stripe for the cases marked longest and close those that were settled behind our back; cases read.

    None is begun after `until` on the monotonic clock, so that slow answers keep no retry from its turn.
    Raises GatewayError when Stripe refuses the key. What else goes wrong with a case is noted on it.
    """
    blocked = select(attempt.c.case_id).where(attempt.c.state.in_(BLOCKING))
    case = recovery_case.c
    with ledger.read() as connection:
        marked = connection.execute(
            select(recovery_case)
            .where(
                case.look_after <= now,
                or_(and_(case.state == "open", case.id.not_in(blocked)), case.state.in_(_PAID)),
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
        view = look(gateway, case)
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
            cases.change(connection, current, now, look_after=now + UNREAD_WAIT if unread else None)
    return not unread
