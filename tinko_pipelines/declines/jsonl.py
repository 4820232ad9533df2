"""JSON lines of declines in, JSON lines of verdicts out. A bad line is answered with an error and does not stop it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date

from tinko_pipelines.declines.classify import Predictor, classify
from tinko_pipelines.declines.records import Decline


def classify_lines(
    lines: Iterable[str], on: date, text_model: Predictor | None = None, *, explain: bool = False
) -> Iterator[str]:
    """One line out for each line in that is not blank: a verdict, or `{"error": ...}` naming the line.

    `explain` adds the rule, the wait that the network advises and what the customer may be told.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield json.dumps(_answer(number, line, on, text_model, explain=explain))


def _answer(
    number: int, line: str, on: date, text_model: Predictor | None, *, explain: bool
) -> dict[str, object]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {"error": f"line {number} is not JSON; write one object per line"}
    if not isinstance(values, dict):
        return {"error": f"line {number} is not a JSON object; write one object per line"}
    if values.get("decline_code"):  # Stripe's own spelling: the decline code refines the error's code.
        values = {**values, "code": values["decline_code"], "failure_code": values.get("code")}
    verdict = classify(Decline.of(values), on, text_model)
    more = {
        "rule": verdict.rule,
        "wait_hours": verdict.wait_hours,
        "customer_reason": verdict.customer_reason,
        "customer_text": verdict.customer_text,
    }
    return {
        "category": verdict.category,
        "move": verdict.move,
        "reason": verdict.reason,
        "source": verdict.source,
        "confidence": round(verdict.confidence, 4),
        "retry_same_card": verdict.retry_same_card,
        **(more if explain else {}),
    }
