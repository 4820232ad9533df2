"""What of an address with a password may be shown: all but its secrets, wherever in it they stand."""

import re
from collections.abc import Iterable
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 4
"""A shorter secret is left where it stands in a text: it would be found in every other word."""
_LOGIN = re.compile(r"(://[^:/?#]*:)(.*)(@)", re.DOTALL)
_QUERY = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key)[^=&;]*=)([^&;]*)", re.IGNORECASE)


def shown(url: str) -> str:
    """An address without its password and without what its query part keeps secret."""
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}\3", url))


def redacted(text: str, *urls: str | None, secrets: Iterable[str | None] = ()) -> str:
    """A text in which no secret of these addresses, and none of these `secrets`, stands any more."""
    found = {secret for secret in secrets if secret}
    for url in urls:
        given = [match.group(2) for pattern in (_LOGIN, _QUERY) for match in pattern.finditer(url or "")]
        found |= {spelt for secret in given for spelt in (secret, unquote(secret), unquote_plus(secret))}
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text
