"""One trial: a world, a ledger, workers that die, time that goes on, until everything is over; then the verdict."""

import json
import os
import random
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tests.crash import mutants, worker
from tests.crash.plan import TOLD, Happening, Plan
from tests.crash.points import Deed, Points, short
from tests.crash.postgres import Cluster
from tests.crash.stage import raise_stage
from tests.crash.verdict import Evidence, judge
from tests.crash.world import Book, Debt, act, build, enrol_debts
from tinko_pipelines.ledger import control
from tinko_pipelines.ledger.schema import (
    attempt,
    cap_refusal,
    case_event,
    message,
    recovery_case,
    request_budget,
    suppression,
    webhook_event,
)
from tinko_pipelines.ledger.schema import control as switches
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.outreach.addresses import hash_address, read_or_make_salt
from tinko_pipelines.retry import inbox, poison
from tinko_pipelines.sandbox.client import SandboxClient

MOST_ROUNDS = 90
"""A debt whose payment is under way for weeks is looked at every ten hours until its plan is over: 67 rounds in 28 days,
and those between them for mails and for calls to be settled. Only a case that does not end has more."""
LATE_LOOKS = 100
CAPS, PAID_ONCE = 11, 2
"""Invariants that also see what customers did behind our back, paying in the moment of a call where Stripe protects
nobody; the verdict counts caps and double charges by itself."""
BUSY_ROUNDS = 5
"""From then on one worker is enough for what is left."""
UNRESOLVED = ("prepared", "calling", "unknown", "processing", "requires_action")
LEFT_TO_OTHERS = ("processing", "requires_action")
BUNCH = timedelta(hours=10)
MAIL_BUNCH = timedelta(hours=4)
"""Shorter than the day of a customer who may live anywhere in the USA: seven hours. Later than that, no mail would ever go out."""
TICK = timedelta(seconds=60)


