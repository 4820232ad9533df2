"""One address before several sandboxes, each a Stripe account: whoever asks is led by his key or `Stripe-Account`."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tinko_pipelines.settings import SANDBOX_KEY

LEFT_OUT = {"host", "stripe-account", "authorization", "connection", "transfer-encoding", "content-length"}


class Front:
    """`accounts`: the sandbox's address by connected id, by key, or (empty) for all others."""

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self.accounts = dict(accounts)
        self.refused: set[str] = set()
        self.base = ""

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """What Stripe says; what is for the sandbox itself goes to each until one does not refuse it."""
        if path.startswith("/_sandbox"):
            answers = [self._forward(base, method, path, {}, body) for base in self.accounts.values()]
            return min(answers, key=lambda answer: answer[0])
        key = headers.get("authorization", "").removeprefix("Bearer ")
        who = headers.get("stripe-account") or (key if key in self.accounts else "")
        if who in self.refused or who not in self.accounts:
            said = {"error": {"type": "invalid_request_error", "message": "no access"}}
            return 403, {}, json.dumps(said).encode()
        kept = {name: value for name, value in headers.items() if name not in LEFT_OUT}
        kept["authorization"] = f"Bearer {SANDBOX_KEY}"
        return self._forward(self.accounts[who], method, path, kept, body)

    def _forward(
        self, base: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(base)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        with closing(connection):
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            read = answer.read()
            told = {name: value for name, value in answer.getheaders() if name.lower() not in LEFT_OUT}
            return answer.status, told, read


@contextmanager
def front(accounts: Mapping[str, str]) -> Iterator[Front]:
    """Serve it on loopback."""
    served = Front(accounts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, told, said = served.ask(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
