"""The web: where it listens, and under which names it is reached."""

from __future__ import annotations

from functools import cached_property
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from tinko_pipelines.settings.stripe import LOOPBACK
from tinko_pipelines.state_folder import StateFolder


class WebSettings(StateFolder):
    """The door for webhooks and the pages behind links."""

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
    page_methods: str = Field(
        "card,link",
        description="Ways to pay on a page made for a link, of those the account has; what a bank takes days for holds up the debt. Empty: all.",
    )

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

    @property
    def page_methods_named(self) -> tuple[str, ...]:
        """Stripe's names of the ways to pay that a page may offer; none for all."""
        return tuple(name.strip() for name in self.page_methods.split(",") if name.strip())

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Every name under which the web may be asked."""
        given = [name.strip().lower() for name in self.web_names.split(",")]
        public = urlsplit(self.public_url or "").hostname
        return frozenset({*filter(None, (*given, public)), *LOOPBACK})
