"""Mails per second of one sender, from the ledger to a mail server's answer.

Run with `python -m benchmarks.mail`; one line of JSON per measurement. The ledger, the look at Stripe (two GETs a mail, over
HTTP through Stripe's SDK), the rendering, the claim, SMTP and the settling are the real ones; mail server and Stripe are
processes of their own that answer at once (`servers`). `--look memory` answers the look within the sender, to show what
the GETs cost it. Memory is the sender's greatest resident size.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.mail.servers import shown
from tests.postgres import database, postgres_server
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.ledger import limits
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.send import send_due
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.settings import Settings

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DURABLE = "-c shared_buffers=256MB -c max_wal_size=2GB"
CASES = """
INSERT INTO recovery_case (id, account_id, livemode, debt_kind, debt_id, live_object_id, invoice_id, customer_id,
  amount_minor, currency, state, plan, first_failed_at, plan_ends_at, due_at, max_attempts, locale, created_at, updated_at)
SELECT 'case-' || g, 'default', {false}, 'invoice', 'in_' || g, 'in_' || g, 'in_' || g, 'cus_' || g, 1900 + g, 'usd', 'open',
  '{{}}', {now}, {end}, {now}, 0, CASE WHEN g % 2 = 0 THEN 'en' ELSE 'de' END, {now}, {now} FROM {series}
"""
MESSAGES = """
INSERT INTO message (id, case_id, account_id, livemode, step, kind, template, locale, state, due_at)
SELECT {uuid}, id, 'default', {false}, 1, 'dunning', 'update_card', locale, 'scheduled', {now} FROM recovery_case
"""


class Memory:
    """The look at Stripe answered within this process."""

    account_id, livemode, api_version = "default", False, "x"

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        _, _, kind, name = path.split("/")
        return Answer(200, body=shown(kind, name))

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        raise AssertionError("a mail changes nothing at Stripe")


def fill(ledger: Ledger, mails: int) -> None:
    """So many open cases, each with one mail that is due."""
    if ledger.dialect == "postgresql":
        moment = "TIMESTAMPTZ '2026-10-31 00:00+00'"
        words = {
            "false": "false", "now": moment, "end": f"{moment} + INTERVAL '30 days'",
            "series": f"generate_series(1, {mails}) g", "uuid": "md5(id)::uuid::text",
        }  # fmt: skip
    else:
        words = {
            "false": "0", "now": "'2026-10-31T00:00:00.000000Z'", "end": "'2026-12-01T00:00:00.000000Z'",
            "series": f"(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {mails}) SELECT g FROM s)",
            "uuid": "printf('%08x-0000-4000-8000-%012x', abs(random()) % 4294967296, rowid)",
        }  # fmt: skip
    with ledger.write() as connection:
        for statement in (CASES, MESSAGES):
            connection.execute(text(statement.format(**words).replace(":", "\\:")))
    limits.synchronise(ledger, limits.Limits.from_settings(Settings(), "default"))
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def work(url: str, smtp_port: int, stripe_port: int, workers: int) -> dict[str, Any]:
    """The sender's own process: send all that is due, and tell how."""
    import resource

    ledger, folder = Ledger.open(url), Path(tempfile.mkdtemp(prefix="tinko-bench-"))
    gateway: Any = Memory()
    if stripe_port:
        gateway = StripeGateway("sk_test_bench", f"http://127.0.0.1:{stripe_port}", "default")
    settings = Settings(
        state=folder, public_url="https://pay.example.com", bounce_domain="bounces.example.com"
    )
    transport = SmtpTransport(f"smtp+plain://127.0.0.1:{smtp_port}")
    began, used = time.monotonic(), time.process_time()
    result = send_due(
        ledger, gateway, transport, FixedClock(NOW), merchant=Merchant.from_settings(settings),
        max_seconds=7200, owner="bench", dry_run=False, workers=workers,
    )  # fmt: skip
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - used
    transport.close()
    ledger.close()
    return {
        "sent": result.sent,
        "seconds": round(seconds, 1),
        "mails_per_second": round(result.sent / seconds, 1),
        "cpu_milliseconds_per_mail": round(cpu_seconds / result.sent * 1000, 2),
        "resident_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "result": {name: count for name, count in result.counts().items() if count},
    }


@contextmanager
def server(kind: str) -> Iterator[int]:
    """One of the servers; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mail.servers", kind], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def tell(port: int) -> dict[str, Any]:
    """What the mail server counted."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asked, asked.makefile("rb") as answers:
        answers.readline()
        asked.sendall(b"TELL\r\n")
        found: dict[str, Any] = json.loads(answers.readline())
    return found


def measure(url: str, mails: int, look: str, workers: int) -> dict[str, Any]:
    """One fresh ledger, sent from end to end."""
    ledger = Ledger.open(url)
    ledger.migrate()
    fill(ledger, mails)
    ledger.close()
    with server("smtp") as smtp_port, ExitStack() as stack:
        stripe_port = stack.enter_context(server("stripe")) if look == "http" else 0
        call = f"from benchmarks.mail.__main__ import *; print(json.dumps(work({url!r}, {smtp_port}, {stripe_port}, {workers})))"
        done = subprocess.run([sys.executable, "-c", call], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        counted = tell(smtp_port)
    kind = "postgresql" if url.startswith("postgresql") else "sqlite"
    load = {"load_average": round(os.getloadavg()[0], 1)}
    return {"ledger": kind, "look": look, "workers": workers, **found, "at_the_server": counted, **load}


def main() -> None:
    """Measure each ledger with each way to look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=100_000)
    parser.add_argument("--ledgers", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--look", nargs="+", default=["http"], choices=["http", "memory"])
    parser.add_argument("--workers", type=int, nargs="+", default=[4])
    given = parser.parse_args()
    for kind in given.ledgers:
        for look in given.look:
            for workers in given.workers:
                with ExitStack() as stack:
                    if kind == "postgresql":
                        base = stack.enter_context(postgres_server(DURABLE))
                        url = stack.enter_context(database(base, "mail"))
                    else:
                        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tinko-bench-"))
                        url = f"sqlite:///{Path(folder) / 'ledger.db'}"
                    print(json.dumps(measure(url, given.mails, look, workers)), flush=True)


if __name__ == "__main__":
    main()
