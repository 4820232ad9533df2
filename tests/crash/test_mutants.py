"""Each mutant still patches something that exists; whether it is caught is what `make mutants` tells."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.hunt import Hunt, control_name, controls, summary, table
from tests.crash.mutants import MUTANTS, drop, trial_of, unharmed
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
    assert len(MUTANTS) >= 40
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


def test_the_hunt_tells_who_was_caught_by_what_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "hunt.jsonl"
    began = Hunt(path)
    caught, missed, names = *list(MUTANTS)[:2], list(MUTANTS)[:2]
    made = trial_of(MUTANTS[caught], "many_successes", 0)
    began.add(caught, made, {"violations": ["lost: x", "double: pi_1 is paid 2 times"]})
    began.add(missed, replace(made, mutant=missed), {"violations": ["failed: TypeError: no such thing"]})

    hunt = Hunt(path)
    assert hunt.has(caught, "many_successes", 0)
    assert not hunt.has(caught, "faithful", 0)
    first, second = table(hunt, names).splitlines()[2:]
    assert first.endswith("| double: … is paid 2 times | many_successes | 1 |")
    assert "not caught" in second, "a patch that does not work proves nothing"
    text, code = summary(hunt, names)
    assert code == 1
    assert text.endswith(f"not caught: {missed}")


def test_a_control_that_finds_something_is_a_failure(tmp_path: Path) -> None:
    hunt, name = Hunt(tmp_path / "hunt.jsonl"), next(iter(MUTANTS))
    made = trial_of(MUTANTS[name], "faithful", 0)
    hunt.add(name, made, {"violations": ["double: pi_1 is paid 2 times"]})
    assert summary(hunt, [name])[1] == 1, "its controls have not been run"
    for key, (_, control) in controls(hunt, [name]).items():
        hunt.add(key, control, {"violations": []})
    assert summary(hunt, [name])[1] == 0
    hunt.add(control_name(made), replace(made, mutant=""), {"violations": ["lost: pi_1 has no case"]})
    assert summary(hunt, [name])[1] == 1


def test_a_control_is_the_same_trial_without_the_patch() -> None:
    for mutant in MUTANTS.values():
        made = trial_of(mutant, "faithful", 0)
        assert replace(unharmed(made), mutant=made.mutant, lease_seconds=made.lease_seconds) == made
