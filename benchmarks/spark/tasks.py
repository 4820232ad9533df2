"""Failed payments to judge and attempts to score, what one process makes of them, and whether Spark made the same."""

import csv
import json
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.spark.place import ROOT
from tinko_pipelines.declines.table import VERDICT_SCHEMA, classify_payments
from tinko_pipelines.lake.debts import FAILED_PAYMENTS
from tinko_pipelines.model.timing.features import learn_names, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.recovery import RecoveryModel, fit
from tinko_pipelines.model.timing.schema import OUTCOME, completed, micros, retries
from tinko_pipelines.sandbox.attempts import invented_attempts

PAYMENTS = 20_000
ATTEMPTS_OF = 6_000
HOURS = 48
FILES, PARTITIONS, ROWS_A_BATCH = 4, 6, 1_000
NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
DDL = {pa.string(): "string", pa.float64(): "double", pa.bool_(): "boolean"}


@dataclass(frozen=True, slots=True)
class Task:
    """What Spark is to find: the verdicts on the payments, and the chances of the cases by their debt."""

    judged: pa.Table
    chances: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Found:
    """Whether all is the same, and a line about each of the two."""

    same: bool
    lines: list[str]


def prepare(folder: Path) -> Task:
    """Write what Spark is to read, and make of it in this process what Spark is to make."""
    folder.mkdir(parents=True)
    _pack(folder / "tinko_pipelines.zip")
    failed = _payments()
    _spread(failed, folder / "failed")
    attempts = completed(pa.Table.from_pandas(invented_attempts(11, ATTEMPTS_OF), preserve_index=False))
    cases, model, history = _learned(attempts)
    pq.write_table(attempts, folder / "history.parquet")
    (folder / "model.skops").write_bytes(model.dumps())
    _spread(cases, folder / "cases")
    moments = [NOW + timedelta(hours=hour) for hour in range(HOURS)]
    told = {
        "on": NOW.date().isoformat(), "now": NOW.isoformat(), "moments": [one.isoformat() for one in moments],
        "rows_a_batch": ROWS_A_BATCH, "partitions": PARTITIONS,
        "verdict_columns": ", ".join(f"{field.name} {DDL[field.type]}" for field in VERDICT_SCHEMA),
    }  # fmt: skip
    (folder / "task.json").write_text(json.dumps(told))
    scores = model.score(cases, moments, history, NOW)
    debts = cases["debt_id"].to_pylist()
    return Task(classify_payments(failed, NOW.date()), dict(zip(debts, scores, strict=True)))


def differences(folder: Path, task: Task) -> Found:
    """Spark's verdicts and scores against the task's own, to the last bit."""
    order = [("debt_id", "ascending")]
    judged = pq.read_table(folder / "judged").select(task.judged.schema.names)
    here, there = (table.cast(task.judged.schema).sort_by(order) for table in (task.judged, judged))
    verdicts = "the same" if here.equals(there) else "DIFFERENT"
    scored = pq.read_table(folder / "scored").to_pylist()
    found = {row["debt_id"]: np.array(row["chances"]) for row in scored}
    alike = sorted(found) == sorted(task.chances) and len(scored) == len(found)
    equal = alike and all(np.array_equal(found[debt], chances) for debt, chances in task.chances.items())
    gap = max(float(np.abs(found[debt] - task.chances[debt]).max()) for debt in found) if alike else np.inf
    scores = "the same" if equal else "DIFFERENT"
    kinds = len(set(here["category"].to_pylist()))
    return Found(
        verdicts == scores == "the same",
        [
            f"{verdicts:9} {here.num_rows:,} verdicts of {kinds} categories",
            f"{scores:9} {len(task.chances):,} cases × {HOURS} hours scored, largest gap {gap:g}",
        ],
    )


def _pack(target: Path) -> None:
    """The package as executors get it: a zip that Python imports from."""
    package = ROOT / "tinko_pipelines"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(ROOT))


def _payments() -> pa.Table:
    """Failed payments with every code of the rules and every message that other gateways are known to send."""
    with (ROOT / "tinko_pipelines" / "declines" / "data" / "decline_codes.csv").open() as file:
        codes = sorted({row["code"] for row in csv.DictReader(file)})
    with (ROOT / "tests" / "model" / "other_gateways.csv").open() as file:
        messages = sorted({row["text"] for row in csv.DictReader(file)})
    random = np.random.default_rng(3)

    def drawn(names: list[str], empty: float) -> pa.Array:
        chosen = np.array(names, object)[random.integers(0, len(names), PAYMENTS)]
        return pa.array(chosen, pa.string(), mask=random.random(PAYMENTS) < empty)

    rows = {
        "account_id": pa.array(["default"] * PAYMENTS),
        "debt_id": pa.array([f"in_{number:06}" for number in range(PAYMENTS)]),
        "first_failed_at": pa.array([NOW - timedelta(minutes=number) for number in range(PAYMENTS)]),
        "amount_minor": pa.array(random.integers(500, 20_000, PAYMENTS)),
        "code": drawn(codes, 0.3),
        "failure_message": drawn(messages, 0.5),
        "card_network": drawn(["visa", "mastercard", "amex"], 0.2),
        "network_decline_code": drawn(["05", "51", "54", "41", "59", "R1", "93", "46"], 0.6),
        "network_advice_code": drawn(["01", "02", "03", "21", "24", "30"], 0.7),
        "advice_code": drawn(["try_again_later", "do_not_try_again", "confirm_card_data"], 0.7),
        "payment_method_type": drawn(["card", "sepa_debit", "us_bank_account"], 0.1),
    }
    columns = [
        rows[field.name].cast(field.type) if field.name in rows else pa.nulls(PAYMENTS, field.type)
        for field in FAILED_PAYMENTS
    ]
    return pa.Table.from_arrays(columns, schema=FAILED_PAYMENTS)


def _learned(attempts: pa.Table) -> tuple[pa.Table, RecoveryModel, History]:
    """The last retry of each debt as a case to score, a model of all retries, and what happened before."""
    retried, history = retries(attempts), History(attempts)
    names = learn_names(retried)
    truth = retried[OUTCOME].to_numpy(zero_copy_only=False)
    model = fit(matrix(retried, history, names), truth, micros(retried["attempted_at"]), names)
    last = {debt: row for row, debt in enumerate(retried["debt_id"].to_pylist())}
    return retried.take(pa.array(sorted(last.values()))).drop_columns([OUTCOME]), model, history


def _spread(table: pa.Table, folder: Path) -> None:
    """A table as several files, as a lake has them."""
    folder.mkdir()
    for number in range(FILES):
        rows = np.arange(number, table.num_rows, FILES)
        pq.write_table(table.take(pa.array(rows)), folder / f"{number}.parquet")
