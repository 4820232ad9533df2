"""Asking one server for bytes, over connections that are kept. Knows nothing of Stripe, and repeats nothing it was answered.

The standard library's client is used as it is: a layer above it costs a tenth of all that reading a page costs.
"""

import base64
import ssl
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from tinko_pipelines.errors import GatewayError

_GONE = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a connection says that the server has closed while nobody used it."""
_GZIP = 31
TOTAL_TIMEOUTS = 4
"""An answer that comes in drops is waited for so many times as long as a single drop."""
BODY_BYTES_MAX = 64_000_000
_PIECE_BYTES = 1_000_000
_PORTS = {"http": 80, "https": 443}


class WireError(Exception):
    """No answer, or only part of one; the text names the kind of fault, and the proxy where there is one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said; header names are in small letters."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Wire:
    """One server, for several threads: each request has a connection for itself. Raises WireError."""

    def __init__(self, base: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        self._server, self._timeout_seconds = urlsplit(base), timeout_seconds
        secured = self._server.scheme == "https"
        self._secure = ssl.create_default_context(cafile=certifi.where()) if secured else None
        self._headers = {**headers, "Accept-Encoding": "gzip"}
        self._proxy = _proxy_of(self._server)
        # Without encryption a proxy is told the whole address; with it, it only passes bytes on.
        self._prefix = self._server.path
        if self._proxy is not None and not secured:
            self._prefix = f"http://{self._server.netloc}{self._server.path}"
            self._headers |= _proxy_login(self._proxy)
        self._idle: deque[HTTPConnection] = deque()

    def close(self) -> None:
        """Give back the connections."""
        while self._idle:
            self._idle.pop().close()

    def get(self, path: str) -> Reply:
        """The answer to one GET. A connection that had been closed meanwhile is replaced."""
        while True:
            kept = self._take_idle()
            connection = kept or self._connection()
            try:
                return self._ask(connection, path)
            except (OSError, HTTPException, zlib.error) as error:
                connection.close()
                if kept is None or not isinstance(error, _GONE):
                    through = f" through the proxy {self._proxy.hostname}" if self._proxy else ""
                    raise WireError(f"{type(error).__name__}{through}") from error

    def _take_idle(self) -> HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _ask(self, connection: HTTPConnection, path: str) -> Reply:
        connection.request("GET", self._prefix + path, headers=dict(self._headers))
        answer = connection.getresponse()
        body = self._body(answer)
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if headers.get("content-encoding") == "gzip":
            body = zlib.decompress(body, wbits=_GZIP)
        # Only now, since whoever takes it next must find it in good order.
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return Reply(answer.status, body, headers)

    def _body(self, answer: HTTPResponse) -> bytes:
        ends = time.monotonic() + TOTAL_TIMEOUTS * self._timeout_seconds
        pieces, size = list[bytes](), 0
        while piece := answer.read1(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > BODY_BYTES_MAX:
                raise HTTPException("too long")
            if time.monotonic() > ends:
                raise TimeoutError
        if answer.length:
            raise IncompleteRead(b"", answer.length)
        answer.read()  # Nothing is left; only this lets the connection be used again.
        return b"".join(pieces)

    def _connection(self) -> HTTPConnection:
        there, timeout = self._server, self._timeout_seconds
        at = self._proxy or there
        host, port = at.hostname or "", at.port or _PORTS[at.scheme]
        if self._secure is None:
            return HTTPConnection(host, port, timeout=timeout)
        connection = HTTPSConnection(host, port, timeout=timeout, context=self._secure)
        if self._proxy is not None:
            connection.set_tunnel(there.hostname or "", there.port, _proxy_login(self._proxy))
        return connection


def _proxy_of(server: SplitResult) -> SplitResult | None:
    """What the environment says stands between us and that server. Raises GatewayError for a kind we do not speak."""
    if proxy_bypass(server.hostname or ""):
        return None
    named = getproxies().get(server.scheme)
    if not named:
        return None
    found = urlsplit(named if "://" in named else f"http://{named}")
    if found.scheme != "http":
        raise GatewayError(
            f"the proxy for {server.scheme} is of the kind {found.scheme}://, and only http:// is spoken:"
            f" change {server.scheme}_proxy, or name {server.hostname} in no_proxy"
        )
    return found


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
