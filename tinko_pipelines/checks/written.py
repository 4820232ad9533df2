"""Looking for secrets in what is written down beside the ledger: logs, and mails that became files. Reads only."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

FILE_BYTES_MAX = 1_000_000
"""Of a longer file its end is read."""
ALL_BYTES_MAX = 64_000_000
"""The newest files come first; what lies beyond this is not read."""
FOUND_MAX = 100
LOGS, MAILS = frozenset({".log", ".out", ".err"}), frozenset({".eml"})
NOT_WRITTEN_AS_TEXT = frozenset({"lake", "export", "models", "target"})
_KEY = re.compile(r"(?<![0-9A-Za-z])(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{8,}|whsec_[0-9A-Za-z]{8,}")
_PASSWORD = re.compile(r"://[^\s:/@]+:(?!\*\*\*@)[^\s/@]{4,}@")
_CARD = re.compile(r"(?<![0-9A-Za-z_.-])[3-6][0-9]{14,15}(?![0-9A-Za-z_.-])")
_ADDRESS = re.compile(r"(?<![/:0-9A-Za-z._%+-])[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+\.[0-9A-Za-z.-]+")


@dataclass(frozen=True, slots=True)
class Written:
    """A secret in a file: where, of what kind, and how it begins."""

    path: str
    kind: str
    begins: str


def secrets_below(state: Path) -> list[Written]:
    """What looks like a key, a password in an address, a card number or (in logs) an e-mail address; `FOUND_MAX` at most."""
    found: list[Written] = []
    left = ALL_BYTES_MAX
    for path in _newest_first(state):
        try:
            content = _end_of(path, min(left, FILE_BYTES_MAX))
        except OSError:
            continue  # It was moved away meanwhile, or is not ours to read.
        left -= len(content)
        name = str(path.relative_to(state))
        found += [Written(name, kind, text[:6] + "…") for kind, text in _secrets(path, content)]
        if left <= 0 or len(found) >= FOUND_MAX:
            break
    return found[:FOUND_MAX]


def _newest_first(state: Path) -> list[Path]:
    paths: list[Path] = []
    for folder, below, names in os.walk(state):
        below[:] = [name for name in below if name not in NOT_WRITTEN_AS_TEXT]
        paths += [Path(folder, name) for name in names if Path(name).suffix in LOGS | MAILS]
    return sorted(paths, key=_changed_at, reverse=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _end_of(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - bytes_max))
        return file.read(bytes_max)


def _secrets(path: Path, content: bytes) -> Iterator[tuple[str, str]]:
    """Whom a mail goes to stands in it of course; nowhere else does an address belong."""
    mail = path.suffix in MAILS
    text = _mail_text(content) if mail else content.decode(errors="replace")
    kinds = {"key": _KEY, "password": _PASSWORD, "card number": _CARD}
    for kind, pattern in (kinds if mail else kinds | {"e-mail address": _ADDRESS}).items():
        for match in pattern.finditer(text):
            if kind != "card number" or _luhn(match.group()):
                yield kind, match.group()


def _mail_text(content: bytes) -> str:
    """Headers and decoded texts: transfer encodings cut and hide what stands in a mail."""
    mail = message_from_bytes(content, EmailMessage, policy=default)
    parts = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    bodies = [part.decode(errors="replace") for part in parts if isinstance(part, bytes)]
    return "\n".join([*(str(value) for value in mail.values()), *bodies])


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (2 if n % 2 else 1) for n, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0
