"""An intent whose money is captured by hand: reserved is not recovered, and is no reason to charge again."""

from datetime import timedelta
from typing import Any

import pytest

from tests.fake_stripe import FakeStripe
from tests.retry.test_drain import rows, run
from tests.retry.test_trouble import case_of, planned
from tinko_pipelines.ledger.schema import attempt
from tinko_pipelines.ledger.store import Ledger


class CapturedByHand(FakeStripe):
    """What passes is reserved, until somebody captures it or lets it go."""

    def _confirm(self, path: str) -> tuple[int, dict[str, Any]]:
        status, body = super()._confirm(path)
        if status == 200:
            self.intents[body["id"]]["status"] = "requires_capture"
            self.charges[-1] |= {"captured": False, "refunded": False, "amount": 1000}
            body["status"] = "requires_capture"
        return status, body

    def capture(self, name: str) -> None:
        self.intents[name]["status"] = "succeeded"
        self.charges[-1]["captured"] = True

    def let_go(self, name: str) -> None:
        self.intents[name]["status"] = "canceled"
        self.charges[-1] |= {"refunded": True, "amount_refunded": 1000}


@pytest.mark.parametrize("answer_is_lost", [False, True])
@pytest.mark.parametrize("captured", [True, False])
def test_reserved_is_recovered_once_it_is_captured(
    ledger: Ledger, answer_is_lost: bool, captured: bool
) -> None:
    fake = CapturedByHand()
    planned(ledger, fake, "pi_1")
    fake.lose_answers = int(answer_is_lost)
    for day in (8, 8.01, 8.5, 9):
        run(ledger, fake, day)
    case, (row,) = case_of(ledger, "pi_1"), rows(ledger, attempt)
    assert (case["state"], row["state"], row["charge_id"]) == ("needs_human", "processing", "ch_1")
    assert case["state_reason"] == "charge ch_1 is not captured: capture it at Stripe, or cancel the intent"
    fake.capture("pi_1") if captured else fake.let_go("pi_1")
    run(ledger, fake, 11)
    case, (row,) = case_of(ledger, "pi_1"), rows(ledger, attempt)
    ends = ("recovered", "succeeded") if captured else ("cancelled", "abandoned")
    assert (case["state"], row["state"]) == ends
    assert len(fake.charges) == 1


def test_what_another_intent_has_reserved_is_waited_for(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    other = {"id": "ch_other", "payment_intent": "pi_other", "status": "succeeded", "captured": False,
             "created": int(fake.now.timestamp()), "amount": 1000, "currency": "usd", "refunded": False}  # fmt: skip
    fake.charges.append(other)
    run(ledger, fake, 8)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("open", 0)
    assert case_of(ledger, "pi_1")["due_at"] == fake.now + timedelta(hours=6)
    other |= {"refunded": True, "amount_refunded": 1000}
    run(ledger, fake, 8.3)
    assert case_of(ledger, "pi_1")["state"] == "recovered"
