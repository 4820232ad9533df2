"""Which of several subjects a mail has: drawn once, by its id alone, so that any process draws the same."""

from collections.abc import Sequence
from hashlib import sha256


def pick(message_id: str, names: Sequence[str]) -> str:
    """One of `names`, each as likely as any other."""
    drawn = int.from_bytes(sha256(f"tinko:variant:{message_id}".encode()).digest()[:8])
    return names[drawn * len(names) >> 64]
