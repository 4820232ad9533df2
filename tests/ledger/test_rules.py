"""What the database refuses by itself, on both databases."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DatabaseError

from tests.fake_stripe import NOW, failed_row, failed_table
from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger import anomalies, attempts, caps, cases, limits
from tinko_pipelines.ledger.control import pause, resume
from tinko_pipelines.ledger.export import CARD_MESSAGES, export
from tinko_pipelines.ledger.mirror import note_seen
from tinko_pipelines.ledger.schema import attempt, case_event, metadata, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy


def prepared(ledger: Ledger, name: str = "pi_1") -> tuple[dict[str, Any], dict[str, Any]]:
    enrol(ledger, failed_table(failed_row(name)), now=NOW, policy=Policy())
    with ledger.write() as connection:
        found = select(recovery_case).where(recovery_case.c.debt_id == name)
        case = dict(connection.execute(found).mappings().one())
        return case, _prepare(ledger, connection, case)


def _prepare(ledger: Ledger, connection: Any, case: dict[str, Any]) -> dict[str, Any]:
    return attempts.prepare(
        ledger, connection, case, {"a": 1}, api_version="v", owner="t", at=NOW, lease_seconds=60
    )


def refused(ledger: Ledger, statement: Any, text: str) -> None:
    with pytest.raises(DatabaseError, match=text), ledger.write() as connection:
        connection.execute(statement)


def test_one_unresolved_attempt_blocks_the_next(ledger: Ledger) -> None:
    case, _ = prepared(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE cap_rule SET max_attempts = 50")
    with pytest.raises(DatabaseError, match=r"one_blocking|attempt\.case_id"), ledger.write() as connection:
        _prepare(ledger, connection, case)


def test_moves_are_held_by_the_database(ledger: Ledger) -> None:
    prepared(ledger)
    refused(ledger, update(attempt).values(state="succeeded", called_at=NOW), "illegal attempt")
    refused(ledger, update(attempt).values(params="{}"), "frozen")
    refused(ledger, update(attempt).values(fence=0), "frozen|fence")
    refused(ledger, attempt.delete(), "never deleted")
    with ledger.write() as connection:
        connection.execute(update(recovery_case).values(state="cancelled"))
    refused(ledger, update(recovery_case).values(state="open"), "illegal case")


def test_history_is_append_only(ledger: Ledger) -> None:
    prepared(ledger)
    refused(ledger, update(case_event).values(detail="x"), "append-only")
    refused(ledger, case_event.delete(), "append-only")


def test_pause_refuses_the_call(ledger: Ledger) -> None:
    prepared(ledger)
    pause(ledger, "global", "incident", "me", NOW)
    call = update(attempt).values(state="calling", called_at=NOW)
    refused(ledger, call, "charging is paused")
    resume(ledger, "global", "over", "me", NOW)
    with ledger.write() as connection:
        assert connection.execute(call).rowcount == 1


def test_cap_refuses_an_attempt_and_names_the_free_time(ledger: Ledger) -> None:
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    at = NOW - timedelta(hours=5)
    with ledger.write() as connection:
        connection.execute(
            network_attempt.insert().values(
                charge_id="ch_x", account_id="default", livemode=False, card_fingerprint="fp_pi_1",
                card_brand="visa", amount_minor=5, currency="usd", at=at, declined=True, ours=False,
            )
        )  # fmt: skip
        case = dict(connection.execute(select(recovery_case)).mappings().one())
        reached = caps.reached(connection, case, NOW)
        assert reached == caps.Refusal("tinko_card_24h", "fp_pi_1", at + timedelta(hours=24))
    with pytest.raises(DatabaseError, match="cap reached"), ledger.write() as connection:
        _prepare(ledger, connection, case)


def test_the_fence_refuses_a_late_writer(ledger: Ledger) -> None:
    _, row = prepared(ledger)
    with ledger.write() as connection:
        assert attempts.claim(ledger, connection, row["id"], "other", 60) is None
        connection.execute(update(attempt).values(lease_until=None))
        taken = attempts.claim(ledger, connection, row["id"], "other", 60)
        assert taken is not None
        assert taken["fence"] == 2
        assert not attempts.update(connection, row, state="abandoned")


def test_export_writes_every_table(ledger: Ledger, tmp_path: Path) -> None:
    prepared(ledger)
    ledger.migrate()
    rows = export(ledger, tmp_path / "export", NOW)
    assert set(rows) == {*metadata.tables, CARD_MESSAGES}
    assert rows["attempt"] == 1
    table = pq.read_table(tmp_path / "export" / "attempt.parquet")
    assert table.column_names == [*(column.name for column in attempt.columns), "changed_at"]
    assert table["prepared_at"][0].as_py() == NOW


def test_unreachable_database_is_one_sentence() -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        Ledger.open("postgresql://nobody@127.0.0.1:1/none").migrate()


def test_a_second_success_can_be_recorded_whatever_has_happened_since(ledger: Ledger) -> None:
    case, row = prepared(ledger)
    with ledger.write() as connection:
        attempts.update(connection, row, state="calling", called_at=NOW)
        attempts.update(connection, {**row, "state": "calling"}, state="succeeded", settled_at=NOW)
        cases.close(connection, case, "recovered", "our retry succeeded", NOW, "test")
    limits.synchronise(ledger, limits.Limits(ceilings_minor=(("usd", 0),)))
    charges = [
        {"id": name, "amount": 1200, "amount_refunded": 0, "currency": "usd"} for name in ("ch_1", "ch_2")
    ]
    for _ in range(2):
        with ledger.write() as connection:
            for charge in charges:
                note_seen(
                    ledger,
                    connection,
                    "default",
                    [{
                        **charge, "status": "succeeded", "created": NOW.timestamp(), "livemode": False,
                        "payment_method_details": {"type": "card", "card": {"fingerprint": "fp_pi_1"}},
                    }],
                )  # fmt: skip
            anomalies.paid_twice(connection, case, charges, NOW)
    (found,) = anomalies.still_open(ledger)
    assert (found["kind"], found["charge_id"], found["amount_minor"]) == ("paid_twice", "ch_2", 1200)
    assert found["currency"] == "usd"
    assert "ch_2" in found["proposal"]
    assert "12.00 USD" in found["proposal"]
