"""dbt's own documentation of models, columns and lineage, served on loopback: one page that asks nobody for anything.

The page is dbt's. That it stays offline is not left to it: the header it is served with lets it open no connection.
"""

from __future__ import annotations

from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tinko_pipelines.errors import StoreError

OFFLINE = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; font-src data:"
PATHS = ("/", "/index.html")


class _Page(BaseHTTPRequestHandler):
    """Answers with the page, and with 404 to all else."""

    def __init__(self, page: Path, *arguments: object) -> None:
        self._page = page
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Serve the page as it lies there now, so that another build needs no restart."""
        if self.path.split("?", maxsplit=1)[0] not in PATHS:
            self.send_error(404)
            return
        content = self._page.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", OFFLINE)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: who serves this looks at it."""


def server(page: Path, port: int) -> ThreadingHTTPServer:
    """A server of `page` on 127.0.0.1, bound and not yet serving; raises StoreError when the port is taken."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Page, page))
    except OSError as error:
        raise StoreError(
            f"port {port} cannot be used: {error.strerror}; choose another with --port"
        ) from error
