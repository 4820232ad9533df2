"""The web's routes as a process of its own, which may be told where to die: `python -m tests.web.door`."""

import os
import socket

import uvicorn

from tests.web.counter import made_web
from tinko_pipelines.app import App
from tinko_pipelines.retry.boundary import killer_from
from tinko_pipelines.settings import load_settings


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    hook = killer_from(os.environ.get("TINKO_KILL_AT")) or (lambda _name: None)
    web = made_web(App(load_settings()), hook)
    print(f"ready http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(web, log_level="error", lifespan="off")).run(sockets=[listening])


if __name__ == "__main__":
    main()
