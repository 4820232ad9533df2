"""Serving a sandbox: `python -m tinko_pipelines.sandbox --dir D --port P --seed S --charges N --history-days H`.

Prints `ready http://127.0.0.1:PORT` when history is lived and the server listens. SIGTERM ends it.
"""

import argparse
import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from tinko_pipelines.sandbox.http.app import App
from tinko_pipelines.sandbox.life import Sandbox, open_sandbox

HOST = "127.0.0.1"


class Server(uvicorn.Server):
    """Uvicorn with signals that end it quietly, and a word when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and only then say so: from the first word on, a signal ends the server cleanly."""
        await super().startup(sockets)
        for listening in sockets or ():
            print(f"ready http://{HOST}:{listening.getsockname()[1]}", flush=True)  # noqa: T201

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and SIGINT with exit code 0."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def serve(sandbox: Sandbox, listening: socket.socket, *, until_eof: bool) -> None:
    """Serve until a signal comes, or standard input ends."""
    app = App(sandbox)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=600,
    )
    server = Server(config)
    if until_eof:
        threading.Thread(target=_end_at_eof, args=(server,), daemon=True).start()

    async def run() -> None:
        app.deliveries.wake()
        await server.serve(sockets=[listening])
        await app.deliveries.stop()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())


def main() -> int:
    """Open the folder, live the history, serve."""
    parser = argparse.ArgumentParser(prog="python -m tinko_pipelines.sandbox", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the book; made if missing")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--charges", type=int, default=5000, help="about so many first charges in 118 days")
    parser.add_argument("--history-days", type=int, default=90)
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    given = parser.parse_args()
    try:
        listening = socket.create_server((HOST, given.port), backlog=512)
    except OSError as error:
        return _refuse(
            f"port {given.port} on {HOST} cannot be used ({error.strerror}): choose another --port"
        )
    # Answers are two small writes; with Nagle's algorithm each would wait 40 ms for the other side.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    given.dir.mkdir(parents=True, exist_ok=True)
    with (given.dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return _refuse(
                f"another sandbox is running on {given.dir}: stop it (`tinko ui` and `tinko demo` start one), or set TINKO_STATE to another folder"
            )
        gc.disable()
        sandbox = open_sandbox(
            given.dir, seed=given.seed, charges=given.charges, history_days=given.history_days
        )
        gc.freeze()
        gc.enable()
        serve(sandbox, listening, until_eof=given.until_eof)
        sandbox.close()
    return 0


def _end_at_eof(server: Server) -> None:
    """Whoever holds the other end of standard input is gone: end too."""
    while os.read(0, 4096):
        pass
    server.should_exit = True


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
