"""The port through which the domain reaches Stripe; adapters live beside it and in the tests."""

from collections.abc import Mapping
from typing import Any, Protocol

from tinko_pipelines.gateway.records import Answer


class RequestRate(Protocol):
    """Leave to send requests, shared by everybody who speaks to the same account."""

    requests_per_second: float

    def acquire(self, max_wait_seconds: float | None = None, *, resource: str = "") -> float:
        """Wait for leave to send one request; 0.0, or the seconds still to wait where that is too long."""
        ...

    def back_off(self, seconds: float, *, resource: str = "") -> None:
        """Let nobody send anything for so long, or nothing about one kind of object."""
        ...


def resource_of(path: str) -> str:
    """The kind of object a request is about, as Stripe counts them: `charges` of `/v1/charges/ch_1`."""
    return path.partition("?")[0].split("/")[2]


def refused_resource(reason: str | None, path: str) -> str:
    """What a `Stripe-Rate-Limited-Reason` stops: one kind of object, or (empty) everything."""
    return resource_of(path) if reason in ("endpoint-rate", "resource-specific") else ""


class Gateway(Protocol):
    """Single objects of one account. Neither method raises for an HTTP answer or a transport fault."""

    account_id: str
    livemode: bool
    api_version: str

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Read one object or one list."""
        ...

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        """Write, once, under a key of ours; never repeated by the adapter."""
        ...
