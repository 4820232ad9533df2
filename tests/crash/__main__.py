"""The crash campaign: `TRIALS=n SEED=s make crash`; `TRIAL=i SEED=s make crash` repeats one trial.

`FRESH=1` forgets what was found before. Results are kept below `build/crash`, by seed and by the code they were won with, so that a campaign that was
stopped goes on. Exit code 1 when anything was violated.
"""

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import tinko_pipelines
from tests.crash import report, warm
from tests.crash.campaign import Ground, import_everything, run
from tests.crash.plan import RECORDING, Plan, plan
from tests.crash.points import short

HOME = Path("build/crash")
KILLS = (2, 3, 4)
PASSINGS = (1, 1, 1, 2, 3)
TRIES, REVISITS = 2, 0.5
"""A point that so many trials were told to die at in vain is looked for where it was met, in this share of trials."""


def code_version() -> str:
    """A name for the product's code and the campaign's own."""
    whole = hashlib.sha256()
    for root in (Path(tinko_pipelines.__path__[0]), Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:10]


class State:
    """What has been found so far, in a file with one line for each trial."""

    def __init__(self, seed: int, home: Path = HOME) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.seed = seed
        self.path = home / f"seed-{seed}-{code_version()}.jsonl"
        self.results: dict[int, dict[str, Any]] = {}
        self.met_in: dict[str, int] = {}
        self.killed: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        if os.environ.get("FRESH"):
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            whole, _, _ = self.path.read_text().rpartition("\n")
            # What a campaign that was killed had begun to write is no result.
            self.path.write_text(whole + "\n" if whole else "")
            for line in whole.splitlines():
                self._take(json.loads(line))
            self.tried.update(digits for one in self.results.values() for digits, _ in one.get("targets", ()))

    def _take(self, result: dict[str, Any]) -> None:
        self.results[result["number"]] = result
        for name in result.get("seen", ()):
            self.met_in.setdefault(name, result["world"])
        self.killed.update(result.get("kills", ()))

    def add(self, made: Plan, result: dict[str, Any]) -> dict[str, Any]:
        """Keep what a trial has found, under its number in the campaign."""
        number = made.number if made.visit is None else made.visit
        new = sorted(set(result.get("seen", ())) - self.met_in.keys())
        result = {**result, "number": number, "world": made.number, "seen": new}
        self._take(result)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        return result

    def next_plan(self, number: int) -> Plan:
        """The trial of that number, with the points that were killed least so far; the first ones kill nobody."""
        made = plan(self.seed, number)
        if number < RECORDING:
            return made
        rng = random.Random(f"{self.seed}:{number}:points")
        missed = self._missed()
        if missed and rng.random() < REVISITS:
            chosen = self._met_together(missed)
            made = replace(plan(self.seed, self.met_in[chosen[0]]), visit=number)
        else:
            mine = sorted(name for name in self.met_in if name.startswith(made.database))
            rng.shuffle(mine)
            mine.sort(key=lambda name: self.killed[name] + self.tried[short(name)] / 3)
            chosen = mine[: rng.choice(KILLS)]
        targets = [(short(name), rng.choice(PASSINGS) if self.killed[name] else 1) for name in chosen]
        self.tried.update(digits for digits, _ in targets)
        rng.shuffle(targets)
        return replace(made, targets=tuple(targets))

    def _missed(self) -> list[str]:
        """The points that trials were told to die at in vain, the least tried first."""
        found = [name for name in self.met_in if not self.killed[name] and self.tried[short(name)] >= TRIES]
        return sorted(found, key=lambda name: (self.tried[short(name)], name))

    def _met_together(self, missed: list[str]) -> list[str]:
        """Some of them that one trial has met, for only worlds like its own may lead there."""
        return [name for name in missed if self.met_in[name] == self.met_in[missed[0]]][: max(KILLS)]


def command(seed: int, result: dict[str, Any]) -> str:
    """What to type to see one trial again; needs nothing that an earlier one has left behind."""
    kills = ",".join(f"{digits}:{passing}" for digits, passing in result.get("targets", ()))
    return f"TRIAL={result['world']} SEED={seed}{f' KILLS={kills}' if kills else ''} make crash"


def prepare() -> Ground:
    """Everything a trial would otherwise do first, done once."""
    import_everything()
    warm.inherit()
    ground = Ground()
    shutil.copy(ground.template, ground.root / "warm.db")
    warm.work_once(ground.root / "warm-lite", f"sqlite:///{ground.root / 'warm.db'}", lake=True)
    cluster = ground.cluster(replace(plan(0, 0), database="postgresql", database_dies=False))
    if cluster is not None:
        warm.work_once(ground.root / "warm-pg", cluster.create("warm"), lake=False)
    return ground


def campaign(state: State, numbers: list[int], slots: int, *, say: bool = True) -> None:
    """Run these trials and keep what they find."""
    ground = prepare()
    left = iter(numbers)
    began, count = time.monotonic(), 0

    def next_plan() -> Plan | None:
        number = next(left, None)
        return None if number is None else state.next_plan(number)

    def done(made: Plan, result: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        kept = state.add(made, result)
        for violation in result["violations"]:
            print(f"trial {kept['number']}: {violation} | {command(state.seed, kept)}", flush=True)
        if result["violations"]:
            print("".join(result.get("asides", ())), end="", flush=True)
        if say and count % 100 == 0:
            print(f"{count} of {len(numbers)} trials, {time.monotonic() - began:.0f} s", flush=True)

    try:
        run(next_plan, done, ground, slots)
    finally:
        ground.close()


def again(seed: int, number: int, kills: str) -> int:
    """Repeat one trial, killed where `kills` says: a point's eight digits and at which passing, with commas between."""
    targets = tuple((one[:8], int(one[9:] or 1)) for one in kills.split(",") if one)
    ground = prepare()
    plans = iter([replace(plan(seed, number), targets=targets)])
    found: list[dict[str, Any]] = []
    try:
        run(lambda: next(plans, None), lambda _, result: found.append(result), ground, 1)
    finally:
        ground.close()
    print(json.dumps({name: value for name, value in found[0].items() if name != "seen"}, indent=1))
    return 1 if found[0]["violations"] else 0


def main() -> int:
    """As the environment asks."""
    wants = os.environ.get
    seed = int(wants("SEED", "1"))
    if wants("TRIAL"):
        return again(seed, int(wants("TRIAL", "0")), wants("KILLS", ""))
    state = State(seed)
    if "--markdown" in sys.argv:
        print(report.markdown(report.summary(state.seed, list(state.results.values()), set(state.met_in))))
        return 0
    total = int(wants("TRIALS", "300"))
    numbers = [number for number in range(total) if number not in state.results]
    if numbers:
        campaign(state, numbers, int(wants("SLOTS", "2")))
    figures = report.summary(state.seed, list(state.results.values()), set(state.met_in))
    state.path.with_suffix(".summary.json").write_text(json.dumps(figures, indent=1))
    print(report.lines(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
