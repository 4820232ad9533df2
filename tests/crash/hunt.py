"""Hunting the mutants: `make mutants`; `python -m tests.crash.hunt NAME ...` hunts some, and goes on where it was stopped.

Each is tried until a trial of every mode has caught it, or often enough; then the same trials run with every safeguard
in its place, and must find nothing. `FRESH=1` forgets what was found before. `MODE=faithful TRIAL=0` with one NAME
repeats one trial, with `CONTROL=1` the one without the patch. Exit code 1 when one was not caught, or a control found
something.
"""

import json
import os
import re
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.__main__ import HOME, code_version, prepare
from tests.crash.campaign import run
from tests.crash.mutants import MUTANTS, trial_of, unharmed
from tests.crash.plan import Plan
from tinko_pipelines.sandbox.handicaps import MODES

TRIALS_MOST = 6
"""In each mode, until it is caught in one of them; the other modes get one."""
KEPT_VIOLATIONS = 4
_MISTAKES = ("TypeError", "AttributeError", "NameError", "KeyError", "UnboundLocalError", "ImportError")
_IDS = re.compile(r"\b(?:(?:pi|in|ch|cus)_\w+|[0-9a-f]{8}-[0-9a-f-]{27})|(?<=card )\w+")
_ORDER = (
    "double",
    "after",
    "never",
    "key",
    "pause",
    "cap",
    "mail",
    "lost",
    "mismatch",
    "tries",
    "made",
    "history",
)

Row = dict[str, Any]


def is_mistake(violation: str) -> bool:
    """Whether it only tells that the patch itself does not work."""
    return violation.startswith(("failed: ", "broken: ")) and any(name in violation for name in _MISTAKES)


def caught_by(result: Row) -> list[str]:
    """What speaks against the mutant, the worst first."""
    found = [text for text in result["violations"] if not is_mistake(text)]
    rank = {kind: place for place, kind in enumerate(_ORDER)}
    return sorted(found, key=lambda text: rank.get(text.partition(":")[0], len(rank)))


@dataclass
class Hunt:
    """What has been found so far, in a file with one line for each trial."""

    path: Path
    results: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if os.environ.get("FRESH"):
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            self.results = [json.loads(line) for line in self.path.read_text().splitlines()]

    def add(self, name: str, made: Plan, result: Row) -> Row:
        """Keep the result of a trial; `name` is the mutant's, or that of a control."""
        violations = [text.partition(" | ")[0][:200] for text in result["violations"]]
        violations.sort(key=is_mistake)
        row = {"name": name, "mode": made.mode, "number": made.number, "violations": violations}
        row["violations"] = caught_by(row)[:KEPT_VIOLATIONS] or violations[:KEPT_VIOLATIONS]
        self.results.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def of(self, name: str) -> list[Row]:
        """Its trials, in the order in which they ended."""
        return [row for row in self.results if row["name"] == name]

    def has(self, name: str, mode: str, number: int) -> bool:
        """Whether that trial has been run."""
        return any((row["mode"], row["number"]) == (mode, number) for row in self.of(name))

    def caught(self, name: str) -> dict[str, Row]:
        """By mode, the first trial that caught it."""
        found: dict[str, Row] = {}
        for row in self.of(name):
            if caught_by(row):
                found.setdefault(row["mode"], row)
        return found


def control_name(made: Plan) -> str:
    """The name of a trial in which nothing is taken away; mutants with the same trials share it."""
    return f"control-{zlib.crc32(repr(unharmed(made)).encode()):08x}"


def controls(hunt: Hunt, names: list[str]) -> dict[str, tuple[str, Plan]]:
    """The trials that must find nothing: the first of each mode, and all that have caught a mutant."""
    found: dict[str, tuple[str, Plan]] = {}
    for name in names:
        caught = hunt.caught(name)
        for mode in MODES:
            for number in {0, caught[mode]["number"] if mode in caught else 0}:
                made = trial_of(MUTANTS[name], mode, number)
                found.setdefault(control_name(made), (name, unharmed(made)))
    return found


