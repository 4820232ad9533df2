"""Puts every month of a lake together, to be killed while it does."""

import sys
from pathlib import Path

from tinko_pipelines.lake.compact import months, put_together
from tinko_pipelines.lake.store import Lake

if __name__ == "__main__":
    lake = Lake(Path(sys.argv[1]))
    print("begun", flush=True)
    for month in months(lake):
        put_together(lake, month)
