"""A sandbox in a process of its own, from the outside: started, stopped, killed."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tinko_pipelines.errors import TinkoError

START_SECONDS = 300.0
STOP_SECONDS = 15.0
LOG_FILE = "sandbox.log"
"""What the sandbox says when something is wrong with it, since its last start."""


class SandboxProcess:
    """Serves the book in `directory`; a book that is there goes on, with its own seed and size.

    It ends with the process that started it, however that ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        seed: int = 7,
        charges: int = 5000,
        history_days: int = 90,
    ) -> None:
        self._directory, self._port = directory, port
        self._seed, self._charges, self._history_days = seed, charges, history_days
        self._process: subprocess.Popen[bytes] | None = None
        self.base = ""
        """Its address while it runs, such as `http://127.0.0.1:40123`."""

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start it and wait until it serves; its address. Raises TinkoError with what it said if it cannot."""
        if self._process is not None:
            return self.base
        numbers = {
            "--port": self._port,
            "--seed": self._seed,
            "--charges": self._charges,
            "--history-days": self._history_days,
        }
        options = [text for name, number in numbers.items() for text in (name, str(number))]
        command = [
            sys.executable,
            "-m",
            "tinko_pipelines.sandbox",
            "--dir",
            str(self._directory),
            "--until-eof",
        ]
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / LOG_FILE
        with log.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: S603
                [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
            line = self._first_line()
            if not line.startswith("ready "):
                self.kill()
                why = log.read_text(errors="replace").strip().splitlines()
                raise TinkoError(f"the sandbox did not start: {why[-1] if why else 'it said nothing'}")
        self.base = line.removeprefix("ready ").strip()
        return self.base

    def _first_line(self) -> str:
        process = self._process
        if process is None or process.stdout is None:
            return ""
        text, deadline = b"", time.monotonic() + START_SECONDS
        while not text.endswith(b"\n") and time.monotonic() < deadline:
            if not select.select([process.stdout], [], [], 1.0)[0]:
                continue
            more = os.read(process.stdout.fileno(), 4096)
            if not more:
                break
            text += more
        return text.decode()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait() if self._process else 0

    def stop(self) -> None:
        """End it cleanly; nothing if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._close()

    def _close(self) -> None:
        process, self._process, self.base = self._process, None, ""
        if process is not None:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> "SandboxProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
