"""Judging a trial by what Stripe's book, its journal and the mail server saw; the ledger is only held against them."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.crash.plan import CALL, TIMEOUT_SECONDS, Plan
from tests.crash.stage import Mail
from tests.crash.world import Debt, charges_of

Row = dict[str, Any]
STALE_SECONDS = 60
REPOST_SECONDS = 20 * 3600
MAIL_SECONDS = 23 * 3600
"""A reminder may arrive later than it was claimed, and the next one a day after that claim."""
FINAL = ("lost_card", "stolen_card", "pickup_card", "fraudulent", "do_not_try_again")
PAYABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "open")
CHARGED = ("/pay", "/confirm")


@dataclass
class Evidence:
    """All that a trial leaves behind."""

    plan: Plan
    debts: list[Debt]
    book: dict[str, dict[str, Row]]
    journal: list[Row]
    ledger: dict[str, list[Row]]
    mails: list[Mail]
    pauses: list[list[Any]]
    audit: Row
    told: list[list[Any]]
    suppressed: dict[str, datetime]

    def __post_init__(self) -> None:
        self.calls = [
            entry
            for entry in self.journal
            if entry["caller"] and entry["method"] == "POST" and entry["path"].endswith(CHARGED)
        ]
        self.by_charge = {name: entry for entry in self.calls for name in entry.get("made", ())}

    def read_before(self, call: Row) -> Row | None:
        """When this caller last read the debt it is about to charge."""
        return next(
            (
                entry
                for entry in reversed(self.journal)
                if entry["n"] < call["n"]
                and entry["caller"] == call["caller"]
                and entry["method"] == "GET"
                and entry.get("debt") == debt_of(call)
            ),
            None,
        )


def debt_of(call: Row) -> str:
    return str(call["path"].split("/")[3])


def judge(evidence: Evidence) -> Row:
    """Every violation in words that begin with its kind, and the figures of the trial."""
    doubles = _doubles(evidence)
    after = _after(evidence)
    lost = _lost(evidence)
    came = Counter(mail.message_id for mail in evidence.mails)
    receipts = {row["id"] for row in evidence.ledger["message"] if row["kind"] == "receipt"}
    most = {name: 2 if name in receipts else 1 for name in came}
    mails = [f"mail: {name} came {times} times" for name, times in came.items() if times > most[name]]
    others = [
        *_mismatches(evidence),
        *_forbidden(evidence),
        *_never_again(evidence),
        *_unwanted(evidence),
        *_caps(evidence),
        *_pauses(evidence),
        *_keys(evidence),
        *_history(evidence),
        *_failed(evidence),
    ]
    unknown, late = _unknown(evidence)
    return {
        "violations": [*doubles, *after, *lost, *mails, *others, *late],
        "double": len(doubles),
        "after": len(after),
        "lost": len(lost),
        "mails_twice": len(mails),
        "cases": len(evidence.ledger["recovery_case"]),
        "calls": len(evidence.calls),
        "charges": len(evidence.by_charge),
        "mails": len(evidence.mails),
        "unknown_seconds": unknown,
        "ends": dict(Counter(case["state"] for case in evidence.ledger["recovery_case"])),
    }


def _doubles(evidence: Evidence) -> list[str]:
    found = []
    for debt in evidence.debts:
        kept = [
            one
            for one in charges_of(evidence.book, debt.intent)
            if one["status"] == "succeeded" and not one["refunded"]
        ]
        ours = [evidence.by_charge[one["id"]] for one in kept if one["id"] in evidence.by_charge]
        if len(kept) < 2 or not ours:
            continue
        # A customer who pays between our look and our call is paid twice only where Stripe protects nobody.
        raced = evidence.plan.mode == "many_successes" and len(ours) == 1
        read = evidence.read_before(ours[-1])
        if not raced or read is None or read.get("over"):
            found.append(f"double: {debt.id} is paid {len(kept)} times")
    return found


def _after(evidence: Evidence) -> list[str]:
    found = []
    for call in evidence.calls:
        if call.get("replayed") or call["status"] == 429 or call["fault"]:
            continue
        read, debt = evidence.read_before(call), debt_of(call)
        if read is None:
            found.append(f"after: {debt} was charged without a look at it")
        elif read.get("over"):
            found.append(f"after: {debt} was charged though seen as {read['over']}")
        elif call.get("over"):
            since = _over_since(evidence, debt)
            late = since is not None and call["at"] - since > STALE_SECONDS
            if late and not _slept_over(evidence, call, since):
                found.append(f"after: {debt} was charged {call['at'] - since} s after it was {call['over']}")
    return found


def _slept_over(evidence: Evidence, call: Row, since: int | None) -> bool:
    """Whether the caller fell asleep between his last check and this very request, and it happened after all he had asked.

    No client can prevent that; Stripe does, since an intent and an invoice each succeed once.
    """
    slept = any(one.deed == "sleep" and one.moment == CALL + "before" for one in evidence.plan.happenings)
    asked = [
        entry["at"]
        for entry in evidence.journal
        if entry["caller"] == call["caller"] and entry["n"] < call["n"]
    ]
    return slept and since is not None and bool(asked) and max(asked) <= since


def _forbidden(evidence: Evidence) -> list[str]:
    """Calls after a webhook told otherwise, more tries than planned, new intents."""
    found = []
    for caller, debt, n in evidence.told:
        found += [
            f"after: {debt} was charged though its payment had been told of"
            for call in evidence.calls
            if call["caller"] == caller and debt_of(call) == debt and call["n"] > n
        ]
    most = {case["debt_id"]: case["max_attempts"] for case in evidence.ledger["recovery_case"]}
    for debt in evidence.debts:
        ours = [one for one in charges_of(evidence.book, debt.intent) if one["id"] in evidence.by_charge]
        keys = {evidence.by_charge[one["id"]].get("key") for one in ours}
        if len(keys) > most.get(debt.id, 0):
            found.append(
                f"tries: {debt.id} was tried {len(keys)} times where {most.get(debt.id)} were planned"
            )
    found += [
        f"made: {entry['path']} was asked for"
        for entry in evidence.journal
        if entry["caller"] and entry["method"] == "POST" and entry["path"] == "/v1/payment_intents"
    ]
    return found


def _never_again(evidence: Evidence) -> list[str]:
    """No card is charged by us, for whatever debt, after it was refused to us for good."""
    found = []
    refused: dict[str, Row] = {}
    for one in sorted(evidence.book.get("charges", {}).values(), key=lambda one: int(one["created"])):
        card = _card(one)
        if card is None or one["id"] not in evidence.by_charge:
            continue
        if card in refused and not _repeated(evidence, one, refused[card]):
            found.append(f"never: card {card} was tried again after a refusal for good ({one['id']})")
        if (one["outcome"] or {}).get("reason") in FINAL:
            refused.setdefault(card, one)
    return found


def _card(charge: Row) -> str | None:
    """The fingerprint of the card that was charged."""
    card = (charge["payment_method_details"] or {}).get("card") or {}
    return None if card.get("fingerprint") is None else str(card["fingerprint"])


def _unwanted(evidence: Evidence) -> list[str]:
    """Mails to those who want none, who had one within the day, and about debts that were over a while before.

    A receipt is about a debt that is over, and comes at any time once it is paid.
    """
    found = []
    messages = {row["id"]: row for row in evidence.ledger["message"]}
    cases = {row["id"]: row for row in evidence.ledger["recovery_case"]}
    wants_none = {
        evidence.book["customers"][customer]["email"]: asked.timestamp()
        for customer, asked in evidence.suppressed.items()
    }
    last: dict[str, int] = {}
    for mail in evidence.mails:
        row = messages[mail.message_id]
        receipt = row["kind"] == "receipt"
        if not receipt:
            if mail.at - last.get(mail.address, mail.at - MAIL_SECONDS) < MAIL_SECONDS:
                found.append(f"mail: {mail.message_id} came within a day of another to the same address")
            last[mail.address] = mail.at
        if row["claimed_at"] is None:
            found.append(f"mail: {row['id']} went out without a claim")
        if mail.at > wants_none.get(mail.address, mail.at):
            found.append(f"mail: {row['id']} went to somebody who wants none")
        since = _over_since(evidence, cases[row["case_id"]]["debt_id"])
        if receipt and (since is None or mail.at < since):
            found.append(f"mail: receipt {row['id']} went out before the debt was paid")
        if not receipt and since is not None and mail.at - since > STALE_SECONDS:
            found.append(f"mail: {row['id']} went out after the debt was over")
    return found


def _over_since(evidence: Evidence, name: str) -> int | None:
    debt = next((one for one in evidence.debts if one.id == name), None)
    if debt is None:
        return None
    moments = [
        _paid_at(evidence, one)
        for one in charges_of(evidence.book, debt.intent)
        if one["status"] == "succeeded"
    ]
    owed = evidence.book["invoices" if debt.subscription else "payment_intents"][debt.id]
    moments += [owed.get("canceled_at"), (owed.get("status_transitions") or {}).get("voided_at")]
    if debt.subscription:
        moments.append(evidence.book["subscriptions"][debt.subscription]["canceled_at"])
    deeds = [
        entry
        for entry in evidence.journal
        if entry["path"] == "/_sandbox/act" and debt.customer in entry["body"]
    ]
    moments += [entry["at"] for entry in deeds if "delete_customer" in entry["body"]]
    known = [moment for moment in moments if moment is not None]
    return min(known, default=None)


def _paid_at(evidence: Evidence, charge: Row) -> int:
    """When the money came: a charge that was under way for days was no payment before."""
    moved = evidence.book.get("balance_transactions", {}).get(charge.get("balance_transaction") or "")
    return int((moved or charge)["created"])


def _owed(evidence: Evidence, debt: Debt) -> bool:
    """Whether Stripe's book shows it owed still, by anything that a look can see."""
    owed = evidence.book["invoices" if debt.subscription else "payment_intents"][debt.id]
    customer = evidence.book["customers"][debt.customer]
    ended = debt.subscription and evidence.book["subscriptions"][debt.subscription]["status"] == "canceled"
    others = [
        one
        for one in evidence.book.get("charges", {}).values()
        if (one["metadata"] or {}).get("order_id") == debt.order
        and one["customer"] == debt.customer
        and one["payment_intent"] != debt.intent
        and one["status"] == "succeeded"
    ]
    return owed["status"] in PAYABLE and not ended and not customer.get("deleted") and not others


