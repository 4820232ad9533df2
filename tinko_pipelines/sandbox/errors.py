"""Refusals in Stripe's own error shape. Raised by the book, turned into an HTTP answer by `http`."""

from typing import Any


class StripeRefusalError(Exception):
    """An answer that is not 200. `saved` says whether an idempotency key keeps it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        saved: bool = True,
        headers: dict[str, str] | None = None,
        **detail: Any,
    ) -> None:
        """`detail` becomes fields of the error beside `type` and `message`."""
        super().__init__(message)
        self.status, self.saved, self.headers = status, saved, headers or {}
        known = {name: value for name, value in detail.items() if value is not None}
        self.body = {"error": {"type": kind, "message": message, **known}}


def missing(what: str, object_id: str, param: str | None = None) -> StripeRefusalError:
    """There is no such object: 404 when it is the one addressed, 400 when a parameter names it."""
    status = 404 if param is None else 400
    return StripeRefusalError(
        status, f"No such {what}: '{object_id}'", code="resource_missing", param=param or "id", saved=False
    )


def bad_parameter(message: str, param: str, code: str | None = None) -> StripeRefusalError:
    """A parameter is unknown, missing or of no use; nothing was begun."""
    return StripeRefusalError(400, message, param=param, code=code, saved=False)


def wrong_state(message: str, code: str | None, **detail: Any) -> StripeRefusalError:
    """The object is in no state for this; found out while the request ran, so the answer is kept."""
    return StripeRefusalError(400, message, code=code, **detail)
