"""Who is asking: API keys, restricted keys, connected accounts, the API version."""

import base64
import binascii
from collections.abc import Mapping

from tinko_pipelines.sandbox.book import API_VERSION
from tinko_pipelines.sandbox.errors import StripeRefusalError
from tinko_pipelines.sandbox.shapes.doors import ACCOUNT
from tinko_pipelines.settings import SANDBOX_KEY

READ_ONLY_KEY = "rk_test_tinko_readonly"


def check(method: str, headers: Mapping[str, str]) -> None:
    """Refuse unknown keys, writes with a restricted key, foreign accounts and other API versions."""
    key = _key(headers.get("authorization", ""))
    if key != SANDBOX_KEY and not key.startswith(f"{SANDBOX_KEY}_") and key != READ_ONLY_KEY:
        shown = f"{key[:8]}{'*' * 12}{key[-4:]}" if len(key) > 12 else "*" * len(key)
        raise StripeRefusalError(401, f"Invalid API Key provided: {shown}", saved=False)
    if key == READ_ONLY_KEY and method != "GET":
        message = (
            f"The provided key 'rk_test_{'*' * 10}only' does not have the required permissions for this endpoint "
            f"on account '{ACCOUNT}'. Having the write permission would allow this request to continue."
        )
        raise StripeRefusalError(403, message, saved=False)
    account = headers.get("stripe-account", ACCOUNT)
    if account != ACCOUNT:
        message = (
            f"The provided key '{key[:8]}{'*' * 12}{key[-4:]}' does not have access to account '{account}' (or that "
            "account does not exist). Application access may have been revoked."
        )
        raise StripeRefusalError(403, message, code="account_invalid", saved=False)
    version = headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        message = f"Invalid Stripe API version: {version}. The sandbox speaks {API_VERSION} only."
        raise StripeRefusalError(400, message, saved=False)


def _key(given: str) -> str:
    scheme, _, value = given.partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    elif scheme.lower() != "bearer":
        value = ""
    if not value:
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise StripeRefusalError(401, message, saved=False)
    return value
