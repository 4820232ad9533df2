"""The marts of `dbt/` written in pandas, from the same Parquet, as an able analyst would: columns read, merged, grouped.

`build` makes all of them but `build_info` and `metrics`, which hold no numbers. What the build is told besides, such as
fees of networks, stands at dbt's defaults in `sources`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmarks.reports.pandas_marts import (
    actions,
    cards,
    curves,
    customers,
    days,
    efforts,
    facts,
    rates,
    uplift,
    watch,
)
from benchmarks.reports.pandas_marts.sources import Sources


def build(sources: Sources) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each mart by name, one after the other."""
    charges = days.read_charges(sources)
    firsts = days.first_attempts(sources, charges)  # First, since nothing else takes as much memory.
    made = efforts.read(sources)
    announced = watch.announcements(sources)
    debts = facts.failed_payments(sources, made, charges, announced)
    attempts = actions.attempts(made, debts)
    messages = actions.messages(sources, made, debts)
    yield "fct_failed_payments", debts[facts.DEBT_COLUMNS]
    yield "fct_attempts", attempts[actions.ATTEMPT_COLUMNS]
    yield "fct_messages", messages[actions.MESSAGE_COLUMNS]
    yield "double_retry_watch", watch.double_retries(debts, attempts, charges, announced)
    yield "pipeline_health", watch.health(sources, made, debts, attempts, messages, charges, announced)
    del charges
    yield "recovery_daily", days.daily(firsts, debts, attempts, messages)
    yield from rates.of_debts(debts, sources.as_of)
    yield from rates.of_efforts(debts, attempts, messages)
    yield "experiment_uplift", uplift.uplift(debts, messages)
    yield from curves.curves(debts, sources.as_of)
    yield "revenue_at_risk", watch.at_risk(debts, sources.as_of)
    yield "who_retries_next", watch.next_retries(made, sources.as_of)
    yield "network_compliance", cards.compliance(sources, made.cases)
    yield from customers.of_customers(sources, debts)
