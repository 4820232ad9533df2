"""SIGKILL at every named boundary, in a real process over real HTTP, then a restart."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW, FakeStripe, failed_row, failed_table, over_http
from tinko_pipelines.ledger.schema import recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.boundary import BOUNDARIES
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy

DRAIN = """
import sys
from datetime import datetime
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.boundary import killer_from
from tinko_pipelines.retry.drain import drain

url, base, now, kill = sys.argv[1:]
gateway = StripeGateway("sk_test_tinko_sandbox", base, "default")
drain(Ledger.open(url), gateway, FixedClock(datetime.fromisoformat(now)), workers=2, max_seconds=20,
      owner="t", dry_run=False, boundary=killer_from(kill or None), lease_seconds=1)
"""


def run_drain(url: str, base: str, at: str, kill: str) -> int:
    done = subprocess.run([sys.executable, "-c", DRAIN, url, base, at, kill], timeout=30, check=False)
    return done.returncode


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_then_restarted(boundary: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger.open(url)
    ledger.migrate()
    fake = FakeStripe()
    fake.many = True  # A Stripe that would charge twice if asked twice with two keys.
    names = [f"pi_{number}" for number in range(4)]
    for name in names:
        fake.add(name, passes=True)
    enrol(ledger, failed_table(*[failed_row(name) for name in names]), now=NOW, policy=Policy())
    fake.now = NOW + timedelta(days=8)
    at = fake.now.isoformat()
    with over_http(fake) as base:
        if boundary.startswith("janitor"):
            assert run_drain(url, base, at, "after_begin_call:1") == -9
            time.sleep(1.1)
        assert run_drain(url, base, at, f"{boundary}:1") == -9
        time.sleep(1.1)
        assert run_drain(url, base, at, "") == 0
    assert {name: fake.succeeded(name) for name in names} == dict.fromkeys(names, 1)
    with ledger.read() as connection:
        assert set(connection.execute(select(recovery_case.c.state)).scalars()) == {"recovered"}
    ledger.close()
