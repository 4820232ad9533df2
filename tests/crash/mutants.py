"""Safeguards taken away, one at a time; the campaign must notice each. `make mutants` tells by what, and in which mode.

A mutant patches a worker process, or a trial's ledger, and may shape the trials so that the safeguard is needed. It
fails loudly when what it patches is no longer there.
"""

import itertools
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

from tests.crash.plan import CALL, LAST_LOOKS, Happening, Plan, plan
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.ledger import attempts, caps, cases, ids
from tinko_pipelines.ledger.schema import attempt, message
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import outbox, send
from tinko_pipelines.retry import charge, drain, inbox, janitor, preflight, settle
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.preflight import Clearance
from tinko_pipelines.sandbox.handicaps import MODES

TRIALS_MOST = 6
"""In each mode, until it is caught."""
SEED = 77


@dataclass(frozen=True)
class Mutant:
    """`patch` changes the process, `ddl` names triggers and indexes to drop, `shape` the trials."""

    name: str
    patch: Callable[[], None] = lambda: None
    drops: tuple[str, ...] = ()
    shape: dict[str, Any] = field(default_factory=dict)


def swap(owner: Any, name: str, new: Any) -> Any:
    """Put something else in the place of what must be there; what was there."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def into_process(name: str) -> None:
    """Patch this process, and the processes that it forks."""
    if name:
        MUTANTS[name].patch()


def into_database(name: str, ledger: Ledger) -> None:
    """Take rules away from this ledger."""
    for rule in MUTANTS[name].drops if name else ():
        drop(ledger, rule)


def drop(ledger: Ledger, rule: str) -> None:
    """Drop one trigger or index; raises where there is none of that name."""
    with ledger.write() as connection:
        indexes = {one["name"]: "attempt" for one in inspect(connection).get_indexes("attempt")}
        if rule in indexes:
            connection.execute(text(f"DROP INDEX {rule}"))
        elif ledger.dialect == "sqlite":
            connection.execute(text(f"DROP TRIGGER tinko_{rule}"))
        else:
            connection.execute(text(f"DROP FUNCTION tinko_{rule}() CASCADE"))


def _answer_as(state: str, when: Callable[[Outcome], bool], executed: bool = True) -> Callable[[], None]:
    """Whenever the closed table says so, believe something else instead."""

    def patch() -> None:
        for module in (charge, janitor):
            told = module.interpret

            def believed(answer: Any, told: Any = told) -> Outcome:
                outcome = told(answer)
                return replace(outcome, state=state, executed=executed) if when(outcome) else outcome

            swap(module, "interpret", believed)

    return patch


def _fresh_key() -> None:
    post = StripeGateway.post
    swap(StripeGateway, "post", lambda self, path, params, key, version: post(self, path, params, f"{key}:{uuid.uuid4()}" if path.endswith(("/pay", "/confirm")) else key, version))  # fmt: skip


def _new_intent() -> None:
    post = StripeGateway.post

    def posted(self: Any, path: str, params: Any, key: str, version: str) -> Any:
        if not path.endswith("/confirm"):
            return post(self, path, params, key, version)
        old = self.get(path.removesuffix("/confirm")).body
        wanted = {name: old[name] for name in ("amount", "currency", "customer")}
        return post(self, "/v1/payment_intents", {**wanted, **params, "confirm": True}, key, version)

    swap(StripeGateway, "post", posted)


def _no_fence() -> None:
    def update(connection: Any, row: dict[str, Any], **values: Any) -> bool:
        connection.execute(attempt.update().where(attempt.c.id == row["id"]).values(**values))
        return True

    swap(attempts, "update", update)


def _no_version_check() -> None:
    obstacle = charge._obstacle

    def unaware(run: Any, connection: Any, case: Any, row: Any, *rest: Any) -> str | None:
        answer = obstacle(run, connection, case, row, *rest)
        return None if answer == "case_changed" else answer

    swap(charge, "_obstacle", unaware)


def _settle_in_two() -> None:
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


def _janitor_closes_nothing() -> None:
    advance = settle._advance_case

    def forgetful(
        connection: Any, case: Any, row: Any, outcome: Any, at: Any, actor: str, *rest: Any, **more: Any
    ) -> None:
        if actor != janitor.ACTOR:
            advance(connection, case, row, outcome, at, actor, *rest, **more)
        elif case["state"] == "open":
            cases.change(connection, case, at, due_at=None)

    swap(settle, "_advance_case", forgetful)


def _janitor_new_key() -> None:
    again = janitor._call_again
    swap(janitor, "_call_again", lambda gateway, row: again(gateway, {**row, "idempotency_key": f"{row['idempotency_key']}:2"}))  # fmt: skip


def _no_leases() -> None:
    def taken(ledger: Ledger, connection: Any, name: str, owner: str, lease_seconds: float) -> Any:
        connection.execute(
            attempt.update()
            .where(attempt.c.id == name, attempt.c.settled_at.is_(None))
            .values(lease_until=None)
        )
        return claim(ledger, connection, name, owner, lease_seconds)

    def all_of_them(ledger: Ledger, *given: Any, **more: Any) -> list[str]:
        from sqlalchemy import select

        with ledger.read() as connection:
            query = select(attempt.c.id).where(attempt.c.settled_at.is_(None), attempt.c.state != "succeeded")
            return list(connection.execute(query).scalars())

    claim = swap(attempts, "claim", taken)
    swap(janitor, "waiting", all_of_them)


def _webhook_settles() -> None:
    from sqlalchemy import select

    from tinko_pipelines.ledger.schema import recovery_case, webhook_event

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


def _no_caps() -> None:
    swap(caps, "reached", lambda *given, **more: None)


def _no_switch() -> None:
    for module in (charge, drain, janitor):
        swap(module, "charging_allowed", lambda *given: True)


def _row_after_call() -> None:
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
        return prepare(ledger, Unwritten(connection), *given, **more)

    swap(attempts, "prepare", unwritten)
    _not_committed()


def _not_committed() -> None:
    swap(
        charge,
        "_begin_call",
        lambda run, case, row, now, *rest: {
            **row,
            "called_at": now,
            "charge_id": None,
            "http_status": None,
            "request_id": None,
        },
    )


def _rebuilt() -> None:
    """Parameters are made anew for each call, from what is at hand at that moment."""
    frozen, count = janitor.frozen_parameters, itertools.count()
    swap(
        janitor,
        "frozen_parameters",
        lambda row: {**frozen(row), **({"expand": ["customer"]} if next(count) % 2 else {})},
    )


def _mail_claimed_after() -> None:
    claim, settled = outbox.claim, outbox.settle
    held: dict[str, dict[str, Any]] = {}

    def later(ledger: Ledger, row: Any, **more: Any) -> None:
        held[row["id"]] = more

    def both(ledger: Ledger, row: Any, state: str, now: Any, *, owner: str | None, **values: Any) -> bool:
        if owner is not None:
            claim(ledger, row, **held[row["id"]])
        return settled(ledger, row, state, now, owner=owner, **values)

    swap(outbox, "claim", later)
    swap(outbox, "settle", both)


def _lapsed_sent_again() -> None:
    def given_back(ledger: Ledger, now: Any) -> int:
        with ledger.write() as connection:
            lapsed = message.c.lease_until < ledger.database_now(connection)
            back = message.update().where(message.c.state == "sending", lapsed)
            return int(connection.execute(back.values(state="scheduled")).rowcount)

    swap(outbox, "doubt_lapsed", given_back)


def _unconditional_claim() -> None:
    def claimed(
        ledger: Ledger, row: Any, *, owner: str, address_hmac: str, header: str, subject: str, now: Any
    ) -> None:
        with ledger.write() as connection:
            values = {"state": "sending", "claimed_at": now, "owner": owner, "address_hmac": address_hmac}
            lease = ledger.database_now(connection) + timedelta(seconds=120)
            connection.execute(
                message.update().where(message.c.id == row["id"]).values(**values, lease_until=lease)
            )

    swap(outbox, "claim", claimed)


def _no_event() -> None:
    record = cases.record
    swap(cases, "record", lambda *given, **more: None if more.get("to_state") else record(*given, **more))


def _no_due() -> None:
    swap(settle, "next_due", lambda *given, **more: None)


def _refusal_without_due() -> None:
    def refused(connection: Any, case: Any, refusal: Any, at: Any) -> Any:
        caps.store(connection, case["id"], case["account_id"], refusal, at)
        cases.change(connection, case, at, due_at=None)
        return at

    swap(caps, "record_refusal", refused)


def _unread_is_nothing() -> None:
    judge = janitor.judge

    def hasty(row: Any, case: Any, view: Any, *rest: Any) -> Any:
        if view.standing == "unread":
            return Outcome("abandoned", "never_called"), None
        return judge(row, case, view, *rest)

    swap(janitor, "judge", hasty)


def _never_again_ignored() -> None:
    swap(Outcome, "never_again", lambda self, brand, on: False)
    verdict = Outcome.verdict
    swap(Outcome, "verdict", lambda self, brand, on: replace(verdict(self, brand, on), wait_hours=0))


def _tries_not_counted() -> None:
    advance = settle._advance_case
    swap(settle, "_advance_case", lambda connection, case, row, outcome, *rest, **more: advance(connection, case, row, replace(outcome, executed=False), *rest, **more))  # fmt: skip


def _no_trace_at_once() -> None:
    swap(janitor, "_recent", lambda row, now: False)


def _no_look_before_mail() -> None:
    looked = send._debt
    everything = ("open", "paid", "void", "uncollectible", "succeeded", "canceled", "processing", *looked({"invoice_id": None, "payment_intent_id": "x"})[2])  # fmt: skip
    swap(send, "_debt", lambda case: (*looked(case)[:2], everything))


def _read_by_nobody(name: str) -> Callable[[], None]:
    return lambda: swap(preflight, name, lambda *given: None)


LOST = ({"kind": "reset_after", "method": "POST", "path": "/v1/*/confirm", "count": 2}, {"kind": "reset_after", "method": "POST", "path": "/v1/*/pay", "count": 2})  # fmt: skip
SAVED_500 = tuple({**one, "kind": "error_after"} for one in LOST)
LATE = tuple({**one, "kind": "latency", "seconds": 3.0} for one in LOST)
NEVER_THERE = tuple({**one, "kind": "reset_before", "count": 999} for one in LOST)
HTML = tuple({**one, "kind": "html"} for one in LOST)
BLIND = (*LOST, {"kind": "error_before", "method": "GET", "path": "/v1/*", "skip": 12, "count": 4})


def _faults(faults: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {"faults": tuple(tuple(fault.items()) for fault in faults), "happenings": ()}


def _at(
    moment: str, deed: str, rounds: tuple[int, ...] = (0, 1, 2, 3, 4, 5), skip: int = 0, **more: Any
) -> dict[str, Any]:
    happenings = tuple(Happening(number, deed, -1, moment, skip) for number in rounds)
    return {"happenings": happenings, "fault_kinds": (), "threads": 1, "workers": 1, **more}


PASSING = {"behaviours": ("passes",) * 7, "kinds": ("intent", "invoice") * 3 + ("intent",)}
REFUSING = {"behaviours": ("never",) * 7, "kinds": ("intent", "invoice") * 3 + ("intent",)}
ASKING = {"behaviours": ("action",) * 7, "kinds": ("intent",) * 7}
SHARED = {"behaviours": ("never",) * 7, "kinds": ("intent", "same_card", "same_card", "invoice", "same_card", "same_customer", "same_customer")}  # fmt: skip
PAYING = {"happenings": tuple(Happening(number, deed, debt, "", 0) for number, deed, debt in ((1, "pay", 0), (1, "pay", 1), (1, "cancel", 2), (1, "refund", 3), (2, "delete", 4)))}  # fmt: skip
SETTLED = CALL.replace(r"_call\|POST .*(confirm|pay)\|", r"_call>settle\.settle\|COMMIT\|")

MUTANTS = {
    one.name: one
    for one in (
        Mutant(
            "no_blocking_index_nor_check",
            lambda: (swap(charge, "BLOCKING", ("prepared",)), swap(drain.claims, "not_blocked", lambda: text("1 = 1"))),
            ("one_blocking",),
            _at(CALL + "before", "sleep", **PASSING),
        ),
        Mutant("fresh_key_per_call", _fresh_key, (), _at(CALL + "before", "sleep", **PASSING)),
        Mutant("key_from_time", lambda: swap(ids, "idempotency_key", lambda name: f"tinko:{time.time_ns()}"), (), PASSING),
        Mutant("timeout_is_failure", _answer_as("declined", lambda one: one.answer == "transport"), (), {**_faults(LOST), **PASSING}),
        Mutant("server_error_is_failure", _answer_as("declined", lambda one: one.answer == "server_error"), (), {**_faults(SAVED_500), **PASSING}),
        Mutant("unreadable_is_success", _answer_as("succeeded", lambda one: one.answer == "transport"), (), {**_faults(HTML), **REFUSING}),
        Mutant("processing_is_declined", _answer_as("declined", lambda one: one.state == "processing"), (), {"behaviours": ("processing",) * 7, "kinds": ("intent",) * 7}),
        Mutant("no_fence", _no_fence, (), _at(CALL + "after", "sleep", **REFUSING)),
        Mutant("stale_write_without_transition_rules", _no_fence, ("attempt_moves",), {**_at(CALL + "after", "sleep", **PASSING), "faults": _faults(LOST)["faults"]}),
        Mutant("no_preflight", lambda: swap(charge, "preflight", lambda *given: Clearance(True)), (), PAYING),
        Mutant("subscription_and_customer_not_looked_at", _read_by_nobody("_changed"), (), {**PAYING, "behaviours": ("passes_late",) * 7, "kinds": ("invoice",) * 7}),
        Mutant("other_intents_not_looked_at", _read_by_nobody("_paid_otherwise"), (), {"happenings": tuple(Happening(1, "reorder", debt) for debt in range(7)), "behaviours": ("passes_late",) * 7, "kinds": ("intent",) * 7}),
        Mutant("no_version_check", _no_version_check, (), _at(LAST_LOOKS[0], "pay_and_tell", **PASSING)),
        Mutant("settle_in_two_transactions", _settle_in_two, (), _at(SETTLED + "after", "kill", **PASSING)),
        Mutant("calling_not_committed", _not_committed, (), PASSING),
        Mutant("attempt_row_after_call", _row_after_call, (), PASSING),
        Mutant("janitor_does_not_reopen", _janitor_closes_nothing, (), {**_faults(LOST), **REFUSING}),
        Mutant("janitor_does_nothing", lambda: swap(drain.janitor, "waiting", lambda *given, **more: []), (), {**_faults(LOST), **PASSING}),
        Mutant("no_trace_is_failure_at_once", _no_trace_at_once, (), {**_faults(LATE), **PASSING}),
        Mutant("janitor_takes_a_new_key", _janitor_new_key, (), {**_faults(LATE), **PASSING}),
        Mutant("janitor_ignores_leases", _no_leases, (), _at(CALL + "before", "visit", **REFUSING)),
        Mutant("unread_is_nothing", _unread_is_nothing, (), {**_faults(BLIND), **PASSING}),
        Mutant("repost_beyond_20_hours", lambda: swap(janitor, "REPOST_HOURS", 10_000), (), {**_faults(NEVER_THERE), **PASSING}),
        Mutant("lease_shorter_than_timeout", lambda: None, (), _at(CALL + "before", "visit", lease_seconds=0.01, **REFUSING)),
        Mutant("params_rebuilt", _rebuilt, (), {**_faults(LOST), **ASKING}),
        Mutant("new_intent_per_try", _new_intent, (), {**PASSING, "kinds": ("intent",) * 7}),
        Mutant("webhook_settles", _webhook_settles, (), {"happenings": tuple(Happening(1, "new_card", debt) for debt in range(7))}),
        Mutant("no_caps_in_code_nor_database", _no_caps, ("attempt_caps", "attempt_caps_at_call"), SHARED),
        Mutant("own_charges_not_counted", lambda: swap(settle, "_mirror", lambda *given, **more: None), (), SHARED),
        Mutant("kill_switch_ignored", _no_switch, ("attempt_switch",), {"happenings": (Happening(2, "pause", -1), Happening(3, "pause", -1), Happening(4, "pause", -1))}),
        Mutant("refusal_sets_no_due_time", _refusal_without_due, (), SHARED),
        Mutant("due_time_dropped_on_settle", _no_due, (), REFUSING),
        Mutant("case_closed_without_event", _no_event, (), PASSING),
        Mutant("tries_not_counted", _tries_not_counted, (), {"behaviours": ("lost", "lost", "never", "never", "lost", "lost", "never"), "kinds": ("intent", "invoice") * 3 + ("intent",)}),
        Mutant("never_again_ignored", _never_again_ignored, (), {"behaviours": ("lost",) * 7, "kinds": ("intent", "invoice") * 3 + ("intent",)}),
        Mutant("mail_claimed_after_sending", _mail_claimed_after, ("message_moves",), _at(r"MAIL\|after", "kill")),
        Mutant("lapsed_mail_sent_again", _lapsed_sent_again, (), _at(r"MAIL\|after", "kill")),
        Mutant("mail_claim_unconditional", _unconditional_claim, ("message_moves",), {"workers": 4, "behaviours": ("customer_only",) * 7, "happenings": ()}),
        Mutant("suppression_ignored", lambda: None, ("message_suppressed",), {"happenings": tuple(Happening(0, "suppress", debt) for debt in range(7)), "behaviours": ("customer_only",) * 7}),
        Mutant("no_look_before_mail", _no_look_before_mail, (), {"happenings": tuple(Happening(1, "pay", debt) for debt in range(7)), "behaviours": ("customer_only",) * 7, "kinds": ("invoice",) * 7}),
    )
}  # fmt: skip


def trial_of(mutant: Mutant, mode: str, number: int) -> Plan:
    """A trial that needs the safeguard, or at least meets it."""
    shape = dict(mutant.shape)
    made = replace(plan(SEED, number), mode=mode, mutant=mutant.name, lake=False, database_dies=False)
    count = len(shape.get("behaviours", made.behaviours))
    if "behaviours" in shape and "kinds" not in shape:
        shape["kinds"] = (made.kinds * 2)[:count]
    if "happenings" not in shape:
        shape["happenings"] = tuple(one for one in made.happenings if one.debt < count)
    return replace(made, **shape)


def unharmed(mutant: Mutant, mode: str, number: int) -> Plan:
    """The same trial with every safeguard in its place: nothing may be found in it."""
    made = replace(trial_of(mutant, mode, number), mutant="")
    return replace(made, lease_seconds=plan(SEED, number).lease_seconds)


def hunt(names: list[str], slots: int) -> dict[str, dict[str, str]]:
    """By mutant and mode: what caught it, or nothing."""
    from tests.crash.__main__ import prepare
    from tests.crash.campaign import run

    ground = prepare()
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    dirty: dict[str, str] = {}
    controls = iter([unharmed(MUTANTS[name], mode, 0) for name in names for mode in MODES])
    queue = [(name, mode, number) for number in range(TRIALS_MOST) for name in names for mode in MODES]
    queue.reverse()

    def next_plan() -> Plan | None:
        while queue:
            name, mode, number = queue.pop()
            # Once caught in any mode, one look more in each other mode is enough.
            if mode in found[name] or (number > 0 and found[name]):
                continue
            return trial_of(MUTANTS[name], mode, number)
        return next(controls, None) if os.environ.get("CONTROL") else None

    def done(made: Plan, result: dict[str, Any]) -> None:
        if not made.mutant:
            for violation in result["violations"]:
                print(
                    f"with every safeguard, {made.mode}: {violation} ({made.happenings[:1]}, {made.faults[:1]})"
                )
                dirty[made.mode] = violation
            return
        if result["violations"] and made.mode not in found[made.mutant]:
            first = result["violations"][0].partition(" | ")[0][:160]
            print(f"{made.mutant}, {made.mode}, trial {made.number}: {first}", flush=True)
            found[made.mutant].setdefault(made.mode, result["violations"][0])

    try:
        run(next_plan, done, ground, slots)
    finally:
        ground.close()
    if dirty:
        found["with every safeguard"] = dirty
    return found


def main() -> int:
    """Hunt them all, or those named on the command line; exit code 1 when one was not caught.

    With CONTROL=1 the same trials are run with every safeguard in place too, and must find nothing.
    """
    names = sys.argv[1:] or list(MUTANTS)
    found = hunt(names, int(os.environ.get("SLOTS", "2")))
    Path("build/crash").mkdir(parents=True, exist_ok=True)
    Path("build/crash/mutants.json").write_text(json.dumps(found, indent=1))
    print(f"| safeguard removed | {' | '.join(MODES)} |\n|---|---|---|---|")
    for name in names:
        print(
            f"| {name} | {' | '.join(found[name].get(mode, '-').split(' | ')[0][:110] for mode in MODES)} |"
        )
    missed = [name for name in names if not found[name]]
    print(
        f"{len(names)} mutants, {len(names) - len(missed)} caught"
        + (f"; not caught: {', '.join(missed)}" if missed else "")
    )
    return 1 if missed or "with every safeguard" in found else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
