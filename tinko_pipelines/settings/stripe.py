"""Stripe: the keys, the accounts, how fast it is asked, and which of our doors it may use."""

from __future__ import annotations

from functools import cached_property
from typing import Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, model_validator

from tinko_pipelines.accounts import is_live, parse_more, webhook_secrets
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.state_folder import StateFolder

STRIPE_API_BASE = "https://api.stripe.com"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REQUESTS_LIVE, REQUESTS_TEST, REQUESTS_PER_RESOURCE = 100.0, 25.0, 25.0
"""What Stripe allows by default, a second."""
SANDBOX_KEY = "sk_test_tinko_sandbox"
"""The sandbox's one full-rights key. It opens nothing but the bundled sandbox."""


class StripeSettings(StateFolder):
    """Whose payments these are, and how Stripe is spoken to."""

    stripe_secret_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("STRIPE_SECRET_KEY", "stripe_secret_key"),
        description="Stripe key. Without one, only the bundled sandbox can be used.",
    )
    reconcile_key: SecretStr | None = Field(
        None, description="Restricted, read-only Stripe key of the reconciler; else it borrows the other one."
    )
    stripe_api_base: str = Field(STRIPE_API_BASE, description="Address of Stripe, or of a stand-in for it.")
    stripe_account: str = Field("default", description="Name of the key's own account in lake and ledger.")
    more_accounts: SecretStr = Field(
        SecretStr(""),
        description="More accounts, each with a connected account's id or a key of its own: `eu=acct_…,us=rk_live_…`.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Signing secret of Stripe's webhooks for that account, `whsec_…`; while it is rotated two, with a comma between.",
    )
    more_webhook_secrets: SecretStr = Field(
        SecretStr(""),
        description="Those of the other accounts: `eu=whsec_…,us=whsec_…`; a name may stand there twice.",
    )
    allow_live: bool = Field(False, description="Accept a live key (`sk_live_`, `rk_live_`).")
    stripe_requests_per_second: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Our own ceiling on requests to Stripe, shared by all processes. Unset: 100 with a live key, 25 else.",
    )
    stripe_requests_per_resource: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="The same for each kind of object. Unset: 25, or the ceiling itself where that is set.",
    )
    charging_reserve: float = Field(
        0.5,
        ge=0,
        le=0.9,
        description="Share of the requests that may be sent at once which reading leaves to charging.",
    )

    @model_validator(mode="after")
    def _accounts_can_be_read(self) -> Self:
        try:
            _ = self.other_accounts
        except ValueError as error:
            raise ValueError(f"TINKO_MORE_ACCOUNTS: {error}") from None
        _ = self.webhook_secrets
        return self

    @cached_property
    def other_accounts(self) -> dict[str, str]:
        """All accounts but the main one by name, each with its connected id or its key in clear."""
        return parse_more(self.more_accounts.get_secret_value(), self.stripe_account)

    @cached_property
    def webhook_secrets(self) -> dict[str, tuple[str, ...]]:
        """What may sign the webhooks of each account, in clear; an account without any has no door."""
        main, more = self.webhook_secret.get_secret_value(), self.more_webhook_secrets.get_secret_value()
        return webhook_secrets(main, more, self.stripe_account, self.other_accounts)

    @property
    def account_names(self) -> tuple[str, ...]:
        """The names of all accounts, the main one first."""
        return self.stripe_account, *self.other_accounts

    @cached_property
    def is_loopback(self) -> bool:
        """Whether Stripe's stand-in runs on this machine."""
        return urlsplit(self.stripe_api_base).hostname in LOOPBACK

    @cached_property
    def key(self) -> str:
        """The Stripe key in clear; the sandbox's own when the address is on this machine and none is set."""
        given = self.stripe_secret_key.get_secret_value().strip() if self.stripe_secret_key else ""
        if given:
            return given
        if self.is_loopback:
            return SANDBOX_KEY
        raise SettingsError(
            "no Stripe key: set STRIPE_SECRET_KEY; or, after `tinko demo`, start `tinko sandbox` and set what it prints"
        )

    @cached_property
    def reconciling_key(self) -> str:
        """The key the reconciler reads with: its own, of the same mode, or the one that charges."""
        given = self.reconcile_key.get_secret_value().strip() if self.reconcile_key else ""
        if given and is_live(given) != self.livemode:
            raise SettingsError("TINKO_RECONCILE_KEY is of another mode than STRIPE_SECRET_KEY: use one mode")
        return given or self.key

    @cached_property
    def livemode(self) -> bool:
        """Whether the key moves real money, or may: only what begins as test keys do is taken for one."""
        return is_live(self.key)

    @cached_property
    def request_ceilings(self) -> tuple[float, float]:
        """Requests a second to Stripe, altogether and for each kind of object."""
        whole = self.stripe_requests_per_second
        each = self.stripe_requests_per_resource or (whole or REQUESTS_PER_RESOURCE)
        return whole or (REQUESTS_LIVE if self.livemode else REQUESTS_TEST), each

    @cached_property
    def is_sandbox(self) -> bool:
        """Whether we talk to the bundled sandbox: its key, on this machine."""
        return self.is_loopback and self.key == SANDBOX_KEY
