"""Connections that are kept, replaced when they had been closed, and led through a proxy."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile

import pytest

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.wire import Wire, WireError

BODY = b'{"data": []}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nRequest-Id: req_1\r\n\r\n" % len(BODY) + BODY


class Server:
    """Answers each request on a connection with the next of `answers`; closes it after as many as `each`."""

    def __init__(self, answers: list[bytes], each: int) -> None:
        self.answers, self.each = answers, each
        self.heard: list[list[bytes]] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"

    def serve(self) -> None:
        while self.answers:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            heard: list[bytes] = []
            self.heard.append(heard)
            with connection, connection.makefile("rb") as said:
                for _ in range(self.each):
                    request = b"".join(takewhile(lambda line: line not in (b"\r\n", b""), said))
                    if not request or not self.answers:
                        break
                    heard.append(request)
                    connection.sendall(self.answers.pop(0))


@contextmanager
def serving(answers: list[bytes], each: int = 100) -> Iterator[Server]:
    server = Server(answers, each)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listening.shutdown(socket.SHUT_RDWR)
        server.listening.close()
        thread.join(5)
        assert not thread.is_alive(), "the server of a test goes on for ever"


@contextmanager
def wire_to(server: Server) -> Iterator[Wire]:
    made = Wire(f"http://{server.address}", {"Authorization": "Bearer k"}, 5)
    try:
        yield made
    finally:
        made.close()


def test_one_connection_serves_many_requests() -> None:
    with serving([PLAIN, PLAIN, PLAIN]) as server, wire_to(server) as wire:
        replies = [wire.get(f"/v1/charges?n={n}") for n in range(3)]
    assert [(reply.status, reply.body, reply.headers["request-id"]) for reply in replies] == [
        (200, BODY, "req_1")
    ] * 3
    (heard,) = server.heard
    assert [line.split()[1] for line in heard] == [b"/v1/charges?n=0", b"/v1/charges?n=1", b"/v1/charges?n=2"]
    assert all(b"Authorization: Bearer k" in request for request in heard)


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    with serving([PLAIN, PLAIN, PLAIN], each=1) as server, wire_to(server) as wire:
        for _ in range(3):
            assert wire.get("/").body == BODY
    assert [len(heard) for heard in server.heard] == [1, 1, 1]


def test_what_is_compressed_is_unpacked() -> None:
    packed = gzip.compress(BODY)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with serving([head + packed]) as server, wire_to(server) as wire:
        assert wire.get("/").body == BODY
    assert b"Accept-Encoding: gzip" in server.heard[0][0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "RemoteDisconnected"),
        (PLAIN[:-3], "IncompleteRead"),
        (b"what?\r\n\r\n", "BadStatusLine"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "error",
        ),
    ],
)
def test_half_an_answer_is_none(answer: bytes, why: str) -> None:
    with (
        serving([answer], each=1) as server,
        wire_to(server) as wire,
        pytest.raises(WireError, match=f"^{why}$"),
    ):
        wire.get("/")


def test_what_comes_in_drops_is_not_waited_for_without_end() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(400):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    wire = Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", {}, 0.2)
    with pytest.raises(WireError, match=r"^TimeoutError$"):
        wire.get("/")
    assert time.monotonic() - began < 15
    thread.join()
    listening.close()


@pytest.mark.parametrize(
    ("proxy", "said"),
    [("socks5://proxy.invalid", "of the kind socks5"), ("https://proxy.invalid", "of the kind https")],
)
def test_a_kind_of_proxy_we_do_not_speak_is_named(
    proxy: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(GatewayError, match=said):
        Wire("https://api.invalid", {}, 5)


def test_a_proxy_without_scheme_or_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "proxy.invalid")
    with pytest.raises(WireError, match=r"gaierror through the proxy proxy\.invalid"):
        Wire("https://api.invalid", {}, 5).get("/")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WireError, match="ConnectionRefusedError"):
        Wire(f"http://127.0.0.1:{port}", {}, 5).get("/")


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    def use(proxy: Server) -> None:
        monkeypatch.setenv("no_proxy", "")
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://anna:se%40cret@{proxy.address}")

    return use


def test_a_proxy_is_told_the_whole_address(through: Callable[[Server], None]) -> None:
    with serving([PLAIN]) as proxy:
        through(proxy)
        wire = Wire("http://api.invalid/base", {}, 5)
        assert wire.get("/v1/charges").body == BODY
        wire.close()
    request = proxy.heard[0][0]
    assert request.startswith(b"GET http://api.invalid/base/v1/charges HTTP/1.1")
    assert b"Proxy-Authorization: Basic YW5uYTpzZUBjcmV0" in request


def test_a_proxy_sees_no_header_of_an_encrypted_request(through: Callable[[Server], None]) -> None:
    with serving([b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"], each=1) as proxy:
        through(proxy)
        with pytest.raises(WireError, match="OSError through the proxy 127"):
            Wire("https://api.invalid", {"Authorization": "Bearer k"}, 5).get("/v1/charges")
    request = proxy.heard[0][0]
    assert request.startswith(b"CONNECT api.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic YW5uYTpzZUBjcmV0" in request
    assert b"Bearer" not in request
