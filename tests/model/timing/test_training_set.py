"""Every attempt that lake and ledger know of, each with what was known before it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lake.rows import put
from tests.lake.stripe_objects import DAY, START, charge, intent, invoice, invoice_payment, paid
from tests.retry.shop import Shop, passing_later
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger.schema import attempt
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.model.timing.recovery import TrainingRefusedError
from tinko_pipelines.model.timing.schema import SCHEMA, completed, retries
from tinko_pipelines.model.timing.training_set import attempts, summary, training_set
from tinko_pipelines.sandbox.process import SandboxProcess

NOW = datetime.fromtimestamp(START + 30 * DAY, UTC)
HARD = {
    "type": "issuer_declined", "reason": "expired_card", "network_status": "declined_by_network",
    "network_decline_code": "54", "advice_code": "do_not_try_again",
}  # fmt: skip


def at(days: float) -> datetime:
    return datetime.fromtimestamp(START + days * DAY, UTC)


def found(ledger: Ledger, folder: Path, *items: dict[str, Any], now: datetime = NOW) -> list[dict[str, Any]]:
    lake = Lake(folder / "lake")
    put(lake, NOW, *items)
    table = attempts(lake, ledger, now)
    assert table.schema == SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


BILL = (invoice("in_1", START), invoice_payment("inpay_1", START, "in_1", "pi_1"), intent("pi_1", START))


def test_each_row_tells_of_its_debt_what_came_before(ledger: Ledger, tmp_path: Path) -> None:
    rows = found(
        ledger, tmp_path, *BILL, charge("ch_1", START), charge("ch_2", START + 2 * DAY, outcome=HARD),
        paid("ch_3", START + 5 * DAY), paid("ch_x", START + DAY, payment_intent="pi_x", customer="cus_2"),
    )  # fmt: skip
    told = {row["attempt_id"]: row for row in rows}
    assert [row["attempt_id"] for row in rows] == ["ch_1", "ch_x", "ch_2", "ch_3"]
    first, second, third, other = (told[name] for name in ("ch_1", "ch_2", "ch_3", "ch_x"))
    assert [row["attempt_number"] for row in (first, second, third, other)] == [1, 2, 3, 1]
    assert [row["category"] for row in (first, second, third)] == [None, "insufficient_funds", "card_expired"]
    assert [row["decline_code"] for row in (first, second, third)] == [
        None,
        "insufficient_funds",
        "expired_card",
    ]
    assert [row["first_failed_at"] for row in (first, second, third, other)] == [None, at(0), at(0), None]
    assert [row["previous_attempt_at"] for row in (first, second, third)] == [None, at(0), at(2)]
    assert [row["succeeded"] for row in (first, second, third, other)] == [False, False, True, True]
    assert third["source"] == "stripe"
    assert other["source"] == "history"
    assert (third["card_funding"], third["card_fingerprint"], third["customer_id"]) == (
        "debit",
        "fp_1",
        "cus_1",
    )


def test_what_comes_later_changes_no_row_before_it(ledger: Ledger, tmp_path: Path) -> None:
    early = (*BILL, charge("ch_1", START), charge("ch_2", START + 2 * DAY))
    before = found(ledger, tmp_path / "a", *early)
    late = (paid("ch_3", START + 2 * DAY), charge("ch_4", START + 3 * DAY, outcome=HARD))
    after = found(ledger, tmp_path / "b", *early, *late)
    assert [row for row in after if row["attempt_id"] in ("ch_1", "ch_2")] == before
    cut = found(ledger, tmp_path / "c", *early, *late, now=at(2.5))
    assert [row["attempt_id"] for row in cut] == ["ch_1", "ch_2", "ch_3"], (
        "what is later than now is not there"
    )


def test_what_never_reached_a_network_tells_nothing_of_the_hour(ledger: Ledger, tmp_path: Path) -> None:
    blocked = {"type": "blocked", "reason": "highest_risk_level", "network_status": "not_sent_to_network"}
    rows = found(ledger, tmp_path, *BILL, charge("ch_1", START, outcome=blocked), charge("ch_2", START + DAY))
    assert [(row["attempt_id"], row["attempt_number"], row["category"]) for row in rows] == [
        ("ch_2", 2, "risk_blocked")
    ]


def test_an_empty_lake_gives_an_empty_table(ledger: Ledger, tmp_path: Path) -> None:
    assert found(ledger, tmp_path) == []


def test_the_training_set_is_kept_with_its_features(ledger: Ledger, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    erased = {"customer": "erased"}
    put(lake, NOW, *BILL, charge("ch_1", START, **erased), paid("ch_2", START + 2 * DAY, **erased))
    table = training_set(lake, ledger, NOW)
    kept = lake.read_derived("training_set", "tinko model train")
    assert kept.to_pylist() == table.to_pylist()
    assert summary(kept) == {"attempts": 2, "retries": 1, "succeeded": 1}
    retry = kept.to_pylist()[1]
    assert retry["hours_since_last_attempt"] == pytest.approx(48)
    assert retry["attempts_before"] == 1
    assert retry["card_failures"] == 1
    assert retry["customer_failures"] is None, "who was erased is an unknown customer"
    assert completed(kept).select(SCHEMA.names).equals(kept.select(SCHEMA.names)), (
        "it can be trained on as it is"
    )


def test_attempts_of_ours_are_told_from_those_of_stripe(shared_shop: Shop) -> None:
    """Through the sandbox: one debt that we collect, one that only fails."""
    shop = shared_shop
    ours = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))["invoice"]
    fails = shop.stripe.fixture("failed_invoice", code="insufficient_funds", email="b@example.com")["invoice"]
    shop.refresh()
    shop.until_due(ours, fails)
    shop.app.drain(owner="test")
    ledgers = attempts(shop.app.lake, shop.app.ledger, shop.stripe.now())
    shop.refresh()
    table = shop.app.training_set()
    rows = [row for row in table.to_pylist() if row["debt_id"] in (ours, fails)]
    tried = {(row["debt_id"], row["source"], row["attempt_number"], row["succeeded"]) for row in rows}
    assert tried == {
        (ours, "stripe", 1, False), (fails, "stripe", 1, False), (ours, "ours", 2, True), (fails, "ours", 2, False),
    }  # fmt: skip
    made = {row["charge_id"]: row for row in shop.rows(attempt)}
    for row in retries(table).to_pylist():
        if row["source"] == "ours":
            assert abs(row["attempted_at"] - made[row["attempt_id"]]["called_at"]) < timedelta(minutes=1)
            assert row["category"] == "insufficient_funds"
    early = {row["attempt_id"] for row in ledgers.to_pylist() if row["source"] == "ours"}
    named = {name for name, row in made.items() if name is not None and row["state"] == "declined"}
    assert early >= named, "an attempt whose charge the lake does not have yet counts too"


@pytest.mark.slow
def test_a_young_shop_is_told_that_its_retries_are_too_few(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=6_000, history_days=90) as process:
        shop = Shop(process.base, tmp_path / "state")
        shop.app.ingest_changes()
        counts = summary(shop.app.training_set())
        assert counts["attempts"] > 4_000
        assert counts["retries"] > counts["succeeded"] > 30
        with pytest.raises(
            TrainingRefusedError, match=f"{counts['retries']} retries are too few to learn from"
        ):
            shop.app.train_timing(by="test", reason="too early")
        assert not (shop.app.settings.model_dir / "timing").exists()
        shop.app.ledger.close()
