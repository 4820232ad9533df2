"""The shelf behind a real socket, and a reader for it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.lake.shelf import Shelf
from tinko_pipelines.gateway.bulk import BulkReader


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    served = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = served.answer(self.path)
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.base = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reader(shelf: Shelf) -> Iterator[BulkReader]:
    opened = BulkReader("sk_test_x", shelf.base, "default", sleep=lambda _: None)
    yield opened
    opened.close()
