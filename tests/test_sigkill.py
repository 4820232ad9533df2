"""`tinko drain` killed at every named boundary, over real HTTP against the sandbox, and started again.

One ledger lives through all of it, day after day, with invoices and payment intents; what must be true at the
end is that nobody was charged twice and nobody was forgotten.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tinko_pipelines.app import App
from tinko_pipelines.retry.boundary import BOUNDARIES
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings

LEASE_SECONDS = 1.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sandbox")
    with SandboxProcess(folder, seed=5, charges=700, history_days=40) as process:
        yield process.base


def environment(state: Path, base: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    return {
        **clean,
        "TINKO_STATE": str(state),
        "TINKO_STRIPE_API_BASE": base,
        "TINKO_CLOCK": "sandbox",
        "TINKO_DRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
        "TINKO_STRIPE_REQUESTS_PER_SECOND": "1000",
    }


def drain(state: Path, base: str, kill_at: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tinko_pipelines.cli", "drain", "--json"],
        env=environment(state, base) | ({"TINKO_KILL_AT": kill_at} if kill_at else {}),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


@pytest.mark.slow
def test_killed_everywhere_nobody_is_charged_twice_or_forgotten(sandbox: str, tmp_path: Path) -> None:
    client = SandboxClient(sandbox)
    app = App(
        load_settings(
            state=tmp_path, stripe_api_base=sandbox, clock="sandbox", stripe_requests_per_second=1000
        )
    )
    app.ingest_changes()
    app.plan()
    for boundary in BOUNDARIES:
        if boundary.startswith("janitor"):
            _kill(app, client, tmp_path, sandbox, "after_begin_call")
            assert drain(tmp_path, sandbox, f"{boundary}:1") == -9
            time.sleep(LEASE_SECONDS + 0.2)
        else:
            _kill(app, client, tmp_path, sandbox, boundary)
        assert drain(tmp_path, sandbox) == 0
        left = app.due()
        assert (left.retries, left.janitor, left.inbox) == (0, 0, 0), f"something was forgotten at {boundary}"
    book = client.book()
    assert book["double_charges"] == 0
    assert book["charged_after_paid"] == 0
    app.ingest_changes()
    app.plan()
    app.send_mail(owner="test")
    broken = {result.name: result.sample for result in app.check() if result.rows}
    assert broken == {}
    operations = _operations(app)
    assert set(operations) == {"invoice.pay", "payment_intent.confirm"}
    assert sum(operations.values()) >= len(BOUNDARIES)


def _kill(app: App, client: SandboxClient, state: Path, base: str, boundary: str) -> None:
    """Kill a drain at the boundary; days on which the pre-flight lets nothing through pass it by unkilled."""
    for _ in range(8):
        _advance_until_due(app, client)
        if drain(state, base, f"{boundary}:1") == -9:
            time.sleep(LEASE_SECONDS + 0.2)
            return
    raise AssertionError(f"no drain came to {boundary}")


def _advance_until_due(app: App, client: SandboxClient) -> None:
    """Let the sandbox's clock go to where at least two retries are due; a bounded number of leaps.

    From one due retry to the next rather than by the half day: each look at Stripe takes most of a second.
    """
    for _ in range(40):
        app.ingest_changes()
        app.plan()
        if app.due().retries >= 2:
            return
        now = client.now()
        coming = sorted(moment for moment in _due_at(app) if moment > now)
        leap = coming[1] + timedelta(minutes=1) if len(coming) > 1 else now + timedelta(hours=12)
        client.advance_to(max(leap, now + timedelta(hours=1)))
    raise AssertionError("nothing falls due any more: the world is too small for this test")


def _due_at(app: App) -> list[datetime]:
    from sqlalchemy import select

    from tinko_pipelines.ledger.schema import recovery_case

    with app.ledger.read() as connection:
        found = connection.execute(
            select(recovery_case.c.due_at).where(
                recovery_case.c.state == "open", recovery_case.c.due_at.is_not(None)
            )
        )
        return list(found.scalars())


def _operations(app: App) -> dict[str, int]:
    from sqlalchemy import func, select

    from tinko_pipelines.ledger.schema import attempt

    with app.ledger.read() as connection:
        rows = connection.execute(select(attempt.c.operation, func.count()).group_by(attempt.c.operation))
        return {str(name): int(count) for name, count in rows}
