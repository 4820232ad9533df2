"""Which Stripe accounts there are, and how each is spoken to. Reads no environment; speaks to nobody."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinko_pipelines.errors import SettingsError

if TYPE_CHECKING:
    from tinko_pipelines.settings import Settings

TEST_PREFIXES = ("sk_test_", "rk_test_")
KEY_PREFIXES = (*TEST_PREFIXES, "sk_live_", "rk_live_")
"""How the keys begin that a server may use; whatever begins otherwise is never taken for a test key."""
CONNECTED = "acct_"
SIGNING = "whsec_"
"""How the secrets begin that sign webhooks."""
SECRETS_MOST = 2
"""Of one account: the one in use, and the one before or after it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Accounts are folders in the lake and parts of names."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account: our name for it, the keys that open it, and its id where it is a connected one of the key's."""

    name: str
    key: str = field(repr=False)
    reconciling_key: str = field(repr=False)
    connected_id: str | None = None


def is_live(key: str) -> bool:
    """Whether a key moves real money, or may: only what begins as test keys do is taken for one."""
    return not key.startswith(TEST_PREFIXES)


def parse_more(given: str, main: str) -> dict[str, str]:
    """Read `eu=acct_1,us=rk_live_…` beside the `main` account; raises ValueError naming what cannot be read."""
    found: dict[str, str] = {}
    for at, part in enumerate(_parts(given), 1):
        name, _, access = (piece.strip() for piece in part.partition("="))
        if not name or not access:
            # What stands there may be a key, so it is not shown.
            raise ValueError(
                f"part {at} is no name with a connected account's id or a key: write name=acct_…"
            )
        if name in found or name == main:
            raise ValueError(f"there are two accounts called {name!r}; give each a name of its own")
        twin = next((other for other, known in found.items() if known == access), None)
        if twin is not None:
            raise ValueError(
                f"{name!r} and {twin!r} are the same account; each debt would be collected twice"
            )
        found[name] = access
    for name in (main, *found):
        if not NAME.fullmatch(name) or name.endswith("-live"):
            raise ValueError(
                f"an account cannot be called {name!r}: use letters, digits, - and _, and no -live at the end"
            )
    return found


def webhook_secrets(given: str, more: str, main: str, others: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Read `whsec_…,whsec_…` of the `main` account and `eu=whsec_…` of others; raises ValueError, showing no secret."""
    named = [("TINKO_WEBHOOK_SECRET", main, secret) for secret in _parts(given)]
    for part in _parts(more):
        name, _, secret = (piece.strip() for piece in part.partition("="))
        if name not in others:
            # What stands there may be a secret, so it is not shown.
            raise ValueError(
                f"TINKO_MORE_WEBHOOK_SECRETS: a part names no account of TINKO_MORE_ACCOUNTS: write name={SIGNING}…"
            )
        named.append(("TINKO_MORE_WEBHOOK_SECRETS", name, secret))
    found: dict[str, tuple[str, ...]] = {}
    for variable, name, secret in named:
        if not secret.startswith(SIGNING) or secret == SIGNING:
            raise ValueError(
                f"{variable}: what is given for {name} is no signing secret: it begins with {SIGNING}"
            )
        found[name] = (*found.get(name, ()), secret)
        if len(found[name]) > SECRETS_MOST:
            raise ValueError(f"{variable}: {name} has more than {SECRETS_MOST} secrets; leave the oldest out")
    return found


def _parts(given: str) -> list[str]:
    return [part for part in map(str.strip, given.split(",")) if part]


def accounts_of(settings: Settings) -> tuple[Account, ...]:
    """All accounts, the main one first. Raises SettingsError where there is no key, or one of another mode."""
    found = [Account(settings.stripe_account, settings.key, settings.reconciling_key)]
    for name, access in settings.other_accounts.items():
        if access.startswith(CONNECTED):
            found.append(Account(name, settings.key, settings.reconciling_key, access))
            continue
        if access == settings.key:
            raise SettingsError(
                f"TINKO_MORE_ACCOUNTS: {name} has the key of {settings.stripe_account}, so it is the same account;"
                " each debt would be collected twice"
            )
        if is_live(access) != settings.livemode:
            raise SettingsError(
                f"TINKO_MORE_ACCOUNTS: the key of {name} is of another mode than STRIPE_SECRET_KEY; keep each mode in"
                " a state folder of its own"
            )
        found.append(Account(name, access, access))
    return tuple(found)
