"""Reading lists over a real socket: cursors, bounds, patience with 429 and 5xx, and loud refusals."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.bulk import BulkReader


class Book:
    def __init__(self) -> None:
        self.rows = [{"id": f"ch_{n:03}", "created": 1000 + n} for n in range(250, 0, -1)]
        self.queries: list[dict[str, str]] = []
        self.answers: list[tuple[int, bytes]] = []

    def answer(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.queries.append(query)
        if self.answers:
            return self.answers.pop(0)
        if parts.path != "/v1/charges":
            found: list[dict[str, Any]] = [row for row in self.rows if row["id"] == parts.path.split("/")[-1]]
            return (200, json.dumps(found[0]).encode()) if found else (404, b'{"error": {}}')
        rows = [row for row in self.rows if int(query.get("created[gte]", 0)) <= int(str(row["created"]))]
        if "starting_after" in query:
            rows = [row for row in rows if str(row["id"]) < query["starting_after"]]
        return 200, json.dumps({"data": rows[:100], "has_more": len(rows) > 100}).encode()


@pytest.fixture
def served() -> Iterator[tuple[Book, BulkReader]]:
    book = Book()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = book.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    reader = BulkReader(
        "sk_test_x", f"http://127.0.0.1:{server.server_port}", "default", sleep=lambda _: None
    )
    yield book, reader
    reader.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_page_once(served: tuple[Book, BulkReader]) -> None:
    book, reader = served
    ids = [row["id"] for page in reader.pages("charges") for row in page.data]
    assert ids == [row["id"] for row in book.rows]
    assert len(book.queries) == 3


def test_bounds_are_whole_seconds(served: tuple[Book, BulkReader]) -> None:
    book, reader = served
    since = datetime.fromtimestamp(1241, UTC)
    assert sum(len(page.data) for page in reader.pages("charges", created_gte=since)) == 10
    assert book.queries[0]["created[gte]"] == "1241"


def test_it_waits_for_a_busy_server(served: tuple[Book, BulkReader]) -> None:
    book, reader = served
    book.answers = [(429, b"{}"), (503, b"")]
    assert len(next(reader.pages("charges")).data) == 100


@pytest.mark.parametrize(("status", "word"), [(400, "refused"), (401, "STRIPE_SECRET_KEY"), (403, "right")])
def test_a_refusal_is_loud(served: tuple[Book, BulkReader], status: int, word: str) -> None:
    book, reader = served
    book.answers = [(status, b'{"error": {"message": "no"}}')]
    with pytest.raises(GatewayError, match=word):
        next(reader.pages("charges"))


def test_a_page_that_is_none(served: tuple[Book, BulkReader]) -> None:
    book, reader = served
    book.answers = [(200, b"<html>"), (200, b"<html>")]
    assert len(next(reader.pages("charges")).data) == 100
    book.answers = [(200, b"<html>")] * 6
    with pytest.raises(GatewayError, match="as Stripe does"):
        next(reader.pages("charges"))


def test_one_object(served: tuple[Book, BulkReader]) -> None:
    _, reader = served
    page = reader.retrieve("charges", "ch_007")
    assert page is not None
    assert page.data[0]["created"] == 1007
    assert reader.retrieve("charges", "ch_none") is None


def test_nobody_there() -> None:
    reader = BulkReader("sk_test_x", "http://127.0.0.1:1", "default", sleep=lambda _: None)
    with pytest.raises(GatewayError, match="cannot be read"):
        next(reader.pages("charges"))
    reader.close()
