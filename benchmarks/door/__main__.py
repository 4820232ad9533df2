"""How soon webhooks are answered: at 100 a second, beside a drain that writes, and ten thousand at once.

Run with `python -m benchmarks.door`; one line of JSON for each database and case, about two minutes. `tinko serve` is a
process of its own and writes durably (fsync on). Events come at their times whether or not earlier ones are answered, as
Stripe's do; a time is from when it was due to the end of its answer.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.postgres import database, postgres_server
from tests.web.serving import HOOK, Served, event, serving, signed
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.inbox import mark

PER_SECOND, SECONDS = 100, 30
AT_ONCE, WORKERS = 10_000, 64
PADDING_BYTES = 3_000
"""A charge's event is about as long."""
DURABLE = "-c shared_buffers=128MB"
PAUSE_SECONDS = 0.02


def body(name: str) -> bytes:
    """An event of usual length."""
    about = {"object": "balance", "note": "x" * PADDING_BYTES}
    return json.dumps(event(name, data={"object": about})).encode()


class Wires:
    """Connections that are kept, as a proxy keeps them; so little of a client that the server is what is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, name: str, due: float) -> tuple[float, int]:
        """Milliseconds from when it was due, and the status."""
        content = body(name)
        given = {"Host": "localhost", "Content-Length": str(len(content)), **signed(content)}
        head = "".join(f"{field}: {value}\r\n" for field, value in given.items())
        wire = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        wire[1].write(f"POST {HOOK} HTTP/1.1\r\n{head}\r\n".encode() + content)
        answer = await wire[0].readuntil(b"\r\n\r\n")
        self._idle.append(wire)
        return (time.monotonic() - due) * 1000, int(answer.split(b" ", 2)[1])

    async def close(self) -> None:
        """All of them."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


async def steady(wires: Wires, prefix: str) -> list[tuple[float, int]]:
    """So many a second."""
    began, under_way = time.monotonic(), []
    for number in range(PER_SECOND * SECONDS):
        due = began + number / PER_SECOND
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        under_way.append(asyncio.create_task(wires.ask(f"{prefix}_{number}", due)))
    return await asyncio.gather(*under_way)


async def at_once(wires: Wires, prefix: str) -> list[tuple[float, int]]:
    """All of them, by so many connections."""
    left = iter(range(AT_ONCE))

    async def work() -> list[tuple[float, int]]:
        return [await wires.ask(f"{prefix}_{number}", time.monotonic()) for number in left]

    return [one for done in await asyncio.gather(*(work() for _ in range(WORKERS))) for one in done]


async def asked(
    run: Callable[[Wires, str], Awaitable[list[tuple[float, int]]]], port: int, prefix: str
) -> list[tuple[float, int]]:
    """What came of one case."""
    wires = Wires(port)
    found = await run(wires, prefix)
    await wires.close()
    return found


def summary(found: Sequence[tuple[float, int]], seconds: float) -> dict[str, Any]:
    """Times in milliseconds."""
    times = sorted(ms for ms, _ in found)
    cuts = statistics.quantiles(times, n=1000)
    return {
        "events": len(found), "answered_200": sum(status == 200 for _, status in found),
        "per_second": round(len(found) / seconds, 1), "p50_ms": round(cuts[499], 1), "p99_ms": round(cuts[989], 1),
        "max_ms": round(times[-1], 1),
    }  # fmt: skip


@contextmanager
def drain_beside(url: str) -> Iterator[None]:
    """Another process that keeps turning what has come into marks, which writes to every row of it."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.door", "--mark", url]) as process:
        try:
            yield
        finally:
            process.terminate()


def keep_marking(url: str) -> None:
    """That process; it is ended from outside."""
    from datetime import UTC, datetime

    ledger = Ledger.open(url)
    while True:
        mark(ledger, datetime.now(UTC))
        time.sleep(PAUSE_SECONDS)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(served: Served, url: str, case: str) -> dict[str, Any]:
    """One case; `cpu_ms` is what the server used for an event."""
    assert served.process is not None
    run = at_once if case == "at once" else steady
    with drain_beside(url) if case == "beside a drain" else ExitStack():
        began, used = time.monotonic(), cpu_seconds(served.process.pid)
        found = asyncio.run(asked(run, served.port, f"evt_{case.replace(' ', '_')}"))
        cpu_ms = (cpu_seconds(served.process.pid) - used) * 1000 / len(found)
        return {**summary(found, time.monotonic() - began), "cpu_ms": round(cpu_ms, 2)}


def main() -> None:
    """Every case on both databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = stack.enter_context(postgres_server(DURABLE))
        urls = {
            "sqlite": f"sqlite:///{folder}/ledger.db",
            "postgresql": stack.enter_context(database(server, "door")),
        }
        for dialect, url in urls.items():
            with serving(folder / dialect, TINKO_LEDGER_URL=url) as served:
                for case in ("steady", "beside a drain", "at once"):
                    print(
                        json.dumps({"database": dialect, "case": case, **measured(served, url, case)}),
                        flush=True,
                    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--mark"]:
        keep_marking(sys.argv[2])
    else:
        main()
