"""The engine under every order of events hypothesis can think of, with rules that must hold after each."""

import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.postgres import database
from tests.properties.process import Process
from tests.properties.simulation import Simulation
from tests.properties.stripe_in_process import FAULTS
from tinko_pipelines.ledger.schema import BLOCKING, attempt, case_event, message, metadata, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.boundary import BOUNDARIES

EXAMPLES = int(os.environ.get("TINKO_EXAMPLES", "0"))
"""0: the same small choice every time; else so many new ones."""
CODES = ("insufficient_funds", "do_not_honor", "expired_card", "processing_error", None, None, None)
ORDERS = {"order-1": 2500, "order-2": 4900}
MOODS = ("takes", "later", "refuses", "down", "breaks_before", "breaks_after")
HOUR = timedelta(hours=1)
MOST_WAKES = 250

_FAULT = st.sampled_from((*FAULTS, None))
_DEATH = st.none() | st.integers(1, 120)
Fresh = Callable[[Path], str]
Books = Callable[[Any], Any]


class Engine(RuleBasedStateMachine):
    """One merchant's weeks. `fresh` makes an empty ledger and gives its URL."""

    def __init__(self, fresh: Fresh) -> None:
        super().__init__()
        root = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="tinko-", dir=root))
        self.sim = Simulation(self.folder, fresh(self.folder))
        self.sleeper: Process | None = None
        self.backup: Path | None = None
        self.restored = False

    def teardown(self) -> None:
        try:
            self.settle_everything()
        finally:
            if self.sleeper is not None:
                self.sleeper.wake(kill=True)
            self.sim.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # Who owes what

    @initialize(codes=st.lists(st.sampled_from(CODES), min_size=3, max_size=3))
    def first_customer(self, codes: list[str | None]) -> None:
        self.new_customer(codes, "visa")
        self.new_customer([codes[1], *codes[1:]], "mastercard")
        self.buys(0, "invoice", "order-1")
        self.buys(1, "intent", "order-1")
        self.plan(False)

    @precondition(lambda self: len(self.sim.stripe.all("customers")) < 3)
    @rule(
        codes=st.lists(st.sampled_from(CODES), min_size=3, max_size=3),
        brand=st.sampled_from(["visa", "mastercard"]),
    )
    def new_customer(self, codes: list[str | None], brand: str) -> None:
        """His card refuses now, and perhaps in four and in ten days."""
        now = (self.sim.times.database - self.start()).days
        script = zip((now, now + 4, now + 10), [codes[0] or "do_not_honor", *codes[1:]], strict=True)
        self.sim.customer(list(script), brand)

    @precondition(lambda self: self.living() and len(self.sim.debts) < 7)
    @rule(
        who=st.integers(0, 2),
        kind=st.sampled_from(["invoice", "intent"]),
        order=st.sampled_from(list(ORDERS)),
    )
    def buys(self, who: int, kind: str, order: str) -> None:
        living = self.living()
        self.sim.owe(living[who % len(living)], kind, ORDERS[order], order)

    # What the merchant's machines do

    @rule(stale=st.booleans())
    def plan(self, stale: bool) -> None:
        self.sim.plan(stale=stale)

    @rule(workers=st.integers(1, 3))
    def tick(self, workers: int) -> None:
        self.sim.run(Process(), workers=workers)

    @rule(workers=st.integers(1, 2), dies_at=st.integers(1, 90))
    def tick_and_die(self, workers: int, dies_at: int) -> None:
        self.sim.run(Process(dies_at), workers=workers, owner="doomed")

    @precondition(lambda self: self.sleeper is None)
    @rule(at=st.sampled_from(BOUNDARIES))
    def fall_asleep(self, at: str) -> None:
        self.until_something_is_due()
        process = Process(sleeps_at=at)
        process.start(lambda: self.sim.run(process, ledger=1, owner="sleeper"))
        if process.ended.is_set():
            self.raise_from(process)
        else:
            self.sleeper = process

    @precondition(lambda self: self.sleeper is not None)
    @rule(kill=st.booleans())
    def wake_up(self, kill: bool) -> None:
        process, self.sleeper = self.sleeper, None
        assert process is not None
        process.wake(kill=kill)
        self.raise_from(process)

    @staticmethod
    def raise_from(process: Process) -> None:
        if process.failure is not None:
            raise process.failure

    @rule(moods=st.lists(st.sampled_from(MOODS), max_size=2), dies_at=st.none() | st.integers(1, 25))
    def post(self, moods: list[str], dies_at: int | None) -> None:
        moment = self.sim.next_moment(mail=True)
        if moment is not None and moment > self.sim.times.business:
            self.sim.pass_time(moment - self.sim.times.business + timedelta(seconds=1))
        self.sim.box.moods[:] = moods
        self.sim.mail(Process(dies_at))

    @rule(calls=st.lists(_FAULT, max_size=3), reads=st.lists(_FAULT, max_size=4))
    def trouble_at_stripe(self, calls: list[str | None], reads: list[str | None]) -> None:
        """The next requests go so; none of it lasts."""
        self.sim.stripe.call_faults.extend(calls)
        self.sim.stripe.faults.extend(reads)

    # Time

    @rule(
        delta=st.sampled_from(
            [timedelta(minutes=m) for m in (1, 4, 20)] + [n * HOUR for n in (2, 19, 25, 50)]
        )
    )
    def time_passes(self, delta: timedelta) -> None:
        self.sim.pass_time(delta)

    @rule()
    def until_something_is_due(self) -> None:
        moment = self.sim.next_moment()
        if moment is not None:
            self.sim.pass_time(max(moment - self.sim.times.database, timedelta(0)) + timedelta(seconds=1))

    @rule(turns=st.lists(st.tuples(_FAULT, st.lists(_FAULT, max_size=4), _DEATH), min_size=1, max_size=4))
    def bad_days(self, turns: list[tuple[str | None, list[str | None], int | None]]) -> None:
        """Each time something falls due, Stripe and the process are in a poor state; another one cleans up."""
        for call, reads, dies_at in turns:
            self.until_something_is_due()
            self.sim.stripe.call_faults.append(call)
            self.sim.stripe.faults.extend([None] * 5 + reads)
            self.sim.run(Process(dies_at))
            self.sim.stripe.faults.clear()
            self.sim.stripe.call_faults.clear()
            self.all_is_well()
            self.sim.pass_time(timedelta(minutes=5))
            self.sim.run(Process(), owner="two")
            self.all_is_well()

    @rule(minutes=st.integers(-10, 10))
    def workers_clock_is_set(self, minutes: int) -> None:
        self.sim.times.business = self.sim.times.database + timedelta(minutes=minutes)

    # What customers do

    @precondition(lambda self: self.sim.debts)
    @rule(
        which=st.integers(0, 6),
        how=st.sampled_from(["pays", "pays_anew", "cancels", "disputes", "refund", "new_card"]),
    )
    def customer_acts(self, which: int, how: str) -> None:
        sim, debt = self.sim, self.debt(which)
        actions = sim.stripe.actions
        if how == "pays" and debt.customer in self.living():
            sim.pay(debt)
        elif how == "pays_anew" and not debt.id.startswith("in_") and debt.customer in self.living():
            self.pays_anew(debt)
        elif how == "cancels" and debt.subscription:
            sim.act(lambda: actions.cancel_subscription(str(debt.subscription), "cancellation_requested"))
        elif how == "disputes":
            sim.act(lambda: actions.dispute(debt.id))
        elif how == "refund":
            sim.act(lambda: actions.refund(debt.id, None))
        elif how == "new_card" and debt.customer in self.living():
            sim.new_card(debt.customer)

    def pays_anew(self, debt: Any) -> None:
        """The same order once more, by another intent and with a good card, unless it is paid."""
        if debt.id not in self.sim.over:
            owed = self.sim.stripe.book.find("payment_intents", debt.id)
            self.sim.new_card(debt.customer)
            self.sim.owe(debt.customer, "intent", owed["amount"], owed["metadata"]["order_id"])

    @precondition(lambda self: self.sim.debts)
    @rule(which=st.integers(0, 6), how=st.sampled_from(["void", "cancel_intent", "delete_customer"]))
    def debt_ends(self, which: int, how: str) -> None:
        sim, debt = self.sim, self.debt(which)
        if how == "void" and debt.id.startswith("in_") and sim.stripe.actions.is_open(debt.id):
            sim.act(lambda: sim.stripe.actions.void_invoice(debt.id))
        elif how == "cancel_intent" and debt.id.startswith("pi_") and sim.stripe.actions.is_open(debt.id):
            sim.cancel_intent(debt.id)
        elif how == "delete_customer" and which == 6 and debt.customer in self.living():
            sim.delete_customer(debt.customer)

    # Webhooks

    @rule(order=st.randoms(use_true_random=False), lost=st.integers(0, 3), twice=st.integers(0, 3))
    def webhooks(self, order: Any, lost: int, twice: int) -> None:
        """What has happened is told: in any order, some of it never, some of it twice."""
        names = [event["id"] for event in self.sim.stripe.all("events")]
        names = [name for name in names if name not in self.sim.told]
        order.shuffle(names)
        self.sim.told.update(names[:lost])
        self.sim.tell(names[lost:] + names[lost : lost + twice])

    # The merchant's people

    @rule(pause=st.booleans())
    def switch(self, pause: bool) -> None:
        self.sim.switch(pause=pause)

    @precondition(lambda self: self.sleeper is None)
    @rule(whole=st.booleans())
    def reconcile(self, whole: bool) -> None:
        self.sim.reconcile(whole=whole)

    @precondition(lambda self: self.sleeper is None)
    @rule()
    def back_up(self) -> None:
        self.backup = self.folder / "backup"
        self.sim.back_up(self.backup)

    @precondition(lambda self: self.sleeper is None and self.backup is not None)
    @rule()
    def restore(self) -> None:
        """An older ledger comes back; it is held until it has caught up with Stripe."""
        assert self.backup is not None
        self.restored = True
        self.sim.restore(self.backup)

    # What must hold after each step

    @invariant()
    def all_is_well(self) -> None:
        self.nobody_is_charged_against_what_is_known()
        self.no_debt_is_paid_twice()
        self.one_attempt_blocks()
        self.no_case_is_silent()
        self.attempts_are_counted_right()
        self.history_tells_the_present()
        self.caps_hold_at_stripe()
        self.each_mail_arrives_once()

    def nobody_is_charged_against_what_is_known(self) -> None:
        assert self.sim.breaches == []

    def no_debt_is_paid_twice(self) -> None:
        for debt in self.sim.debts:
            made = [charge for charge in self.sim.stripe.charges_of(debt) if charge["status"] == "succeeded"]
            assert len(made) <= 1, debt

    def one_attempt_blocks(self) -> None:
        states = Counter(row["case_id"] for row in self.sim.rows(attempt) if row["state"] in BLOCKING)
        assert max(states.values(), default=0) <= 1

    def no_case_is_silent(self) -> None:
        blocked = {row["case_id"]: row for row in self.sim.rows(attempt) if row["state"] in BLOCKING}
        for case in self.sim.rows(recovery_case):
            row = blocked.get(case["id"])
            if case["state"] == "open" and row is None:
                assert case["due_at"] is not None, case
            elif case["state"] == "open" and row is not None:
                assert row["state"] != "succeeded", row
                assert (row["lease_until"] or row["next_poll_at"]) is not None, row
            else:
                assert case["due_at"] is None, case
                assert case["state_reason"], case

    def attempts_are_counted_right(self) -> None:
        executed = Counter(
            row["case_id"] for row in self.sim.rows(attempt) if row["executed"] and row["settled_at"]
        )
        for case in self.sim.rows(recovery_case):
            assert case["executed_attempts"] == executed[case["id"]], case

    def history_tells_the_present(self) -> None:
        last = {row["case_id"]: row["to_state"] for row in self.sim.rows(case_event) if row["to_state"]}
        assert last == {case["id"]: case["state"] for case in self.sim.rows(recovery_case)}

    def caps_hold_at_stripe(self) -> None:
        """Of each card: one refusal in 24 hours and eight in 30 days before the next attempt of ours."""
        charges = {charge["id"]: charge for charge in self.sim.stripe.all("charges")}
        for name, (seq, knew, knew_ledger) in self.sim.made.items():
            if knew < 0:
                continue
            mine = charges[name]
            for key, hours, most in (("card", 24, 1), ("card", 720, 8), ("customer", 24, 2)):
                seen = [
                    other
                    for other in charges.values()
                    if other["status"] == "failed"
                    and _subject(other, key) == _subject(mine, key)
                    and self.sim.made[other["id"]][0] < seq
                    and self.sim.made[other["id"]][0]
                    <= (knew_ledger if self.sim.made[other["id"]][1] >= 0 else knew)
                    and 0 <= mine["created"] - other["created"] < hours * 3600 - 1300
                ]
                assert len(seen) < most, (key, hours, mine["id"], [one["id"] for one in seen])

    def each_mail_arrives_once(self) -> None:
        receipts = {row["message_id_header"] for row in self.sim.rows(message) if row["kind"] == "receipt"}
        for header, times in Counter(self.sim.box.taken).items():
            assert times <= (2 if header in receipts else 1)
        steps = Counter((row["case_id"], row["step"]) for row in self.sim.rows(message))
        assert max(steps.values(), default=0) <= 1

    # The end

    def settle_everything(self) -> None:
        """All trouble ends and time goes on: every case ends, with a reason, and Stripe says the same."""
        sim = self.sim
        sim.stripe.faults.clear()
        sim.stripe.call_faults.clear()
        if self.sleeper is not None:
            self.wake_up(False)
        sim.times.business = sim.times.database
        sim.switch(pause=False)
        for _ in range(MOST_WAKES):
            moment = sim.next_moment(mail=True)
            if moment is None:
                break
            sim.pass_time(max(moment - sim.times.database, timedelta(0)) + timedelta(seconds=1))
            sim.switch(pause=False)
            sim.run(Process())
            sim.mail(Process())
        sim.reconcile()
        assert sim.open_cases() == []
        self.all_is_well()
        self.the_ledger_agrees_with_stripe()

    def the_ledger_agrees_with_stripe(self) -> None:
        ours = {name for name, (_, knew, _) in self.sim.made.items() if knew >= 0}
        for case in self.sim.rows(recovery_case):
            paid = {
                c["id"] for c in self.sim.stripe.charges_of(case["debt_id"]) if c["status"] == "succeeded"
            }
            won = {
                row["charge_id"]
                for row in self.sim.rows(attempt)
                if row["case_id"] == case["id"] and row["state"] == "succeeded"
            }
            # The answer to a paid invoice names no charge.
            assert won - {None} <= paid, case
            assert len(won) <= len(paid), case
            if not self.restored:
                assert len(won) == len(paid & ours), case
            if case["state"] == "recovered":
                assert won, case

    # Small things

    def start(self) -> Any:
        from datetime import UTC, datetime

        from tinko_pipelines.sandbox.ports import EPOCH

        return datetime.fromtimestamp(EPOCH, UTC)

    def living(self) -> list[str]:
        return [one["id"] for one in self.sim.stripe.all("customers") if not one.get("deleted")]

    def debt(self, which: int) -> Any:
        return list(self.sim.debts.values())[which % len(self.sim.debts)]


def _subject(charge: dict[str, Any], key: str) -> Any:
    return (
        charge["customer"] if key == "customer" else charge["payment_method_details"]["card"]["fingerprint"]
    )


def profile(examples: int) -> settings:
    chosen = settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=40 if EXAMPLES else 20,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
        print_blob=True,
    )
    return chosen


def test_on_sqlite(tmp_path: Path) -> None:
    template = tmp_path / "empty.db"
    made = Ledger.open(f"sqlite:///{template}")
    made.migrate()
    made.close()

    def fresh(folder: Path) -> str:
        shutil.copy(template, folder / "ledger.db")
        return f"sqlite:///{folder / 'ledger.db'}"

    run_state_machine_as_test(lambda: Engine(fresh), settings=profile(30))


def test_on_postgresql(postgres_url: str) -> None:
    with database(postgres_url, f"t{uuid.uuid4().hex}") as url:
        made = Ledger.open(url)
        made.migrate()
        tables = ", ".join(table.name for table in metadata.sorted_tables if table.name != "ledger_meta")

        def fresh(_folder: Path) -> str:
            with made.write() as connection:
                connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
            return url

        run_state_machine_as_test(lambda: Engine(fresh), settings=profile(10))
        made.close()
