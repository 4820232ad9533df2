"""Where the two sides part over one case: the comparison alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinko_pipelines.reconcile.judge import judge, owner_of
from tinko_pipelines.reconcile.records import Charge, Held, charge_from

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
CALLED = NOW - timedelta(hours=5)
MINUTE = timedelta(minutes=1)


def attempt(**values: Any) -> dict[str, Any]:
    row = {"id": "a1", "n": 1, "state": "succeeded", "charge_id": "ch_1", "amount_minor": 100}
    row |= {"currency": "usd", "prepared_at": CALLED, "called_at": CALLED, "settled_at": CALLED + MINUTE}
    return row | values


def held(*attempts: dict[str, Any], **values: Any) -> Held:
    case = {"id": "c1", "debt_kind": "payment_intent", "debt_id": "pi_1", "state": "recovered"}
    case |= {"amount_minor": 100, "currency": "usd", "closed_at": CALLED + MINUTE}
    return Held(case | values, attempts)


def charge(**values: Any) -> Charge:
    fields: dict[str, Any] = {"id": "ch_1", "created_at": CALLED, "status": "succeeded", "amount_minor": 100}
    fields |= {
        "currency": "usd",
        "refunded": False,
        "intent_id": "pi_1",
        "case_tag": "c1",
        "attempt_tag": "a1",
    }
    return Charge(**(fields | {"details": {}} | values))


CASES: list[tuple[Held, list[Charge], list[str]]] = [
    (held(attempt()), [charge()], []),
    (held(attempt(charge_id=None)), [charge()], []),
    (held(attempt(charge_id=None)), [charge(attempt_tag=None)], ["success_not_at_stripe"]),
    (held(attempt(charge_id=None), debt_kind="invoice"), [charge(attempt_tag=None)], []),
    (held(attempt(charge_id=None)), [charge(attempt_tag=None, asked=True, asked_by="a1")], []),
    (held(attempt()), [], ["success_not_at_stripe"]),
    (held(attempt()), [charge(status="failed")], ["success_not_at_stripe"]),
    (held(attempt(settled_at=NOW - MINUTE)), [], []),
    (held(attempt(state="declined")), [charge()], ["success_unknown"]),
    (held(attempt(state="abandoned", charge_id=None)), [charge()], ["success_unknown"]),
    (held(attempt(state="prepared", charge_id=None, called_at=None, settled_at=None)), [charge()], ["success_unknown"]),
    (held(attempt(state="unknown", charge_id=None, settled_at=None)), [charge()], []),
    (held(attempt(state="declined", charge_id=None)), [charge(created_at=NOW - MINUTE)], []),
    (held(attempt(state="declined", charge_id=None)), [charge(created_at=NOW - 60 * MINUTE)], []),
    (held(attempt(state="declined", charge_id=None)), [charge(asked=True)], []),
    (held(attempt()), [charge(), charge(id="ch_2", attempt_tag=None)], ["paid_twice"]),
    (held(attempt()), [charge(), charge(id="ch_2", attempt_tag=None, refunded=True)], []),
    (held(attempt()), [charge(amount_minor=101)], ["amount_differs"]),
    (held(attempt()), [charge(currency="eur")], ["amount_differs"]),
    (held(), [charge()], ["attempt_missing"]),
    (held(attempt()), [charge(), charge(id="ch_0", status="failed", attempt_tag="a0")], ["attempt_missing"]),
    (held(state="cancelled", closed_at=CALLED - MINUTE), [charge(attempt_tag=None)], ["paid_after_cancellation"]),
    (held(state="exhausted", closed_at=CALLED - MINUTE), [charge(attempt_tag=None)], []),
]  # fmt: skip


@pytest.mark.parametrize(("case", "charges", "kinds"), CASES)
def test_each_disagreement_is_named(case: Held, charges: list[Charge], kinds: list[str]) -> None:
    assert [finding.kind for finding in judge(case, charges, NOW).findings] == kinds


def test_a_debt_paid_by_somebody_else_is_only_to_be_looked_at() -> None:
    paid = charge(attempt_tag=None, asked=True)
    open_case = held(attempt(state="declined", charge_id="ch_0"), state="open", closed_at=None)
    assert judge(open_case, [paid], NOW).look
    assert judge(open_case, [paid], NOW).findings == []


def test_a_proposal_names_the_later_charge_and_its_amount() -> None:
    later = charge(id="ch_2", attempt_tag=None, created_at=CALLED + MINUTE)
    (found,) = judge(held(attempt()), [later, charge()], NOW).findings
    assert (found.proposal, found.amount_minor, found.currency) == ("refund ch_2", 100, "usd")


@given(
    st.lists(
        st.tuples(st.sampled_from(["succeeded", "failed", "pending"]), st.booleans(), st.integers(0, 300))
    )
)
def test_two_kept_successes_are_always_named_and_one_never(rows: list[tuple[str, bool, int]]) -> None:
    charges = [
        charge(id=f"ch_{n}", status=status, refunded=refunded, attempt_tag=None, created_at=CALLED - n * MINUTE,
               asked=True)
        for n, (status, refunded, _) in enumerate(rows)
    ]  # fmt: skip
    kept = sum(status == "succeeded" and not refunded for status, refunded, _ in rows)
    kinds = [finding.kind for finding in judge(held(state="paid_elsewhere"), charges, NOW).findings]
    assert kinds == (["paid_twice"] if kept > 1 else [])


def test_what_is_no_charge_is_left_out() -> None:
    for odd in (
        None,
        [],
        {"id": 5},
        {"id": "ch"},
        {"id": "ch", "created": "now", "amount": 1, "currency": "usd"},
    ):
        assert charge_from(odd) is None
    found = charge_from(
        {"id": "ch", "created": 1, "amount": 1, "currency": "usd", "metadata": {"tinko_case": 7}}
    )
    assert found is not None
    assert owner_of(found, held()) is None
