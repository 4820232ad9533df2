"""Showing mails that became files to a mail viewer on this machine."""

import time
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import urlsplit

from tinko_pipelines.errors import InputError, MailError
from tinko_pipelines.outreach.bodies import parsed
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import Mail
from tinko_pipelines.settings import LOOPBACK

_POLL_SECONDS = 0.5


def copy_mails(outbox: Path, url: str, wait_seconds: float, limit: int) -> int:
    """Hand the newest `limit` files of the outbox to a server on loopback, oldest first; how many there were."""
    if urlsplit(url).hostname not in LOOPBACK:
        raise InputError(f"{url} is not on this machine: copies are for a mail viewer, never for customers")
    paths = sorted(outbox.glob("*.eml"), key=lambda path: (path.stat().st_mtime, path.name))[-limit:]
    if not paths:
        raise InputError(f"there is no mail in {outbox}: run `tinko demo` first")
    transport = SmtpTransport(url)
    _answering(transport, wait_seconds)
    for path in paths:
        content = path.read_bytes()
        mail = parsed(content)
        sender, recipient = (parseaddr(str(mail[name]))[1] for name in ("From", "To"))
        transport.send(Mail(path.stem, sender, recipient, content))
    transport.close()
    return len(paths)


def _answering(transport: SmtpTransport, wait_seconds: float) -> None:
    until = time.monotonic() + wait_seconds
    while True:
        try:
            transport.ping()
        except MailError:
            if time.monotonic() >= until:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
