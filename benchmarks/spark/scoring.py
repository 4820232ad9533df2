"""What runs on Spark: verdicts and scores through `mapInArrow`, with the functions of the package as they are.

Started in Spark's environment with a folder that holds what is to be judged and scored, and the package as a zip. It
leaves what came out beside it.
"""

import json
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def judged(batches: Iterator[pa.RecordBatch], on: date) -> Iterator[pa.RecordBatch]:
    """Failed payments with their verdicts."""
    from tinko_pipelines.declines.table import classify_payments

    for batch in batches:
        yield from classify_payments(pa.Table.from_batches([batch]), on).to_batches()


def scored(
    batches: Iterator[pa.RecordBatch], model: bytes, history: bytes, moments: list[datetime], now: datetime
) -> Iterator[pa.RecordBatch]:
    """The debt of each case and the model's probabilities at these moments, as a list."""
    from tinko_pipelines.model.timing.history import History
    from tinko_pipelines.model.timing.recovery import RecoveryModel

    known = History(pq.read_table(pa.BufferReader(history)))
    loaded = RecoveryModel.loads(model)
    for batch in batches:
        cases = pa.Table.from_batches([batch])
        chances = loaded.score(cases, moments, known, now)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(chances.reshape(-1)), len(moments)).cast(
            pa.list_(pa.float64())
        )
        yield pa.RecordBatch.from_arrays(
            [cases["debt_id"].combine_chunks(), lists], names=["debt_id", "chances"]
        )


def main(folder: Path, master: str) -> None:
    """Judge and score on the cluster; exits as Spark does when it cannot."""
    from pyspark.sql import SparkSession
    from pyspark.sql.types import ArrayType, DoubleType, StringType, StructField, StructType

    told: dict[str, Any] = json.loads((folder / "task.json").read_text())
    on, now = date.fromisoformat(told["on"]), datetime.fromisoformat(told["now"])
    moments = [datetime.fromisoformat(text) for text in told["moments"]]
    session: Any = SparkSession.builder
    settings = {
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(told["rows_a_batch"]),
        "spark.sql.files.maxPartitionBytes": "131072", "spark.sql.files.openCostInBytes": "0",
    }  # fmt: skip
    for name, value in settings.items():
        session = session.config(name, value)
    spark = session.master(master).appName("tinko-scores").getOrCreate()
    spark.sparkContext.addPyFile(str(folder / "tinko_pipelines.zip"))
    share = spark.sparkContext.broadcast
    model = share((folder / "model.skops").read_bytes())
    history = share((folder / "history.parquet").read_bytes())

    failed = spark.read.parquet(str(folder / "failed")).repartition(told["partitions"])
    schema = StructType(failed.schema.fields + StructType.fromDDL(told["verdict_columns"]).fields)
    failed.mapInArrow(lambda batches: judged(batches, on), schema).write.parquet(str(folder / "judged"))

    cases = spark.read.parquet(str(folder / "cases")).repartition(told["partitions"])
    answer = StructType(
        [StructField("debt_id", StringType()), StructField("chances", ArrayType(DoubleType()))]
    )
    cases.mapInArrow(
        lambda batches: scored(batches, model.value, history.value, moments, now), answer
    ).write.parquet(str(folder / "scored"))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
