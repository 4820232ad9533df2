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
        **detail: Any,
    ) -> None:
        """`detail` becomes fields of the error beside `type` and `message`."""
        super().__init__(message)
        self.status, self.saved = status, saved
        known = {name: value for name, value in detail.items() if value is not None}
        self.body = {"error": {"type": kind, "message": message, **known}}


def missing(what: str, object_id: str, param: str = "id") -> StripeRefusalError:
    """There is no such object."""
    message = f"No such {what}: '{object_id}'"
    return StripeRefusalError(404, message, code="resource_missing", param=param, saved=False)


def bad_parameter(message: str, param: str, code: str | None = None) -> StripeRefusalError:
    """A parameter is unknown, missing or of no use; nothing was begun."""
    return StripeRefusalError(400, message, param=param, code=code, saved=False)
