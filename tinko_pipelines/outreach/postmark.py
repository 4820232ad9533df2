"""Handing mails to Postmark over HTTP, and reading what it tells of them afterwards."""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import httpx

from tinko_pipelines.errors import MailError
from tinko_pipelines.outreach.transport import Mail, RefusedError, TryLaterError

API_BASE = "https://api.postmarkapp.com"
TIMEOUT_SECONDS = 30.0
_INACTIVE = 406
"""Postmark's own list holds the address: it bounced, complained or wants no mail."""
_OF_THE_ACCOUNT = (10, 400, 401, 405, 412, 413)
"""Its codes for what is wrong with our account or sender, and so with every mail."""
_IN_FIELDS = ("from", "to", "subject", "reply-to")
_LEFT_TO_POSTMARK = ("date", "mime-version", "content-type", "content-transfer-encoding")
_KINDS: Mapping[str, str] = {
    "HardBounce": "hard",
    "BadEmailAddress": "hard",
    "SpamComplaint": "complaint",
    "Unsubscribe": "unsubscribed",
    "ManualSuppression": "unsubscribed",
}
"""What suppresses an address; every other bounce is soft."""


class PostmarkTransport:
    """Sends through Postmark's HTTP API; our Message-ID is kept, opens and clicks are not tracked."""

    def __init__(self, token: str, base: str = API_BASE) -> None:
        self._client = httpx.Client(
            base_url=base,
            timeout=TIMEOUT_SECONDS,
            headers={"X-Postmark-Server-Token": token, "Accept": "application/json"},
        )

    def ping(self) -> str:
        """Ask for our server's settings; raises MailError."""
        try:
            answer = self._client.get("/server")
        except httpx.HTTPError as error:
            raise _unusable(type(error).__name__) from None
        if answer.status_code != 200:
            raise _unusable(f"HTTP {answer.status_code}")
        return "Postmark answers"

    def send(self, mail: Mail) -> None:
        """Hand `mail` over; a break after the request was begun leaves it in doubt."""
        try:
            answer = self._client.post("/email", json=payload(mail))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _unusable(type(error).__name__) from None
        status, code = answer.status_code, _error_code(answer)
        if status == 200 and code == 0:
            return
        if status in (429, 503):
            raise TryLaterError(f"put off with HTTP {status}")
        if status in (401, 403, 404) or (status == 422 and code in _OF_THE_ACCOUNT):
            raise _unusable(f"HTTP {status}, error {code}")
        if 400 <= status < 500:
            raise RefusedError(f"refused with HTTP {status}, error {code}", about_recipient=code == _INACTIVE)
        # A fault of theirs does not say whether the mail had been taken before it.
        raise httpx.HTTPStatusError(f"HTTP {status}", request=answer.request, response=answer)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.close()


def payload(mail: Mail) -> dict[str, Any]:
    """The mail as Postmark's API wants it; every header of ours that has no field of its own goes along."""
    parsed = message_from_bytes(mail.content, EmailMessage, policy=default)
    headers = [
        {"Name": name, "Value": str(value)}
        for name, value in parsed.items()
        if name.lower() not in (*_IN_FIELDS, *_LEFT_TO_POSTMARK)
    ]
    bodies = {kind: parsed.get_body((kind,)) for kind in ("plain", "html")}
    return {
        "From": str(parsed["From"]),
        "To": mail.recipient,
        "Subject": str(parsed["Subject"]),
        "ReplyTo": str(parsed["Reply-To"]),
        "TextBody": bodies["plain"].get_content() if bodies["plain"] else "",
        "HtmlBody": bodies["html"].get_content() if bodies["html"] else "",
        "Headers": [*headers, {"Name": "X-PM-KeepID", "Value": "true"}],
        "Metadata": {"message": mail.message_id},
        "MessageStream": "outbound",
        "TrackOpens": False,
        "TrackLinks": "None",
    }


def _error_code(answer: httpx.Response) -> int | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    code = found.get("ErrorCode") if isinstance(found, dict) else None
    return code if isinstance(code, int) else None


def _unusable(why: str) -> MailError:
    return MailError(
        f"Postmark cannot be used ({why}): check TINKO_POSTMARK_TOKEN and the sender's signature"
    )


def is_postmark(authorization: str, secret: str) -> bool:
    """Whether an Authorization header brings the secret, as the password of basic authentication."""
    kind, _, given = authorization.partition(" ")
    try:
        password = b64decode(given, validate=True).partition(b":")[2]
    except (Base64Error, ValueError):
        return False
    return kind.lower() == "basic" and hmac.compare_digest(password, secret.encode())


def told(event: Mapping[str, Any]) -> tuple[str, str, str | None, str] | None:
    """Of an event: what happened, to which address, of which message of ours, in which words; None where it is no bounce."""
    record, reason = event.get("RecordType"), event.get("Type")
    if record == "SubscriptionChange":
        if event.get("SuppressSending") is not True:
            return None
        reason = event.get("SuppressionReason")
    elif record not in ("Bounce", "SpamComplaint"):
        return None
    address = event.get("Email") or event.get("Recipient")
    if not isinstance(address, str) or not isinstance(reason, str):
        return None
    kind = "complaint" if record == "SpamComplaint" else _KINDS.get(reason, "soft")
    metadata = event.get("Metadata")
    ours = metadata.get("message") if isinstance(metadata, dict) else None
    return kind, address, ours if isinstance(ours, str) else None, f"Postmark says {reason[:40]}"
