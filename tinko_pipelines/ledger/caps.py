"""Why an attempt may not be made now, and when it may: the same limits the triggers hold, asked beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select, text

from tinko_pipelines.ledger import cases
from tinko_pipelines.ledger.schema import (
    MAILED,
    SPENT,
    UNRESOLVED,
    amount_ceiling,
    attempt,
    cap_refusal,
    cap_rule,
    message,
    network_attempt,
)

CEILING = "amount_ceiling"
_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rule that forbids something now, what it counts by, and from when on it lets one through."""

    rule: str
    subject: str
    free_at: datetime


def reached(
    connection: Connection, case: dict[str, Any], at: datetime, *, besides: str | None = None
) -> Refusal | None:
    """The limit that forbids an attempt of `case` at `at` for the longest time; None when all let it through.

    The attempt `besides`, which is to be made, does not count against itself. On PostgreSQL whoever counts by the same card,
    customer or account waits until this transaction ends.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT tinko_lock_caps(:account, :card, :customer)"),
            {
                "account": case["account_id"],
                "card": case["card_fingerprint"],
                "customer": case["customer_id"],
            },
        )
    found = [*_caps(connection, case, at, besides or ""), *_ceiling(connection, case, at, besides or "")]
    return max(found, key=lambda refusal: (refusal.free_at, refusal.rule), default=None)


def mail_reached(connection: Connection, row: dict[str, Any], at: datetime) -> Refusal | None:
    """The cap that forbids the reminder `row` (with its `address_hmac`) at `at` for the longest time, if any."""
    if row["kind"] != "dunning":
        return None
    if connection.dialect.name == "postgresql":
        names = {name: row[name] for name in ("account_id", "address_hmac", "case_id")}
        connection.execute(text("SELECT tinko_lock_mail(:account_id, :address_hmac, :case_id)"), names)
    found = []
    for rule in rules_in_force(connection, at):
        if rule["network"] != "mail":
            continue
        key = "address_hmac" if rule["keyed_by"] == "address" else "case_id"
        query = select(message.c.claimed_at).where(
            message.c.account_id == row["account_id"],
            message.c[key] == row[key],
            message.c.kind == "dunning",
            message.c.state.in_(MAILED),
            message.c.claimed_at > at - timedelta(hours=rule["window_hours"]),
            message.c.id != row["id"],
        )
        refusal = refusal_of(rule, row[key], sorted(connection.execute(query).scalars()), at)
        found += [refusal] if refusal else []
    return max(found, key=lambda refusal: (refusal.free_at, refusal.rule), default=None)


def record_refusal(connection: Connection, case: dict[str, Any], refusal: Refusal, at: datetime) -> datetime:
    """Store the refusal and let the case wait until the limit is free or its plan ends; that moment."""
    store(connection, case["id"], case["account_id"], refusal, at)
    due_at: datetime = min(refusal.free_at, max(case["plan_ends_at"], at))
    cases.change(connection, case, at, due_at=due_at)
    return due_at


def store(connection: Connection, case_id: str, account_id: str, refusal: Refusal, at: datetime) -> None:
    """Write one refusal down."""
    connection.execute(
        cap_refusal.insert().values(
            case_id=case_id,
            account_id=account_id,
            rule=refusal.rule,
            subject=refusal.subject,
            at=at,
            free_at=refusal.free_at,
        )
    )


def rules_in_force(connection: Connection, at: datetime) -> list[dict[str, Any]]:
    """Every cap rule that holds at `at`."""
    query = select(cap_rule).where(
        cap_rule.c.valid_from <= at, or_(cap_rule.c.valid_until.is_(None), cap_rule.c.valid_until > at)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def refusal_of(rule: dict[str, Any], subject: str, times: list[datetime], at: datetime) -> Refusal | None:
    """The refusal by `rule` when `times` (ascending, all within its window) use it up; None when they do not."""
    most, window = rule["max_attempts"], timedelta(hours=rule["window_hours"])
    if len(times) < most:
        return None
    free_at = times[len(times) - most] + window if most else at + window
    ends_at = rule["valid_until"]
    return Refusal(rule["rule"], subject, min(free_at, ends_at) if ends_at else free_at)


def _caps(connection: Connection, case: dict[str, Any], at: datetime, besides: str) -> Iterator[Refusal]:
    brand = (case["card_brand"] or "").lower()
    for rule in rules_in_force(connection, at):
        subject = _subject(rule["keyed_by"], case)
        if subject is None or rule["network"] not in ("any", brand):
            continue
        times = _counted(
            connection, rule["keyed_by"], case, at - timedelta(hours=rule["window_hours"]), besides
        )
        refusal = refusal_of(rule, subject, times, at)
        if refusal is not None:
            yield refusal


def _subject(keyed_by: str, case: dict[str, Any]) -> str | None:
    card: str | None = case["card_fingerprint"]
    if keyed_by == "fingerprint_amount" and card:
        return f"{card} {case['amount_minor']} {case['currency']}"
    subjects = {"fingerprint": card, "customer": case["customer_id"], "account": case["account_id"]}
    return subjects.get(keyed_by) or None


def _counted(
    connection: Connection, keyed_by: str, case: dict[str, Any], after: datetime, besides: str
) -> list[datetime]:
    """When what counts happened: attempts the network refused, ours or not, and ours whose outcome is open."""
    if keyed_by == "account":
        prepared = select(attempt.c.prepared_at).where(
            attempt.c.account_id == case["account_id"],
            attempt.c.state != "abandoned",
            attempt.c.prepared_at > after,
            attempt.c.id != besides,
        )
        return sorted(connection.execute(prepared).scalars())
    names = {
        "fingerprint": ("card_fingerprint",),
        "fingerprint_amount": ("card_fingerprint", "amount_minor", "currency"),
        "customer": ("customer_id",),
    }[keyed_by]
    began_at = func.coalesce(attempt.c.called_at, attempt.c.prepared_at, type_=attempt.c.called_at.type)
    seen: Select[Any] = select(network_attempt.c.at).where(
        network_attempt.c.declined, network_attempt.c.at > after
    )
    ours: Select[Any] = select(began_at).where(
        attempt.c.state.in_(UNRESOLVED), began_at > after, attempt.c.id != besides
    )
    for name in ("account_id", *names):
        seen = seen.where(network_attempt.c[name] == case[name])
        ours = ours.where(attempt.c[name] == case[name])
    return sorted([*connection.execute(seen).scalars(), *connection.execute(ours).scalars()])


def _ceiling(connection: Connection, case: dict[str, Any], at: datetime, besides: str) -> Iterator[Refusal]:
    same = amount_ceiling.c.account_id == case["account_id"], amount_ceiling.c.currency == case["currency"]
    most = connection.execute(select(amount_ceiling.c.max_minor_per_day).where(*same)).scalar()
    if most is None:
        return
    query = select(attempt.c.called_at, attempt.c.amount_minor).where(
        attempt.c.account_id == case["account_id"],
        attempt.c.currency == case["currency"],
        attempt.c.state.in_(SPENT),
        attempt.c.called_at > at - _DAY,
        attempt.c.id != besides,
    )
    calls = connection.execute(query.order_by(attempt.c.called_at)).tuples().all()
    left = sum(amount for _, amount in calls) + case["amount_minor"] - most
    if left <= 0:
        return
    free_at = at + _DAY
    for called_at, amount in calls:
        left -= amount
        if left <= 0:
            free_at = called_at + _DAY
            break
    yield Refusal(CEILING, f"{case['account_id']} {case['currency']}", free_at)
