"""What stands for an address outside of mails: its keyed hash, and tokens that nobody but us can make.

None of them needs a table: each is bound to what it names by the salt of this installation.
"""

import contextlib
import hashlib
import hmac
import os
import re
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

_TOKEN = re.compile(r"[0-9A-Za-z_-]{86}")
_OF_ID = re.compile(r"[0-9A-Za-z_-]{64}")
_RETURN_PATH = re.compile(r"b\.([0-9a-f]{32})\.([0-9a-f]{16})")


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


def hash_address(email: str, salt: bytes) -> str:
    """The name an address has in the ledger: a keyed hash of its lower-case form."""
    return hmac.new(salt, email.strip().lower().encode(), hashlib.sha256).hexdigest()


def unsubscribe_token(salt: bytes, account_id: str, address_hmac: str) -> str:
    """What a link to stop mails is recognised by: the address's hash, and a seal over it and the account."""
    whole = bytes.fromhex(address_hmac) + _sealed(salt, "unsubscribe", account_id, address_hmac)
    return urlsafe_b64encode(whole).decode().rstrip("=")


def unsubscribing(salt: bytes, accounts: Iterable[str], token: str) -> tuple[str, str] | None:
    """The account and the address's hash a token was made for; None for any other text."""
    if not _TOKEN.fullmatch(token):
        return None
    try:
        whole = urlsafe_b64decode(token + "==")
    except Base64Error:
        return None
    address_hmac = whole[:32].hex()
    for account_id in accounts:
        made = unsubscribe_token(salt, account_id, address_hmac)
        if hmac.compare_digest(made, token):
            return account_id, address_hmac
    return None


def id_token(salt: bytes, purpose: str, identity: str) -> str:
    """What an address of a page has in the place of an id of ours: the id, and a seal over it that is good for `purpose` alone."""
    return urlsafe_b64encode(UUID(identity).bytes + _sealed(salt, purpose, identity)).decode()


def id_of(salt: bytes, purpose: str, token: str) -> str | None:
    """The id a token was made for; None for any other text."""
    if not _OF_ID.fullmatch(token):
        return None
    identity = str(UUID(bytes=urlsafe_b64decode(token)[:16]))
    return identity if hmac.compare_digest(id_token(salt, purpose, identity), token) else None


def return_path(salt: bytes, message_id: str, domain: str) -> str:
    """The envelope's sender of one message, so that what comes back names it and cannot be made up."""
    name = UUID(message_id).hex
    return f"b.{name}.{_sealed(salt, 'bounce', name).hex()[:16]}@{domain}"


def message_of(salt: bytes, text: str) -> str | None:
    """The message whose return path stands in `text`."""
    for name, seal in _RETURN_PATH.findall(text.lower()):
        if hmac.compare_digest(seal, _sealed(salt, "bounce", name).hex()[:16]):
            return str(UUID(name))
    return None


def _sealed(salt: bytes, *words: str) -> bytes:
    # No address has a NUL in it, so that no hash of one is a seal.
    return hmac.new(salt, "\0".join(("tinko", *words)).encode(), hashlib.sha256).digest()
