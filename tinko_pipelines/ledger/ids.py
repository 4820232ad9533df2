"""Names that are a pure function of what they name, so that a restored ledger makes the same ones again."""

from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d3c52-8a0e-5b7e-9c41-2d1f6f0f7a11")
"""Never changes: every id and so every idempotency key hangs on it."""


def case_id(account_id: str, debt_id: str) -> str:
    """The id of our effort to collect one debt."""
    return str(uuid5(NAMESPACE, f"{account_id}:{debt_id}"))


def attempt_id(case: str, n: int) -> str:
    """The id of the n-th retry of a case, counted from 1."""
    return str(uuid5(NAMESPACE, f"{case}:{n}"))


def idempotency_key(attempt: str) -> str:
    """The key Stripe sees; never a function of time, run or process."""
    return f"tinko:v1:{attempt}"


def message_id(case: str, step: int) -> str:
    """The id of one step of a case's mail sequence."""
    return str(uuid5(NAMESPACE, f"{case}:mail:{step}"))


def card_notice_id(account_id: str, payment_method_id: str, expires: str) -> str:
    """The id of the one notice that a card (with this end, `2027-01`) gets."""
    return str(uuid5(NAMESPACE, f"{account_id}:card:{payment_method_id}:{expires}"))


def receipt_id(case: str) -> str:
    """The id of a case's one receipt."""
    return str(uuid5(NAMESPACE, f"{case}:receipt"))
