"""What Stripe answered, as plain data; no decision about what it means is taken here."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of Stripe, or the transport fault that stands in its place (then `http_status` is None)."""

    http_status: int | None
    body: dict[str, Any] | None = None
    error_type: str | None = None
    error_code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    message: str | None = None
    request_id: str | None = None
    replayed: bool = False
    retry_after_seconds: float | None = None
    rate_limited_reason: str | None = None
    transport_error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether Stripe answered 2xx with a body that could be read."""
        return self.http_status is not None and 200 <= self.http_status < 300 and self.body is not None
