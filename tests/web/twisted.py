"""Stripe with some answers other than they are: what an account, a key or a new version of the API may bring."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.retry.shop import Shop
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer

Twist = Callable[[str], Answer | None]


class Twisted:
    """The real gateway but for the answers of `on_get` and `on_post`."""

    def __init__(self, gateway: Gateway) -> None:
        self.real = gateway
        self.account_id, self.livemode, self.api_version = (
            gateway.account_id,
            gateway.livemode,
            gateway.api_version,
        )
        self.on_get: Twist = lambda _path: None
        self.on_post: Twist = lambda _path: None

    def straight(self) -> None:
        """As it is again."""
        self.on_get = self.on_post = lambda _path: None

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        said = self.on_get(path)
        return said if said is not None else self.real.get(path, params)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        said = self.on_post(path)
        return said if said is not None else self.real.post(path, params, idempotency_key, api_version)


@contextmanager
def twisting(shop: Shop) -> Iterator[Twisted]:
    """Every request of the shop's App through one that can be twisted."""
    account = shop.app.account()
    real = account.gateway
    account.__dict__["gateway"] = made = Twisted(real)
    yield made
    account.__dict__["gateway"] = real
