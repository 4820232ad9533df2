"""Programs of Spark as they are to run here: bounded in time, on loopback alone, and gone afterwards with all they started."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 1.0
END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program went: its exit code, wall seconds, and the CPU-seconds and greatest memory of all its processes."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(
    command: list[str], environment: Mapping[str, str], folder: Path, log: Path, seconds_max: float
) -> Ended:
    """Run a program in a session of its own, its output in `log`; whatever it leaves behind is ended.

    CPU-seconds of a process are as last seen, up to a second before it ended.
    """
    began, cpu, peak = time.monotonic(), dict[int, float](), 0.0
    with log.open("wb") as output:
        program = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while program.poll() is None and time.monotonic() - began < seconds_max:
                now = _of_session(program.pid)
                cpu |= {pid: used for pid, (used, _) in now.items()}
                peak = max(peak, sum(held for _, held in now.values()))
                time.sleep(LOOK_SECONDS)
        finally:
            late = program.poll() is None
            _end(program.pid)
            program.wait()
    if late:
        raise SystemExit(f"{command[0]} did not end within {seconds_max:.0f} s; what it said is in {log}")
    return Ended(program.returncode, time.monotonic() - began, sum(cpu.values()), peak / 1e6)


def _of_session(session: int) -> dict[int, tuple[float, float]]:
    """CPU-seconds and resident bytes of every process of a session: Python's workers leave their parent's group."""
    found = {}
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            used = (int(fields[11]) + int(fields[12])) / tick
            found[int(stat.parent.name)] = (used, float(int(fields[21]) * page))
    return found


def _end(session: int) -> None:
    """End all processes of a session, by force those that take longer."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + END_SECONDS
        for pid in _of_session(session):
            try:
                os.kill(pid, sent)
            except ProcessLookupError:
                continue
        while _of_session(session) and time.monotonic() < deadline:
            time.sleep(0.1)
