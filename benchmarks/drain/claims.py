"""How fast due cases are claimed with a million of them open: batches of 50, then one at a time.

Run with `python -m benchmarks.drain.claims`; one line of JSON per database, PostgreSQL in about one minute and SQLite in
two. Both write durably (fsync on), only that no claim waits for the disk on PostgreSQL, as none does in a drain.
Half of the cases are claimed in batches by all workers; those are then put off, which leaves dead entries at the
head of the index; then each worker, starting at the head, claims one at a time.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from tests.postgres import database, postgres_server
from tinko_pipelines.ledger.claims import Claim, claim_due
from tinko_pipelines.ledger.store import Ledger

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LEASE_SECONDS = 3600.0
DURABLE = "-c shared_buffers=512MB -c max_wal_size=4GB"
FILL = """
INSERT INTO recovery_case (id, account_id, livemode, debt_kind, debt_id, live_object_id, customer_id,
  card_fingerprint, amount_minor, currency, state, plan, first_failed_at, plan_ends_at, due_at, max_attempts,
  created_at, updated_at)
SELECT 'case-' || {padded}, 'default', {false}, 'invoice', 'in_' || g, 'in_' || g, 'cus_' || g,
  'fp_' || g, 1900, 'usd', 'open', '{{"retries": [], "mails": []}}', {now}, {end}, {due}, 4, {now}, {now}
FROM {series}
"""


def fill(ledger: Ledger, cases: int) -> None:
    """Put so many open cases into the ledger, due at scattered moments of the last 30 days."""
    if ledger.dialect == "postgresql":
        moment = "TIMESTAMPTZ '2026-11-01 00:00+00'"
        statement = FILL.format(
            false="false",
            padded="lpad(CAST(g AS text), 9, '0')",
            now=moment,
            end=f"{moment} + INTERVAL '30 days'",
            due=f"{moment} - make_interval(secs => 1 + (CAST(g AS bigint) * 7919) % 2591999)",
            series=f"generate_series(1, {cases}) g",
        )
    else:
        due = "strftime('%Y-%m-%dT%H:%M:%f', 1793491200 - 1 - (g * 7919) % 2591999, 'unixepoch') || '000Z'"
        statement = FILL.format(
            false="0",
            padded="substr('000000000' || g, -9)",
            now="'2026-11-01T00:00:00.000000Z'",
            end="'2026-12-01T00:00:00.000000Z'",
            due=due,
            series=f"(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {cases}) SELECT g FROM s)",
        )
    with ledger.write() as connection:
        connection.execute(text(statement.replace(":", "\\:")))
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def work(url: str, name: str, at_once: int, most: int, gate: object, results: object) -> None:
    """One worker: claim until it has `most` cases or nothing is left."""
    ledger = Ledger.open(url)
    claimed: list[str] = []
    seconds: list[float] = []
    last: Claim | None = None
    with ledger.write() as connection:
        ledger.database_now(connection)
    gate.wait()  # type: ignore[attr-defined]
    began = time.monotonic()
    while len(claimed) < most:
        started = time.monotonic()
        with ledger.write(durable=False) as connection:
            found = claim_due(
                ledger,
                connection,
                account_id="default",
                livemode=False,
                now=NOW,
                owner=name,
                limit=at_once,
                lease_seconds=LEASE_SECONDS,
                after=last,
            )
        seconds.append(time.monotonic() - started)
        if not found:
            break
        last = found[-1]
        claimed += [claim.case_id for claim in found]
    results.put((claimed, seconds, began, time.monotonic()))  # type: ignore[attr-defined]


def together(url: str, workers: int, at_once: int, each: int) -> tuple[list[str], list[float], float]:
    """All workers at once: what they claimed, how long each claim took, and the wall seconds of all."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=work, args=(url, f"w{number}", at_once, each, gate, results))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=1800) for _ in processes]
    for process in processes:
        process.join()
    claimed = [case for cases, _, _, _ in answers for case in cases]
    seconds = [one for _, many, _, _ in answers for one in many]
    return claimed, seconds, max(end for *_, end in answers) - min(began for *_, began, _ in answers)


def measure(url: str, cases: int, workers: int, singles: int) -> dict[str, object]:
    """Batches, then single claims, on one fresh ledger."""
    ledger = Ledger.open(url)
    ledger.migrate()
    fill(ledger, cases)
    before, before_seconds, _ = together(url, workers, 1, singles // 4)
    batched, batch_seconds, wall = together(url, workers, 50, cases // 2 // workers)
    with ledger.write() as connection:
        connection.execute(
            text("UPDATE recovery_case SET due_at = :later WHERE claimed_until IS NOT NULL"),
            {
                "later": NOW + timedelta(days=3)
                if ledger.dialect == "postgresql"
                else "2026-11-04T00:00:00.000000Z"
            },
        )
    single, single_seconds, single_wall = together(url, workers, 1, singles)
    ledger.close()
    every = before + batched + single
    return {
        "ledger": "postgresql" if url.startswith("postgresql") else "sqlite",
        "open_cases": cases,
        "workers": workers,
        "claimed_in_batches_of_50": len(batched),
        "batched_claims_per_second": round(len(batched) / wall),
        "batch_milliseconds_p50": milliseconds(batch_seconds, 50),
        "batch_milliseconds_p99": milliseconds(batch_seconds, 99),
        "single_claims_before": len(before),
        "single_milliseconds_p99_before": milliseconds(before_seconds, 99),
        "single_claims_after": len(single),
        "single_claims_per_second_after": round(len(single) / single_wall),
        "single_milliseconds_p50_after": milliseconds(single_seconds, 50),
        "single_milliseconds_p99_after": milliseconds(single_seconds, 99),
        "single_milliseconds_most_after": round(max(single_seconds) * 1000, 2),
        "claimed_twice": len(every) - len(set(every)),
        "load_average": round(os.getloadavg()[0], 1),
    }


def milliseconds(seconds: list[float], percentile: int) -> float:
    """A percentile of some durations."""
    return round(statistics.quantiles(seconds, n=100)[percentile - 1] * 1000, 2)


def main() -> None:
    """Measure each database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledgers", nargs="+", default=["postgresql", "sqlite"])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--singles", type=int, default=2000)
    given = parser.parse_args()
    for ledger in given.ledgers:
        with ExitStack() as stack:
            if ledger == "postgresql":
                url = stack.enter_context(database(stack.enter_context(postgres_server(DURABLE)), "claims"))
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tinko-bench-"))
                url = f"sqlite:///{Path(folder) / 'ledger.db'}"
            print(json.dumps(measure(url, given.cases, given.workers, given.singles)), flush=True)


if __name__ == "__main__":
    main()
