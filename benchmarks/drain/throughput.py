"""Attempts per second of `tinko drain` under a request limit and latency, and what each attempt costs.

Run with `python -m benchmarks.drain.throughput`; one line of JSON per measurement. The sandbox answers 100 ms
late and refuses what comes above the limit, as Stripe does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from tests.postgres import database, postgres_server
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess

LATENCY_SECONDS = 0.1
SHARE_OF_LIMIT = 0.98
SECONDS = 40


def tinko(
    environment: dict[str, str], *arguments: str
) -> tuple[dict[str, object], float, resource.struct_rusage]:
    """One command's JSON, its wall seconds and what it used."""
    started = time.monotonic()
    command = [str(Path(sys.executable).with_name("tinko")), *arguments, "--json"]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, env=environment, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        out.seek(0)
        text = out.read().decode()
    if process.returncode != 0:
        raise SystemExit(f"tinko {' '.join(arguments)} ended with {process.returncode}: {text}")
    return json.loads(text), seconds, usage


def measure(limit: float, ledger_url: str | None, workers: int) -> dict[str, object]:
    """One drain of as many due cases as take about `SECONDS` at the limit."""
    count = int(limit / 3.5 * SECONDS)
    with (
        tempfile.TemporaryDirectory(prefix="tinko-bench-") as folder,
        SandboxProcess(Path(folder) / "sandbox", seed=7, charges=50) as sandbox,
    ):
        client = SandboxClient(sandbox.base)
        for number in range(count):
            kind = "failed_invoice" if number % 2 else "failed_intent"
            client.fixture(kind, code="insufficient_funds")
        environment = os.environ | {
            "STRIPE_SECRET_KEY": "sk_test_tinko_sandbox",
            "TINKO_STRIPE_API_BASE": sandbox.base,
            "TINKO_CLOCK": "sandbox",
            "TINKO_STATE": f"{folder}/state",
            "TINKO_DRAIN_WORKERS": str(workers),
            "TINKO_DRAIN_SECONDS": "600",
            "TINKO_STRIPE_REQUESTS_PER_SECOND": "10000",
            "TINKO_BREAKER_DECLINES": "1000000",
        }
        if ledger_url:
            environment["TINKO_LEDGER_URL"] = ledger_url
        tinko(environment, "ingest")
        tinko(environment, "plan")
        client.advance_to(client.now() + timedelta(days=8))
        idle = tinko(environment | {"TINKO_DRAIN_SECONDS": "0.01"}, "doctor")[1]
        client.faults([{"kind": "latency", "seconds": LATENCY_SECONDS, "path": "/v1/*"}])
        client.limit(limit)
        environment["TINKO_STRIPE_REQUESTS_PER_SECOND"] = str(limit * SHARE_OF_LIMIT)
        found, seconds, usage = tinko(environment, "drain")
        seen = client.requests()
        client.faults([])
        client.limit(None)
        book = client.book()
    called = int(str(found["called"]))
    per_attempt = seen["requests"] / called
    rate = called / seconds
    return {
        "ledger": "postgresql" if ledger_url else "sqlite",
        "limit_per_second": limit,
        "attempts": called,
        "seconds": round(seconds, 2),
        "start_seconds": round(idle, 2),
        "attempts_per_second": round(rate, 2),
        "requests_per_attempt": round(per_attempt, 3),
        "share_of_what_the_limit_allows": round(rate / (limit / per_attempt), 3),
        "refused_as_too_fast": seen["refused"],
        "cpu_milliseconds_per_attempt": round((usage.ru_utime + usage.ru_stime) / called * 1000, 2),
        "resident_megabytes": round(usage.ru_maxrss / 1024),
        "load_average": round(os.getloadavg()[0], 1),
        "double_charges": book["double_charges"],
        "result": {name: value for name, value in found.items() if value},
    }


def main() -> None:
    """Measure both limits on both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limits", type=float, nargs="+", default=[25.0, 100.0])
    parser.add_argument("--ledgers", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--workers", type=int, default=32)
    given = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if "postgresql" in given.ledgers else None
        for limit in given.limits:
            for ledger in given.ledgers:
                with ExitStack() as each:
                    url = None
                    if ledger == "postgresql" and server:
                        url = each.enter_context(database(server, f"bench{int(limit)}"))
                    print(json.dumps(measure(limit, url, given.workers)), flush=True)


if __name__ == "__main__":
    main()
