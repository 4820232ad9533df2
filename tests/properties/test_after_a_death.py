"""What the janitor makes of a call whose process died just before it, when the customer has done something since."""

from datetime import timedelta
from typing import Any

from tests.properties.process import Process
from tests.properties.simulation import Simulation
from tinko_pipelines.ledger.schema import attempt, recovery_case


def died_before_its_call(sim: Simulation) -> str:
    """An invoice whose retry was begun and never sent."""
    customer = sim.customer([(0, "do_not_honor")], "visa")
    sim.owe(customer, "invoice", 2500, "order-1")
    sim.plan()
    (case,) = sim.rows(recovery_case)
    sim.pass_time(case["due_at"] - sim.times.database)
    worker = Process(sleeps_at="before_http")
    worker.start(lambda: sim.run(worker))
    worker.wake(kill=True)
    return str(case["debt_id"])


def states(sim: Simulation) -> Any:
    return [row["state"] for row in sim.rows(attempt)], [row["state"] for row in sim.rows(recovery_case)]


def test_a_call_is_not_repeated_on_a_card_that_is_used_up_meanwhile(sim: Simulation) -> None:
    debt = died_before_its_call(sim)
    sim.pass_time(timedelta(minutes=4))
    sim.owe(sim.debts[debt].customer, "invoice", 4900, "order-2")
    sim.run(Process(), owner="two")
    assert len(sim.stripe.charges_of(debt)) == 1
    assert states(sim) == (["unknown"], ["open"])
    sim.pass_time(timedelta(hours=25))
    sim.run(Process(), owner="two")
    assert {row["state"] for row in sim.rows(attempt)} == {"abandoned", "declined"}


def test_what_the_customer_paid_with_another_card_was_not_our_call(sim: Simulation) -> None:
    debt = died_before_its_call(sim)
    sim.pass_time(timedelta(minutes=4))
    sim.pay(sim.debts[debt])
    sim.run(Process(), owner="two")
    assert states(sim) == (["abandoned"], ["paid_elsewhere"])
