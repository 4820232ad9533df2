"""Writes a file of the models' folder whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def swap_in(path: Path, data: bytes) -> None:
    """Put `data` in place of the file in one step; OSError where the folder cannot be written."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_bytes(data)
    draft.replace(path)
