"""Our own ceilings on requests to one Stripe account, shared by all processes through the ledger.

A token bucket in one row, filled by the database's clock: one for the account, and below it one for each kind of object.
Whoever charges may run it into debt and waits his turn; whoever only reads leaves a reserve, so that charging does not
queue behind an ingest.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, select

from tinko_pipelines.ledger.leases import holds
from tinko_pipelines.ledger.schema import request_budget
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

_STASH_SECONDS = 1.0
"""Tokens fetched and not used for so long are forgotten: they would make a burst."""


class Governor:
    """Both ceilings as one process sees them. Stripe's own refusals stop what they name: all, or one kind of object.

    Who only reads leaves `reserve_share` of what may be sent at once to those who charge.
    """

    def __init__(
        self,
        ledger: Ledger,
        account_id: str,
        requests_per_second: float,
        per_resource: float,
        *,
        reserve_share: float | None = None,
    ) -> None:
        self.requests_per_second = requests_per_second
        self._whole = RequestBudget(ledger, account_id, requests_per_second, reserve_share=reserve_share)
        self._part = partial(RequestBudget, ledger, account_id, per_resource, reserve_share=reserve_share)
        self._divided = per_resource < requests_per_second
        self._parts: dict[str, RequestBudget] = {}

    def acquire(self, max_wait_seconds: float | None = None, *, resource: str = "") -> float:
        """Wait for leave to send one request; 0.0, or the seconds still to wait where that is too long."""
        if self._divided and resource:
            began = time.monotonic()
            wait_seconds = self._of(resource).acquire(max_wait_seconds)
            if wait_seconds:
                return wait_seconds
            if max_wait_seconds is not None:
                max_wait_seconds = max(0.0, max_wait_seconds - (time.monotonic() - began))
        return self._whole.acquire(max_wait_seconds)

    def back_off(self, seconds: float, *, resource: str = "") -> None:
        """Stripe wants less: nobody sends anything for so long, or nothing about this kind of object."""
        (self._of(resource) if self._divided and resource else self._whole).back_off(seconds)

    def _of(self, resource: str) -> RequestBudget:
        return self._parts.setdefault(resource, self._part(resource=resource))


class RequestBudget:
    """One budget as one process sees it; its threads share what was fetched at once."""

    def __init__(
        self,
        ledger: Ledger,
        account_id: str,
        requests_per_second: float,
        *,
        reserve_share: float | None = None,
        resource: str = "",
    ) -> None:
        if requests_per_second <= 0:
            raise ValueError("requests_per_second must be above 0")
        self._ledger, self.requests_per_second = ledger, requests_per_second
        self._key = {"account_id": account_id, "resource": resource}
        self._burst = max(1.0, requests_per_second / 4)
        self._at_once = max(1, int(requests_per_second / 10))
        self._reserve = None if reserve_share is None else self._burst * reserve_share
        self._lock = threading.Lock()
        self._stash, self._stashed_at = 0, 0.0

    def acquire(self, max_wait_seconds: float | None = None) -> float:
        """Wait for leave to send one request; 0.0, or the seconds still to wait where that is too long."""
        with self._lock:
            while True:
                if self._stash > 0 and time.monotonic() - self._stashed_at < _STASH_SECONDS:
                    self._stash -= 1
                    return 0.0
                taken, wait_seconds = self._fetch(max_wait_seconds)
                if not taken and max_wait_seconds is not None and wait_seconds > max_wait_seconds:
                    return wait_seconds
                time.sleep(wait_seconds)
                self._stash, self._stashed_at = taken, time.monotonic()

    def back_off(self, seconds: float) -> None:
        """Stripe wants less: nobody sends anything for so long."""
        self._stash = 0
        with self._ledger.write() as connection:
            present = self._ledger.database_now(connection)
            row = self._row(connection, present)
            until = present + timedelta(seconds=seconds)
            if not holds(row["blocked_until"], until):
                self._store(connection, blocked_until=until)

    def _fetch(self, max_wait_seconds: float | None) -> tuple[int, float]:
        """Tokens taken from the row, and how long to wait: for them to count, or before asking again."""
        with self._ledger.write() as connection:
            present = self._ledger.database_now(connection)
            row = self._row(connection, present)
            if holds(row["blocked_until"], present):
                return 0, (row["blocked_until"] - present).total_seconds()
            if row["filled_at"] > present:
                # The clock was set back; until it had come so far again nothing would be filled.
                self._store(connection, filled_at=present)
            passed = max(0.0, (present - row["filled_at"]).total_seconds())
            tokens = min(self._burst, row["tokens"] + passed * self.requests_per_second)
            left = tokens - self._at_once
            if self._reserve is not None and left < min(self._reserve, self._burst - self._at_once):
                return 0, (min(self._reserve, self._burst - self._at_once) - left) / self.requests_per_second
            wait_seconds = max(0.0, -left / self.requests_per_second)
            if max_wait_seconds is not None and wait_seconds > max_wait_seconds:
                return 0, wait_seconds
            self._store(connection, tokens=left, filled_at=present)
            return self._at_once, wait_seconds

    def _row(self, connection: Connection, present: datetime) -> dict[str, Any]:
        query = select(request_budget).filter_by(**self._key)
        found = connection.execute(query.with_for_update()).mappings().first()
        if found is None:
            fresh = {**self._key, "tokens": self._burst, "filled_at": present}
            connection.execute(insert_ignoring(self._ledger.dialect, request_budget), [fresh])
            found = connection.execute(query.with_for_update()).mappings().one()
        return dict(found)

    def _store(self, connection: Connection, **values: Any) -> None:
        mine = and_(*(request_budget.c[name] == value for name, value in self._key.items()))
        connection.execute(request_budget.update().where(mine).values(**values))
