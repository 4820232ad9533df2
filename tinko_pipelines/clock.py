"""Where the time of day comes from. Nothing else in the domain may ask the operating system.

Business time (due dates, windows, caps) comes from a `Clock`; leases alone use the database's own clock,
since several machines share them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Anything that knows the present moment."""

    def now(self) -> datetime:
        """The present moment, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment, timezone-aware, in UTC."""
        return datetime.now(UTC)


@dataclass
class FixedClock:
    """A clock that stands still until it is moved; for tests and simulations."""

    at: datetime

    def now(self) -> datetime:
        """The moment it was set to."""
        return self.at

    def advance(self, delta: timedelta) -> datetime:
        """Move forward by `delta` and return the new moment; a clock never goes back."""
        if delta < timedelta(0):
            raise ValueError(f"a clock cannot go back: {delta}")
        self.at += delta
        return self.at
