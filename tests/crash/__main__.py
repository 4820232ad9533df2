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
        self.known: set[str] = set()
        self.killed: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        if os.environ.get("FRESH"):
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                self._take(json.loads(line))

    def _take(self, result: dict[str, Any]) -> None:
        self.results[result["number"]] = result
        self.known |= set(result.get("seen", ()))
        self.killed.update(result.get("kills", ()))

    def add(self, result: dict[str, Any]) -> None:
        result = {**result, "seen": sorted(set(result.get("seen", ())) - self.known)}
        self._take(result)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")

    def next_plan(self, number: int) -> Plan:
        """The trial of that number, with the points that were killed least so far; the first ones kill nobody."""
        made = plan(self.seed, number)
        if number < RECORDING:
            return made
        rng = random.Random(f"{self.seed}:{number}:points")
        mine = sorted(name for name in self.known if name.startswith(made.database))
        rng.shuffle(mine)
        mine.sort(key=lambda name: self.killed[name] + self.tried[name] / 3)
        chosen = mine[: rng.choice(KILLS)]
        self.tried.update(chosen)
        rng.shuffle(chosen)
        return made.with_targets(chosen)

    def repeated(self, number: int, kills: str) -> Plan:
        """The trial of that number again, killed where the command says, or where it was."""
        wanted = [digits for digits in kills.split(",") if digits]
        if not wanted and number in self.results:
            wanted = self.results[number].get("targets", [])
        names = {short(name): name for name in self.known}
        missing = [digits for digits in wanted if digits not in names]
        if missing:
            print(f"no such kill points are known any more: {', '.join(missing)}")
        return plan(self.seed, number).with_targets([names[digits] for digits in wanted if digits in names])


def command(seed: int, result: dict[str, Any]) -> str:
    """What to type to see one trial again."""
    kills = f" KILLS={','.join(result['targets'])}" if result.get("targets") else ""
    return f"TRIAL={result['number']} SEED={seed}{kills} make crash"


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
        state.add(result)
        for violation in result["violations"]:
            print(f"trial {made.number}: {violation} | {command(state.seed, result)}", flush=True)
        if say and count % 100 == 0:
            print(f"{count} of {len(numbers)} trials, {time.monotonic() - began:.0f} s", flush=True)

    try:
        run(next_plan, done, ground, slots)
    finally:
        ground.close()


def again(state: State, number: int, kills: str) -> int:
    """Repeat one trial and tell what it finds."""
    if not state.known:
        campaign(state, [one for one in range(RECORDING) if one not in state.results], 2, say=False)
    ground = prepare()
    plans = iter([state.repeated(number, kills)])
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
    state = State(int(wants("SEED", "1")))
    if "--markdown" in sys.argv:
        print(report.markdown(report.summary(state.seed, list(state.results.values()), state.known)))
        return 0
    if wants("TRIAL"):
        return again(state, int(wants("TRIAL", "0")), wants("KILLS", ""))
    total = int(wants("TRIALS", "300"))
    numbers = [number for number in range(total) if number not in state.results]
    if numbers:
        campaign(state, numbers, int(wants("SLOTS", "2")))
    figures = report.summary(state.seed, list(state.results.values()), state.known)
    state.path.with_suffix(".summary.json").write_text(json.dumps(figures, indent=1))
    print(report.lines(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
