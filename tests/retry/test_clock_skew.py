"""A charge that names its attempt is that attempt's, however far our clock and Stripe's are apart."""

from datetime import timedelta
from typing import Any

import pytest

from tests.fake_stripe import NOW
from tinko_pipelines.retry.janitor import Past, judge
from tinko_pipelines.retry.preflight import View


@pytest.mark.parametrize(("named", "behind_seconds", "found"), [
    ("attempt_1", 600, True), ("attempt_1", 0, True), ("another", 0, False), (None, 0, True), (None, 600, False),
])  # fmt: skip
def test_by_name_or_else_by_time(named: str | None, behind_seconds: int, found: bool) -> None:
    row: dict[str, Any] = {
        "id": "attempt_1", "called_at": NOW, "answer": "lost", "detail": None, "params": "{}",
        "params_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    }  # fmt: skip
    charge = {
        "id": "ch_1", "status": "succeeded", "metadata": {"tinko_attempt": named} if named else {},
        "created": int((NOW - timedelta(seconds=behind_seconds)).timestamp()),
    }  # fmt: skip
    view = View("paid", "payment intent is succeeded", (charge,), "succeeded")
    outcome, close_as = judge(row, {"card_brand": "visa"}, view, Past(), NOW + timedelta(minutes=5))
    assert (outcome.state, close_as) == (("succeeded", None) if found else ("abandoned", "paid_elsewhere"))
