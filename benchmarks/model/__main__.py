"""Runs every module of this folder that there is: `python -m benchmarks.model [verdicts] [timing]`."""

import sys
from importlib import import_module
from importlib.util import find_spec

MODULES = ("verdicts", "timing")

for name in sys.argv[1:] or MODULES:
    if find_spec(f"benchmarks.model.{name}") is not None:
        print(f"## {name}", flush=True)
        for line in import_module(f"benchmarks.model.{name}").lines():
            print(line, flush=True)
