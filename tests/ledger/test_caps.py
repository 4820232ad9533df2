"""What each cap and the ceiling refuse, by plain SQL on both databases, and that the code says the same beforehand."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW
from tests.ledger.rows import (
    ACCOUNT,
    add,
    add_attempt,
    add_case,
    add_message,
    add_rule,
    add_seen,
    attempt_values,
    hours,
    move,
    refusal,
    undone,
)
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.schema import amount_ceiling, attempt, cap_refusal, message, recovery_case
from tinko_pipelines.ledger.store import Ledger

MICROSECOND = timedelta(microseconds=1)
SEEN, OURS = "seen", "ours"
Event = tuple[str, float, dict[str, Any]]


def seen(hours_ago: float, **changes: Any) -> Event:
    return SEEN, hours_ago, changes


def ours(hours_ago: float, state: str, **changes: Any) -> Event:
    return OURS, hours_ago, {"state": state, **changes}


CASES: dict[str, tuple[tuple[str, int, int], list[Event], bool]] = {
    "below": (("fingerprint", 2, 24), [seen(1)], True),
    "reached": (("fingerprint", 2, 24), [seen(1), seen(2)], False),
    "history above the cap": (("fingerprint", 2, 24), [seen(1), seen(2), seen(3), seen(4)], False),
    "the window's edge is outside": (("fingerprint", 1, 24), [seen(24)], True),
    "just inside": (("fingerprint", 1, 24), [seen(23.99)], False),
    "later ones count too": (("fingerprint", 1, 24), [seen(-1)], False),
    "only declined ones": (("fingerprint", 1, 24), [seen(1, declined=False)], True),
    "other card": (("fingerprint", 1, 24), [seen(1, card_fingerprint="other")], True),
    "other account": (("fingerprint", 1, 24), [seen(1, account_id="other")], True),
    "no card": (("fingerprint", 1, 24), [seen(1, card_fingerprint=None)], True),
    "ours or not": (("fingerprint", 1, 24), [seen(1, ours=True)], False),
    "never": (("fingerprint", 0, 24), [], False),
    "unresolved": (("fingerprint", 1, 24), [ours(1, "unknown")], False),
    "prepared": (("fingerprint", 1, 24), [ours(1, "prepared")], False),
    "succeeded is no try too many": (("fingerprint", 1, 24), [ours(1, "succeeded")], True),
    "both kinds together": (("fingerprint", 2, 24), [seen(3), ours(1, "processing")], False),
    "amount": (("fingerprint_amount", 1, 24), [seen(1)], False),
    "other amount": (("fingerprint_amount", 1, 24), [seen(1, amount_minor=999)], True),
    "other currency": (("fingerprint_amount", 1, 24), [seen(1, currency="eur")], True),
    "amount, unresolved": (("fingerprint_amount", 1, 24), [ours(1, "requires_action")], False),
    "customer, other card": (("customer", 1, 24), [seen(1, card_fingerprint="other")], False),
    "customer, unresolved": (("customer", 1, 24), [ours(1, "calling", card_fingerprint="other")], False),
    "other customer": (("customer", 1, 24), [seen(1, customer_id="other")], True),
    "no customer": (("customer", 1, 24), [seen(1, customer_id=None)], True),
    "account, all of ours": (
        ("account", 2, 24),
        [ours(1, "succeeded", customer_id="x", card_fingerprint="x"), ours(2, "declined", customer_id=None)],
        False,
    ),
    "account, not the abandoned": (("account", 1, 24), [ours(1, "abandoned")], True),
    "account, not others'": (("account", 1, 24), [seen(1), seen(2)], True),
    "account, the other one": (("account", 1, 24), [ours(1, "succeeded", account_id="other")], True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_caps(untouched: Ledger, name: str) -> None:
    rule, history, allowed = CASES[name]
    with undone(untouched) as connection:
        for number, (kind, ago, changes) in enumerate(history):
            if kind == SEEN:
                add_seen(connection, f"ch_{number}", NOW - hours(ago), **changes)
            else:
                add_attempt(connection, f"past_{number}", NOW - hours(ago), **changes)
        add_rule(connection, *rule)
        new = attempt_values("new", NOW)
        beforehand = caps.reached(connection, new, NOW)
        said = refusal(lambda: add_attempt(connection, "new", NOW))
        assert (said is None, beforehand is None) == (allowed, allowed)
        assert said is None or "attempt cap reached" in said


@pytest.mark.parametrize(("network", "brand", "allowed"), [
    ("visa", "visa", False), ("visa", "Visa", False), ("visa", "mastercard", True), ("visa", None, True),
    ("any", None, False), ("mail", "visa", True),
])  # fmt: skip
def test_a_rule_is_for_its_network(untouched: Ledger, network: str, brand: str | None, allowed: bool) -> None:
    with undone(untouched) as connection:
        add_seen(connection, "ch", NOW - hours(1))
        add_rule(connection, "address" if network == "mail" else "fingerprint", 1, 24, network=network)
        assert (refusal(lambda: add_attempt(connection, "new", NOW, card_brand=brand)) is None) == allowed


@pytest.mark.parametrize(("begins", "ends", "allowed"), [
    (0, None, False), (1, None, True), (-5, 0, True), (-5, 1, False),
])  # fmt: skip
def test_a_rule_holds_on_its_days(untouched: Ledger, begins: int, ends: int | None, allowed: bool) -> None:
    with undone(untouched) as connection:
        add_seen(connection, "ch", NOW - hours(1))
        valid = {
            "valid_from": NOW + hours(begins),
            "valid_until": NOW + hours(ends) if ends is not None else None,
        }
        add_rule(connection, "fingerprint", 1, 24, **valid)
        assert (caps.reached(connection, attempt_values("new", NOW), NOW) is None) == allowed
        assert (refusal(lambda: add_attempt(connection, "new", NOW)) is None) == allowed


@pytest.mark.parametrize(("late", "allowed"), [(MICROSECOND, False), (timedelta(0), True)])
def test_the_edge_is_exact_to_the_microsecond(untouched: Ledger, late: timedelta, allowed: bool) -> None:
    odd = timedelta(microseconds=999_999)
    with undone(untouched) as connection:
        add_seen(connection, "ch", NOW + odd - hours(24) + late)
        add_rule(connection, "fingerprint", 1, 24)
        assert (refusal(lambda: add_attempt(connection, "new", NOW + odd)) is None) == allowed


@pytest.mark.parametrize("keyed_by", ["fingerprint", "fingerprint_amount", "customer", "account"])
def test_the_call_is_counted_again_and_never_against_itself(untouched: Ledger, keyed_by: str) -> None:
    with undone(untouched) as connection:
        add_rule(connection, keyed_by, 1, 24)
        add_attempt(connection, "new", NOW)
        assert refusal(lambda: move(connection, attempt, "new:1", "calling", NOW)) is None
    with undone(untouched) as connection:
        add_attempt(connection, "new", NOW)
        add_seen(connection, "ch_elsewhere", NOW)
        add_attempt(connection, "second", NOW, "succeeded")
        add_rule(connection, keyed_by, 1, 24)
        row = attempt_values("new", NOW)
        assert caps.reached(connection, row, NOW, besides="new:1") is not None
        said = refusal(lambda: move(connection, attempt, "new:1", "calling", NOW))
        assert "attempt cap reached" in (said or "")


@pytest.mark.parametrize(
    "state", ["calling", "processing", "requires_action", "unknown", "succeeded", "declined"]
)
def test_the_ceiling_counts_what_may_have_taken_money(untouched: Ledger, state: str) -> None:
    with undone(untouched) as connection:
        add_attempt(connection, "past", NOW - hours(3), state, amount_minor=600)
        add(connection, amount_ceiling, account_id=ACCOUNT, currency="usd", max_minor_per_day=1500)
        add_attempt(connection, "new", NOW)
        beforehand = caps.reached(connection, attempt_values("new", NOW), NOW, besides="new:1")
        said = refusal(lambda: move(connection, attempt, "new:1", "calling", NOW))
        if state == "declined":
            assert (beforehand, said) == (None, None)
        else:
            assert "amount ceiling reached" in (said or "")
            assert beforehand == caps.Refusal("amount_ceiling", "default usd", NOW + hours(21))


@pytest.mark.parametrize(("amount", "ago", "changes", "allowed"), [
    (500, 1, {}, True), (501, 1, {}, False), (501, 24, {}, True), (501, 1, {"currency": "eur"}, True),
    (501, 1, {"account_id": "other"}, True),
])  # fmt: skip
def test_the_ceiling_is_per_account_currency_and_day(
    untouched: Ledger, amount: int, ago: float, changes: dict[str, Any], allowed: bool
) -> None:
    with undone(untouched) as connection:
        add_attempt(connection, "past", NOW - hours(ago), "succeeded", amount_minor=amount, **changes)
        add(connection, amount_ceiling, account_id=ACCOUNT, currency="usd", max_minor_per_day=1500)
        add_attempt(connection, "new", NOW)
        beforehand = caps.reached(connection, attempt_values("new", NOW), NOW, besides="new:1")
        said = refusal(lambda: move(connection, attempt, "new:1", "calling", NOW))
        assert (beforehand is None, said is None) == (allowed, allowed)


def test_a_debt_above_the_ceiling_by_itself_waits_a_day_at_a_time(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        add(connection, amount_ceiling, account_id=ACCOUNT, currency="usd", max_minor_per_day=999)
        found = caps.reached(connection, attempt_values("new", NOW), NOW)
        assert found == caps.Refusal("amount_ceiling", "default usd", NOW + hours(24))


def test_a_refusal_is_stored_and_gives_the_case_its_next_moment(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        add_case(connection, "c", plan_ends_at=NOW + hours(10))
        case = dict(connection.execute(select(recovery_case)).mappings().one())
        for free_in, due_in in ((5, 5), (50, 10)):
            given = caps.Refusal("r", "card", NOW + hours(free_in))
            assert caps.record_refusal(connection, case, given, NOW) == NOW + hours(due_in)
            assert connection.execute(select(recovery_case.c.due_at)).scalar_one() == NOW + hours(due_in)
        stored = connection.execute(select(cap_refusal)).mappings().all()
        assert [(row["rule"], row["subject"], row["at"], row["free_at"]) for row in stored] == [
            ("r", "card", NOW, NOW + hours(5)),
            ("r", "card", NOW, NOW + hours(50)),
        ]


MAILS: dict[str, tuple[str, list[tuple[float, dict[str, Any]]], bool]] = {
    "none before": ("address", [], True),
    "one before": ("address", [(1, {})], False),
    "the window's edge is outside": ("address", [(24, {})], True),
    "other address": ("address", [(1, {"address_hmac": "other"})], True),
    "still sending": ("address", [(1, {"end": "sending"})], False),
    "in doubt": ("address", [(1, {"end": "in_doubt"})], False),
    "failed did not arrive": ("address", [(1, {"end": "failed"})], True),
    "put back": ("address", [(1, {"end": "scheduled"})], True),
    "receipts are not counted": ("address", [(1, {"kind": "receipt"})], True),
    "case, other address": ("case_mail", [(1, {"address_hmac": "other"})], False),
    "other case": ("case_mail", [(1, {"case": "other"})], True),
    "address, other case": ("address", [(1, {"case": "other"})], False),
}


@pytest.mark.parametrize("name", MAILS)
def test_mail_caps(untouched: Ledger, name: str) -> None:
    keyed_by, history, allowed = MAILS[name]
    with undone(untouched) as connection:
        for case in ("c", "other"):
            add_case(connection, case)
        for step, (ago, given) in enumerate(history, start=1):
            changes = {"case": "c", "end": "sent", **given}
            case, end = changes.pop("case"), changes.pop("end")
            identity = add_message(connection, case, step, **changes)
            move(connection, message, identity, "sending", NOW - hours(ago))
            move(connection, message, identity, end, NOW)
        add_rule(connection, keyed_by, 1, 24, network="mail")
        for step, kind, free in ((98, "receipt", True), (99, "dunning", allowed)):
            identity = add_message(connection, "c", step, kind=kind)
            row = connection.execute(select(message).where(message.c.id == identity)).mappings().one()
            assert (caps.mail_reached(connection, dict(row), NOW) is None) == free
            said = refusal(lambda: move(connection, message, identity, "sending", NOW))  # noqa: B023
            assert (said is None) == free
            assert said is None or "mail cap reached" in said
