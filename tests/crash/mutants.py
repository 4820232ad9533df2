"""Safeguards taken away, one at a time, and the trials in which each is needed; the campaign must notice every one.

A mutant is a safeguard and whatever would stand in for it. What it puts in the place of code is in `removals`; `hunt`
runs the trials.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import inspect, text

from tests.crash import removals
from tests.crash.plan import CALL, LAST_LOOKS, Happening, Plan, plan
from tests.crash.removals import answer_as, read_by_nobody, swap
from tinko_pipelines.ledger import caps, ids
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import charge, drain, janitor, settle
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.preflight import Clearance

SEED = 77
ROUNDS = (0, 1, 2, 3, 4, 5)
LOCK = "lock"
"""Among the rules of the database that are dropped: that whoever counts a subject waits for its other writers."""


@dataclass(frozen=True)
class Mutant:
    """`patch` changes the process, `drops` names triggers and indexes, `shape` is what its trials are made of."""

    name: str
    removed: str
    patch: Callable[[], Any] = lambda: None
    drops: tuple[str, ...] = ()
    shape: dict[str, Any] = field(default_factory=dict)


def into_process(name: str) -> None:
    """Patch this process, and the processes that it forks."""
    if name:
        MUTANTS[name].patch()


def into_database(name: str, ledger: Ledger) -> None:
    """Take rules away from this ledger."""
    for rule in MUTANTS[name].drops if name else ():
        drop(ledger, rule)


def drop(ledger: Ledger, rule: str) -> None:
    """Drop one trigger or index, or what makes writers wait; raises where there is none of that name."""
    with ledger.write() as connection:
        indexes = {one["name"] for one in inspect(connection).get_indexes("attempt")}
        if rule in indexes:
            connection.execute(text(f"DROP INDEX {rule}"))
        elif ledger.dialect == "sqlite":
            # SQLite has one writer, so nobody needs to wait for another.
            if rule != LOCK:
                connection.execute(text(f"DROP TRIGGER tinko_{rule}"))
        elif rule == LOCK:
            connection.execute(text("SELECT tinko_lock('card', 'a', 'b')"))
            body = "RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$"
            connection.execute(
                text(f"CREATE OR REPLACE FUNCTION tinko_lock(kind text, account text, subject text) {body}")
            )
        else:
            connection.execute(text(f"DROP FUNCTION tinko_{rule}() CASCADE"))


CALLS = (("/v1/*/confirm", 2), ("/v1/*/pay", 2))
LOST = tuple({"kind": "reset_after", "method": "POST", "path": path, "count": count} for path, count in CALLS)
SAVED_500 = tuple({**one, "kind": "error_after"} for one in LOST)
LATE = tuple({**one, "kind": "latency", "seconds": 5.0, "count": 1} for one in LOST)
NEVER_THERE = tuple({**one, "kind": "reset_before", "count": 999} for one in LOST)
PAST_THE_KEY = 38
"""So many rounds of looks take a call past its 20 hours; more would last until the next try is in doubt, too."""
REFUSED_ONCE = tuple({**one, "kind": "reset_before", "count": 1} for one in LOST)
HTML = tuple({**one, "kind": "html"} for one in LOST)
BLIND = (*LOST, {"kind": "error_before", "method": "GET", "path": "/v1/*", "skip": 12, "count": 4})
UNREAD = tuple({"kind": "error_before", "method": "GET", "path": f"/v1/{kind}/*", "count": 2} for kind in ("invoices", "payment_intents"))  # fmt: skip
UNREAD_TAKEOVER = ({"kind": "error_before", "method": "GET", "path": "/v1/payment_intents/*", "skip": 1, "count": 1},)  # fmt: skip


def _faults(faults: tuple[dict[str, Any], ...], rounds: int = 60, **more: Any) -> dict[str, Any]:
    """Trials with this trouble on the line in their first rounds."""
    told = tuple(tuple(fault.items()) for fault in faults)
    return {"happenings": (), **more, "faults": told, "fault_rounds": rounds}


def _at(
    moment: str, deed: str, rounds: tuple[int, ...] = ROUNDS, skip: int = 0, **more: Any
) -> dict[str, Any]:
    """Trials in which that happens at that moment of each of those rounds."""
    happenings = tuple(Happening(number, deed, -1, moment, skip) for number in rounds)
    return {"happenings": happenings, "fault_kinds": (), "threads": 1, "workers": 1, **more}


def _each(deed: str, rounds: tuple[int, ...], moment: str = "") -> dict[str, Any]:
    """Trials in which that happens to every debt, in the first of these rounds that comes to the moment."""
    return {
        "happenings": tuple(Happening(number, deed, debt, moment) for number in rounds for debt in range(7))
    }


MIXED = ("intent", "invoice") * 3 + ("intent",)
INTENTS, INVOICES = ("intent",) * 7, ("invoice",) * 7
PASSING = {"behaviours": ("passes",) * 7, "kinds": MIXED}
REFUSING = {"behaviours": ("never",) * 7, "kinds": MIXED}
LOST_CARDS = {"behaviours": ("lost",) * 7, "kinds": MIXED}
WRITTEN_TO = {"behaviours": ("customer_only",) * 7, "kinds": INVOICES}
SHARED = {"behaviours": ("never",) * 7, "kinds": ("intent", "same_card", "same_card", "invoice", "same_card", "same_customer", "same_customer")}  # fmt: skip
ONE_CUSTOMER = ("intent",) + ("same_customer",) * 2 + ("intent",) + ("same_customer",) * 3
PAYING = {"happenings": tuple(Happening(number, deed, debt, "", 0) for number, deed, debt in ((1, "pay", 0), (1, "pay", 1), (1, "cancel", 2), (1, "refund", 3), (2, "delete", 4)))}  # fmt: skip
PAUSED = {"happenings": tuple(Happening(number, "pause", -1) for number in range(4))}
SETTLED = CALL.replace(r"_call\|POST .*(confirm|pay)\|", r"_call>settle\.settle\|COMMIT\|")
LOOKED = r"what_became>.*\|GET .*\|after"
SENT = r"MAIL\|after"

MUTANTS = {
    one.name: one
    for one in (
        Mutant("no_blocking_index_check_nor_caps", "the unique index over unresolved attempts, the look for one in code, and the caps, which count them too", removals.no_blocking, ("one_blocking", "attempt_caps", "attempt_caps_at_call"), {**_at(CALL + "before", "sleep", **PASSING), "kinds": INTENTS, "faults": _faults(UNREAD_TAKEOVER)["faults"]}),
        Mutant("fresh_key_per_call", "the same key for the same attempt", removals.fresh_key, (), _at(CALL + "before", "sleep", **PASSING)),
        Mutant("key_from_time", "a key made of case and number alone", lambda: swap(ids, "idempotency_key", lambda name: f"tinko:{time.time_ns()}"), (), PASSING),
        Mutant("timeout_is_failure", "that no answer means not to know", answer_as("declined", lambda one: one.answer == "transport"), (), {**_faults(LOST), **PASSING}),
        Mutant("server_error_is_failure", "that a server error means not to know", answer_as("declined", lambda one: one.answer == "server_error"), (), {**_faults(SAVED_500), **PASSING}),
        Mutant("unreadable_is_success", "that an unreadable 200 means not to know", answer_as("succeeded", lambda one: one.answer == "transport"), (), {**_faults(HTML), **REFUSING}),
        Mutant("processing_is_declined", "that a charge under way is no refusal", answer_as("declined", lambda one: one.state == "processing"), (), {"behaviours": ("processing",) * 7, "kinds": INTENTS}),
        Mutant("no_fence", "the fence on every later write of an attempt", removals.no_fence, (), _at(CALL + "after", "sleep", **REFUSING)),
        Mutant("stale_write_without_transition_rules", "the fence, and the rules of legal transitions", removals.no_fence, ("attempt_moves",), {**_at(CALL + "after", "sleep", **PASSING), "faults": _faults(LOST)["faults"]}),
        Mutant("no_preflight", "the look at Stripe before a call", lambda: swap(charge, "preflight", lambda *given: Clearance(True)), (), PAYING),
        Mutant("unread_preflight_goes_ahead", "that a call waits when Stripe cannot be read", removals.unread_is_a_go, (), {**_faults(UNREAD, 4), **PASSING}),
        Mutant("subscription_and_customer_not_looked_at", "that a subscription that is over, or a deleted customer, ends a case", read_by_nobody("_changed"), (), {**PAYING, "behaviours": ("passes_late",) * 7, "kinds": INVOICES}),
        Mutant("other_intents_not_looked_at", "the look for a second intent that paid the same order", read_by_nobody("_paid_otherwise"), (), {**_each("reorder", (1,)), "behaviours": ("passes_late",) * 7, "kinds": INTENTS}),
        Mutant("look_older_than_a_minute_used", "that a look is good for a minute only", lambda: swap(charge, "LOOK_LASTS", timedelta(days=1)), (), {**_at(LAST_LOOKS[0], "pay_and_wait", **PASSING), "kinds": INTENTS}),
        Mutant("no_version_check", "that a case which changed since it was prepared is not called", removals.no_version_check, (), _at(LAST_LOOKS[0], "pay_and_tell", **PASSING)),
        Mutant("settle_in_two_transactions", "one transaction for attempt and case", removals.settle_in_two, (), _at(SETTLED + "after", "kill", **PASSING)),
        Mutant("calling_not_committed", "that `calling` is on disk before the call", removals.not_committed, (), _at(CALL + "after", "kill", **PASSING)),
        Mutant("attempt_row_after_call", "that the attempt is on disk before the call", removals.row_after_call, (), _at(CALL + "after", "kill", **PASSING)),
        Mutant("janitor_does_not_reopen", "that a settled attempt moves its case on", removals.janitor_closes_nothing, (), {**_faults(LOST), **REFUSING}),
        Mutant("janitor_does_nothing", "the janitor", lambda: swap(drain.janitor, "waiting", lambda *given, **more: []), (), {**_faults(LOST), **PASSING}),
        Mutant("no_trace_is_failure_at_once", "that a call which left no trace yet may still be under way", removals.no_trace_at_once, (), {**_faults(LATE, 6), **PASSING}),
        Mutant("janitor_takes_a_new_key", "that a call is repeated under its own key", removals.janitor_new_key, (), {**_faults(LATE, 6), **PASSING}),
        Mutant("janitor_takes_any_charge", "that an attempt is judged by its own charge", removals.any_charge_is_ours, (), {**_faults(LOST), **PASSING}),
        Mutant("janitor_ignores_leases", "that the janitor waits for a lease to lapse", removals.no_leases, (), _at(CALL + "before", "visit", **REFUSING)),
        Mutant("janitor_calls_again_in_a_pause", "the switch where a call is repeated, in code and in the database", lambda: swap(janitor, "charging_allowed", lambda *given: True), ("attempt_switch",), {**_at(LOOKED, "pause", (0, 1, 2), **PASSING), "faults": _faults(REFUSED_ONCE)["faults"], "fault_rounds": 3}),
        Mutant("unread_is_nothing", "that what cannot be read stays unknown", removals.unread_is_nothing, (), {**_faults(BLIND), **PASSING}),
        Mutant("repost_beyond_20_hours", "that no call is repeated after 20 hours, in code and in the database", lambda: swap(janitor, "REPOST_HOURS", 10_000), ("attempt_repeated",), {**_faults(NEVER_THERE, PAST_THE_KEY), **PASSING}),
        Mutant("lease_shorter_than_timeout", "leases longer than a call", lambda: None, (), _at(CALL + "before", "visit", lease_seconds=0.01, **REFUSING)),
        Mutant("params_rebuilt", "frozen parameters", removals.rebuilt, (), {**_faults(LATE, 6), **PASSING}),
        Mutant("new_intent_per_try", "one intent for one debt", removals.new_intent, (), {**PASSING, "kinds": INTENTS}),
        Mutant("webhook_settles", "that a webhook only asks for a look", removals.webhook_settles, (), _each("new_card", (1,))),
        Mutant("no_caps_in_code_nor_database", "the caps in code and in the database", removals.no_caps, ("attempt_caps", "attempt_caps_at_call"), SHARED),
        Mutant("caps_counted_in_code_once_without_lock", "the caps in the database, the second count at the call, and the lock on what is counted", removals.caps_counted_before, ("attempt_caps", "attempt_caps_at_call", LOCK), {**SHARED, "kinds": ("intent",) + ("same_card",) * 6, "happenings": (), "fault_kinds": (), "database": "postgresql", "workers": 1, "threads": 4}),
        Mutant("own_charges_not_counted", "that our own charges count at once", lambda: swap(settle, "_mirror", lambda *given, **more: None), (), SHARED),
        Mutant("kill_switch_ignored", "the switch in code (drain, charge, janitor, breaker) and in the database", removals.no_switch, ("attempt_switch",), {**PAUSED, **PASSING}),
        Mutant("refusal_sets_no_due_time", "that a refused case is due again", removals.refusal_without_due, (), SHARED),
        Mutant("due_time_dropped_on_settle", "the next due time of a declined case", removals.no_due, (), REFUSING),
        Mutant("case_closed_without_event", "the history of a case", removals.no_event, (), PASSING),
        Mutant("tries_not_counted", "the count of executed tries", removals.tries_not_counted, (), {"behaviours": ("lost", "lost", "never", "never", "lost", "lost", "never"), "kinds": MIXED}),
        Mutant("never_again_ignored", "that some refusals are for good", removals.never_again_ignored, (), LOST_CARDS),
        Mutant("refused_card_tried_for_another_debt", "that a card refused for good is tried for no other debt", lambda: swap(Outcome, "forbids_card", lambda *given: False), (), {**LOST_CARDS, "kinds": ONE_CUSTOMER}),
        Mutant("mail_claimed_after_sending", "that a mail is claimed before it is sent", removals.mail_claimed_after, ("message_moves",), _at(SENT, "kill")),
        Mutant("lapsed_mail_sent_again", "that a mail in doubt is not sent again", removals.lapsed_sent_again, (), _at(SENT, "kill")),
        Mutant("mail_claim_unconditional", "that only one sender gets a mail", removals.unconditional_claim, ("message_moves",), {**WRITTEN_TO, "workers": 4, "happenings": ()}),
        Mutant("mail_caps_ignored", "the mail caps in code and in the database", lambda: swap(caps, "mail_reached", lambda *given: None), ("message_caps",), {**WRITTEN_TO, "kinds": ONE_CUSTOMER, "happenings": ()}),
        Mutant("mail_switch_ignored", "the switch for mail in code and in the database", removals.no_mail_switch, ("message_switch",), {**PAUSED, **WRITTEN_TO}),
        Mutant("suppression_ignored", "that nobody is written to who wants no mail", lambda: None, ("message_suppressed",), {**WRITTEN_TO, **_each("suppress", (0,))}),
        Mutant("no_look_before_mail", "the look at Stripe before a mail", removals.no_look_before_mail, (), {**WRITTEN_TO, **_each("pay", ROUNDS, SENT)}),
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


def unharmed(made: Plan) -> Plan:
    """The same trial with every safeguard in its place: nothing may be found in it."""
    return replace(made, mutant="", lease_seconds=plan(SEED, made.number).lease_seconds)
