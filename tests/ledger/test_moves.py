"""Every pair of states of attempts, cases and messages, tried on both databases by plain SQL."""

from collections import deque

import pytest
from sqlalchemy import Connection, Table

from tests.fake_stripe import NOW
from tests.ledger.rows import add_case, add_message, attempt_values, move, refusal, undone
from tinko_pipelines.ledger.schema import (
    ATTEMPT_STATES,
    CASE_STATES,
    MESSAGE_STATES,
    attempt,
    message,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger

ENDS = "recovered paid_elsewhere exhausted cancelled"
LEGAL: dict[str, dict[str, str]] = {
    "attempt": {
        "prepared": "calling abandoned",
        "calling": "succeeded declined requires_action processing unknown abandoned",
        "unknown": "succeeded declined abandoned processing requires_action",
        "processing": "succeeded declined abandoned",
        "requires_action": "succeeded declined abandoned",
    },
    "recovery_case": {
        "detected": f"planned open not_ours needs_human {ENDS}",
        "planned": f"open not_ours needs_human {ENDS}",
        "open": f"not_ours needs_human {ENDS}",
        "needs_human": f"open {ENDS}",
    },
    "message": {
        "scheduled": "sending dropped",
        "sending": "sent failed in_doubt scheduled",
        "dropped": "scheduled",
        "in_doubt": "sent failed",
    },
}
TABLES = {
    "attempt": (attempt, ATTEMPT_STATES, "prepared"),
    "recovery_case": (recovery_case, CASE_STATES, "detected"),
    "message": (message, MESSAGE_STATES, "scheduled"),
}
"""Table, states, and the state a row begins in."""


def targets(name: str, state: str) -> list[str]:
    return LEGAL[name].get(state, "").split()


def path(name: str, first: str, wanted: str) -> list[str]:
    """The shortest way of legal moves from `first` to `wanted`."""
    ways = deque([[first]])
    while ways:
        way = ways.popleft()
        if way[-1] == wanted:
            return way[1:]
        ways.extend([*way, state] for state in targets(name, way[-1]) if state not in way)
    raise AssertionError(f"no {name} ever becomes {wanted}")


def born(connection: Connection, table: Table, state: str) -> str:
    add_case(connection, "c", state=state if table is recovery_case else "open")
    if table is recovery_case:
        return "c"
    if table is message:
        return add_message(connection, "c", 1, state=state)
    connection.execute(attempt.insert().values(**attempt_values("c", NOW, state=state)))
    return "c:1"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_pair_of_states(untouched: Ledger, name: str) -> None:
    table, states, first = TABLES[name]
    wrong = []
    for source in states:
        for target in states:
            with undone(untouched) as connection:
                identity = born(connection, table, first)
                for step in path(name, first, source):
                    move(connection, table, identity, step, NOW)
                said = refusal(lambda: move(connection, table, identity, target, NOW))  # noqa: B023
                legal = target == source or target in targets(name, source)
                if legal != (said is None) or (said and "illegal" not in said):
                    wrong.append((source, target, said))
    assert wrong == []


@pytest.mark.parametrize("name", ["attempt", "message"])
def test_a_row_begins_at_the_beginning_and_is_never_deleted(untouched: Ledger, name: str) -> None:
    table, states, first = TABLES[name]
    for state in states:
        with undone(untouched) as connection:
            said = refusal(lambda: born(connection, table, state))  # noqa: B023
            assert (said is None) == (state == first)
            assert said is None or "starts as" in said
    with undone(untouched) as connection:
        born(connection, table, first)
        assert "never deleted" in (refusal(lambda: connection.execute(table.delete())) or "")


@pytest.mark.parametrize("kind", ["dunning", "receipt"])
def test_what_may_have_gone_out_is_sent_again_only_as_a_receipt_and_once(
    untouched: Ledger, kind: str
) -> None:
    for doubts in (1, 2):
        with undone(untouched) as connection:
            add_case(connection, "c")
            identity = add_message(connection, "c", 1, kind=kind)
            move(connection, message, identity, "sending", NOW)
            again = message.update().values(state="scheduled", doubts=doubts)
            said = refusal(lambda: connection.execute(again))  # noqa: B023
            assert (said is None) == (kind == "receipt" and doubts == 1)
    with undone(untouched) as connection:
        add_case(connection, "c")
        add_message(connection, "c", 1, kind=kind, doubts=int(kind == "receipt"))
        fewer = message.update().values(doubts=-1)
        assert "frozen" in (refusal(lambda: connection.execute(fewer)) or "")


@pytest.mark.parametrize("lost", ["claimed_at", "address_hmac"])
def test_a_claim_that_could_not_be_counted_is_refused(untouched: Ledger, lost: str) -> None:
    with undone(untouched) as connection:
        add_case(connection, "c")
        add_message(connection, "c", 1)
        values = {"state": "sending", "claimed_at": NOW, "address_hmac": "a", lost: None}
        said = refusal(lambda: connection.execute(message.update().values(**values)))
        assert "names moment and address" in (said or "")


def test_what_a_cap_counts_by_cannot_be_changed_afterwards(untouched: Ledger) -> None:
    for column, value in (
        ("card_fingerprint", "other"), ("card_fingerprint", None), ("customer_id", "other"),
        ("account_id", "other"), ("currency", "eur"), ("amount_minor", 5),
    ):  # fmt: skip
        with undone(untouched) as connection:
            born(connection, attempt, "prepared")
            change = attempt.update().values(**{column: value})
            assert "frozen" in (refusal(lambda: connection.execute(change)) or "")  # noqa: B023
