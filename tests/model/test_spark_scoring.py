"""What `make spark` runs on executors, run here batch by batch; and that it sees a verdict or a score that differs."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.spark import scoring, tasks

MOMENTS = [tasks.NOW + timedelta(hours=hour) for hour in range(tasks.HOURS)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tasks.Task]:
    folder = tmp_path_factory.mktemp("spark") / "task"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "PAYMENTS", 2_000)
        patch.setattr(tasks, "ATTEMPTS_OF", 5_000)
        return folder, tasks.prepare(folder)


def written(folder: Path, name: str, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    (folder / name).mkdir(exist_ok=True)
    pq.write_table(table, folder / name / "part-0.parquet")
    return table


def test_batches_give_what_one_process_gives_and_a_difference_is_seen(
    prepared: tuple[Path, tasks.Task],
) -> None:
    folder, task = prepared
    day: date = tasks.NOW.date()
    moments: list[datetime] = MOMENTS
    failed = iter(pq.read_table(folder / "failed").to_batches(137))
    judged = written(folder, "judged", scoring.judged(failed, day))
    model, history = ((folder / name).read_bytes() for name in ("model.skops", "history.parquet"))
    cases = iter(pq.read_table(folder / "cases").to_batches(61))
    scored = written(folder, "scored", scoring.scored(cases, model, history, moments, tasks.NOW))
    found = tasks.differences(folder, task)
    assert found.same, found.lines

    wrong = pc.if_else(pc.equal(judged["debt_id"], "in_000007"), "nobody", judged["move"])
    at = judged.column_names.index("move")
    written(folder, "judged", judged.set_column(at, "move", wrong).to_batches())
    assert not tasks.differences(folder, task).same
    written(folder, "judged", judged.to_batches())

    last = scored.slice(scored.num_rows - 1).to_pylist()[0]
    last["chances"][5] += 1e-15
    written(
        folder,
        "scored",
        [
            *scored.slice(0, scored.num_rows - 1).to_batches(),
            pa.RecordBatch.from_pylist([last], scored.schema),
        ],
    )
    assert not tasks.differences(folder, task).same
    written(folder, "scored", scored.slice(1).to_batches())
    assert not tasks.differences(folder, task).same
