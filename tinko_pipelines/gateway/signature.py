"""Whether a webhook was signed by Stripe, of late. What it says is read elsewhere."""

from collections.abc import Iterable
from datetime import datetime

import stripe

from tinko_pipelines.errors import InputError

TOLERANCE_SECONDS = 300


class UnsignedError(InputError):
    """It was not signed with any of our secrets, or was altered since."""


class StaleError(InputError):
    """It was signed, but at another time than now, so it may be a copy of one that came before."""


def verify(body: bytes, header: str | None, secrets: Iterable[str], now: datetime) -> None:
    """Let the SDK hold the body against its `Stripe-Signature`; raises UnsignedError or StaleError, which tell nothing of it."""
    if not any(_fits(body, header, secret) for secret in secrets):
        raise UnsignedError("is not signed with a secret of this account")
    if abs(_signed_at(header or "") - int(now.timestamp())) > TOLERANCE_SECONDS:
        raise StaleError(f"was not signed within {TOLERANCE_SECONDS} seconds of now")


def _fits(body: bytes, header: str | None, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret))
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        # The latter two: a body that is no UTF-8, or a signature that is no ASCII.
        return False


def _signed_at(header: str) -> int:
    """The moment that the SDK took for signed: the first one that is named."""
    pairs = (part.split("=", 2) for part in header.split(","))
    return next(int(pair[1]) for pair in pairs if pair[0] == "t")
