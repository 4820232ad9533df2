"""After a restore: writing down the attempts that Stripe knows and the ledger has lost. Charges nothing.

An attempt's id and key are a pure function of its case and number, so the lost ones can be named again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.gateway.bulk import API_VERSION
from tinko_pipelines.ledger import cases, ids
from tinko_pipelines.ledger.schema import attempt, network_attempt, recovery_case
from tinko_pipelines.reconcile.ledger_side import ACTOR, LedgerSide
from tinko_pipelines.reconcile.records import Charge, Held
from tinko_pipelines.reconcile.stripe_side import Shown

MOST_ATTEMPTS = 100
_PARAMS = "{}"
_STATES = {"succeeded": "succeeded", "failed": "declined"}


def record(side: LedgerSide, shown: Shown, now: datetime) -> int:
    """Bring every case up to date with what Stripe shows of its attempts; attempts written or settled."""
    tagged: dict[str, set[str]] = defaultdict(set)
    for name, tag in shown.tags.items():
        if tag.case_id is not None:
            tagged[tag.case_id].add(name)
    done = 0
    for case_id, held in side.held(sorted(set(shown.by_case) | set(tagged))).items():
        charges = shown.by_case.get(case_id, [])
        try:
            with side.ledger.write() as connection:
                done += _catch_up(connection, held, charges, tagged[case_id], now)
        except IntegrityError:
            continue  # Two attempts that both hold the case: the comparison that follows names it for a person.
    return done


def _catch_up(
    connection: Connection, held: Held, charges: list[Charge], tagged: set[str], now: datetime
) -> int:
    case = dict(held.case)
    evidence: dict[str, Charge] = {charge.names: charge for charge in charges if charge.names is not None}
    numbers = {ids.attempt_id(case["id"], n): n for n in range(1, MOST_ATTEMPTS + 1)}
    there = {row["id"]: row for row in held.attempts}
    named = sorted((set(evidence) | tagged) & set(numbers), key=lambda name: numbers[name])
    last = max((numbers[name] for name in named), default=0)
    done = executed = 0
    won: str | None = None
    for row in held.attempts:
        charge = evidence.get(row["id"])
        overtaken = row["n"] < last and row["state"] in ("prepared", "calling", "unknown")
        if row["state"] in ("prepared", "calling", "unknown") and (charge is not None or overtaken):
            values = _outcome(charge, now)
            if values is None:
                continue
            called = row["called_at"] or (charge.created_at if charge else None)
            connection.execute(
                attempt.update()
                .where(attempt.c.id == row["id"], attempt.c.state == row["state"])
                .values(
                    fence=row["fence"] + 1, called_at=called, lease_until=None, next_poll_at=None, **values
                )
            )
            done, executed = done + 1, executed + int(values["executed"])
            won = row["id"] if values["state"] == "succeeded" else won
            _tell(connection, case, now, row["id"], values, charge)
    for name in named:
        if name in there or (values := _outcome(evidence.get(name), now)) is None:
            continue
        connection.execute(
            attempt.insert().values(**_row(case, name, numbers[name], evidence.get(name), now), **values)
        )
        done, executed = done + 1, executed + int(values["executed"])
        won = name if values["state"] == "succeeded" else won
        _tell(connection, case, now, name, values, evidence.get(name))
    if done:
        _case(connection, case, executed, won, now)
    return done


def _outcome(charge: Charge | None, now: datetime) -> dict[str, Any] | None:
    """What became of an attempt, by its charge; None while that is under way."""
    if charge is None:
        return {"state": "abandoned", "settled_at": now, "answer": "restored", "executed": False}
    if charge.status not in _STATES:
        return None
    outcome: Mapping[str, Any] = charge.details.get("outcome") or {}
    failed = charge.status == "failed"
    return {
        "state": _STATES[charge.status],
        "settled_at": now,
        "answer": "restored",
        "executed": True,
        "charge_id": charge.id,
        "decline_code": (outcome.get("reason") or charge.details.get("failure_code")) if failed else None,
        "advice_code": outcome.get("advice_code"),
        "network_decline_code": outcome.get("network_decline_code"),
        "network_advice_code": outcome.get("network_advice_code"),
    }


def _row(case: dict[str, Any], name: str, n: int, charge: Charge | None, now: datetime) -> dict[str, Any]:
    at = charge.created_at if charge else None
    return {
        "id": name,
        "case_id": case["id"],
        "n": n,
        "idempotency_key": ids.idempotency_key(name),
        "account_id": case["account_id"],
        "livemode": case["livemode"],
        "amount_minor": case["amount_minor"],
        "currency": case["currency"],
        "operation": "invoice.pay" if case["debt_kind"] == "invoice" else "payment_intent.confirm",
        "object_id": case["live_object_id"],
        "params": _PARAMS,
        "params_sha256": hashlib.sha256(_PARAMS.encode()).hexdigest(),
        "api_version": API_VERSION,
        "card_fingerprint": case["card_fingerprint"],
        "card_brand": case["card_brand"],
        "customer_id": case["customer_id"],
        "fence": 1,
        "owner": ACTOR,
        "prepared_at": at or now,
        "called_at": at,
    }


def _tell(
    connection: Connection,
    case: dict[str, Any],
    now: datetime,
    name: str,
    values: dict[str, Any],
    charge: Charge | None,
) -> None:
    detail = f"found at Stripe as {charge.id}" if charge else "named at Stripe, no charge"
    kind = f"attempt_{values['state']}"
    cases.record(connection, case, now, ACTOR, kind, attempt_id=name, detail=detail)
    if charge is not None:
        connection.execute(
            network_attempt.update().where(network_attempt.c.charge_id == charge.id).values(ours=True)
        )


def _case(
    connection: Connection, case: dict[str, Any], executed: int, won: str | None, now: datetime
) -> None:
    counted = case["executed_attempts"] + executed
    if won is not None and case["state"] in ("open", "needs_human"):
        reason = "our retry succeeded, before the ledger was restored"
        cases.close(
            connection, case, "recovered", reason, now, ACTOR, attempt_id=won, executed_attempts=counted
        )
        return
    connection.execute(
        recovery_case.update()
        .where(recovery_case.c.id == case["id"])
        .values(executed_attempts=counted, version=recovery_case.c.version + 1, updated_at=now)
    )
