"""How a finished mail leaves: what every provider promises, and the one that writes files. One attempt, no queue."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinko_pipelines.errors import MailError

_STATUS = re.compile(r"(?<![0-9.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_OF_THE_SENDER = ("5.1.7", "5.1.8")


@dataclass(frozen=True, slots=True)
class Mail:
    """One finished mail: whose message it is, its envelope, and its bytes as they go out (ASCII, lines end CRLF)."""

    message_id: str
    sender: str
    recipient: str
    content: bytes


class TryLaterError(Exception):
    """The server took nothing and asks to come back later; the mail has certainly not gone out."""


class RefusedError(Exception):
    """The server refuses this mail for good; it has certainly not gone out.

    `about_recipient` says that nothing sent to this address can ever arrive.
    """

    def __init__(self, said: str, *, about_recipient: bool = False) -> None:
        super().__init__(said)
        self.about_recipient = about_recipient


class Transport(Protocol):
    """Hands a mail over once. Raises TryLaterError, RefusedError, MailError; anything else is in doubt.

    Several threads may send at once.
    """

    def send(self, mail: Mail) -> None:
        """Hand `mail` over; returns when it was taken."""
        ...

    def ping(self) -> str | None:
        """What answers there; None where mails only become files. Raises MailError."""
        ...

    def close(self) -> None:
        """End what is kept open."""
        ...


def status_in(text: str) -> str | None:
    """The enhanced status code (RFC 3463) in an answer, `5.1.1` say."""
    found = _STATUS.search(text)
    return found[1] if found else None


def is_about_recipient(status: str | None) -> bool:
    """Whether a status says that the address itself is wrong or switched off, and not the mail, us, or the hour."""
    if status is None or status in _OF_THE_SENDER:
        return False
    return status.startswith("5.1.") or status == "5.2.1"


class FileTransport:
    """Writes each mail as an `.eml` file, for demos and dry looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, mail: Mail) -> None:
        """Write the file at once or not at all."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = self._folder / f".{mail.message_id}.partial"
            partial.write_bytes(mail.content)
            partial.replace(self._folder / f"{mail.message_id}.eml")
        except OSError as error:
            raise MailError(
                f"the outbox {self._folder} cannot be written: {error.strerror}; make room or check its rights"
            ) from error

    def ping(self) -> None:
        """Nobody is there to answer."""

    def close(self) -> None:
        """Nothing is kept open."""