def _lost(evidence: Evidence) -> list[str]:
    found = []
    cases = {case["debt_id"]: case for case in evidence.ledger["recovery_case"]}
    tries: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.ledger["attempt"]:
        tries[row["case_id"]].append(row)
    for debt in evidence.debts:
        case = cases.get(debt.id)
        charges = charges_of(evidence.book, debt.intent)
        if case is None:
            if charges and charges[0]["status"] == "failed" and _owed(evidence, debt):
                found.append(f"lost: {debt.id} has no case")
            continue
        won = any(one["status"] == "succeeded" and one["id"] in evidence.by_charge for one in charges)
        state, made = case["state"], tries[case["id"]]
        if state in ("open", "planned", "detected"):
            found.append(f"lost: {debt.id} is {state} at the end, due at {case['due_at']}")
        elif won and state not in ("recovered", "needs_human", "paid_elsewhere"):
            found.append(f"lost: {debt.id} was paid by us, its case is {state} ({case['state_reason']})")
        elif state == "recovered" and not any(one["status"] == "succeeded" for one in charges):
            found.append(f"lost: {debt.id} is recovered in the ledger only")
        elif state in ("paid_elsewhere", "cancelled") and _owed(evidence, debt):
            found.append(
                f"lost: {debt.id} is {state} in the ledger and owed at Stripe ({case['state_reason']})"
            )
        elif state == "exhausted" and case["executed_attempts"] < case["max_attempts"]:
            excused = (
                evidence.pauses
                or any(row["state"] == "abandoned" for row in made)
                or _refused(evidence, case)
            )
            if not excused:
                done = f"{case['executed_attempts']} of {case['max_attempts']}"
                found.append(f"lost: {debt.id} was given up after {done} tries")
    found += [
        f"lost: mail {row['id']} is {row['state']} at the end"
        for row in evidence.ledger["message"]
        if row["state"] in ("scheduled", "sending")
    ]
    return found


