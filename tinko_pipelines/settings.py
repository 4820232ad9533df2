"""The environment, read once into one frozen object. Only entry points (CLI, composition root) read it.

Every setting is listed in the README; a test holds the two together.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator

from tinko_pipelines.accounts import KEY_PREFIXES, is_live, parse_more, webhook_secrets
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.state_folder import StateFolder

STRIPE_API_BASE = "https://api.stripe.com"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REQUESTS_LIVE, REQUESTS_TEST, REQUESTS_PER_RESOURCE = 100.0, 25.0, 25.0
"""What Stripe allows by default, a second."""
OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss", "az", "memory")
"""Kinds of address a lake may have: where what is written is there as a whole or not at all."""
SANDBOX_KEY = "sk_test_tinko_sandbox"
"""The sandbox's one full-rights key. It opens nothing but the bundled sandbox."""


class Settings(StateFolder):
    """All settings. Environment names are `TINKO_` plus the field's name, save where an alias says else."""

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
    charging: Literal["auto", "on", "dry_run"] = Field(
        "auto", description="Whether retries are really charged; `auto` means only in the sandbox."
    )
    mailing: Literal["auto", "on", "dry_run"] = Field(
        "auto", description="Whether mails are really handed over; `auto` means only in the sandbox."
    )
    billing_mode: Literal["beside", "takeover"] = Field(
        "beside", description="`beside`: where Stripe retries by itself we only mail. `takeover`: we retry."
    )
    clock: Literal["system", "sandbox"] = Field("system", description="Whose time it is.")
    ledger_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL; SQLite below the state folder if unset."
    )
    lake_url: str | None = Field(
        None,
        description="fsspec address of the lake on an object store, `s3://bucket/lake` say; below the state folder if unset.",
    )
    lake_options: SecretStr | None = Field(
        None,
        description='fsspec\'s options for that address as JSON, `{"endpoint_url": "…"}` say; keys are better left to the environment.',
    )
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
    drain_workers: int = Field(4, ge=1, le=32, description="Attempts in flight at once.")
    drain_seconds: float = Field(50.0, gt=0, le=600, description="After this long a drain ends itself.")
    drain_lease_seconds: float = Field(
        180.0,
        ge=1,
        le=3600,
        description="A call under way is left alone this long before another process settles it; keep it above 150.",
    )
    breaker_faults: int = Field(
        5, ge=1, description="Charging pauses for a while when so many charges got no usable answer."
    )
    breaker_fault_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="… and they are more than this share of the charges of the last 10 minutes.",
    )
    breaker_pause_minutes: float = Field(
        10.0, ge=1, le=1440, description="How long such a pause lasts; then it ends by itself."
    )
    breaker_declines: int = Field(
        20,
        ge=1,
        description="Charging stops until a person resumes it when so many were declined in an hour.",
    )
    breaker_base: int = Field(
        100, ge=1, description="… with at least so many charges in the four weeks before to compare with."
    )
    breaker_sigmas: float = Field(
        3.0, ge=1, le=10, description="… and a share of declines so many standard deviations above theirs."
    )
    enrol_max_age_days: int = Field(30, ge=1, le=365, description="Older failures are not taken up.")
    card_attempts_30d: int = Field(8, ge=1, le=20, description="Most attempts on one card in 30 days.")
    card_attempts_24h: int = Field(1, ge=1, le=10, description="Most attempts on one card in 24 hours.")
    customer_attempts_24h: int = Field(
        2, ge=1, le=10, description="Most attempts on one customer's cards in 24 hours."
    )
    account_attempts_24h: int = Field(
        0, ge=0, description="Most attempts of ours in 24 hours over the whole account; 0 sets no limit."
    )
    visa_attempts_30d: int = Field(
        15,
        ge=1,
        le=20,
        description="Most attempts with one amount on one Visa card in 30 days; acquirers print 15 or 20.",
    )
    amount_ceilings: str = Field(
        "",
        description="Most we try to collect in 24 hours by currency, in minor units: `usd=5000000,eur=4000000`. None if unset.",
    )
    ingest_since_days: int = Field(90, ge=1, le=3650, description="How far back a first ingest reaches.")
    mail_transport: Literal["file", "smtp", "postmark"] = Field("file", description="Where mails go.")
    smtp_url: SecretStr | None = Field(
        None,
        description="`smtp://user:password@host:587` (STARTTLS), `smtps://…:465`, or `smtp+plain://host`.",
    )
    postmark_token: SecretStr | None = Field(None, description="Server token of Postmark's HTTP API.")
    postmark_api_base: str = Field(
        "https://api.postmarkapp.com", description="Address of Postmark, or of a stand-in for it."
    )
    postmark_webhook_secret: SecretStr | None = Field(
        None,
        description="Password (basic authentication) with which Postmark tells of bounces at `/mail/events/postmark`.",
    )
    mail_workers: int = Field(
        4, ge=1, le=32, description="Mails in flight at once, each on a connection that is kept."
    )
    mails_per_second: float | None = Field(
        None, gt=0, le=1000, description="Most mails handed over in a second by one process. Unset: no limit."
    )
    bounce_domain: str | None = Field(
        None,
        description="Domain whose mail is piped to `tinko mail bounces -`: each mail's envelope then has a return path of its own there.",
    )
    mail_from: str = Field("Billing <billing@example.com>", description="Sender of every mail.")
    mails_per_address_24h: int = Field(
        1, ge=1, le=10, description="Most reminders to one address in 24 hours."
    )
    mails_per_address_7d: int = Field(3, ge=1, le=20, description="Most reminders to one address in 7 days.")
    mails_per_case: int = Field(6, ge=1, le=20, description="Most reminders about one debt.")
    merchant_name: str = Field("Your company", description="How mails name the merchant.")
    merchant_address: str = Field("", description="Postal address below each mail.")
    support_email: str = Field("support@example.com", description="Where customers can ask.")
    brand_colour: str = Field(
        "#1f5fd0", pattern="^#[0-9a-fA-F]{6}$", description="Colour of the button in mails, as `#rrggbb`."
    )
    brand_logo_url: str | None = Field(
        None,
        pattern="^https://[^\\s\"'<>]+$",
        description="Address of a logo for mails, `https://…`; the name if unset.",
    )
    time_zone: str = Field(
        "UTC", description="Zone of customers of whom no country is known, `Europe/Berlin` say."
    )
    mail_weekends: bool = Field(True, description="Whether reminders go out on Saturdays and Sundays too.")
    sequences: Path | None = Field(
        None,
        description="JSON file of your own mail sequences, in place of those that come with this version.",
    )
    update_card_url: str | None = Field(
        None,
        description="Where a customer changes the card when no invoice page exists (customer portal login).",
    )
    web_host: str = Field("127.0.0.1", description="Where `tinko serve` listens.")
    web_port: int = Field(8787, ge=0, le=65535, description="… and on which port.")
    web_names: str = Field(
        "",
        description="Host names under which it is reached from outside: `pay.example.com,…`. Others get 404, save this machine's own.",
    )
    public_url: str | None = Field(
        None,
        description="Address under which customers reach `tinko serve`, `https://pay.example.com` say. Without it mails hold no link of ours.",
    )
    link_days: int = Field(14, ge=1, le=90, description="How long a link in a mail leads to a payment page.")
    report_recipients: str = Field(
        "",
        description="Who gets the report by mail each week: addresses with commas between. Nobody if empty.",
    )
    report_day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = Field(
        "mon", description="From this day of the week (UTC) on it is sent, once."
    )
    model_promotion: Literal["manual", "auto"] = Field(
        "manual",
        description="Whether a newly trained timing model that passes every gate is put to use by itself (`auto`).",
    )
    max_cases_per_plan: int = Field(100_000, ge=1, description="Most failed payments taken up in one run.")

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write one like Europe/Berlin") from None
        return value

    @field_validator("lake_url")
    @classmethod
    def _on_an_object_store(cls, value: str | None) -> str | None:
        kind, found, rest = (value or "").strip().partition("://")
        if not kind:
            return None
        if not found or kind not in OBJECT_STORES or not rest.strip("/"):
            raise ValueError(
                f"an address like s3://bucket/folder is wanted, of one of the kinds {', '.join(OBJECT_STORES)};"
                " for a folder of this machine leave it unset and set TINKO_STATE"
            )
        return f"{kind}://{rest.rstrip('/')}"

    @field_validator("public_url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        given = (value or "").strip().rstrip("/")
        if not given:
            return None
        parts = urlsplit(given)
        local = parts.hostname in LOOPBACK
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError("an address like https://pay.example.com is wanted; http only on this machine")
        if not parts.hostname or parts.query or parts.fragment or parts.username or "@" in parts.netloc:
            raise ValueError(
                "an address like https://pay.example.com is wanted, without user, query or fragment"
            )
        return given

    @field_validator("bounce_domain")
    @classmethod
    def _a_domain(cls, value: str | None) -> str | None:
        given = (value or "").strip().lower()
        if given and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", given):
            raise ValueError("a domain like bounces.example.com is wanted")
        return given or None

    @field_validator("lake_options")
    @classmethod
    def _an_object(cls, value: SecretStr | None) -> SecretStr | None:
        given = value.get_secret_value().strip() if value else ""
        if not given:
            return None
        try:
            found = json.loads(given)
        except ValueError as error:
            found = error
        if not isinstance(found, dict):
            raise ValueError('a JSON object is wanted, like {"endpoint_url": "https://…"}')
        return value

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

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Every name under which the web may be asked."""
        given = [name.strip().lower() for name in self.web_names.split(",")]
        public = urlsplit(self.public_url or "").hostname
        return frozenset({*filter(None, (*given, public)), *LOOPBACK})

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

    @cached_property
    def charges_for_real(self) -> bool:
        """Whether a retry is sent; a dry run stops before anything is prepared."""
        return self.is_sandbox if self.charging == "auto" else self.charging == "on"

    @cached_property
    def mails_for_real(self) -> bool:
        """Whether a mail is handed to the transport."""
        return self.is_sandbox if self.mailing == "auto" else self.mailing == "on"

    @cached_property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger, its password in clear."""
        given = self.ledger_url.get_secret_value() if self.ledger_url else ""
        return given or f"sqlite:///{self.state / 'ledger.db'}"

    @cached_property
    def lake_storage_options(self) -> Mapping[str, Any]:
        """What fsspec is to be told beside the lake's address, secrets in clear."""
        given = self.lake_options.get_secret_value() if self.lake_options else "{}"
        return dict(json.loads(given))

    @property
    def rests_on_sandbox(self) -> bool:
        """Whether this state folder was filled from the bundled sandbox and nothing else is configured."""
        return (
            self.stripe_secret_key is None
            and self.stripe_api_base == STRIPE_API_BASE
            and self.sandbox_note.exists()
        )

    @property
    def sandbox_stands_at(self) -> datetime | None:
        """The sandbox's own time when it was last seen, while it is not running; None outside a sandbox."""
        if not self.rests_on_sandbox:
            return None
        return datetime.fromisoformat(json.loads(self.sandbox_note.read_text())["now"])

    def guard(self) -> None:
        """Refuse what is unsafe: a live key without leave, or a live key against a stand-in."""
        if self.clock == "sandbox" and not self.is_loopback:
            raise SettingsError(
                "TINKO_CLOCK=sandbox needs TINKO_STRIPE_API_BASE to be a sandbox on this machine"
            )
        if self.livemode and not self.allow_live:
            known = self.key.startswith(KEY_PREFIXES)
            what = "is a live key" if known else "begins as no test key does, so it counts as a live one"
            raise SettingsError(
                f"STRIPE_SECRET_KEY {what}: it moves real money. Set TINKO_ALLOW_LIVE=1 to allow it, "
                "after `tinko doctor` is clean with a test key"
            )
        if self.livemode and self.stripe_api_base != STRIPE_API_BASE:
            raise SettingsError(
                f"a live key is never sent to {self.stripe_api_base}: unset TINKO_STRIPE_API_BASE"
            )


def load_settings(**overrides: object) -> Settings:
    """Read the environment, with `overrides` by field name, or raise SettingsError naming the variable."""
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"TINKO_{name.upper()}"
        raise SettingsError(f"{variable}: {first['msg']}") from None
    return settings
