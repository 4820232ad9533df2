"""Processes that end with whoever began them, and one that clears away when the campaign is gone, however it ended."""

import ctypes
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
STOP_SECONDS_MAX = 10.0
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def fork() -> int:
    """As `os.fork`; the child is killed at once when its parent ends in whatever way."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0 and _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    return pid


class Keeper:
    """Outlives the campaign by a moment: stops every PostgreSQL below a folder and removes the folder."""

    def __init__(self, root: Path) -> None:
        line, self._line = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                os.close(self._line)
                os.read(line, 1)  # comes back when nobody holds the other end any more
                _clear(root)
            finally:
                os._exit(0)
        os.close(line)

    def release(self) -> None:
        """Have it cleared away now."""
        os.close(self._line)
        os.waitpid(self._pid, 0)


def _clear(root: Path) -> None:
    for found in root.glob("*/postmaster.pid"):
        with suppress(OSError, ValueError, IndexError):
            stop(int(found.read_text().split()[0]), found.parent)
    shutil.rmtree(root, ignore_errors=True)


def serves(pid: int, folder: Path) -> bool:
    """Whether this process is the PostgreSQL of that folder."""
    with suppress(OSError):
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def stop(pid: int, folder: Path) -> None:
    """End a PostgreSQL without a word, and wait until it is gone."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    number = signal.SIGQUIT
    while serves(pid, folder):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        number = signal.SIGKILL if time.monotonic() > deadline else signal.SIGQUIT
        time.sleep(0.02)