def _refused(evidence: Evidence, case: Row) -> bool:
    return any(row["case_id"] == case["id"] for row in evidence.ledger.get("cap_refusal", ()))


def _mismatches(evidence: Evidence) -> list[str]:
    """Where an attempt says something else than the charges it made."""
    found, charges = [], evidence.book.get("charges", {})
    attempts = evidence.ledger["attempt"]
    for row in attempts:
        charge = charges.get(row["charge_id"] or "")
        if charge is None:
            continue
        said = {"succeeded": "succeeded", "declined": "failed"}.get(row["state"])
        if said is not None and charge["status"] != said:
            found.append(
                f"mismatch: attempt {row['n']} of {row['object_id']} {row['state']}, charge {charge['status']}"
            )
        elif row["state"] == "abandoned" and charge["status"] == "succeeded":
            found.append(f"mismatch: attempt {row['n']} of {row['object_id']} was given up and charged")
    by_key = {row["idempotency_key"]: row for row in attempts}
    for name, call in evidence.by_charge.items():
        row, charge = by_key.get(call.get("key") or ""), charges[name]
        if (
            row is None
            or row["state"] in ("unknown", "processing", "calling")
            or charge["status"] == "pending"
        ):
            continue
        over_since = _over_since(evidence, debt_of(call))
        if evidence.plan.mode == "many_successes" and _slept_over(evidence, call, over_since):
            continue
        agree = row["state"] == {"succeeded": "succeeded", "failed": "declined"}[charge["status"]]
        if not agree and evidence.plan.mode != "no_idempotency":
            made = f"{debt_of(call)} was charged by {name} ({charge['status']})"
            found.append(f"mismatch: {made}, its attempt is {row['state']} ({row['answer']})")
    return found


