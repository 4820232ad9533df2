"""Webhook events put cases on the list to be looked at; none of them settles anything."""

from datetime import datetime

from sqlalchemy import or_, select

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import cases
from tinko_pipelines.ledger.schema import BLOCKING, attempt, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.preflight import look
from tinko_pipelines.retry.settle import load_case

ACTOR = "inbox"
_STATES = {"paid": "paid_elsewhere", "dead": "cancelled"}


def mark(ledger: Ledger, now: datetime, limit: int = 1000) -> int:
    """Turn unread events into marks on the cases they touch; events read."""
    with ledger.write() as connection:
        events = connection.execute(
            select(webhook_event.c.event_id, webhook_event.c.object_id)
            .where(webhook_event.c.processed_at.is_(None))
            .limit(limit)
        ).all()
        for event_id, object_id in events:
            touched = or_(
                recovery_case.c.live_object_id == object_id,
                recovery_case.c.payment_intent_id == object_id,
                recovery_case.c.subscription_id == object_id,
                recovery_case.c.customer_id == object_id,
            )
            connection.execute(
                recovery_case.update()
                .where(touched, recovery_case.c.state == "open")
                .values(look_after=now, version=recovery_case.c.version + 1)
            )
            connection.execute(
                webhook_event.update().where(webhook_event.c.event_id == event_id).values(processed_at=now)
            )
    return len(events)


def look_at_marked(ledger: Ledger, gateway: Gateway, now: datetime, limit: int = 200) -> int:
    """Read Stripe for the marked cases and close those that were settled behind our back; cases read."""
    blocked = select(attempt.c.case_id).where(attempt.c.state.in_(BLOCKING))
    with ledger.read() as connection:
        marked = connection.execute(
            select(recovery_case)
            .where(
                recovery_case.c.look_after <= now,
                recovery_case.c.state == "open",
                recovery_case.c.account_id == gateway.account_id,
                recovery_case.c.livemode == gateway.livemode,
                recovery_case.c.id.not_in(blocked),
            )
            .limit(limit)
        ).mappings()
        found = [dict(row) for row in marked]
    seen = 0
    for case in found:
        view = look(gateway, case)
        if view.standing not in ("open", "gone", *_STATES):
            continue
        seen += 1
        with ledger.write() as connection:
            current = load_case(ledger, connection, case["id"])
            busy = select(attempt.c.id).where(attempt.c.case_id == case["id"], attempt.c.state.in_(BLOCKING))
            if current["version"] != case["version"] or connection.execute(busy).first():
                continue
            if view.standing in _STATES:
                cases.close(
                    connection, current, _STATES[view.standing], view.reason, now, ACTOR, look_after=None
                )
            else:
                cases.change(connection, current, now, look_after=None)
    return seen
