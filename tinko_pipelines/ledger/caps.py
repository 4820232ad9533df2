"""Why an attempt may not be made now, and when it may: the same limits the triggers hold, asked beforehand."""

from collections.abc import Iterable, Iterator
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
    one_of,
)

CEILING = "amount_ceiling"
FORBIDDEN = "card_forbidden"
_DAY = timedelta(hours=24)
_REPEATED_WITHIN = timedelta(hours=20)
# Spelled out as the partial indexes have them: with bound values a prepared statement could not use those.
_DECLINED = text("network_attempt.declined")
_NOT_ABANDONED = text("attempt.state <> 'abandoned'")
_SPENT = text(one_of("attempt.state", SPENT))
_UNRESOLVED = text(one_of("attempt.state", UNRESOLVED))


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
    left_out = besides or ""
    found = [
        *_forbidden(connection, case, at, left_out),
        *_caps(connection, case, at, left_out),
        *_ceiling(connection, case, at, left_out),
    ]
    return max(found, key=lambda refusal: (refusal.free_at, refusal.rule), default=None)


def mail_reached(connection: Connection, row: dict[str, Any], at: datetime) -> Refusal | None:
    """The cap that forbids the reminder `row` (with its `address_hmac`) at `at` for the longest time, if any."""
    if row["kind"] != "dunning":
        return None
    if connection.dialect.name == "postgresql":
        names = {name: row[name] for name in ("account_id", "address_hmac", "case_id")}
        connection.execute(text("SELECT tinko_lock_mail(:account_id, :address_hmac, :case_id)"), names)
    found: list[Refusal] = []
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
        found += _refusal(rule, row[key], connection.execute(query).scalars(), at)
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


def _forbidden(connection: Connection, case: dict[str, Any], at: datetime, besides: str) -> Iterator[Refusal]:
    card = case["card_fingerprint"]
    query = select(attempt.c.id).where(
        attempt.c.account_id == case["account_id"],
        attempt.c.card_fingerprint == card,
        text("attempt.forbids_card"),
        attempt.c.id != besides,
    )
    if card and connection.execute(query.limit(1)).first() is not None:
        yield Refusal(FORBIDDEN, card, max(case["plan_ends_at"], at))


def _caps(connection: Connection, case: dict[str, Any], at: datetime, besides: str) -> Iterator[Refusal]:
    brand = (case["card_brand"] or "").lower()
    for rule in rules_in_force(connection, at):
        subject = _subject(rule["keyed_by"], case)
        if subject is None or rule["network"] not in ("any", brand):
            continue
        if rule["keyed_by"] == "account":
            times = _newest_of_account(connection, rule, case, at, besides)
        else:
            times = _refused_and_open(connection, rule, case, at, besides)
        yield from _refusal(rule, subject, times, at)


def _refusal(
    rule: dict[str, Any], subject: str, times: Iterable[datetime], at: datetime
) -> Iterator[Refusal]:
    """The refusal by `rule` if `times`, all within its window, use it up."""
    most, newest_first = rule["max_attempts"], sorted(times, reverse=True)
    if len(newest_first) < most:
        return
    free_at = (newest_first[most - 1] if most else at) + timedelta(hours=rule["window_hours"])
    ends_at = rule["valid_until"]
    yield Refusal(rule["rule"], subject, min(free_at, ends_at) if ends_at else free_at)


def _subject(keyed_by: str, case: dict[str, Any]) -> str | None:
    card: str | None = case["card_fingerprint"]
    if keyed_by == "fingerprint_amount" and card:
        return f"{card} {case['amount_minor']} {case['currency']}"
    subjects = {"fingerprint": card, "customer": case["customer_id"], "account": case["account_id"]}
    return subjects.get(keyed_by) or None


def _newest_of_account(
    connection: Connection, rule: dict[str, Any], case: dict[str, Any], at: datetime, besides: str
) -> list[datetime]:
    """When the newest attempts of the account were prepared, if there are enough of them to use the rule up."""
    ours = (
        attempt.c.account_id == case["account_id"],
        _NOT_ABANDONED,
        attempt.c.prepared_at > at - timedelta(hours=rule["window_hours"]),
        attempt.c.id != besides,
    )
    count = select(func.count()).select_from(attempt).where(*ours)
    if connection.execute(count).scalar_one() < rule["max_attempts"]:
        return []
    newest = select(attempt.c.prepared_at).where(*ours).order_by(attempt.c.prepared_at.desc())
    return list(connection.execute(newest.limit(rule["max_attempts"])).scalars())


def _refused_and_open(
    connection: Connection, rule: dict[str, Any], case: dict[str, Any], at: datetime, besides: str
) -> list[datetime]:
    """When the network refused an attempt, ours or not, and when ours began whose outcome is open."""
    after = at - timedelta(hours=rule["window_hours"])
    names = {
        "fingerprint": ("card_fingerprint",),
        "fingerprint_amount": ("card_fingerprint", "amount_minor", "currency"),
        "customer": ("customer_id",),
    }[rule["keyed_by"]]
    kind = attempt.c.called_at.type
    began_at = func.coalesce(attempt.c.repeated_at, attempt.c.called_at, attempt.c.prepared_at, type_=kind)
    seen: Select[Any] = select(network_attempt.c.at).where(_DECLINED, network_attempt.c.at > after)
    ours: Select[Any] = select(began_at).where(_UNRESOLVED, began_at > after, attempt.c.id != besides)
    for name in ("account_id", *names):
        seen = seen.where(network_attempt.c[name] == case[name])
        ours = ours.where(attempt.c[name] == case[name])
    return [*connection.execute(seen).scalars(), *connection.execute(ours).scalars()]


def _ceiling(connection: Connection, case: dict[str, Any], at: datetime, besides: str) -> Iterator[Refusal]:
    same = amount_ceiling.c.account_id == case["account_id"], amount_ceiling.c.currency == case["currency"]
    most = connection.execute(select(amount_ceiling.c.max_minor_per_day).where(*same)).scalar()
    if most is None:
        return
    newest = func.coalesce(attempt.c.repeated_at, attempt.c.called_at, type_=attempt.c.called_at.type)
    spent = (
        attempt.c.account_id == case["account_id"],
        attempt.c.currency == case["currency"],
        _SPENT,
        # No call is repeated after 20 hours, so that the index by the first one still narrows it down.
        attempt.c.called_at > at - _DAY - _REPEATED_WITHIN,
        newest > at - _DAY,
        attempt.c.id != besides,
    )
    total = connection.execute(select(func.sum(attempt.c.amount_minor)).where(*spent)).scalar()
    left = int(total or 0) + case["amount_minor"] - most
    if left <= 0:
        return
    query = select(newest, attempt.c.amount_minor).where(*spent).order_by(newest)
    calls = connection.execute(query).tuples()
    free_at = at + _DAY
    for called_at, amount in calls:
        left -= amount
        if left <= 0:
            free_at = called_at + _DAY
            break
    yield Refusal(CEILING, f"{case['account_id']} {case['currency']}", free_at)
