"""Safeguards taken away, one at a time."""

from tinko_pipelines.ledger.store import Ledger


def into_process(name: str) -> None:
    """Patch this process."""


def into_database(name: str, ledger: Ledger) -> None:
    """Change this ledger."""
