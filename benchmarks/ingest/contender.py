"""One way of reading charges, measured by itself: `python contender.py NAME BASE ROWS FOLDER`; prints a line of JSON.

CPU-seconds are those of this process between its first request and its last row, without its imports. Each contender
imports its own library only: some live in an environment of their own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEY = "sk_test_benchmark"
SINCE, UNTIL = datetime(2025, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
Work = Callable[[], int]


def tinko(base: str, rows: int, folder: Path, limit: float | None = None) -> Work:
    """Ours: pages kept, typed, keyed, Parquet by day. With a limit, through the ledger's budget."""
    from tinko_pipelines.gateway.bulk import BulkReader
    from tinko_pipelines.lake.ingest import ingest
    from tinko_pipelines.lake.store import Lake
    from tinko_pipelines.ledger.budget import Governor
    from tinko_pipelines.ledger.store import Ledger

    lake, rate = Lake(folder / "lake"), None
    if limit is not None:
        ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
        ledger.migrate()
        rate = Governor(ledger, "default", limit, limit, reserve_share=0.5)
    reader = BulkReader(KEY, base, "default", rate=rate)
    return lambda: ingest(reader, lake, objects=["charges"], since=SINCE, now=UNTIL)["charges"].new


def sdk(base: str, rows: int, folder: Path) -> Work:
    """Stripe's own: every object built, and dropped."""
    import stripe

    client = stripe.StripeClient(KEY, base_addresses={"api": base}, max_network_retries=0)

    def work() -> int:
        found = 0
        for _ in client.v1.charges.list({"limit": 100}).auto_paging_iter():
            found += 1
            if found == rows:
                break
        return found

    return work


def dlt(base: str, rows: int, folder: Path, loader_format: str | None = None) -> Work:
    """dlt's rest_api source into DuckDB."""
    import dlt as library
    from dlt.sources.rest_api import rest_api_source

    after = {"type": "cursor", "cursor_path": "data[-1].id", "cursor_param": "starting_after"}

    def work() -> int:
        charges = {
            "name": "charges",
            "endpoint": {
                "path": "charges",
                "params": {"limit": 100},
                "data_selector": "data",
                "paginator": after,
            },
        }
        source = rest_api_source({"client": {"base_url": f"{base}/v1/"}, "resources": [charges]})
        source.resources["charges"].add_limit(rows // 100)
        pipeline = library.pipeline(
            "bench",
            pipelines_dir=str(folder / "dlt"),
            destination=library.destinations.duckdb(str(folder / "dlt.duckdb")),
            dataset_name="bench",
        )
        pipeline.run(source, loader_file_format=loader_format)
        with pipeline.sql_client() as client:
            found = client.execute_sql("SELECT count(*) FROM charges")
        return int(found[0][0])

    return work


CONTENDERS: dict[str, Callable[..., Work]] = {
    "tinko": tinko,
    "tinko at 100/s": lambda *given: tinko(*given, limit=100.0),
    "sdk": sdk,
    "dlt": dlt,
    "dlt parquet": lambda *given: dlt(*given, loader_format="parquet"),
}


def main() -> int:
    """Run one, and say what it took."""
    name, base, rows, folder = sys.argv[1:5]
    work = CONTENDERS[name](base, int(rows), Path(folder))
    wall, cpu = time.monotonic(), time.process_time()
    found = work()
    told: dict[str, Any] = {
        "rows": found,
        "wall_seconds": time.monotonic() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
