"""A large history of charges that is only read: `python -m tinko_pipelines.sandbox.corpus --charges N`.

It answers lists of charges from parts serialised beforehand, as quickly as Python can copy them, so that who reads is
what is measured. Half the month's charges fall on its first three days, as subscriptions do. It lives no life: nothing
is charged here. Prints `ready http://127.0.0.1:PORT`; ends when standard input does.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from tinko_pipelines.sandbox.http.faults import rate_limited
from tinko_pipelines.sandbox.life import open_sandbox

HOST = "127.0.0.1"
NEWEST = datetime(2026, 10, 1, tzinfo=UTC)
FIRST_DAYS_SHARE = 0.45
"""Of a month's charges fall on its first three days."""
TEMPLATES_MOST = 300
_ID, _CREATED = "ch_0_of_the_template", 1_111_111_111


class Corpus:
    """Charges numbered from 1, the oldest first; each is one of a sandbox's, with an id and a time of its own."""

    def __init__(self, charges: int, days: int, seed: int) -> None:
        self.times = _times(charges, days, seed)
        self._parts = _templates(seed)

    def item(self, number: int) -> bytes:
        """One charge as Stripe prints it."""
        parts = self._parts[number % len(self._parts)]
        name = b"ch_%024d" % number
        return b"".join((parts[0], name, *parts[1:-1], b"%d" % self.times[number - 1], parts[-1]))

    def page(self, query: Mapping[str, str]) -> bytes:
        """One page, newest first."""
        low = int(np.searchsorted(self.times, int(query.get("created[gte]", 0)), "left"))
        high = int(np.searchsorted(self.times, int(query.get("created[lt]", 2**31 - 1)), "left"))
        if "starting_after" in query:
            high = min(high, int(query["starting_after"].removeprefix("ch_")) - 1)
        limit = int(query.get("limit", 10))
        first = max(low, high - limit)
        more = b"true" if first > low else b"false"
        items = b",\n    ".join([self.item(number) for number in range(high, first, -1)])
        return (
            b'{\n  "object": "list",\n  "data": [\n    %b\n  ],\n  "has_more": %b,\n  "url": "/v1/charges"\n}'
            % (
                items,
                more,
            )
        )


def _times(charges: int, days: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When each was made: unix seconds, ascending."""
    begin = NEWEST - timedelta(days=days)
    firsts = np.array([(begin + timedelta(days=day)).day <= 3 for day in range(days)])
    weights = np.where(
        firsts, FIRST_DAYS_SHARE / max(1, firsts.sum()), (1 - FIRST_DAYS_SHARE) / max(1, (~firsts).sum())
    )
    chosen = np.random.default_rng(seed)
    of_day = chosen.choice(days, size=charges, p=weights / weights.sum())
    seconds = chosen.integers(0, 86_400, size=charges)
    return np.sort(int(begin.timestamp()) + of_day.astype(np.int64) * 86_400 + seconds)


def _templates(seed: int) -> list[list[bytes]]:
    """Charges of a small sandbox, cut where id and time stand."""
    with tempfile.TemporaryDirectory() as folder:
        sandbox = open_sandbox(Path(folder), seed=seed, charges=400, history_days=20)
        found = list(sandbox.book.store.objects["charges"].values())[:TEMPLATES_MOST]
        texts = [_printed(dict(one)) for one in found]
        sandbox.close()
    return [_cut(text) for text in texts]


def _printed(charge: dict[str, Any]) -> str:
    name = charge["id"]
    charge = {**charge, "created": _CREATED}
    return json.dumps(charge, indent=2).replace(name, _ID).replace("\n", "\n    ")


def _cut(text: str) -> list[bytes]:
    """What stands before the first id; what stands after it, other places keeping the template's; before the time; after."""
    before, _, rest = text.partition(_ID)
    middle, _, after = rest.partition(str(_CREATED))
    return [before.encode(), middle.encode(), after.encode()]


class Server(asyncio.Protocol):
    """One connection. HTTP/1.1 with keep-alive, GET alone, and nothing that a reader of lists does not send."""

    corpus: Corpus
    latency_seconds = 0.0
    limit: float | None = None
    asked = refused = pages = in_flight = most_in_flight = 0
    _tokens = 0.0
    _filled_at = 0.0

    def connection_made(self, transport: Any) -> None:
        """Remember whom to answer."""
        self._to, self._begun = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._begun += data
        while b"\r\n\r\n" in self._begun:
            head, _, self._begun = self._begun.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            kind = type(self)
            kind.in_flight += 1
            kind.most_in_flight = max(kind.most_in_flight, kind.in_flight)
            if self.latency_seconds and path.startswith("/v1/"):
                asyncio.get_running_loop().call_later(self.latency_seconds, self._answer, path)
            else:
                self._answer(path)

    def _answer(self, path: str) -> None:
        kind = type(self)
        kind.in_flight -= 1
        status, headers, body = self._found(path)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        self._to.writelines((head.encode(), body))

    def _found(self, path: str) -> tuple[str, str, bytes]:
        parts = urlsplit(path)
        kind = type(self)
        if parts.path == "/_corpus":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            told = {"asked": self.asked, "refused": self.refused, "pages": self.pages,
                    "most_in_flight": self.most_in_flight, "cpu_seconds": usage.ru_utime + usage.ru_stime}  # fmt: skip
            kind.asked = kind.refused = kind.pages = kind.most_in_flight = 0
            return "200 OK", "", json.dumps(told).encode()
        kind.asked += 1
        if self._too_fast():
            kind.refused += 1
            refusal = rate_limited("global-rate")
            headers = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers.items())
            return "429 Too Many Requests", headers, b'{"error": {"code": "rate_limit"}}'
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kind.pages += 1
        if parts.path != "/v1/charges":
            return "200 OK", "", b'{"object": "list", "data": [], "has_more": false}'
        return "200 OK", "", self.corpus.page(query)

    def _too_fast(self) -> bool:
        kind = type(self)
        if self.limit is None:
            return False
        present = time.monotonic()
        kind._tokens = min(max(1.0, self.limit), kind._tokens + (present - kind._filled_at) * self.limit)
        kind._filled_at = present
        if kind._tokens < 1:
            return True
        kind._tokens -= 1
        return False


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, HOST, port, backlog=512)
    bound = server.sockets[0].getsockname()[1]
    print(f"ready http://{HOST}:{bound}", flush=True)  # noqa: T201
    ended = asyncio.Event()

    def wait_for_eof() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_eof, daemon=True).start()
    await ended.wait()
    server.close()


def main() -> int:
    """Make the charges, and serve them."""
    parser = argparse.ArgumentParser(prog="python -m tinko_pipelines.sandbox.corpus", description=__doc__)
    parser.add_argument("--charges", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--limit", type=float, default=None, help="requests a second; none by default")
    given = parser.parse_args()
    Server.corpus = Corpus(given.charges, given.days, given.seed)
    Server.latency_seconds, Server.limit = given.latency_seconds, given.limit
    Server._tokens, Server._filled_at = given.limit or 0.0, time.monotonic()
    asyncio.run(_serve(given.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
