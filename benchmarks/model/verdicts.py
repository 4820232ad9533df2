"""How fast verdicts are given: in a batch by rule, in a batch by text, and one by one. Rows per CPU-second of one process."""

from __future__ import annotations

import random
import resource
import time
from datetime import date

import pyarrow as pa

from benchmarks.model import texts
from tinko_pipelines.declines.classify import classify
from tinko_pipelines.declines.records import Decline
from tinko_pipelines.declines.rules import decline_rules
from tinko_pipelines.declines.table import classify_table
from tinko_pipelines.model.text import TextModel, read_phrases, train_text_model

ON = date(2026, 11, 1)
RULE_ROWS = 1_000_000
TEXT_ROWS = 100_000
BATCHES = 8
SINGLES = 2_000


def ruled(rows: int, combinations: int) -> pa.Table:
    """Declines a rule knows, of so many different combinations of code, network, advice and outcome."""
    drawn = random.Random(7)
    kinds = {
        "code": sorted(decline_rules()),
        "network": ["visa", "mastercard", "amex", None],
        "network_decline_code": ["51", "05", "14", "57", None],
        "advice_code": [None, None, "try_again_later", "do_not_try_again"],
        "network_advice_code": [None, None, "02", "03", "24"],
        "outcome_type": ["issuer_declined", "blocked"],
        "payment_method_type": ["card"],
    }
    known = [[drawn.choice(values) for values in kinds.values()] for _ in range(combinations)]
    picked = drawn.choices(known, k=rows)
    return pa.table(
        {"id": range(rows), **{name: [row[place] for row in picked] for place, name in enumerate(kinds)}}
    )


def worded(rows: int, seed: int) -> pa.Table:
    """Declines no rule knows, no two with the same wording."""
    drawn = random.Random(seed)
    phrases = [text for text, _ in read_phrases()]
    return pa.table(
        {
            "message": [
                f"{drawn.choice(phrases)}, {drawn.choice(phrases)} {seed}-{number}" for number in range(rows)
            ]
        }
    )


def rate(name: str, table: pa.Table, model: TextModel | None = None) -> str:
    """The better of two passes, so that loading what is loaded once does not count."""
    best_cpu, best_wall = 0.0, 0.0
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        classify_table(table, ON, model)
        best_cpu = max(best_cpu, table.num_rows / (time.process_time() - cpu))
        best_wall = max(best_wall, table.num_rows / (time.perf_counter() - wall))
    return f"{name}: {best_cpu:,.0f} rows per CPU-second, {best_wall:,.0f} rows/s by the clock"


def memory(model: TextModel) -> str:
    """The peak of memory after the first batches and after all of them."""
    peaks = []
    for number in range(BATCHES):
        classify_table(worded(TEXT_ROWS // 2, 100 + number), ON, model)
        classify_table(ruled(RULE_ROWS // 4, 2_000), ON)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return f"memory: peak {peaks[1]:,.0f} MB after 2 of {BATCHES} batches, {peaks[-1]:,.0f} MB after all"


def single(name: str, decline: Decline, model: TextModel | None) -> str:
    classify(decline, ON, model)
    taken = []
    for _ in range(SINGLES):
        started = time.perf_counter()
        classify(decline, ON, model)
        taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    return f"{name}: median {taken[SINGLES // 2]:.3f} ms, 99th percentile {taken[SINGLES * 99 // 100]:.3f} ms"


def lines() -> list[str]:
    """Every figure as a line."""
    model = train_text_model()
    known = Decline(code="insufficient_funds", network="mastercard", network_advice_code="25")
    worded_once = Decline(message="There is not enough money on your account")
    return [
        rate("by rule, 2,000 combinations", ruled(RULE_ROWS, 2_000)),
        rate("by rule, 20,000 combinations", ruled(RULE_ROWS, 20_000)),
        rate("by text, all different", worded(TEXT_ROWS, 1), model),
        memory(model),
        single("one by rule", known, model),
        single("one by text", worded_once, model),
        *texts.lines(),
    ]
