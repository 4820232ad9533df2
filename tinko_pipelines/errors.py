"""Errors a person can act on. Each message says what failed, with what, and what to do.

The command line prints these in one line and exits with `exit_code`; anything else is a bug and keeps its
traceback.
"""


class TinkoError(Exception):
    """Base of every error whose text is written for the person who reads it."""

    exit_code = 1


class SettingsError(TinkoError):
    """A setting is missing, contradicts another one, or is refused for safety."""

    exit_code = 2


class InputError(TinkoError):
    """Something the user handed over (an argument, a file, a line) cannot be used."""

    exit_code = 2


class GatewayError(TinkoError):
    """Stripe, or what stands in for it, cannot be reached or refuses the key."""

    exit_code = 3


class StoreError(TinkoError):
    """A store (ledger, lake, warehouse) is unreachable, full, missing or of another version."""

    exit_code = 4


class MailError(TinkoError):
    """The mail server cannot be reached or refuses to talk to us."""

    exit_code = 5


class ChecksFailedError(TinkoError):
    """`tinko check` found rows that break an invariant."""

    exit_code = 6


class PromotionRefusedError(TinkoError):
    """A timing model did not pass the gates and is not put to use."""

    exit_code = 7
