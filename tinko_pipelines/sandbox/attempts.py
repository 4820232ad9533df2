"""Attempts made up in bulk by the sandbox's issuers, for those who want to train a model before they have a history.

One retry after another at moments drawn by chance, and no book: no HTTP, no invoices, nobody who pays by himself.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from tinko_pipelines.declines.classify import classify_many
from tinko_pipelines.declines.records import Decline
from tinko_pipelines.sandbox.ports import EPOCH, CardTruth, Decision
from tinko_pipelines.sandbox.world import issuers
from tinko_pipelines.sandbox.world.draw import DAY, HOUR, uniform, waiting
from tinko_pipelines.sandbox.world.population import PLANS, Person, first_card, person

MOST_RETRIES = 5
HISTORY_DAYS = 118
MOST_PERIODS = 4


def invented_attempts(seed: int, charges: int) -> pd.DataFrame:
    """The attempts of about so many first charges over the months before recovery starts.

    The columns are those `tinko model train --attempts` knows, `succeeded` among them; one row is one attempt.
    """
    rows = [row for number in range(round(charges / MOST_PERIODS)) for row in _of_person(seed, number)]
    refusals = [row.pop("refusal") for row in rows]
    verdicts = classify_many((Decline.of(one) for one in refusals), datetime.fromtimestamp(EPOCH, UTC).date())
    for row, verdict in zip(rows, verdicts, strict=True):
        row["category"] = verdict.category if row["attempt_number"] > 1 else None
    return pd.DataFrame(rows)


def _of_person(seed: int, number: int) -> Iterator[dict[str, Any]]:
    who = person(seed, number)
    card, plan = first_card(seed, who), PLANS[who.plan]
    amount = plan.price_minor(who.currency)
    at = EPOCH - HISTORY_DAYS * DAY + int(uniform(seed, "first-bill", number) * 30 * DAY)
    for period in range(MOST_PERIODS):
        if at >= EPOCH:
            return
        yield from _of_debt(seed, who, card, amount, at, period)
        at += plan.days * DAY


def _of_debt(
    seed: int, who: Person, card: CardTruth, amount_minor: int, at: int, period: int
) -> Iterator[dict[str, Any]]:
    debt, refused = f"in_{who.number}_{period}", None
    for n in range(1, MOST_RETRIES + 2):
        decision = issuers.decide(seed, card, at, amount_minor, who.currency, True)
        succeeded = decision.outcome == "approved"
        yield {
            "attempt_id": f"{debt}_{n}", "debt_id": debt, "customer_id": f"cus_{who.number}", "attempt_number": n,
            "attempted_at": datetime.fromtimestamp(at, UTC), "succeeded": succeeded, "amount_minor": amount_minor,
            "currency": who.currency, "card_fingerprint": card.fingerprint, "card_brand": card.brand,
            "card_funding": card.funding, "card_country": card.country, "payment_method_type": card.type,
            "decline_code": refused.decline_code if refused else None, "source": "history",
            "refusal": _told(refused, card),
        }  # fmt: skip
        at += waiting(uniform(seed, "gap", debt, n), 3 * DAY, 12 * HOUR, 12 * DAY)
        if succeeded or at >= EPOCH:
            return
        refused = decision


def _told(refused: Decision | None, card: CardTruth) -> dict[str, Any]:
    if refused is None:
        return {}
    told = asdict(refused)
    return {**told, "code": refused.decline_code, "network": card.network, "payment_method_type": card.type}
