"""After a restore: writing down the attempts that Stripe knows and the ledger has lost. Charges nothing.

An attempt's id and key are a pure function of its case and number, so the lost ones can be named again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.declines.classify import forbids_card, never_again
from tinko_pipelines.declines.records import Decline
from tinko_pipelines.gateway.bulk import API_VERSION
from tinko_pipelines.ledger import cases, ids
from tinko_pipelines.ledger.mirror import note_seen
from tinko_pipelines.ledger.schema import attempt, network_attempt
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reconcile.ledger_side import ACTOR, LedgerSide
from tinko_pipelines.reconcile.records import Charge, Held
from tinko_pipelines.reconcile.stripe_side import Shown

GAP = 1000
"""Numbers are looked for so far beyond the last one known; what is named beyond that stays in dispute."""
_PARAMS = "{}"
_STATES = {"succeeded": "succeeded", "failed": "declined"}
_LEFT_OPEN = ("prepared", "calling", "unknown")


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
                done += _CatchUp(side.ledger, connection, held, now).all(charges, tagged[case_id])
        except IntegrityError:
            continue  # Two attempts that both hold the case: the comparison that follows names it for a person.
    return done


def numbers(case_id: str, names: Set[str], known: int) -> dict[str, int]:
    """The numbers of those `names` that are attempts of the case, of which `known` is the last in the ledger."""
    found: dict[str, int] = {}
    n = 0
    while len(found) < len(names) and n < known + GAP:
        n += 1
        if (name := ids.attempt_id(case_id, n)) in names:
            found[name], known = n, max(known, n)
    return found


class _CatchUp:
    """One case in one transaction, and what is found of it on the way."""

    def __init__(self, ledger: Ledger, connection: Connection, held: Held, now: datetime) -> None:
        self._ledger, self._connection, self._held, self._now = ledger, connection, held, now
        self._case = dict(held.case)
        self._done = self._executed = 0
        self._won: str | None = None
        self._refused_for_good = False

    def all(self, charges: list[Charge], tagged: set[str]) -> int:
        """Settle what the ledger holds for open, write down what it does not have; how many of both."""
        evidence = {charge.names: charge for charge in charges if charge.names is not None}
        last = max((row["n"] for row in self._held.attempts), default=0)
        named = numbers(self._case["id"], evidence.keys() | tagged, last)
        newest = max(named.values(), default=0)
        there = {row["id"] for row in self._held.attempts}
        for row in self._held.attempts:
            charge = evidence.get(row["id"])
            if row["state"] in _LEFT_OPEN and (charge is not None or row["n"] < newest):
                self._settle(row, charge)
        for name in sorted(named, key=lambda name: named[name]):
            if name not in there:
                self._write(name, named[name], evidence.get(name))
        if self._done:
            self._advance()
        return self._done

    def _settle(self, row: Mapping[str, Any], charge: Charge | None) -> None:
        values = _outcome(charge, row["card_brand"], self._now)
        if values is None:
            return
        called = row["called_at"] or (charge.created_at if charge else None)
        fence = row["fence"] + 1
        self._connection.execute(
            attempt.update()
            .where(attempt.c.id == row["id"], attempt.c.state == row["state"])
            .values(fence=fence, called_at=called, lease_until=None, next_poll_at=None, **values)
        )
        self._tell(row["id"], values, charge)

    def _write(self, name: str, n: int, charge: Charge | None) -> None:
        row = _row(self._case, name, n, charge, self._now)
        values = _outcome(charge, row["card_brand"], self._now)
        if values is None:
            return
        self._connection.execute(attempt.insert().values(**row, **values))
        self._tell(name, values, charge)

    def _tell(self, name: str, values: dict[str, Any], charge: Charge | None) -> None:
        self._done += 1
        self._executed += int(values["executed"])
        self._won = name if values["state"] == "succeeded" else self._won
        detail = f"found at Stripe as {charge.id}" if charge else "named at Stripe, no charge"
        kind = f"attempt_{values['state']}"
        cases.record(self._connection, self._case, self._now, ACTOR, kind, attempt_id=name, detail=detail)
        if charge is None:
            return
        note_seen(self._ledger, self._connection, self._case["account_id"], [charge.details])
        self._connection.execute(
            network_attempt.update().where(network_attempt.c.charge_id == charge.id).values(ours=True)
        )
        same_card = charge.details.get("payment_method") == self._case["payment_method_id"]
        if same_card and values["state"] == "declined":
            refusal = _decline(charge, self._case["card_brand"])
            self._refused_for_good |= never_again(refusal, charge.created_at.date())

    def _advance(self) -> None:
        """Count what was found, and close or stop the case as it would have been closed or stopped then."""
        counted = self._case["executed_attempts"] + self._executed
        values: dict[str, Any] = {"executed_attempts": counted}
        if self._won is not None and self._case["state"] in ("open", "needs_human"):
            reason = "our retry succeeded, before the ledger was restored"
            cases.close(
                self._connection,
                self._case,
                "recovered",
                reason,
                self._now,
                ACTOR,
                attempt_id=self._won,
                **values,
            )
            return
        if self._refused_for_good and self._case["state"] == "open":
            values["max_attempts"] = min(self._case["max_attempts"], counted)
            values["due_at"] = max(self._case["plan_ends_at"], self._now)
        cases.change(self._connection, self._case, self._now, **values)


def _outcome(charge: Charge | None, card_brand: str | None, now: datetime) -> dict[str, Any] | None:
    """What became of an attempt, by its charge; None while that is under way."""
    if charge is None:
        return {"state": "abandoned", "settled_at": now, "answer": "restored", "executed": False}
    if charge.status not in _STATES:
        return None
    refusal = _decline(charge, card_brand)
    failed = charge.status == "failed"
    return {
        "state": _STATES[charge.status],
        "settled_at": now,
        "answer": "restored",
        "executed": True,
        "charge_id": charge.id,
        "decline_code": refusal.code if failed else None,
        "advice_code": refusal.advice_code,
        "network_decline_code": refusal.network_decline_code,
        "network_advice_code": refusal.network_advice_code,
        "forbids_card": failed and forbids_card(refusal, charge.created_at.date()),
    }


def _decline(charge: Charge, card_brand: str | None) -> Decline:
    """Why a charge was refused, as the rules read it."""
    outcome: Mapping[str, Any] = charge.details.get("outcome") or {}
    return Decline(
        code=outcome.get("reason") or charge.details.get("failure_code"),
        network=card_brand,
        network_decline_code=outcome.get("network_decline_code"),
        advice_code=outcome.get("advice_code"),
        network_advice_code=outcome.get("network_advice_code"),
    )


def _card(case: dict[str, Any], charge: Charge | None) -> dict[str, Any]:
    """The card that was charged, which need not be the one on file now; the case's where no charge shows one."""
    details = (charge.details if charge else {}).get("payment_method_details") or {}
    card = details.get("card") or {}
    mine = card.get("fingerprint") or (charge.details.get("payment_method") if charge and card else None)
    if mine is None:
        return {"card_fingerprint": case["card_fingerprint"], "card_brand": case["card_brand"]}
    return {"card_fingerprint": mine, "card_brand": card.get("brand")}


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
        **_card(case, charge),
        "customer_id": case["customer_id"],
        "fence": 1,
        "owner": ACTOR,
        "prepared_at": at or now,
        "called_at": at,
    }
