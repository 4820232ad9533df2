"""Mails: how they go out, whom they are from, and how often one may be written to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator

from tinko_pipelines.state_folder import StateFolder


class MailSettings(StateFolder):
    """What customers are sent, and through whom."""

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
    mail_opens: bool = Field(
        False,
        description="Whether a picture of ours in each mail tells when it was first opened. Look up first whether you may.",
    )
    card_expiry_days: int = Field(
        21,
        ge=0,
        le=60,
        description="So many days before a card ends its customer gets a mail, if it is still to be charged. 0: no such mail.",
    )
    mail_weekends: bool = Field(True, description="Whether reminders go out on Saturdays and Sundays too.")
    report_recipients: str = Field(
        "",
        description="Who gets the report by mail each week: addresses with commas between. Nobody if empty.",
    )
    report_day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = Field(
        "mon", description="From this day of the week (UTC) on it is sent, once."
    )
    sequences: Path | None = Field(
        None,
        description="JSON file of your own mail sequences, in place of those that come with this version.",
    )
    update_card_url: str | None = Field(
        None,
        description="Where a customer changes the card when no invoice page exists (customer portal login).",
    )

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; write one like Europe/Berlin") from None
        return value

    @field_validator("bounce_domain")
    @classmethod
    def _a_domain(cls, value: str | None) -> str | None:
        given = (value or "").strip().lower()
        if given and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", given):
            raise ValueError("a domain like bounces.example.com is wanted")
        return given or None