class Trial:
    """Conducts it; has no threads, so that it may fork."""

    def __init__(self, plan: Plan, folder: Path, template: Path, cluster: Cluster | None) -> None:
        self.plan, self.folder, self._cluster = plan, folder, cluster
        self._name = folder.name
        self._rng = random.Random(f"{plan.seed}:{plan.number}:course")
        self.debts: list[Debt] = []
        self._log = folder / "points.txt"
        self._number = 0
        self._targets = list(plan.targets)
        self.broken: list[str] = []
        self.recoveries: list[float] = []
        self.pauses: list[list[Any]] = []
        self.cluster_kills = self.rounds = 0
        seed = plan.seed * 1_000_003 + plan.number
        self.stage = raise_stage(folder, seed, lambda actions: self.debts.extend(build(actions, plan)))
        if cluster is None:
            url = f"sqlite:///{folder / 'ledger.db'}"
            shutil.copy(template, folder / "ledger.db")
        else:
            url = cluster.create(self._name)
        self.place = worker.place_for(folder, self.stage.base, url, self.stage.smtp_url, plan)
        self.client: SandboxClient = self.stage.client
        self.ledger = Ledger.open(url)
        self._hands: list[worker.Hand] = []
        self._owner = ""
        self._trouble_at = datetime.fromtimestamp(0, UTC)
        self.told: list[list[Any]] = []
        self.asides: list[str] = []
        self.suppressed: dict[str, datetime] = {}

    def close(self) -> None:
        for hand in self._hands:
            hand.dismiss()
        self.ledger.close()
        self.stage.close()
        if self._cluster is not None:
            if not self._cluster.running:
                self._cluster.start()
            self._cluster.drop(self._name)

    def run(self) -> dict[str, Any]:
        """To the end of every case, and then the verdict."""
        plan = self.plan
        mutants.into_database(plan.mutant, self.ledger)
        self.client.mode(stripe_retries="off", payments=plan.mode)
        self.client.advance_to(self.client.now() + timedelta(hours=1))
        self._plan_cases()
        for number in range(MOST_ROUNDS):
            self._let_late_work_end()
            moment = self._next_moment()
            self.rounds = number
            if moment is None:
                break
            self.client.advance_to(max(moment, self.client.now() + timedelta(seconds=1)))
            self._happen(number)
            self._work(number)
        self.client.faults([])
        return self._verdict()

    def _let_late_work_end(self) -> None:
        """Hours pass in an instant here, but what Stripe was asked to do it does within seconds, and it counts."""
        kinds = {*self.plan.fault_kinds, *(dict(fault)["kind"] for fault in self.plan.faults)}
        if kinds & {"late", "latency"}:
            for _ in range(LATE_LOOKS):
                if not any("waited" in entry and "made" not in entry for entry in self.client.journal()):
                    return
                time.sleep(0.1)

    # The course of things

    def _plan_cases(self) -> None:
        """From what has failed to cases with plans; through the lake in some trials."""
        plan, book, now = self.plan, Book(self.folder), self.client.now()

        def work() -> None:
            mutants.into_process(plan.mutant)
            if plan.lake:
                app = worker.application(self.place, plan)
                app.ingest_changes()
                app.plan()
            else:
                ledger = Ledger.open(self.place.ledger_url)
                enrol_debts(ledger, book.read(), self.debts, now)

        if self._fork(work) == worker.TROUBLE:
            self.client.faults([])
            if self._fork(work):
                self.broken.append("planning fails on a quiet line too")

    def _next_moment(self) -> datetime | None:
        """When there is something to do again; what is due in one morning is done at once, and mails of one day."""
        cases = {row["id"]: row for row in self._rows(recovery_case)}
        now = self.client.now()
        opened = [case for case in cases.values() if case["state"] == "open"]
        unresolved = [
            row
            for row in self._rows(attempt)
            if row["state"] in UNRESOLVED and cases[row["case_id"]]["state"] in ("open", "needs_human")
        ]
        polls = [row for row in unresolved if cases[row["case_id"]]["state"] == "open"]
        urgent = [row["next_poll_at"] or now for row in polls if row["state"] not in LEFT_TO_OTHERS]
        blocked = {row["case_id"] for row in unresolved}
        later = [case["due_at"] or now for case in opened if case["id"] not in blocked]
        later += [row["next_poll_at"] or now for row in polls if row["state"] in LEFT_TO_OTHERS]
        mails = [row["due_at"] for row in self._rows(message) if row["state"] == "scheduled"]
        paused = [row for row in self._rows(switches) if not row["charging_enabled"]]
        if paused and all(row["resumes_at"] for row in paused):
            later = [max(moment, min(row["resumes_at"] for row in paused)) for moment in later]
        jitter = timedelta(seconds=self._rng.randrange(60))
        coming = [min(urgent) + jitter] if urgent else []
        for moments, bunch in ((later, BUNCH), (mails, MAIL_BUNCH)):
            if moments:
                coming.append(max(min(moments), now) + bunch)
        return min(coming, default=None)

    def _happen(self, number: int) -> None:
        """What people do before a round of work, and the trouble on the line in it."""
        rng = random.Random(f"{self.plan.seed}:{self.plan.number}:{number}")
        paused = [pause for pause in self.pauses if pause[2] is None]
        if paused and number > paused[0][3]:
            self._resume()
        for one in self.plan.happenings:
            if one.round != number or one.moment:
                continue
            if one.deed == "pause":
                self._pause("*", number)
                continue
            debt = self.debts[one.debt]
            if one.deed == "suppress":
                self._suppress(debt)
                continue
            act(self.client, debt, one.deed)
            if rng.random() < 0.5:
                self._tell(self.ledger, debt, one)
            if one.deed == "new_card" or rng.random() < 0.3:
                self._plan_cases()
        if self.plan.number % 5 and number == 4:
            self._settle_pending()
        now = self.client.now()
        fresh = now - self._trouble_at > timedelta(hours=5)
        if self.plan.faults:
            lasting = number < self.plan.fault_rounds
            self.client.faults([dict(fault) for fault in self.plan.faults] if lasting else [])
        elif fresh and number < 12:
            # A line is in trouble for minutes, not over every look that follows for a day.
            self._trouble_at = now
            self.client.faults([self._fault(kind, rng) for kind in self.plan.fault_kinds])
        elif rng.random() < 0.5:
            self.client.faults([])

    def _fault(self, kind: str, rng: random.Random) -> dict[str, Any]:
        where = rng.choice(
            (
                {"method": "POST", "path": "/v1/*/confirm"},
                {"method": "POST", "path": "/v1/*/pay"},
                {"method": "POST"},
                {"method": "GET"},
                {},
            )
        )
        seconds = {"hang": 1.2, "late": 1.1, "latency": 0.2, "rate_limit": 0.05}.get(kind, 0.0)
        more = {
            "kind": "latency" if kind == "late" else kind,
            "skip": rng.choice((0, 0, 1, 2, 5)),
            "count": rng.choice((1, 1, 2, 3)),
        }
        return {**where, **more, **({"seconds": seconds} if seconds else {})}

    def _tell(self, ledger: Ledger, debt: Debt, one: Happening) -> None:
        """The webhook of what somebody did arrives."""
        row = {
            "event_id": f"evt_{one.round}_{debt.id}",
            "account_id": "default",
            "livemode": False,
            "type": one.deed,
            "created_at": self.client.now(),
            "received_at": self.client.now(),
            "object_id": debt.subscription if one.deed == "cancel" and debt.subscription else debt.id,
        }
        with ledger.write() as connection:
            connection.execute(insert_ignoring(ledger.dialect, webhook_event), [row])

    def _suppress(self, debt: Debt) -> None:
        """The customer wants no more mail."""
        address = Book(self.folder).read()["customers"][debt.customer]["email"]
        salt = read_or_make_salt(self.place.settings.state / "mail.salt")
        row = {"address_hmac": hash_address(address, salt), "reason": "asked", "at": self.client.now()}
        with self.ledger.write() as connection:
            connection.execute(insert_ignoring(self.ledger.dialect, suppression), [row])
        self.suppressed[debt.customer] = row["at"]

    def _settle_pending(self) -> None:
        """The charges that are under way go through."""
        for name, charge in Book(self.folder).read().get("charges", {}).items():
            if charge["status"] == "pending":
                self.client.act("settle_pending", name)

    def _pause(self, caller: str, number: int) -> None:
        ledger = Ledger.open(self.place.ledger_url)
        control.pause(ledger, control.GLOBAL, "a person", "me", self.client.now())
        ledger.close()
        entries = self.client.journal()
        self.pauses.append([caller, entries[-1]["n"] if entries else 0, None, number])

    def _resume(self) -> None:
        control.resume(self.ledger, control.GLOBAL, "a person", "me", self.client.now())
        entries = self.client.journal()
        for pause in self.pauses:
            pause[2] = pause[2] or (entries[-1]["n"] if entries else 0)

    # The work

    def _work(self, number: int) -> None:
        """One round: workers at once, some of which die; then fresh ones, until one lives."""
        killed = self._run_workers(self.plan.workers if number < BUSY_ROUNDS else 1, round=number)
        for _ in range(5):
            if not killed:
                return
            died_at = self.client.now()
            if not self.plan.faults:
                self.client.faults([])
            self._time_passes(self.plan.lease_seconds + 10 if self.plan.lease_seconds > 60 else 190)
            killed = self._run_workers(1)
            if not killed:
                self.recoveries.append((self.client.now() - died_at).total_seconds())
                self._resumed()

    def _run_workers(self, count: int, *, round: int = -1) -> bool:
        """Whether any of them was killed; in a round, the first of them meets what happens in its middle."""
        self._revive()
        before = len(self._killed())
        for place in range(count):
            if place == len(self._hands):
                self._hands.append(self._hand())
            self._hands[place].tell(targets=self._targets[place::count], round=round if place == 0 else -1)
        codes = self._wait(range(count))
        killed = {short(name) for name in self._killed()[before:]}
        self._targets = [target for target in self._targets if target[0] not in killed]
        self._hands = [hand for hand in self._hands if not hand.gone]
        if self._revive():
            self.cluster_kills += 1
            return True
        return any(code == -9 for code in codes.values())

    def _revive(self) -> bool:
        """Start PostgreSQL again where it was killed; nobody goes on with a connection of before, as no run does."""
        if self._cluster is None or self._cluster.running:
            return False
        self._cluster.start()
        self.ledger.engine.dispose()
        for hand in self._hands:
            hand.dismiss()
        self._hands.clear()
        return True

    def _hand(self) -> worker.Hand:
        """A fresh worker."""
        self._number += 1
        self.ledger.engine.dispose()
        owner = f"w{self._number}"
        return worker.Hand(partial(self._serve, owner), self.folder / f"{owner}.log")

    def _serve(self, owner: str, line: socket.socket) -> None:
        """Within a worker: do what is told."""
        mutants.into_process(self.plan.mutant)
        self._hands.clear()
        self._owner = owner
        app = worker.application(self.place, self.plan)
        points = Points(self.ledger.dialect, self._log, owner)
        ledger = Ledger.open(self.place.ledger_url)
        points.install(app.ledger, partial(self._written_ahead, ledger))
        self._note_asides()
        for order in worker.orders(line):
            dies = self._cluster.kill if self.plan.database_dies and self._cluster is not None else None
            points.arm(dict(order["targets"]), self._deeds(order["round"]), dies)
            order["code"] = worker.drain_and_mail(app, points, owner)

    def _written_ahead(self, ledger: Ledger, key: str) -> None:
        """Within a worker, right before a charge: what it is about to do must be on disk for others to see."""
        query = select(attempt.c.called_at).where(attempt.c.idempotency_key == key)
        with ledger.read() as connection:
            written = connection.execute(query).scalar()
        if written is None:
            self._note(["unwritten", f"charged under {key}, which was not written down before"])

    def _note_asides(self) -> None:
        """Within a worker: where an error came from that was put aside; the ledger keeps its first line alone."""
        for name in ("case_failed", "attempt_failed"):
            kept = getattr(poison, name)

            def noting(*given: Any, kept: Any = kept) -> None:
                self._note(["aside", "".join(traceback.format_exception(given[2]))])
                kept(*given)

            setattr(poison, name, noting)

    def _note(self, what: list[Any]) -> None:
        """Within a worker: tell the trial."""
        with (self.folder / "noted.txt").open("a") as file:
            file.write(json.dumps(what) + "\n")

    def _deeds(self, number: int) -> list[Deed]:
        """What happens in the middle of that round."""
        found: list[Deed] = []
        for one in self.plan.happenings:
            if one.round != number or not one.moment:
                continue
            deeds: dict[str, Any] = {
                "sleep": partial(worker.nap, self.folder, 600),
                "visit": partial(worker.nap, self.folder, 0),
                "pause": partial(self._pause_within, number),
                "kill": lambda asked: os.kill(os.getpid(), signal.SIGKILL),
            }
            deed = deeds.get(one.deed, partial(self._act_within, one))
            found.append((one.moment, one.skip, deed))
        return found

    def _act_within(self, one: Happening, asked: str) -> None:
        """Within a worker: it happens to the debt that is just asked about."""
        debt = next((debt for debt in self.debts if f"/{debt.id}" in asked), self.debts[one.debt])
        if one.deed not in TOLD:
            act(self.client, debt, one.deed)
            return
        act(self.client, debt, "pay")
        if one.deed == "pay_and_wait":
            self._time_passes(90)
            return
        ledger = Ledger.open(self.place.ledger_url)
        self._tell(ledger, debt, one)
        inbox.mark(ledger, self.client.now())
        self._note(
            ["told", f"{self._owner}:{threading.get_ident()}", debt.id, self.client.journal()[-1]["n"]]
        )

    def _pause_within(self, number: int, asked: str) -> None:
        self._pause(f"{self._owner}:{threading.get_ident()}", number)
        self._note(["paused", *self.pauses[-1]])

    def _fork(self, work: Any) -> int:
        """Something done by a process of its own, to its end; its exit code."""
        self.ledger.engine.dispose()
        self._number += 1
        log = self.folder / f"w{self._number}.log"
        _, status = os.waitpid(worker.start(work, log), 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, worker.TROUBLE):
            self._look_at_broken(log)
        return code

    def _wait(self, places: Iterable[int]) -> dict[int, int]:
        """Codes by place; whoever falls asleep meanwhile is woken when another has done his work."""
        codes: dict[int, int] = {}
        asleep, awake, noted = (self.folder / name for name in ("asleep", "awake", "noted.txt"))
        waiting = set(places)
        while waiting:
            for place in list(waiting):
                code = self._hands[place].answer()
                if code is not None:
                    codes[place] = code
                    waiting.discard(place)
                    if code == worker.BROKEN:
                        self._look_at_broken(self._hands[place].log)
            if asleep.exists() and not awake.exists():
                self._while_asleep(int(asleep.read_text() or 0))
                awake.touch()
            if waiting:
                worker.await_any([self._hands[place] for place in waiting])
        for marker in (asleep, awake):
            marker.unlink(missing_ok=True)
        if noted.exists():
            for line in noted.read_text().splitlines():
                kind, *said = json.loads(line)
                if kind == "unwritten":
                    self.broken.append(f"{kind}: {said[0]}")
                elif kind == "aside":
                    self.asides += said
                else:
                    (self.pauses if kind == "paused" else self.told).append(said)
            noted.unlink()
        return codes

    def _while_asleep(self, seconds: int) -> None:
        """Time passes or not, and somebody else does what he may."""
        if seconds:
            self._time_passes(seconds)
        hand = self._hand()
        hand.tell(targets=[], round=-1)
        while (code := hand.answer()) is None:
            worker.await_any([hand])
        if code == worker.BROKEN:
            self._look_at_broken(hand.log)
        hand.dismiss()

    def _look_at_broken(self, log: Path) -> None:
        """A traceback is a failure, unless the database was killed under it."""
        said = log.read_text().strip()
        log.write_text("")
        if not (self.plan.database_dies and "OperationalError" in said):
            self.broken.append(said.splitlines()[-1][:300] if said else "it said nothing")

    def _time_passes(self, seconds: float) -> None:
        """Every clock goes on, the database's too: leases run out."""
        self.client.advance_to(self.client.now() + timedelta(seconds=seconds))
        passed = timedelta(seconds=seconds)
        for column in (attempt.c.lease_until, recovery_case.c.claimed_until, message.c.lease_until):
            table: Any = column.table
            with self.ledger.read() as connection:
                held = connection.execute(select(table.c.id, column).where(column.is_not(None))).all()
            for name, until in held:
                # One row at a time: workers may be at it and lock in another order.
                later = table.update().where(table.c.id == name, column == until)
                with self.ledger.write() as connection:
                    connection.execute(later.values({column: until - passed}))
        with self.ledger.write() as connection:
            connection.execute(request_budget.update().values(blocked_until=None))

    def _resumed(self) -> None:
        """After the first worker that lived on: nothing that the dead ones held may still lie there."""
        for row in self._rows(attempt):
            if row["state"] in ("prepared", "calling"):
                self.broken.append(f"not resumed: attempt {row['state']} after {self.recoveries[-1]:.0f} s")
        for row in self._rows(message):
            if row["state"] == "sending":
                self.broken.append("not resumed: a mail is still being sent")

    # The end

    def _verdict(self) -> dict[str, Any]:
        evidence = Evidence(
            self.plan,
            self.debts,
            Book(self.folder).read(),
            self.client.journal(),
            {
                table.name: self._rows(table)
                for table in (recovery_case, attempt, message, case_event, cap_refusal)
            },
            self.stage.taken(),
            self.pauses,
            self.client.book(),
            self.told,
            self.suppressed,
        )
        # The check plans anew, and what that opens is of no trial any more.
        broken_rules = self._check() if self.plan.lake else []
        found = judge(evidence)
        found["violations"] += [f"broken: {text}" for text in self.broken]
        found["violations"] += [f"invariant: {name}" for name in broken_rules]
        killed = self._killed()
        return {
            **found,
            "number": self.plan.number,
            "mode": self.plan.mode,
            "database": self.plan.database,
            "workers": self.plan.workers,
            "fault_kinds": list(self.plan.fault_kinds),
            "kills": killed,
            "database_kills": self.cluster_kills,
            "lake": self.plan.lake,
            "targets": list(self.plan.targets),
            "seen": sorted(set(self._lines("seen"))),
            "asides": self.asides,
            "recoveries": self.recoveries,
            "rounds": self.rounds,
            "checked": self.plan.lake,
        }

    def _check(self) -> list[str]:
        """`tinko check` over a lake that is up to date."""
        told = self.folder / "check.json"
        left_out = {CAPS, PAID_ONCE} if self.plan.mode == "many_successes" else {CAPS}

        def work() -> None:
            app = worker.application(self.place, self.plan)
            app.ingest_changes()
            app.plan()
            broken = [
                f"{result.number} {result.name}"
                for result in app.check()
                if result.rows and result.number not in left_out
            ]
            told.write_text(json.dumps(broken))

        self.client.advance_to(self.client.now() + timedelta(hours=1))
        if self._fork(work):
            return ["the check itself failed"]
        found: list[str] = json.loads(told.read_text())
        return found

    def _lines(self, word: str) -> list[str]:
        text = self._log.read_text() if self._log.exists() else ""
        return [line.removeprefix(f"{word} ") for line in text.splitlines() if line.startswith(f"{word} ")]

    def _killed(self) -> list[str]:
        return self._lines("killed")

    def _rows(self, table: Any) -> list[dict[str, Any]]:
        with self.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]