def hunt_all(hunt: Hunt, names: list[str], slots: int) -> None:
    """Run what is not known yet."""
    ground = prepare()
    queue = [(name, mode, number) for number in range(TRIALS_MOST) for name in names for mode in MODES]
    queue.reverse()

    def next_plan() -> Plan | None:
        while queue:
            name, mode, number = queue.pop()
            if hunt.has(name, mode, number) or (number > 0 and hunt.caught(name)):
                continue
            return trial_of(MUTANTS[name], mode, number)
        return None

    def done(made: Plan, result: Row) -> None:
        name = made.mutant or control_name(made)
        row = hunt.add(name, made, result)
        print(f"{name}, {made.mode}, trial {made.number}: {(row['violations'] or ['-'])[0]}", flush=True)

    try:
        run(next_plan, done, ground, slots)
        left = iter([
            made for name, (_, made) in controls(hunt, names).items()
            if not hunt.has(name, made.mode, made.number)
        ])  # fmt: skip
        run(lambda: next(left, None), done, ground, slots)
    finally:
        ground.close()


def table(hunt: Hunt, names: list[str]) -> str:
    """In Markdown: what was removed, by what that was noticed, in which modes, after how many trials."""
    lines = [
        "| mutant | removed | caught by | in | after trials |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        caught = hunt.caught(name)
        rows = hunt.of(name)
        first = next((place + 1 for place, row in enumerate(rows) if caught_by(row)), 0)
        best = caught_by({"violations": [text for row in caught.values() for text in row["violations"]]})
        what = _IDS.sub("…", best[0]) if best else "**not caught**"
        modes = ", ".join(mode for mode in MODES if mode in caught) or "-"
        lines.append(f"| `{name}` | {MUTANTS[name].removed} | {what} | {modes} | {first or len(rows)} |")
    return "\n".join(lines)


def summary(hunt: Hunt, names: list[str]) -> tuple[str, int]:
    """The last line, and the exit code."""
    missed = [name for name in names if not hunt.caught(name)]
    wanted = controls(hunt, names)
    alarms = [
        f"{origin} {made.mode} {made.number}: {row['violations'][0]}"
        for name, (origin, made) in wanted.items()
        for row in hunt.of(name)
        if row["violations"]
    ]
    undone = [name for name, (_, made) in wanted.items() if not hunt.has(name, made.mode, made.number)]
    told = [f"false alarm, with every safeguard in its place: {alarm}" for alarm in alarms]
    told.append(
        f"{len(names)} mutants, {len(names) - len(missed)} caught, {len(wanted)} controls, {len(alarms)} false alarms"
        + (f"; not run: {len(undone)} controls" if undone else "")
        + (f"; not caught: {', '.join(missed)}" if missed else "")
    )
    return "\n".join(told), 1 if missed or alarms or undone else 0


def again(name: str) -> int:
    """Repeat one trial and tell all that it finds."""
    made = trial_of(MUTANTS[name], os.environ.get("MODE", MODES[0]), int(os.environ["TRIAL"]))
    plans = iter([unharmed(made) if os.environ.get("CONTROL") else made])
    found: list[Row] = []
    ground = prepare()
    try:
        run(lambda: next(plans, None), lambda _, result: found.append(result), ground, 1)
    finally:
        ground.close()
    print(json.dumps({key: value for key, value in found[0].items() if key != "seen"}, indent=1))
    return 1 if found[0]["violations"] else 0


def main() -> int:
    """Hunt them all, or those named on the command line."""
    names = sys.argv[1:] or list(MUTANTS)
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        print(f"no such mutants: {', '.join(unknown)}; there are {', '.join(MUTANTS)}")
        return 2
    if os.environ.get("TRIAL"):
        return again(names[0])
    hunt = Hunt(HOME / f"mutants-{code_version()}.jsonl")
    hunt_all(hunt, names, int(os.environ.get("SLOTS", "2")))
    text, code = summary(hunt, names)
    print(f"{table(hunt, names)}\n\n{text}")
    return code


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)
