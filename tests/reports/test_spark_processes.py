"""Programs of `make spark` end in time and leave nothing running."""

import os
import time
from pathlib import Path

import pytest

from benchmarks.spark import processes

LEAVES_ONE = 'sleep 300 & echo "$!"; exit 3'


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    ended = processes.run(["sh", "-c", LEAVES_ONE], os.environ, tmp_path, tmp_path / "log", 60)
    assert ended.code == 3
    assert not alive(int((tmp_path / "log").read_text()))


def test_a_program_that_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SystemExit, match="sh did not end within 1 s"):
        processes.run(["sh", "-c", 'echo "$$"; sleep 300; true'], os.environ, tmp_path, tmp_path / "log", 1)
    assert time.monotonic() - began < 60
    assert not alive(int((tmp_path / "log").read_text()))
