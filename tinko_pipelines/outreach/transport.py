"""How a finished mail leaves: into a folder, or to an SMTP server. One attempt, no repeats, no queue."""

import contextlib
import os
import smtplib
import ssl
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from tinko_pipelines.errors import MailError, SettingsError
from tinko_pipelines.settings import Settings

TIMEOUT_SECONDS = 20


class TryLaterError(Exception):
    """The server took nothing and asks to come back later; the mail has certainly not gone out."""


class RefusedError(Exception):
    """The server refuses this mail or its recipient for good; the mail has certainly not gone out."""


class Transport(Protocol):
    """Hands a mail over once. Raises TryLaterError, RefusedError, MailError; anything else is in doubt."""

    def send(self, mail: EmailMessage) -> None:
        """Hand `mail` over; returns when it was taken."""
        ...


class FileTransport:
    """Writes each mail as an `.eml` file, for demos and dry looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, mail: EmailMessage) -> None:
        """Write the file at once or not at all."""
        name = mail["Message-ID"].strip("<>").split("@")[0]
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = self._folder / f".{name}.partial"
            partial.write_bytes(mail.as_bytes())
            partial.replace(self._folder / f"{name}.eml")
        except OSError as error:
            raise MailError(
                f"the outbox {self._folder} cannot be written: {error.strerror}; make room or check its rights"
            ) from error


class SmtpTransport:
    """One connection a mail, to the server of `url`; the password never appears in an error."""

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
            client.noop()
            return client
        except (OSError, smtplib.SMTPException) as error:
            why = type(error).__name__
            raise MailError(
                f"the mail server {self._host}:{self._port} cannot be used ({why}): check TINKO_SMTP_URL"
            ) from None

    def ping(self) -> None:
        """Connect, log in, say goodbye; raises MailError."""
        self._connect().close()

    def send(self, mail: EmailMessage) -> None:
        """Hand `mail` over; an answer before the message was sent is certain, a break after it is not."""
        client = self._connect()
        try:
            client.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code = max(answer[0] for answer in error.recipients.values())
            raise (TryLaterError if code < 500 else RefusedError)(f"recipient refused with {code}") from None
        except smtplib.SMTPResponseException as error:
            if not 400 <= error.smtp_code < 600:
                raise  # No refusal, and no answer anybody can read: it may have been taken.
            kind = TryLaterError if error.smtp_code < 500 else RefusedError
            raise kind(f"refused with {error.smtp_code}") from None
        finally:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.quit()


def transport_for(settings: Settings) -> Transport:
    """The transport the settings name; raises SettingsError when its address is missing."""
    if settings.mail_transport == "file":
        return FileTransport(settings.outbox_dir)
    if settings.smtp_url is None:
        raise SettingsError("TINKO_MAIL_TRANSPORT=smtp needs TINKO_SMTP_URL")
    return SmtpTransport(settings.smtp_url.get_secret_value())


def read_or_make_salt(path: Path) -> bytes:
    """The secret that addresses are hashed with, made once and readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(32))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()
