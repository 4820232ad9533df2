"""A person's browser: goes to an address, presses buttons, and says where it is then. Speaks DevTools to chromium."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.outreach.browser import CHROMIUM
from tests.ports import free_port

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE_SECONDS = 30.0


class Browser:
    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._number = 0
        self._call("Page.enable")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._wire.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._wire.recv(timeout=PATIENCE_SECONDS))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def run(self, script: str) -> Any:
        return (
            self._call("Runtime.evaluate", expression=script, returnByValue=True)
            .get("result", {})
            .get("value")
        )

    def go(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self._settled()

    def press(self, button: str) -> None:
        """Press the first button that this selector names, and wait for the page it leads to."""
        self.run("window.stayed = true")
        assert self.run(f"(e => e && (e.click(), true))(document.querySelector({json.dumps(button)}))"), (
            self.text
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.run("window.stayed") and time.monotonic() < deadline:
            time.sleep(0.05)
        self._settled()

    def _settled(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.run("document.readyState") != "complete" and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def at(self) -> str:
        return str(self.run("location.href"))

    @property
    def text(self) -> str:
        return str(self.run("document.body.innerText"))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    assert CHROMIUM is not None
    port = free_port()
    command = [
        CHROMIUM,
        *_FLAGS,
        f"--remote-debugging-port={port}",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_page(port), max_size=None) as wire:
            yield Browser(wire)
    finally:
        process.kill()
        process.wait()


def _page(port: int) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                return next(
                    str(one["webSocketDebuggerUrl"]) for one in json.load(answer) if one["type"] == "page"
                )
        except (OSError, StopIteration):
            time.sleep(0.1)
    raise AssertionError("the browser did not start")
