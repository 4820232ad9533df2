"""Who writes, and what each of his mails consists of."""

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import quote

from tinko_pipelines.outreach.addresses import hash_address, read_or_make_salt, return_path, unsubscribe_token
from tinko_pipelines.outreach.render import Content
from tinko_pipelines.outreach.transport import Mail
from tinko_pipelines.settings import Settings

_UNFOLDED = ("in-reply-to", "references", "list-unsubscribe")


class _Wire(EmailPolicy):
    """Leaves ids and addresses of pages in one piece, which the standard library would encode where they are long."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The header as it goes out."""
        if name.lower() in _UNFOLDED:
            return f"{name}: {value}".replace(", <", ",\r\n <").encode("ascii") + b"\r\n"
        return super().fold_binary(name, value)


_WIRE = _Wire(linesep="\r\n", cte_type="7bit")
"""Plain ASCII whatever a mail says, so that no server on the way has to change it."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who writes: the brand of a mail, where answers go, and the salt its addresses are hashed with."""

    sender: str
    name: str
    address: str
    support: str
    update_card_url: str | None
    salt: bytes
    public_url: str | None = None
    bounce_domain: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Merchant":
        """The merchant the settings describe."""
        return cls(
            settings.mail_from,
            settings.merchant_name,
            settings.merchant_address,
            settings.support_email,
            settings.update_card_url,
            read_or_make_salt(settings.state / "mail.salt"),
            settings.public_url,
            settings.bounce_domain,
        )

    def header_of(self, message_id: str) -> str:
        """The Message-ID of a message, which depends on the message alone."""
        domain = parseaddr(self.sender)[1].rpartition("@")[2] or "localhost"
        return f"<{message_id}@{domain}>"

    def envelope(self, message_id: str, recipient: str, content: bytes) -> Mail:
        """The mail with where it goes and where it comes back to."""
        back = parseaddr(self.sender)[1]
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
    """The MIME message as it goes out: text and HTML, in the thread of the case's first mail."""
    mail = EmailMessage(policy=_WIRE)
    mail["From"], mail["To"], mail["Subject"] = merchant.sender, to, content.subject
    mail["Reply-To"] = merchant.support
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = merchant.header_of(message_id)
    if thread is not None:
        mail["In-Reply-To"] = mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    ways = [f"<mailto:{quote(merchant.support, safe='@')}?subject=stop%20reminders>"]
    url = merchant.unsubscribe_url(account_id, to)
    if url is not None:
        ways.insert(0, f"<{url}>")
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail["List-Unsubscribe"] = ", ".join(ways)
    mail.set_content(content.text)
    mail.add_alternative(content.html, subtype="html")
    # Two bodies of one mail must not differ by the moment at which they were put together.
    mail.set_boundary(f"=_{message_id}")
    return mail.as_bytes()
