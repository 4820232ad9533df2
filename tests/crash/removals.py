"""What stands in the place of a safeguard that was taken away: each function patches this process, and its children.

A patch fails loudly when what it replaces is no longer there. Which trials need the safeguard is for `mutants` to say.
"""

import itertools
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text

from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.ledger import attempts, caps, cases
from tinko_pipelines.ledger.schema import attempt, message, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import addressee, outbox, send, settling
from tinko_pipelines.retry import breaker, charge, drain, inbox, janitor, preflight, settle
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.preflight import Clearance


def swap(owner: Any, name: str, new: Any) -> Any:
    """Put something else in the place of what must be there; what was there."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def answer_as(state: str, when: Callable[[Outcome], bool], executed: bool = True) -> Callable[[], None]:
    """Whenever the closed table says so, believe something else instead."""

    def patch() -> None:
        for module in (charge, janitor):
            told = module.interpret

            def believed(answer: Any, told: Any = told) -> Outcome:
                outcome = told(answer)
                return replace(outcome, state=state, executed=executed) if when(outcome) else outcome

            swap(module, "interpret", believed)

    return patch


def fresh_key() -> None:
    post = StripeGateway.post
    swap(StripeGateway, "post", lambda self, path, params, key, version: post(self, path, params, f"{key}:{uuid.uuid4()}" if path.endswith(("/pay", "/confirm")) else key, version))  # fmt: skip


def new_intent() -> None:
    post = StripeGateway.post

    def posted(self: Any, path: str, params: Any, key: str, version: str) -> Any:
        if not path.endswith("/confirm"):
            return post(self, path, params, key, version)
        old = self.get(path.removesuffix("/confirm")).body
        wanted = {name: old[name] for name in ("amount", "currency", "customer")}
        return post(self, "/v1/payment_intents", {**wanted, **params, "confirm": True}, key, version)

    swap(StripeGateway, "post", posted)


def no_fence() -> None:
    def update(connection: Any, row: dict[str, Any], **values: Any) -> bool:
        connection.execute(attempt.update().where(attempt.c.id == row["id"]).values(**values))
        return True

    swap(attempts, "update", update)


def no_version_check() -> None:
    obstacle = charge._obstacle

    def unaware(run: Any, connection: Any, case: Any, row: Any, *rest: Any) -> str | None:
        answer = obstacle(run, connection, case, row, *rest)
        return None if answer == "case_changed" else answer

    swap(charge, "_obstacle", unaware)


def settle_in_two() -> None:
    """The attempt in one transaction, its case in another; a kill fits in between."""
    whole, advance = settle.settle, settle._advance_case

    def halves(ledger: Ledger, row: Any, *rest: Any, **more: Any) -> bool:
        later: list[tuple[Any, ...]] = []
        settle._advance_case = lambda *given, **named: later.append((given[1:], named))  # type: ignore[assignment]
        done = whole(ledger, row, *rest, **more)
        for given, named in later:
            with ledger.write() as connection:
                advance(connection, *given, **named)
        return done

    swap(settle, "settle", halves)
    for module in (charge, janitor):
        swap(module, "settle", halves)


def janitor_closes_nothing() -> None:
    advance = settle._advance_case

    def forgetful(
        connection: Any, case: Any, row: Any, outcome: Any, at: Any, actor: str, *rest: Any, **more: Any
    ) -> None:
        if actor != janitor.ACTOR:
            advance(connection, case, row, outcome, at, actor, *rest, **more)
        elif case["state"] == "open":
            cases.change(connection, case, at, due_at=None)

    swap(settle, "_advance_case", forgetful)


def janitor_new_key() -> None:
    again = janitor._call_again
    swap(janitor, "_call_again", lambda gateway, row: again(gateway, {**row, "idempotency_key": f"{row['idempotency_key']}:2"}))  # fmt: skip


def no_leases() -> None:
    def taken(ledger: Ledger, connection: Any, name: str, owner: str, lease_seconds: float) -> Any:
        connection.execute(
            attempt.update()
            .where(attempt.c.id == name, attempt.c.settled_at.is_(None))
            .values(lease_until=None)
        )
        return claim(ledger, connection, name, owner, lease_seconds)

    def all_of_them(ledger: Ledger, *given: Any, **more: Any) -> list[str]:
        with ledger.read() as connection:
            query = select(attempt.c.id).where(attempt.c.settled_at.is_(None), attempt.c.state != "succeeded")
            return list(connection.execute(query).scalars())

    claim = swap(attempts, "claim", taken)
    swap(janitor, "waiting", all_of_them)


def webhook_settles() -> None:
    mark = inbox.mark

    def believed(ledger: Ledger, now: Any, *rest: Any) -> int:
        with ledger.write() as connection:
            unread = select(webhook_event.c.object_id).where(webhook_event.c.processed_at.is_(None))
            names = list(connection.execute(unread).scalars())
            found = select(recovery_case).where(
                recovery_case.c.state == "open", recovery_case.c.live_object_id.in_(names)
            )
            for case in [dict(row) for row in connection.execute(found).mappings()]:
                cases.close(connection, case, "paid_elsewhere", "an event said so", now, "inbox")
        return mark(ledger, now, *rest)

    swap(inbox, "mark", believed)


def no_caps() -> None:
    swap(caps, "reached", lambda *given, **more: None)


def no_switch() -> None:
    for module in (charge, drain, janitor, breaker):
        swap(module, "charging_allowed", lambda *given: True)


def no_mail_switch() -> None:
    swap(send, "mailing_allowed", lambda *given: True)


def not_committed() -> None:
    """That an attempt is being called is written down when its answer is there."""

    def written(ledger: Ledger, row: Any) -> Any:
        if not row["called_at"]:
            return row
        with ledger.write() as connection:
            attempts.update(connection, row, state="calling", called_at=row["called_at"])
        return {**row, "state": "calling"}

    _called_unseen(written)


def row_after_call() -> None:
    """Nothing is written before the call; all of it is when the answer is there."""
    prepare = attempts.prepare
    kept: dict[str, Any] = {}

    class Unwritten:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def execute(self, statement: Any, *given: Any) -> Any:
            if getattr(statement, "is_insert", False):
                kept["insert"] = statement
                return None
            return self._connection.execute(statement, *given)

    def unwritten(ledger: Ledger, connection: Any, *given: Any, **more: Any) -> Any:
        row = prepare(ledger, Unwritten(connection), *given, **more)
        kept[row["id"]] = kept.pop("insert")
        return row

    def written(ledger: Ledger, row: Any) -> Any:
        with ledger.write() as connection:
            connection.execute(kept.pop(row["id"]))
            if row["called_at"]:
                attempts.update(connection, row, state="calling", called_at=row["called_at"])
        return {**row, "state": "calling"} if row["called_at"] else row

    swap(attempts, "prepare", unwritten)
    _called_unseen(written)


def _called_unseen(written: Callable[[Ledger, Any], Any]) -> None:
    settled, unanswered = charge.settle, {"charge_id": None, "http_status": None, "request_id": None}

    def late(ledger: Ledger, row: Any, *rest: Any, **more: Any) -> bool:
        return settled(ledger, written(ledger, row), *rest, **more)

    swap(
        charge,
        "_begin_call",
        lambda run, case, row, *rest: {**row, **unanswered, "called_at": run.clock.now()},
    )
    swap(charge, "settle", late)


def rebuilt() -> None:
    """Parameters are made anew for each call, from what is at hand at that moment."""
    frozen, count = janitor.frozen_parameters, itertools.count()
    swap(
        janitor,
        "frozen_parameters",
        lambda row: {**frozen(row), **({"expand": ["customer"]} if next(count) % 2 else {})},
    )


def mail_claimed_after() -> None:
    claim, settled, settle_answered = outbox.claim, settling.settle, settling.settle_answered
    held: dict[str, dict[str, Any]] = {}

    def later(ledger: Ledger, row: Any, *, answered: Any, **more: Any) -> None:
        held[row["id"]] = more
        taken(ledger, answered)

    def both(ledger: Ledger, row: Any, state: str, now: Any, *, owner: str | None, **values: Any) -> bool:
        if owner is not None:
            claim(ledger, row, **held[row["id"]])
        return settled(ledger, row, state, now, owner=owner, **values)

    def taken(ledger: Ledger, answered: Any) -> None:
        for one in answered:
            claim(ledger, one.row, **held[one.row["id"]])
        settle_answered(ledger, answered)

    swap(outbox, "claim", later)
    swap(settling, "settle", both)
    swap(settling, "settle_answered", taken)


def lapsed_sent_again() -> None:
    def given_back(ledger: Ledger, now: Any) -> int:
        with ledger.write() as connection:
            lapsed = message.c.lease_until < ledger.database_now(connection)
            back = message.update().where(message.c.state == "sending", lapsed)
            return int(connection.execute(back.values(state="scheduled")).rowcount)

    swap(settling, "doubt_lapsed", given_back)


def unconditional_claim() -> None:
    def claimed(
        ledger: Ledger, row: Any, *, owner: str, address_hmac: str, now: Any, answered: Any, **_more: Any
    ) -> None:
        settling.settle_answered(ledger, answered)
        with ledger.write() as connection:
            values = {"state": "sending", "claimed_at": now, "owner": owner, "address_hmac": address_hmac}
            lease = ledger.database_now(connection) + timedelta(seconds=120)
            connection.execute(
                message.update().where(message.c.id == row["id"]).values(**values, lease_until=lease)
            )

    swap(outbox, "claim", claimed)


def no_event() -> None:
    record = cases.record
    swap(cases, "record", lambda *given, **more: None if more.get("to_state") else record(*given, **more))


def no_due() -> None:
    swap(settle, "next_due", lambda *given, **more: None)


def refusal_without_due() -> None:
    def refused(connection: Any, case: Any, refusal: Any, at: Any) -> Any:
        caps.store(connection, case["id"], case["account_id"], refusal, at)
        cases.change(connection, case, at, due_at=None)
        return at

    swap(caps, "record_refusal", refused)


def unread_is_nothing() -> None:
    judge = janitor.judge

    def hasty(row: Any, case: Any, view: Any, *rest: Any) -> Any:
        if view.standing == "unread":
            return Outcome("abandoned", "never_called"), None
        return judge(row, case, view, *rest)

    swap(janitor, "judge", hasty)


def never_again_ignored() -> None:
    swap(Outcome, "never_again", lambda self, brand, on: False)
    verdict = Outcome.verdict
    swap(Outcome, "verdict", lambda self, brand, on: replace(verdict(self, brand, on), wait_hours=0))


def tries_not_counted() -> None:
    advance = settle._advance_case
    swap(settle, "_advance_case", lambda connection, case, row, outcome, *rest, **more: advance(connection, case, row, replace(outcome, executed=False), *rest, **more))  # fmt: skip


def no_trace_at_once() -> None:
    swap(janitor, "_recent", lambda row, now: False)


def no_look_before_mail() -> None:
    looked = addressee._debt
    everything = ("open", "paid", "void", "uncollectible", "succeeded", "canceled", "processing", *looked({"invoice_id": None, "payment_intent_id": "x"})[2])  # fmt: skip
    swap(addressee, "_debt", lambda case: (*looked(case)[:2], everything))


def read_by_nobody(name: str) -> Callable[[], None]:
    return lambda: swap(preflight, name, lambda *given: None)


def no_blocking() -> None:
    """Only what is prepared keeps a second attempt out; and no cap, which counts what is unresolved too."""
    swap(charge, "BLOCKING", ("prepared",))
    swap(drain.claims, "not_blocked", lambda: text("1 = 1"))
    no_caps()


def caps_counted_before() -> None:
    """Counted once and a moment too early, by nobody else held up."""
    reached = caps.reached

    def early(connection: Any, case: Any, at: Any, *, besides: str | None = None) -> Any:
        found = None if besides else reached(connection, case, at)
        time.sleep(0.05)
        return found

    swap(caps, "reached", early)


def unread_is_a_go() -> None:
    """Where Stripe cannot be read before a call, hope for the best."""
    looked = charge.preflight

    def hopeful(*given: Any) -> Clearance:
        seen = looked(*given)
        unread = not seen.go and seen.close_as is None and seen.answer == "unread"
        return Clearance(True) if unread else seen

    swap(charge, "preflight", hopeful)


def any_charge_is_ours() -> None:
    """The first charge of the debt is taken for the attempt's own, whoever made it and when."""
    swap(janitor, "_is_since", lambda *given: True)
    swap(janitor, "_past", lambda *given: janitor.Past())