def _caps(evidence: Evidence) -> list[str]:
    """No card is charged by us twice in 24 hours after a refusal, no customer more than twice.

    What another customer with the same card tried by himself nobody could know before the next look at all of Stripe.
    """
    found = []
    charges = sorted(evidence.book.get("charges", {}).values(), key=lambda one: one["created"])

    def refused(one: Row) -> bool:
        return (
            one["status"] == "failed"
            and (one["outcome"] or {}).get("network_status") == "declined_by_network"
        )

    for place, one in enumerate(charges):
        if one["id"] not in evidence.by_charge:
            continue
        before = [
            other
            for other in charges[:place]
            if refused(other)
            and one["created"] - 86_400 < other["created"] <= one["created"]
            and (other["id"] in evidence.by_charge or other["customer"] == one["customer"])
            and not _repeated(evidence, one, other)
        ]
        card = _card(one)
        if card and any(_card(other) == card for other in before):
            found.append(f"cap: card {card} was charged again within a day ({one['id']})")
        if sum(other["customer"] == one["customer"] for other in before) >= 2:
            found.append(f"cap: customer {one['customer']} was charged a third time within a day")
    return found


def _repeated(evidence: Evidence, one: Row, other: Row) -> bool:
    """Whether both are one call, done twice because Stripe or its caller slept in the middle of it.

    Where keys mean nothing nobody can prevent that; elsewhere the second is answered from the first.
    """
    calls = [evidence.by_charge.get(charge["id"], {}) for charge in (one, other)]
    late = any(call.get("waited", 0) > TIMEOUT_SECONDS for call in calls)
    slept = any(happening.deed == "sleep" for happening in evidence.plan.happenings)
    return (late or slept) and calls[0].get("key") == calls[1].get("key")


