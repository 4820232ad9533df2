"""Asking one server for bytes, over connections that are kept. Knows nothing of Stripe, and repeats nothing it was answered.

The standard library's client is used as it is: a layer above it costs a tenth of all that reading a page costs.
"""

import base64
import ssl
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

_GONE = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a connection says that the server has closed while nobody used it."""
_GZIP = 31


class WireError(Exception):
    """No answer, or only part of one; the text names the kind of fault alone."""


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
                    raise WireError(type(error).__name__) from error

    def _take_idle(self) -> HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _ask(self, connection: HTTPConnection, path: str) -> Reply:
        connection.request("GET", self._prefix + path, headers=dict(self._headers))
        answer = connection.getresponse()
        body = answer.read()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        if headers.get("content-encoding") == "gzip":
            body = zlib.decompress(body, wbits=_GZIP)
        return Reply(answer.status, body, headers)

    def _connection(self) -> HTTPConnection:
        there, timeout = self._server, self._timeout_seconds
        at = self._proxy or there
        host, port = at.hostname or "", at.port
        if self._secure is None:
            return HTTPConnection(host, port, timeout=timeout)
        connection = HTTPSConnection(host, port, timeout=timeout, context=self._secure)
        if self._proxy is not None:
            connection.set_tunnel(there.hostname or "", there.port, _proxy_login(self._proxy))
        return connection


def _proxy_of(server: SplitResult) -> SplitResult | None:
    """What the environment says stands between us and that server."""
    if proxy_bypass(server.hostname or ""):
        return None
    found = getproxies().get(server.scheme)
    return urlsplit(found) if found else None


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
