"""Publishes for ever, each time another number, from the one that is given: to be killed while it does."""

import itertools
import sys

import duckdb

from tinko_pipelines.reports.dbt_runner import built_mark
from tinko_pipelines.reports.snapshot import publish
from tinko_pipelines.settings import load_settings

if __name__ == "__main__":
    settings = load_settings()
    for n in itertools.count(int(sys.argv[1])):
        with duckdb.connect(str(settings.warehouse_path)) as warehouse:
            warehouse.execute("CREATE OR REPLACE TABLE intermediate.beat AS SELECT ? AS n", [n])
            warehouse.execute("UPDATE fct_attempts SET n = ?", [n])
            warehouse.execute("UPDATE fct_messages SET step = ?", [n])
        built_mark(settings).write_text(f"2027-01-01T00:00:{n % 60:02}+00:00")
        publish(settings)
        print(n, flush=True)
