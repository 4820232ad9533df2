"""Each mutant still patches something that exists; whether it is caught is what `make mutants` tells."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.mutants import MUTANTS, drop, trial_of
from tinko_pipelines.ledger.store import Ledger

ROOT = Path(__file__).parents[2]
APPLY = """
import importlib
from tests.crash.mutants import MUTANTS, into_process
from tests.crash import mutants, removals
patched = []
swap = removals.swap
def noted(owner, name, new):
    patched.append(name)
    return swap(owner, name, new)
removals.swap = mutants.swap = noted
import os, sys
for name in MUTANTS:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            into_process(name)
            shaped = MUTANTS[name]
            code = 0 if patched or shaped.drops or "lease_seconds" in shaped.shape else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        print(name, os.waitstatus_to_exitcode(status))
"""


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS.values()}) == len(MUTANTS)


def test_each_finds_what_it_patches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", APPLY], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "", f"these patch nothing that is there: {done.stdout}{done.stderr[-2000:]}"


def test_each_finds_the_rules_it_drops(ledger: Ledger) -> None:
    for rule in sorted({rule for mutant in MUTANTS.values() for rule in mutant.drops}):
        drop(ledger, rule)


@pytest.mark.parametrize("name", MUTANTS)
def test_each_shapes_a_trial(name: str) -> None:
    made = trial_of(MUTANTS[name], "faithful", 0)
    assert made.mutant == name
    assert len(made.kinds) >= len(made.behaviours) >= 7
    assert all(one.debt < len(made.behaviours) for one in made.happenings)
