"""The marts in pandas: `python -m benchmarks.reports.contender <state folder> <business time> <folder for the marts>`.

Reads the Parquet that dbt reads, and writes one Parquet file for each mart. Prints their rows as JSON. Of what a build by dbt
does it leaves out the tests, and that a day may be mended alone.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from benchmarks.reports.pandas_marts import build
from benchmarks.reports.pandas_marts.sources import Sources


def main(state: Path, as_of: str, into: Path) -> dict[str, int]:
    """Build and write; rows by mart."""
    into.mkdir(parents=True, exist_ok=True)
    sources = Sources(state / "lake", state / "export", pd.Timestamp(as_of).tz_convert("UTC").as_unit("us"))
    rows = {}
    for name, mart in build(sources):
        mart.to_parquet(into / f"{name}.parquet", index=False)
        rows[name] = len(mart)
    return rows


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))))
