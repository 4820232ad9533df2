"""The request budget in its row: a ceiling over processes, a reserve for charging, a pause for all."""

import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from tinko_pipelines.gateway.port import refused_resource, resource_of
from tinko_pipelines.ledger.budget import Governor, RequestBudget
from tinko_pipelines.ledger.schema import request_budget
from tinko_pipelines.ledger.store import Ledger

SPEND = """
import sys, time
from tinko_pipelines.ledger.budget import RequestBudget
from tinko_pipelines.ledger.store import Ledger
ledger = Ledger.open(sys.argv[1])
budget = RequestBudget(ledger, "acct_1", float(sys.argv[2]))
budget.acquire()
print("ready", flush=True)
sys.stdin.readline()
end, sent = time.monotonic() + 2.0, 0
while time.monotonic() < end:
    if budget.acquire(max_wait_seconds=end - time.monotonic()) == 0.0:
        sent += 1
print(sent)
"""


def url_of(ledger: Ledger) -> str:
    return ledger.engine.url.render_as_string(hide_password=False)


def test_processes_share_one_ceiling(ledger: Ledger) -> None:
    rate = 60.0
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SPEND, url_of(ledger), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
    started = time.monotonic()
    answers = [process.communicate("\n", timeout=60) for process in processes]
    seconds = time.monotonic() - started
    assert all(process.returncode == 0 for process in processes)
    sent = sum(int(out.strip()) for out, _ in answers)
    assert sent <= rate / 4 + 3 * rate / 10 + rate * seconds
    assert sent >= rate * 2.0 * 0.6


def test_readers_leave_a_reserve_to_charging(ledger: Ledger) -> None:
    reader = RequestBudget(ledger, "acct_1", 8.0, reserve_share=0.5)
    charger = RequestBudget(ledger, "acct_1", 8.0)
    assert reader.acquire(max_wait_seconds=0.0) == 0.0
    assert reader.acquire(max_wait_seconds=0.0) > 0.0
    assert charger.acquire(max_wait_seconds=0.0) == 0.0


def test_whoever_charges_waits_his_turn_instead_of_asking_again(ledger: Ledger) -> None:
    budget = RequestBudget(ledger, "acct_1", 10.0)
    started = time.monotonic()
    threads = [threading.Thread(target=budget.acquire) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= (12 - 2.5) / 10.0 * 0.9


def test_too_many_requests_stop_every_process(ledger: Ledger) -> None:
    mine, theirs = (RequestBudget(ledger, "acct_1", 10.0) for _ in range(2))
    assert theirs.acquire() == 0.0
    mine.back_off(5.0)
    mine.back_off(0.1)
    fresh = RequestBudget(ledger, "acct_1", 10.0)
    assert 4.0 < fresh.acquire(max_wait_seconds=1.0) <= 5.0
    assert RequestBudget(ledger, "acct_2", 10.0).acquire(max_wait_seconds=0.0) == 0.0


def test_a_rate_must_be_a_rate(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RequestBudget(ledger, "acct_1", 0.0)


def test_a_clock_set_back_stops_nobody(ledger: Ledger) -> None:
    budget = RequestBudget(ledger, "acct_1", 8.0)
    budget.acquire()
    with ledger.write() as connection:
        later = ledger.database_now(connection) + timedelta(hours=1)
        connection.execute(request_budget.update().values(filled_at=later, tokens=-8.0))
    waits = [budget.acquire(max_wait_seconds=0.5) for _ in range(2)]
    assert waits[0] > 0.5
    time.sleep(waits[0])
    assert budget.acquire(max_wait_seconds=0.5) == 0.0


def test_each_kind_of_object_has_a_ceiling_of_its_own(ledger: Ledger) -> None:
    governor = Governor(ledger, "acct_1", 100.0, 4.0)
    assert governor.acquire(max_wait_seconds=0.0, resource="charges") == 0.0
    assert governor.acquire(max_wait_seconds=0.0, resource="charges") > 0.0
    assert governor.acquire(max_wait_seconds=0.0, resource="invoices") == 0.0
    other = Governor(ledger, "acct_1", 100.0, 4.0)
    assert other.acquire(max_wait_seconds=0.0, resource="charges") > 0.0
    assert Governor(ledger, "acct_2", 100.0, 4.0).acquire(max_wait_seconds=0.0, resource="charges") == 0.0


def test_a_refusal_stops_what_it_names(ledger: Ledger) -> None:
    governor = Governor(ledger, "acct_1", 100.0, 25.0)
    governor.back_off(5.0, resource="charges")
    assert governor.acquire(max_wait_seconds=0.0, resource="charges") > 4.0
    assert governor.acquire(max_wait_seconds=0.0, resource="invoices") == 0.0
    governor.back_off(5.0)
    assert Governor(ledger, "acct_1", 100.0, 25.0).acquire(max_wait_seconds=0.0, resource="invoices") > 4.0


@pytest.mark.parametrize(
    ("reason", "stopped"),
    [("endpoint-rate", "charges"), ("resource-specific", "charges"), ("global-rate", ""), (None, "")],
)
def test_what_a_reason_stops(reason: str | None, stopped: str) -> None:
    assert refused_resource(reason, "/v1/charges/ch_1?expand=x") == stopped
    assert resource_of("/v1/checkout/sessions?limit=1") == "checkout"
