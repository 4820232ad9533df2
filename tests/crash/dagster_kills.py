"""Dagster's own processes killed by SIGKILL around a drain; effects are judged in the sandbox's book.

Run with `TRIALS=n SEED=s python -m tests.crash.dagster_kills`. One instance lives through all trials: a code
server, a daemon, and the workers of its runs. Each trial opens six debts whose second charge passes, lets them
fall due, and kills one of the three at a moment drawn from the seed. Whoever was killed is started again, as a
supervisor would, and every debt must be charged exactly once, within six minutes.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from tinko_pipelines.app import App
from tinko_pipelines.errors import TinkoError
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings
from tinko_pipelines.ui import dagster_home

DEBTS = 6
TARGETS = ("daemon", "run worker", "code server")
MOMENTS = ("before", "launch", "drain")
LATENCY_SECONDS = 0.25
PATIENCE_SECONDS = 360.0


@dataclass
class Processes:
    """The code server and the daemon of one instance, and how to find the workers of its runs."""

    workspace: Path
    port: int
    log: Path
    code_server: subprocess.Popen[bytes] | None = None
    daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start what is not running."""
        if self.code_server is None or self.code_server.poll() is not None:
            where = ["-h", "127.0.0.1", "-p", str(self.port), "-m", "tinko_pipelines.definitions"]
            self.code_server = self._spawn(
                "dagster", "api", "grpc", *where, "--location-name", "tinko_pipelines"
            )
            self._until_listening()
        if self.daemon is None or self.daemon.poll() is not None:
            self.daemon = self._spawn("dagster._daemon", "run", "-w", str(self.workspace))

    def kill(self, target: str) -> bool:
        """SIGKILL the target; whether there was one."""
        if target == "run worker":
            workers = self.run_workers()
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            return bool(workers)
        process = self.daemon if target == "daemon" else self.code_server
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        return True

    def run_workers(self) -> list[int]:
        """Ids of the processes in which runs are executed: children of the code server that are no helpers."""
        if self.code_server is None:
            return []
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (folder / "cmdline").read_bytes()
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.code_server.pid and b"spawn_main" in command:
                found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """End everything, workers too."""
        for target in TARGETS:
            self.kill(target)

    def _spawn(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log)

    def _until_listening(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise SystemExit(f"the code server does not answer; see {self.log}")


@dataclass
class Tally:
    """What all trials came to."""

    trials: int = 0
    cases: int = 0
    points: set[str] = field(default_factory=set)
    double: int = 0
    lost: int = 0
    resumed_seconds: list[float] = field(default_factory=list)


def open_debts(app: App, client: SandboxClient) -> list[str]:
    """Six failed debts whose next charge passes, planned and due."""
    passes_at = int((client.now() + timedelta(hours=1)).timestamp())
    debts = []
    for number in range(DEBTS):
        kind = "failed_invoice" if number % 2 else "failed_intent"
        made = client.fixture(kind, code="processing_error", passes_at=passes_at)
        debts.append(str(made["invoice"] if number % 2 else made["payment_intent"]))
    for _ in range(60):
        try:
            app.ingest_changes()
            break
        except TinkoError:  # the instance's own refresh is at the lake
            time.sleep(2)
    app.plan()
    with app.ledger.read() as connection:
        due: list[datetime] = list(
            connection.execute(
                select(recovery_case.c.due_at).where(recovery_case.c.debt_id.in_(debts))
            ).scalars()
        )
    if len(due) != DEBTS:
        raise SystemExit(f"only {len(due)} of {DEBTS} debts have a case")
    client.advance_to(max(due) + timedelta(minutes=1))
    return debts


def begun(app: App, debts: list[str]) -> int:
    """How many of the debts have an attempt."""
    with app.ledger.read() as connection:
        query = select(attempt.c.id).join(recovery_case, recovery_case.c.id == attempt.c.case_id)
        return len(connection.execute(query.where(recovery_case.c.debt_id.in_(debts))).all())


def settled(app: App, debts: list[str]) -> bool:
    """Whether every debt's case is recovered."""
    with app.ledger.read() as connection:
        states = connection.execute(
            select(recovery_case.c.state).where(recovery_case.c.debt_id.in_(debts))
        ).scalars()
        return set(states) == {"recovered"}


def wait_for(moment: str, processes: Processes, app: App, debts: list[str]) -> None:
    """Wait until the drain is about to begin, has been launched, or is at work."""
    deadline = time.monotonic() + 120
    while moment != "before" and time.monotonic() < deadline:
        if begun(app, debts) if moment == "drain" else processes.run_workers():
            return
        time.sleep(0.1)


def trial(
    number: int, seed: int, processes: Processes, app: App, client: SandboxClient, tally: Tally
) -> None:
    """One kill, and what came of it."""
    draw = random.Random(f"{seed}:{number}")
    target, moment = TARGETS[number % 3], MOMENTS[number // 3 % 3]
    if target == "run worker" and moment == "before":
        moment = "drain"
    client.faults([])
    debts = open_debts(app, client)
    client.faults([{"kind": "latency", "seconds": LATENCY_SECONDS, "path": "/v1/*"}])
    wait_for(moment, processes, app, debts)
    time.sleep(draw.uniform(0, 3))
    killed = processes.kill(target)
    killed_at = time.monotonic()
    time.sleep(1)
    processes.start()
    while not settled(app, debts) and time.monotonic() < killed_at + PATIENCE_SECONDS:
        time.sleep(0.5)
    seconds = time.monotonic() - killed_at
    made = {debt: client.charges_of(debt) for debt in debts}
    paid = [sum(charge["status"] == "succeeded" for charge in charges) for charges in made.values()]
    twice = sum(count > 1 for count in paid) + sum(len(charges) > 2 for charges in made.values())
    lost = 0 if settled(app, debts) else sum(count == 0 for count in paid) or 1
    tally.trials, tally.cases = tally.trials + 1, tally.cases + DEBTS
    tally.double, tally.lost = tally.double + twice, tally.lost + lost
    tally.resumed_seconds.append(seconds)
    if killed:
        tally.points.add(f"{target} {moment}")
    outcome = {"trial": number, "target": target, "moment": moment, "killed": killed}
    print(json.dumps(outcome | {"seconds": round(seconds, 1), "double": twice, "lost": lost}), flush=True)


def main() -> int:
    """Run the trials; 1 when anything was charged twice or lost."""
    trials, seed = int(os.environ.get("TRIALS", "30")), int(os.environ.get("SEED", "1"))
    tally = Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinko-dagster-kills-")))
        sandbox = stack.enter_context(SandboxProcess(folder / "sandbox", seed=seed, charges=50))
        os.environ |= {
            "STRIPE_SECRET_KEY": "sk_test_tinko_sandbox",
            "TINKO_STRIPE_API_BASE": sandbox.base,
            "TINKO_CLOCK": "sandbox",
            "TINKO_STATE": str(folder / "state"),
            "TINKO_DRAIN_WORKERS": "2",
            "TINKO_DRAIN_SECONDS": "20",
            "TINKO_DRAIN_LEASE_SECONDS": "15",
            "TINKO_STRIPE_REQUESTS_PER_SECOND": "1000",
            "TINKO_MAILING": "dry_run",
        }
        settings = load_settings()
        os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        workspace = folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: tinko_pipelines}}\n"
        )
        app, client = App(settings), SandboxClient(sandbox.base)
        app.ingest()
        processes = Processes(workspace, port, folder / "dagster.log")
        stack.callback(processes.stop)
        processes.start()
        for number in range(trials):
            trial(number, seed, processes, app, client, tally)
    most = max(tally.resumed_seconds, default=0.0)
    print(f"longest from kill to done: {most:.0f} s")
    print(
        f"{tally.trials} trials, {tally.cases} cases, {len(tally.points)} kill points:"
        f" {tally.double} double, {tally.lost} lost (no mail is sent in these trials)"
    )
    return 1 if tally.double or tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
