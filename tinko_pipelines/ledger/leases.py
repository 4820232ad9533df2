"""When what somebody holds is free for others, by the database's clock."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_

from tinko_pipelines.ledger.store import Ledger

LONGEST_SECONDS = 7200.0
"""Twice the longest lease that settings allow: one that ends later was taken while the clock was wrong."""


def lapsed(ledger: Ledger, until: ColumnElement[Any]) -> ColumnElement[bool]:
    """That nobody holds it any more, or that he can only seem to."""
    far = until > ledger.database_moment(LONGEST_SECONDS)
    return or_(until.is_(None), until <= ledger.database_moment(), far)


def holds(until: datetime | None, present: datetime) -> bool:
    """The opposite of `lapsed` for a lease that was read, when the database's clock says `present`."""
    return until is not None and present < until <= present + timedelta(seconds=LONGEST_SECONDS)
