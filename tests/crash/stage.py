"""The sandbox and the mail server of one trial, in a forked process of their own; both keep what they saw on disk."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from aiosmtpd.smtp import SMTP

from tests.crash import offspring
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.http.app import App
from tinko_pipelines.sandbox.life import open_sandbox


class Mail(NamedTuple):
    """One mail as the server took it: which message, when by the sandbox's clock and its journal, and for whom."""

    message_id: str
    at: int
    n: int
    address: str


@dataclass
class Stage:
    """Where to reach them; `mails` holds one line for each mail that was taken."""

    pid: int
    base: str
    smtp_url: str
    mails: Path
    client: SandboxClient

    def taken(self) -> list[Mail]:
        """The mails taken, in order."""
        lines = self.mails.read_text().splitlines() if self.mails.exists() else []
        return [Mail(name, int(at), int(n), address) for name, at, n, address in map(str.split, lines)]

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class _Sink:
    """Takes every mail and notes its id before it says so."""

    def __init__(self, mails: Path, moment: Callable[[], str]) -> None:
        self._mails, self._moment = mails, moment

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        for line in envelope.content.splitlines():
            if line.lower().startswith(b"message-id:"):
                name = line.split(b":", 1)[1].decode().strip(" <>").split("@")[0]
                with self._mails.open("a") as file:
                    file.write(f"{name} {self._moment()} {envelope.rcpt_tos[0]}\n")
                break
        return "250 OK"


def raise_stage(folder: Path, seed: int, build: Callable[[Any], None]) -> Stage:
    """Fill a new book with `build`, then serve it and the mail sink."""
    sandbox = open_sandbox(folder / "sandbox", seed=seed, charges=1, history_days=1)
    build(sandbox.actions)
    sandbox.book.store.commit()
    sandbox.close()
    http, smtp = (socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2))
    http.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mails = folder / "mails.txt"
    pid = offspring.fork()
    if pid == 0:
        try:
            _serve(folder, http, smtp, mails)
        finally:
            os._exit(0)
    base = f"http://127.0.0.1:{http.getsockname()[1]}"
    url = f"smtp+plain://127.0.0.1:{smtp.getsockname()[1]}"
    http.close()
    smtp.close()
    return Stage(pid, base, url, mails, SandboxClient(base))


def _serve(folder: Path, http: socket.socket, smtp: socket.socket, mails: Path) -> None:
    log = os.open(folder / "stage.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sandbox = open_sandbox(folder / "sandbox", seed=0, charges=1, history_days=1)
    app = App(sandbox)
    entries = app.journal.entries
    sink = _Sink(mails, lambda: f"{sandbox.book.now} {entries[-1]['n'] if entries else 0}")
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=600,
    )

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: SMTP(sink, hostname="sink"), sock=smtp)
        await uvicorn.Server(config).serve(sockets=[http])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
