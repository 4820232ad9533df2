"""Reading charges: ours, Stripe's SDK and dlt, side by side in one run. `python -m benchmarks.ingest`.

The corpus server answers from parts serialised beforehand. What counts is rows per CPU-second of the reader's own
process, the median of interleaved rounds; wall time only where requests take 100 ms. dlt gets an environment of its
own below `build/`. `TEN_MILLION=1` reads ten million besides, to see what memory it takes.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "build" / "peers"
DLT = "dlt[duckdb,parquet]==1.31.0"
ROUNDS = 3
ROWS = {"tinko": 100_000, "sdk": 5_000, "dlt": 10_000, "dlt parquet": 10_000}
LATENCY_SECONDS = 0.1


@contextmanager
def corpus(charges: int, latency_seconds: float = 0.0, limit: float | None = None) -> Iterator[str]:
    """The server, for as long as it is needed."""
    options = ["--charges", str(charges), "--latency-seconds", str(latency_seconds)]
    options += [] if limit is None else ["--limit", str(limit)]
    command = [sys.executable, "-m", "tinko_pipelines.sandbox.corpus", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().removeprefix("ready ").strip()
        finally:
            server.stdin.close()


def asked(base: str) -> dict[str, Any]:
    """What the server was asked since it was last asked this."""
    with urllib.request.urlopen(f"{base}/_corpus") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def peers_python() -> str:
    """Python with dlt beside it; made when first needed."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", DLT], check=True)
    return str(python)


def run(name: str, base: str, rows: int) -> dict[str, Any]:
    """One contender once, in a fresh process and an empty folder in memory."""
    python = peers_python() if name.startswith("dlt") else sys.executable
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        command = [python, str(Path(__file__).with_name("contender.py")), name, base, str(rows), folder]
        quiet = os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    told = asked(base)
    return {**found, **{key: told[key] for key in ("asked", "refused", "pages", "most_in_flight", "cpu_seconds")
                        if key != "cpu_seconds"}, "server_cpu_seconds": told["cpu_seconds"]}  # fmt: skip


def without_latency() -> list[str]:
    """Rows per CPU-second, interleaved; and the pages it took on a skewed history."""
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
    with corpus(100_000) as base:
        for _ in range(ROUNDS):
            for name, rows in ROWS.items():
                found = run(name, base, rows)
                assert found["rows"] == rows, (name, found)
                seen[name].append(found)
    speed = {name: median(one["rows"] / one["cpu_seconds"] for one in runs) for name, runs in seen.items()}
    told = ["| no latency | rows | rows per CPU-second | × the SDK | peak MB |", "|---|---|---|---|---|"]
    for name, runs in seen.items():
        peak = median(one["peak_mb"] for one in runs)
        told.append(
            f"| {name} | {ROWS[name]:,} | {speed[name]:,.0f} | {speed[name] / speed['sdk']:.1f} | {peak:,.0f} |"
        )
    pages = median(one["pages"] for one in seen["tinko"])
    told += ["", f"pages for 100,000 charges: {pages:.0f}, {pages / 1000:.3f} × the fewest possible"]
    return told


def with_latency() -> list[str]:
    """Wall time where each request takes 100 ms; and how much of a limit is used."""
    with corpus(100_000, LATENCY_SECONDS) as base:
        free = [run("tinko", base, 100_000) for _ in range(ROUNDS)]
    with corpus(100_000, LATENCY_SECONDS, limit=100.0) as base:
        limited = [run("tinko at 100/s", base, 100_000) for _ in range(ROUNDS)]
    rows = median(one["rows"] / one["wall_seconds"] for one in free)
    used = median(one["asked"] / one["wall_seconds"] for one in limited)
    refused = sum(one["refused"] for one in limited)
    most = max(one["most_in_flight"] for one in free)
    return [
        f"100 ms a request, at most {most} in flight: {rows:,.0f} charges/s, {rows / 8000:.3f} of what 8 allow",
        f"limit 100 requests/s: {used:.1f} requests/s used, {refused} refused",
    ]


def ten_million() -> list[str]:
    """Memory, whatever the size."""
    told = []
    for charges in (100_000, 10_000_000):
        with corpus(charges) as base:
            found = run("tinko", base, charges)
        speed = found["rows"] / found["cpu_seconds"]
        told.append(f"{charges:,} charges: peak {found['peak_mb']:,.0f} MB, {speed:,.0f} rows per CPU-second")
    return told


def main() -> int:
    """The whole table."""
    for part in (without_latency, with_latency, *((ten_million,) if os.environ.get("TEN_MILLION") else ())):
        print("\n".join(part()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
