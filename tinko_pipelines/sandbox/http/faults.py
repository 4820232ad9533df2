"""Trouble on demand: slow answers, lost answers, server errors, broken connections, refused rates.

Kept in memory only: a restarted sandbox is in good health.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tinko_pipelines.sandbox.errors import StripeRefusalError, bad_parameter
from tinko_pipelines.sandbox.world.draw import uniform

UNREADABLE = ("malformed", "truncated", "html", "bad_gateway")
KINDS = frozenset(
    "latency hang error_before error_after reset_before reset_after rate_limit conflict".split()
) | set(UNREADABLE)
"""`_before`, `rate_limit` and `conflict`: nothing was done. `_after`, `hang` and the unreadable ones: it was done,
and the answer is lost or wrong."""
FIELDS = {"kind": str, "method": str, "path": str, "seconds": float, "skip": int, "count": int, "share": float,
          "reason": str}  # fmt: skip
MOST_SECONDS = 600.0


@dataclass(slots=True)
class Fault:
    """One kind of trouble for requests whose method and path (with `*`) match; `count` None: for ever."""

    kind: str
    method: str = "*"
    path: str = "*"
    seconds: float = 0.0
    skip: int = 0
    count: int | None = None
    share: float = 1.0
    reason: str = "global-rate"
    met: int = 0
    """How many requests it has struck."""


class Faults:
    """All trouble there is; the first fault that matches a request strikes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.all: list[Fault] = []
        self._rate: float | None = None
        self._tokens, self._filled_at = 0.0, 0.0
        self.seen, self.refused = 0, 0
        """Requests since the limit was set, and how many of them came too fast."""

    def replace(self, given: Any) -> None:
        """Take these in place of all others."""
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise bad_parameter("faults are a list of objects", "faults")
        self.all = [_fault(one) for one in given]

    def limit(self, requests_per_second: float | None) -> None:
        """Refuse what comes faster than this, or nothing at all (None)."""
        if requests_per_second is not None and not requests_per_second > 0:
            raise bad_parameter("requests_per_second must be above 0, or null", "requests_per_second")
        self._rate = requests_per_second
        self.seen, self.refused = 0, 0
        self._tokens, self._filled_at = requests_per_second or 0.0, time.monotonic()

    def over_limit(self) -> bool:
        """Whether this request comes too fast; counts it."""
        self.seen += 1
        if self._rate is None:
            return False
        present = time.monotonic()
        filled = self._tokens + (present - self._filled_at) * self._rate
        self._tokens, self._filled_at = min(max(1.0, self._rate), filled), present
        if self._tokens < 1:
            self.refused += 1
            return True
        self._tokens -= 1
        return False

    def strikes(self, method: str, path: str, name: str) -> Fault | None:
        """The fault that this request meets; with a share, its name alone decides."""
        for number, fault in enumerate(self.all):
            if not (fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path)):
                continue
            if fault.share < 1 and uniform(self._seed, "fault", number, path, name) >= fault.share:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.count == 0:
                continue
            if fault.count is not None:
                fault.count -= 1
            fault.met += 1
            return fault
        return None


def _fault(given: Mapping[str, Any]) -> Fault:
    for name, value in given.items():
        wanted = FIELDS.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if wanted is None or not (isinstance(value, str) if wanted is str else number):
            raise bad_parameter(f"a fault has {', '.join(FIELDS)}; not {name}={value!r}", name)
    if given.get("kind") not in KINDS:
        raise bad_parameter(f"kind is one of {', '.join(sorted(KINDS))}", "kind")
    fault = Fault(**given)
    fault.seconds = min(fault.seconds, MOST_SECONDS)
    return fault


def unreadable(kind: str, body: bytes) -> tuple[int, bytes, str]:
    """Status, body and content type of an answer that something on the way has spoilt."""
    page = b"<html><head><title>Please wait</title></head><body>...</body></html>"
    if kind == "malformed":
        return 200, body[:-1] + b',"', "application/json"
    if kind == "html":
        return 200, page, "text/html"
    if kind == "bad_gateway":
        return 502, page, "text/html"
    return 200, body[: len(body) // 2], "application/json"


def rate_limited(reason: str, seconds: float = 1) -> StripeRefusalError:
    """The 429, and when to come back; nothing was done."""
    return StripeRefusalError(
        429,
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
        saved=False,
        headers={
            "retry-after": f"{seconds:g}",
            "stripe-rate-limited-reason": reason,
            "stripe-should-retry": "true",
        },
        code="rate_limit",
        doc_url="https://stripe.com/docs/error-codes/rate-limit",
    )


def server_error(*, saved: bool) -> StripeRefusalError:
    """A 500, before or after the work was done."""
    message = "An unknown error occurred. If the problem persists, contact support."
    return StripeRefusalError(500, message, kind="api_error", saved=saved)