def _pauses(evidence: Evidence) -> list[str]:
    found = []
    for caller, begun, ended, _ in evidence.pauses:
        for call in evidence.calls:
            concerned = caller in ("*", call["caller"])
            if concerned and call["n"] > begun and (ended is None or call["n"] <= ended):
                found.append(f"pause: {debt_of(call)} was called while charging was paused")
        found += [
            f"pause: mail {mail.message_id} went out while mailing was paused"
            for mail in evidence.mails
            if caller == "*" and mail.n > begun and (ended is None or mail.n <= ended)
        ]
    return found


def _keys(evidence: Evidence) -> list[str]:
    found = []
    by_key = {row["idempotency_key"]: row for row in evidence.ledger["attempt"]}
    first: dict[str, int] = {}
    sent: dict[str, int] = {}
    for call in evidence.calls:
        key = call.get("key")
        if key is None:
            continue
        if call["sent"] != sent.setdefault(key, call["sent"]):
            found.append(f"key: {debt_of(call)} was called with other parameters under the same key")
        row = by_key.get(key)
        if row is None:
            found.append(f"key: {debt_of(call)} was called under a key that no attempt has")
        elif key != f"tinko:v1:{row['id']}":
            found.append(f"key: {debt_of(call)} was called under a key that is no function of its attempt")
        elif row["called_at"] is None:
            found.append(f"key: {debt_of(call)} was called by an attempt that never began to")
        if call["at"] - first.setdefault(key, call["at"]) > REPOST_SECONDS:
            found.append(f"key: {debt_of(call)} was called again after 20 hours under the same key")
    return found


def _history(evidence: Evidence) -> list[str]:
    last: dict[str, str] = {}
    settled = Counter(
        row["attempt_id"]
        for row in evidence.ledger["case_event"]
        if row["kind"] in ("attempt_succeeded", "attempt_declined", "attempt_abandoned")
    )
    twice = [
        f"history: attempt {name} was settled {times} times" for name, times in settled.items() if times > 1
    ]
    for row in sorted(evidence.ledger["case_event"], key=lambda row: row["id"]):
        if row["to_state"]:
            last[row["case_id"]] = row["to_state"]
    return twice + [
        f"history: {case['debt_id']} is {case['state']}, its events end in {last.get(case['id'])}"
        for case in evidence.ledger["recovery_case"]
        if last.get(case["id"]) != case["state"]
    ]


def _failed(evidence: Evidence) -> list[str]:
    """What went wrong with one case and was put aside, so that it would stop no other: nothing is meant to."""
    return [
        f"failed: {row['detail']}" for row in evidence.ledger["case_event"] if row["kind"] == "case_failed"
    ]


KNOWN_BY = tuple(
    f"attempt_{state}" for state in ("succeeded", "declined", "abandoned", "processing", "requires_action")
)


def _unknown(evidence: Evidence) -> tuple[list[float], list[str]]:
    """How long outcomes stayed unknown, in seconds of the sandbox; and those too long without a person.

    A charge that a bank or the customer has still to decide about is known to be that.
    """
    since: dict[str, datetime] = {}
    ended: dict[str, datetime] = {}
    handed: dict[str, datetime] = {}
    for event in evidence.ledger["case_event"]:
        name = event["attempt_id"]
        if event["to_state"] == "needs_human":
            handed.setdefault(event["case_id"], event["at"])
        if event["kind"] == "attempt_unknown":
            since.setdefault(name, event["at"])
        elif name in since and event["kind"] in KNOWN_BY:
            ended.setdefault(name, event["at"])
    found, late = [], []
    for row in evidence.ledger["attempt"]:
        if row["id"] not in since:
            continue
        began = min(row["called_at"], since[row["id"]])
        known = ended.get(row["id"])
        if known is not None:
            found.append((known - began).total_seconds())
        cared = min(filter(None, (known, handed.get(row["case_id"]))), default=None)
        if cared is None or cared - began > timedelta(hours=24):
            what = "never settled" if cared is None else f"settled after {cared - began}"
            late.append(f"unknown: attempt {row['n']} of {row['object_id']} {what}")
    return found, late
