"""Handing mails to an SMTP server, many over one connection."""

import contextlib
import smtplib
import ssl
import threading
import time
from urllib.parse import unquote, urlsplit

from tinko_pipelines.errors import MailError, SettingsError
from tinko_pipelines.outreach.transport import (
    Mail,
    RefusedError,
    TryLaterError,
    is_about_recipient,
    status_in,
)

TIMEOUT_SECONDS = 20
ANSWER_SECONDS = 60
"""A server may look through a mail before it takes it."""
TRUSTED_SECONDS = 15.0
"""A connection used so lately is taken to stand; an older one is asked first."""
_CLOSING = 421
_NO_SUCH_MAILBOX = ("5.1.1", "5.1.10")
"""What even an answer to the whole mail says of its recipient; other words of addresses may be about ours."""


class _GoneError(Exception):
    """The connection ended before the mail itself was begun, so nothing has gone out."""


class SmtpTransport:
    """Keeps connections to the server of `url` for the next mail; the password never appears in an error."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # Its text quotes what stands in the place of the port: a piece of an unquoted password.
            raise SettingsError(
                "TINKO_SMTP_URL cannot be read: percent-encode the special characters of the password"
            ) from None
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise SettingsError(
                "TINKO_SMTP_URL: nothing may follow the port; percent-encode the special characters of the password"
            )
        if parts.scheme not in {"smtp", "smtps", "smtp+plain"} or not parts.hostname:
            raise SettingsError("TINKO_SMTP_URL: write smtp://user:password@host:587 or smtps://host:465")
        self._scheme, self._host = parts.scheme, parts.hostname
        self._port = port or {"smtp": 587, "smtps": 465, "smtp+plain": 25}[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._idle: list[tuple[smtplib.SMTP, float]] = []
        self._lock = threading.Lock()

    def ping(self) -> str:
        """Connect, log in, say goodbye; raises MailError."""
        _say_goodbye(self._connect())
        return "the mail server answers"

    def send(self, mail: Mail) -> None:
        """Hand `mail` over; an answer before the message was sent is certain, a break after it is not."""
        client = self._kept()
        if client is not None:
            try:
                self._over(client, mail)
                return
            except _GoneError:
                _drop(client)  # It was kept too long; nothing of this mail was said on it.
        client = self._connect()
        try:
            self._over(client, mail)
        except _GoneError as error:
            _drop(client)
            raise self._unusable(error) from None

    def close(self) -> None:
        """Say goodbye on every connection that is kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for client, _ in idle:
            _say_goodbye(client)

    def _over(self, client: smtplib.SMTP, mail: Mail) -> None:
        """Hand it over on this connection, which is kept after an answer and dropped when there is none."""
        try:
            _deliver(client, mail)
        except (TryLaterError, RefusedError):
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.rset()
            self._keep(client)
            raise
        except _GoneError:
            raise
        except BaseException:
            _drop(client)
            raise
        self._keep(client)

    def _keep(self, client: smtplib.SMTP) -> None:
        if client.sock is None:
            return
        with self._lock:
            self._idle.append((client, time.monotonic()))

    def _kept(self) -> smtplib.SMTP | None:
        """The connection used last, if it still stands."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                client, used_at = self._idle.pop()
            if time.monotonic() - used_at < TRUSTED_SECONDS:
                return client
            with contextlib.suppress(OSError, smtplib.SMTPException):
                if client.noop()[0] == 250:
                    return client
            _drop(client)

    def _connect(self) -> smtplib.SMTP:
        try:
            if self._scheme == "smtps":
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    self._host, self._port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
                )
            else:
                client = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)
                if self._scheme == "smtp":
                    client.starttls(context=ssl.create_default_context())
            if self._user:
                client.login(self._user, self._password)
            client.ehlo_or_helo_if_needed()
            return client
        except (OSError, smtplib.SMTPException) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> MailError:
        why = str(error) if isinstance(error, _GoneError) else type(error).__name__
        return MailError(
            f"the mail server {self._host}:{self._port} cannot be used ({why}): check TINKO_SMTP_URL"
        )


def _deliver(client: smtplib.SMTP, mail: Mail) -> None:
    """Envelope and mail. Raises _GoneError while nothing can have gone out; what no answer settles passes through."""
    try:
        try:
            _answered(*client.mail(mail.sender), "sender")
        except RefusedError as error:
            # It is about every mail of ours, and about no customer.
            raise MailError(f"the mail server refuses our sender ({error}): check TINKO_MAIL_FROM") from None
        _answered(*client.rcpt(mail.recipient), "recipient")
    except (OSError, smtplib.SMTPServerDisconnected) as error:
        raise _GoneError(type(error).__name__) from error
    if client.sock is not None:
        client.sock.settimeout(ANSWER_SECONDS)
    try:
        code, said = client.data(mail.content)
    except smtplib.SMTPDataError as error:
        code, said = error.smtp_code, error.smtp_error  # type: ignore[assignment]
    if client.sock is not None:
        client.sock.settimeout(TIMEOUT_SECONDS)
    if code == 250:
        return
    if not 400 <= code < 600:
        # No refusal, and no answer anybody can read: it may have been taken.
        raise smtplib.SMTPResponseException(code, said)
    _answered(code, said, "mail")


def _answered(code: int, said: bytes | str, what: str) -> None:
    """Nothing when the server agrees; its words may name the customer, so only the codes are kept of them."""
    if 200 <= code < 300:
        return
    if code == _CLOSING and what != "mail":
        raise _GoneError(str(code))
    status = status_in(said.decode(errors="replace") if isinstance(said, bytes) else said)
    told = " ".join([f"{what} refused with {code}", *([status] if status else [])])
    if 500 <= code < 600:
        about = is_about_recipient(status) and (what == "recipient" or status in _NO_SUCH_MAILBOX)
        raise RefusedError(told, about_recipient=about)
    raise TryLaterError(told)


def _drop(client: smtplib.SMTP) -> None:
    with contextlib.suppress(OSError):
        client.close()


def _say_goodbye(client: smtplib.SMTP) -> None:
    with contextlib.suppress(OSError, smtplib.SMTPException):
        client.quit()
    _drop(client)
