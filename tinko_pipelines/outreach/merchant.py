"""Who writes, and what each of his mails consists of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.outreach import mime, sequences
from tinko_pipelines.outreach.addresses import (
    hash_address,
    id_token,
    read_or_make_salt,
    return_path,
    unsubscribe_token,
)
from tinko_pipelines.outreach.links import Drawn
from tinko_pipelines.outreach.render import Content
from tinko_pipelines.outreach.sequences import Sequences
from tinko_pipelines.outreach.transport import Mail
from tinko_pipelines.settings import Settings

CARD, PIXEL = "card", "opened"
"""What the sealed addresses of a card's page and of a mail's picture are for."""

LinkOf = Callable[[dict[str, Any]], Drawn | None]


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who writes, what and when: brand, sequences, hours, where answers go, and the salt addresses are hashed with."""

    sender: str
    name: str
    address: str
    support: str
    update_card_url: str | None
    salt: bytes
    public_url: str | None = None
    bounce_domain: str | None = None
    link_of: LinkOf = lambda _case: None
    """Draws a recovery link for a case, which is written down with the claim of its mail; None where there is to be none."""
    colour: str = "#1f5fd0"
    logo_url: str | None = None
    time_zone: str = "UTC"
    weekends: bool = True
    sequences: Sequences = field(default_factory=sequences.default)
    card_pages: bool = False
    """Whether the page on which a card is replaced can lead to Stripe's portal, for which something is made there."""
    count_opens: bool = False

    @classmethod
    def from_settings(cls, settings: Settings, link_of: LinkOf = lambda _case: None) -> "Merchant":
        """The merchant the settings describe; raises SettingsError where mails can neither come from nor go back to him."""
        for name, given in (("MAIL_FROM", settings.mail_from), ("SUPPORT_EMAIL", settings.support_email)):
            try:
                mime.address(given)
            except ValueError as error:
                raise SettingsError(f"TINKO_{name}: {error}") from None
        return cls(
            settings.mail_from,
            settings.merchant_name,
            settings.merchant_address,
            settings.support_email,
            settings.update_card_url,
            read_or_make_salt(settings.mail_salt),
            settings.public_url,
            settings.bounce_domain,
            link_of,
            settings.brand_colour,
            settings.brand_logo_url,
            settings.time_zone,
            settings.mail_weekends,
            sequences.load(settings.sequences),
            settings.charges_for_real,
            settings.mail_opens,
        )

    def header_of(self, message_id: str) -> str:
        """The Message-ID of a message, which depends on the message alone."""
        domain = mime.bare(self.sender).rpartition("@")[2] or "localhost"
        return f"<{message_id}@{domain}>"

    def card_link(self, notice_id: str) -> str:
        """Where another card is added: our page that leads to Stripe's portal, else the merchant's own; empty without both."""
        if self.public_url is not None and self.card_pages:
            return f"{self.public_url}/c/{id_token(self.salt, CARD, notice_id)}"
        return self.update_card_url or ""

    def pixel_url(self, message_id: str) -> str | None:
        """The picture that tells that a mail was opened; None where nobody asked to know, or nothing of ours is reached."""
        if not self.count_opens or self.public_url is None:
            return None
        return f"{self.public_url}/o/{id_token(self.salt, PIXEL, message_id)}"

    def envelope(self, message_id: str, recipient: str, content: bytes) -> Mail:
        """The mail with where it goes and where it comes back to."""
        back = mime.bare(self.sender)
        if self.bounce_domain:
            back = return_path(self.salt, message_id, self.bounce_domain)
        return Mail(message_id, back, recipient, content)

    def unsubscribe_url(self, account_id: str, recipient: str) -> str | None:
        """Where the address says that it wants no more mail; None without a public address of ours."""
        if self.public_url is None:
            return None
        token = unsubscribe_token(self.salt, account_id, hash_address(recipient, self.salt))
        return f"{self.public_url.rstrip('/')}/unsubscribe/{token}"


def compose(
    content: Content,
    to: str,
    merchant: Merchant,
    message_id: str,
    now: datetime,
    *,
    account_id: str,
    thread: str | None = None,
) -> bytes:
    """The MIME message as it goes out: text and HTML, in the thread of the case's first mail; plain ASCII whatever it says."""
    ways = [f"<mailto:{quote(merchant.support, safe='@')}?subject=stop%20reminders>"]
    url = merchant.unsubscribe_url(account_id, to)
    headers = [
        ("From", mime.address(merchant.sender)),
        ("To", to),
        ("Subject", mime.encoded("Subject", content.subject)),
        ("Reply-To", mime.address(merchant.support)),
        ("Date", format_datetime(now)),
        ("Message-ID", merchant.header_of(message_id)),
        *([("In-Reply-To", thread), ("References", thread)] if thread is not None else []),
        ("Auto-Submitted", "auto-generated"),
        ("List-Unsubscribe", ", ".join([f"<{url}>", *ways] if url is not None else ways)),
        *([("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")] if url is not None else []),
    ]
    return mime.message(headers, content.text, content.html, f"=_{message_id}")
