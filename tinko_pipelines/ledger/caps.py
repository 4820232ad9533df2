"""Why an attempt may not be made now, and when it may: the same limits the triggers hold, asked beforehand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select, text, union_all

from tinko_pipelines.ledger import cap_sql, cases
from tinko_pipelines.ledger.schema import (
    MAILED,
    SESSION,
    SPENT,
    UNRESOLVED,
    attempt,
    cap_refusal,
    cap_rule,
    message,
    network_attempt,
    one_of,
)
from tinko_pipelines.ledger.types import UtcDateTime

_DAY = timedelta(hours=24)
_REPEATED_WITHIN = timedelta(hours=20)
# Spelled out as the partial indexes have them: with bound values a prepared statement could not use those.
_REACHED = {
    dialect: text(cap_sql.reached(dialect))
    .bindparams(bindparam("at", type_=UtcDateTime()))
    .columns(valid_until=UtcDateTime())
    for dialect in ("sqlite", "postgresql")
}
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
    asked = {name: case[name] for name in cap_sql.ASKED if name not in ("id", "at")}
    asked |= {"id": besides or "", "at": at}
    rules = connection.execute(_REACHED[connection.dialect.name], asked).mappings().all()
    found = [_refusal(connection, dict(rule), case, at, asked["id"]) for rule in rules]
    return _longest(found)


def _longest(found: Iterable[Refusal | None]) -> Refusal | None:
    refusals = [refusal for refusal in found if refusal is not None]
    return max(refusals, key=lambda refusal: (refusal.free_at, refusal.rule), default=None)


def mail_reached(connection: Connection, row: dict[str, Any], at: datetime) -> Refusal | None:
    """The cap that forbids the reminder `row` (with its `address_hmac`) at `at` for the longest time, if any."""
    if row["kind"] == "receipt":
        return None
    if connection.dialect.name == "postgresql":
        names = {name: row[name] for name in ("account_id", "address_hmac", "case_id")}
        connection.execute(text("SELECT tinko_lock_mail(:account_id, :address_hmac, :case_id)"), names)
    found: list[Refusal | None] = []
    for rule in rules_in_force(connection, at):
        if rule["network"] != "mail":
            continue
        key = "address_hmac" if rule["keyed_by"] == "address" else "case_id"
        if row[key] is None:
            continue
        query = select(message.c.claimed_at).where(
            message.c.account_id == row["account_id"],
            message.c[key] == row[key],
            message.c.kind != "receipt",
            message.c.state.in_(MAILED),
            message.c.claimed_at > at - timedelta(hours=rule["window_hours"]),
            message.c.id != row["id"],
        )
        found.append(_of_cap(rule, row[key], connection.execute(query).scalars(), at))
    return _longest(found)


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


def _refusal(
    connection: Connection, rule: dict[str, Any], case: dict[str, Any], at: datetime, besides: str
) -> Refusal | None:
    """What to tell of a limit that is reached: by whom, and until when; None where it has come free meanwhile.

    Whoever settles an attempt takes no lock on what is counted, so PostgreSQL may show less than a moment before.
    """
    if rule["rule"] == cap_sql.CARD:
        return Refusal(rule["rule"], case["card_fingerprint"], max(case.get("plan_ends_at", at), at))
    if rule["rule"] == cap_sql.CEILING:
        return _of_ceiling(connection, rule["max_attempts"], case, at, besides)
    count = _newest_of_account if rule["keyed_by"] == "account" else _refused_and_open
    return _of_cap(rule, _subject(rule["keyed_by"], case), count(connection, rule, case, at, besides), at)


def _of_cap(rule: dict[str, Any], subject: str, times: Iterable[datetime], at: datetime) -> Refusal | None:
    """The refusal by `rule` if `times`, all within its window, use it up."""
    most, newest_first = rule["max_attempts"], sorted(times, reverse=True)
    if len(newest_first) < most:
        return None
    free_at = (newest_first[most - 1] if most else at) + timedelta(hours=rule["window_hours"])
    ends_at = rule["valid_until"]
    return Refusal(rule["rule"], subject, min(free_at, ends_at) if ends_at else free_at)


def _subject(keyed_by: str, case: dict[str, Any]) -> str:
    if keyed_by == "fingerprint_amount":
        return f"{case['card_fingerprint']} {case['amount_minor']} {case['currency']}"
    names = {"fingerprint": "card_fingerprint", "customer": "customer_id", "account": "account_id"}
    return str(case[names[keyed_by]])


def _newest_of_account(
    connection: Connection, rule: dict[str, Any], case: dict[str, Any], at: datetime, besides: str
) -> list[datetime]:
    """When the newest attempts of the account, as many as the rule allows, were prepared."""
    newest = (
        select(attempt.c.prepared_at)
        .where(
            attempt.c.account_id == case["account_id"],
            _NOT_ABANDONED,
            attempt.c.operation != SESSION,
            attempt.c.prepared_at > at - timedelta(hours=rule["window_hours"]),
            attempt.c.id != besides,
        )
        .order_by(attempt.c.prepared_at.desc())
    )
    return list(connection.execute(newest.limit(rule["max_attempts"])).scalars())


def _refused_and_open(
    connection: Connection, rule: dict[str, Any], case: dict[str, Any], at: datetime, besides: str
) -> list[datetime]:
    """When the network refused an attempt, ours or not, and when ours began whose outcome is open.

    One statement, and so one moment: of two, an attempt that is settled in between would be in neither.
    """
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
    return list(connection.execute(union_all(seen, ours)).scalars())


def _of_ceiling(
    connection: Connection, most_minor: int, case: dict[str, Any], at: datetime, besides: str
) -> Refusal | None:
    """Free again when so much of the newest day's calls has grown old that there is room."""
    newest = func.coalesce(attempt.c.repeated_at, attempt.c.called_at, type_=attempt.c.called_at.type)
    spent = (
        attempt.c.account_id == case["account_id"],
        attempt.c.currency == case["currency"],
        _SPENT,
        # No call is repeated after 20 hours, so that the index by the first one still narrows it down.
        attempt.c.called_at > at - _DAY - _REPEATED_WITHIN,
        newest > at - _DAY,
        attempt.c.id != besides,
        attempt.c.operation != SESSION,
    )
    query = select(newest, attempt.c.amount_minor).where(*spent).order_by(newest)
    calls = connection.execute(query).tuples().all()
    left = sum(amount for _, amount in calls) + case["amount_minor"] - most_minor
    if left <= 0:
        return None
    free_at = at + _DAY
    for called_at, amount in calls:
        left -= amount
        if left <= 0:
            free_at = called_at + _DAY
            break
    return Refusal(cap_sql.CEILING, f"{case['account_id']} {case['currency']}", free_at)
