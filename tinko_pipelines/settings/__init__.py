"""The environment, read once into one frozen object. Only entry points (CLI, composition root) read it.

Each part of the settings is a module here. Every setting is listed in the README; a test holds the two together.
"""

import json
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import Field, ValidationError

from tinko_pipelines.accounts import KEY_PREFIXES
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.settings.charging import ChargingSettings
from tinko_pipelines.settings.keeping import KeepingSettings
from tinko_pipelines.settings.mail import MailSettings
from tinko_pipelines.settings.stores import OBJECT_STORES, StoreSettings
from tinko_pipelines.settings.stripe import LOOPBACK, SANDBOX_KEY, STRIPE_API_BASE, StripeSettings
from tinko_pipelines.settings.web import WebSettings

__all__ = ["LOOPBACK", "OBJECT_STORES", "SANDBOX_KEY", "STRIPE_API_BASE", "Settings", "load_settings"]


class Settings(KeepingSettings, WebSettings, MailSettings, ChargingSettings, StoreSettings, StripeSettings):
    """All settings. Environment names are `TINKO_` plus the field's name, save where an alias says else."""

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
    model_promotion: Literal["manual", "auto"] = Field(
        "manual",
        description="Whether a newly trained timing model that passes every gate is put to use by itself (`auto`).",
    )

    @cached_property
    def charges_for_real(self) -> bool:
        """Whether a retry is sent; a dry run stops before anything is prepared."""
        return self.is_sandbox if self.charging == "auto" else self.charging == "on"

    @cached_property
    def mails_for_real(self) -> bool:
        """Whether a mail is handed to the transport."""
        return self.is_sandbox if self.mailing == "auto" else self.mailing == "on"

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
