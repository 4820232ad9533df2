"""Dagster's daemon, run worker and code server killed around a drain: `TRIALS=30 make crash-dagster`.

The product's own jobs and sensors run as in production (a daemon, a code server, one process a run) with shorter
intervals and leases; what came of it is read off the sandbox and the mail server, never off Dagster.
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
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.crash.stage import Stage, raise_stage
from tests.crash.world import Book, Debt, charges_of, enrol_debts
from tinko_pipelines.ledger.schema import attempt, message, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.settings import load_settings
from tinko_pipelines.ui import dagster_home

VICTIMS = ("run worker", "daemon", "code server")
LEASE_SECONDS, DRAIN_SECONDS = 15, 10
TRIAL_SECONDS_MAX = 240.0
RESUME_SECONDS_MAX = 360.0
READY = """
from dagster import DagsterInstance
with DagsterInstance.get() as instance:
    instance.get_runs(limit=1)
    instance.all_instigator_state()
"""
ROOT = Path(__file__).parents[2]
SLOW = {"kind": "latency", "method": "POST", "path": "/v1/*", "seconds": 0.4}


class Deployment:
    """The processes of one Dagster, each of which may be killed and is then started again."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._folder = folder
        settings = load_settings(state=folder / "state")
        home = dagster_home(settings)
        yaml = home / "dagster.yaml"
        yaml.write_text(yaml.read_text() + "sensors:\n  use_threads: true\n  num_workers: 2\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        workspace = folder / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self._port, "location_name": "crash"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
        self._environment = {
            **clean,
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TINKO_STATE": str(folder / "state"),
            "TINKO_STRIPE_API_BASE": stage.base,
            "TINKO_CLOCK": "sandbox",
            "TINKO_DRAIN_WORKERS": "1",
            "TINKO_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "TINKO_DRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
            "TINKO_STRIPE_REQUESTS_PER_SECOND": "1000",
            "TINKO_MAIL_TRANSPORT": "smtp",
            "TINKO_SMTP_URL": stage.smtp_url,
            "TINKO_UPDATE_CARD_URL": "https://shop.example.com/card",
        }
        python = [sys.executable, "-m"]
        self._commands = {
            "code server": [*python, "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(self._port), "-m", "tests.crash.location", "--location-name", "crash"],
            "daemon": [*python, "dagster._daemon", "run", "-w", str(workspace)],
        }  # fmt: skip
        # Two processes that make Dagster's own tables at the same moment get in each other's way.
        subprocess.run([sys.executable, "-c", READY], env=self._environment, cwd=ROOT, check=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def keep_up(self) -> None:
        """Start what does not run, as a supervisor does."""
        for name in ("code server", "daemon"):
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                log = (self._folder / f"{name.replace(' ', '-')}.log").open("ab")
                self._running[name] = subprocess.Popen(
                    self._commands[name], cwd=ROOT, env=self._environment, stdout=log, stderr=log
                )
                log.close()

    def kill(self, victim: str) -> bool:
        """SIGKILL it, with all its helpers where it has some; whether there was such a process."""
        if victim == "run worker":
            workers = self._workers()
            for pid in workers:
                _kill(pid)
            return bool(workers)
        process = self._running[victim]
        if process.poll() is not None:
            return False
        helpers = [pid for pid in _below(process.pid) if pid not in self._workers()]
        for pid in (process.pid, *helpers):
            _kill(pid)
        process.wait()
        return True

    def _workers(self) -> list[int]:
        """The processes that carry out runs, whoever started them."""
        mine = f"DAGSTER_HOME={self._environment['DAGSTER_HOME']}".encode()
        return [
            pid for pid in _pids() if b"spawn_main" in _read(pid, "cmdline") and mine in _read(pid, "environ")
        ]

    def close(self) -> None:
        mine = f"DAGSTER_HOME={self._environment['DAGSTER_HOME']}".encode()
        for process in self._running.values():
            process.kill()
        for pid in _pids():
            if mine in _read(pid, "environ"):
                _kill(pid)
        for process in self._running.values():
            process.wait()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, what: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / what).read_bytes()
    except OSError:
        return b""


def _below(pid: int) -> list[int]:
    """All descendants of a process."""
    parents = {
        one: int(_read(one, "stat").rpartition(b")")[2].split()[1]) for one in _pids() if _read(one, "stat")
    }
    found = [one for one, parent in parents.items() if parent == pid]
    return found + [deeper for one in found for deeper in _below(one)]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Trials:
    """One sandbox, one ledger, one Dagster; each trial brings new debts and a kill."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self.debts: list[Debt] = []
        self.stage = raise_stage(folder, seed, lambda actions: None)
        (folder / "state").mkdir()
        self.ledger = Ledger.open(f"sqlite:///{folder / 'state' / 'ledger.db'}")
        self.ledger.migrate()
        self.stage.client.mode(stripe_retries="off")
        self.dagster = Deployment(folder, self.stage)

    def close(self) -> None:
        self.dagster.close()
        self.ledger.close()
        self.stage.close()

    def bring_debts(self, number: int) -> list[Debt]:
        """New customers whose payment has failed, and a plan for each."""
        made: list[Debt] = []
        client, rng = self.stage.client, random.Random(f"{self._seed}:{number}")
        now = int(client.now().timestamp())
        for place in range(7):
            codes = [
                [0, "insufficient_funds"],
                [now + 43_200, rng.choice((None, None, None, "insufficient_funds"))],
            ]
            who = {"codes": codes, "email": f"t{number}-{place}@example.com", "amount_minor": 1_000 + place}
            if place % 2:
                got = client.fixture("failed_invoice", **who)
            else:
                got = client.fixture("failed_intent", order_id=f"order-{number}-{place}", **who)
            name = got.get("invoice") or got["payment_intent"]
            made.append(Debt(name, got["payment_intent"], got["customer"], got.get("subscription"), got["payment_method"], f"order-{number}-{place}", ""))  # fmt: skip
        client.advance_to(client.now() + timedelta(hours=1))
        enrol_debts(self.ledger, Book(self._folder).read(), made, client.now())
        self.debts += made
        return made

    def trial(self, number: int) -> dict[str, Any]:
        """Debts fall due, a drain begins, somebody is killed; until all that was due is done."""
        rng = random.Random(f"{self._seed}:{number}:kill")
        victim = VICTIMS[number % len(VICTIMS)]
        client = self.stage.client
        self.bring_debts(number)
        client.mode(payments=("faithful", "many_successes", "no_idempotency")[number // 3 % 3])
        client.faults([SLOW])
        client.advance_to(client.now() + timedelta(days=4))
        began = time.monotonic()
        self._wait(self._begun, TRIAL_SECONDS_MAX)
        time.sleep(rng.random() * 3.0)
        busy = self._due()
        killed = self.dagster.kill(victim)
        killed_at = time.monotonic()
        if victim == "daemon" and rng.random() < 0.3:
            time.sleep(5)
        client.faults([])
        done = self._wait(lambda: not self._due(), TRIAL_SECONDS_MAX, time_passes=True)
        took = time.monotonic() - killed_at
        found = self._violations()
        if not done:
            left = self._due()
            found.append(
                f"lost: {len(left)} still due {took:.0f} s after the {victim} was killed: {'; '.join(left)[:500]}"
            )
        return {
            "number": number,
            "victim": victim,
            "killed": killed,
            "in_the_middle": bool(busy),
            "resumed_seconds": took,
            "seconds": time.monotonic() - began,
            "violations": found,
        }

    def _begun(self) -> bool:
        with self.ledger.read() as connection:
            states = connection.execute(
                select(attempt.c.state).where(attempt.c.state.in_(("prepared", "calling")))
            )
            return states.first() is not None

    def _due(self) -> list[str]:
        """Debts and mails that wait at this moment of the sandbox, or are under way."""
        now = self.stage.client.now()
        with self.ledger.read() as connection:
            won = select(attempt.c.case_id).where(attempt.c.state == "succeeded")
            due = select(recovery_case.c.id, recovery_case.c.due_at).where(
                recovery_case.c.state == "open", recovery_case.c.due_at <= now, recovery_case.c.id.not_in(won)
            )
            under_way = select(attempt.c.id, attempt.c.state, attempt.c.answer, attempt.c.next_poll_at).where(
                attempt.c.state.in_(("prepared", "calling", "unknown"))
            )
            mails = select(message.c.id, message.c.state).where(
                message.c.state.in_(("scheduled", "sending")), message.c.due_at <= now
            )
            return [str(row) for query in (due, under_way, mails) for row in connection.execute(query)]

    def _wait(self, holds: Any, seconds: float, *, time_passes: bool = False) -> bool:
        """Whether it came to hold; the sandbox's clock goes on meanwhile or not, for looks that are due in a minute."""
        began, start = time.monotonic(), self.stage.client.now()
        while (passed := time.monotonic() - began) < seconds:
            self.dagster.keep_up()
            if holds():
                return True
            time.sleep(0.2)
            if time_passes:
                self.stage.client.advance_to(start + timedelta(seconds=int(passed)))
        return False

    def _violations(self) -> list[str]:
        """Of all trials so far: nothing twice, nothing paid that the ledger does not know, no mail twice."""
        book = Book(self._folder).read()
        with self.ledger.read() as connection:
            cases = {
                row["debt_id"]: dict(row) for row in connection.execute(select(recovery_case)).mappings()
            }
            receipts = set(
                connection.execute(select(message.c.id).where(message.c.kind == "receipt")).scalars()
            )
        found = [
            f"mail: {name} came {times} times"
            for name, times in Counter(mail.message_id for mail in self.stage.taken()).items()
            if times > (2 if name in receipts else 1)
        ]
        for debt in self.debts:
            charges, case = charges_of(book, debt.intent), cases[debt.id]
            paid = [one for one in charges if one["status"] == "succeeded"]
            if len(paid) > 1:
                found.append(f"double: {debt.id} is paid {len(paid)} times")
            if paid and case["state"] not in ("recovered", "paid_elsewhere", "needs_human"):
                found.append(f"lost: {debt.id} is paid, its case is {case['state']}")
            if case["state"] == "recovered" and not paid:
                found.append(f"lost: {debt.id} is recovered in the ledger only")
        return found


def main() -> int:
    """As many trials as the environment asks for; exit code 1 when anything was violated."""
    seed, count = int(os.environ.get("SEED", "1")), int(os.environ.get("TRIALS", "30"))
    folder = Path(tempfile.mkdtemp(prefix="tinko-crash-dagster-"))
    home = Path("build/crash")
    home.mkdir(parents=True, exist_ok=True)
    trials = Trials(folder, seed)
    results: list[dict[str, Any]] = []
    told: set[str] = set()
    try:
        for number in range(count):
            result = trials.trial(number)
            result["violations"] = [one for one in result["violations"] if one not in told]
            told |= set(result["violations"])
            results.append(result)
            print(f"trial {number}: {result['victim']} killed {'in the middle' if result['in_the_middle'] else 'beside a drain'}, all done after {result['resumed_seconds']:.0f} s", flush=True)  # fmt: skip
            for violation in result["violations"]:
                print(
                    f"trial {number}: {violation} | SEED={seed} TRIALS={number + 1} make crash-dagster",
                    flush=True,
                )
    finally:
        trials.close()
        (home / f"dagster-{seed}.json").write_text(json.dumps(results, indent=1))
    kinds = Counter(one.partition(":")[0] for result in results for one in result["violations"])
    slowest = max((result["resumed_seconds"] for result in results), default=0.0)
    print(f"logs in {folder}; slowest resumption {slowest:.0f} s with leases of {LEASE_SECONDS} s")
    kills = sum(result["killed"] for result in results)
    print(
        f"{len(results)} trials, {len(trials.debts)} cases, {kills} kills:"
        f" {kinds['double']} double, {kinds['lost']} lost, {kinds['mail']} duplicate mails"
    )
    return 1 if kinds or slowest > RESUME_SECONDS_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
