"""A debt that cannot be read before its call: its waits grow, somebody is told, and in the end a person has it.

That nothing of the account can be read is no case's own trouble: it is told once for the account, charging is paused
by the breaker, and no case goes to a person for it, however many there are.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text

from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import attempt

UNREAD = "unread"
ASKED_TOO_OFTEN = "asked_too_often"
VAIN = (UNREAD, "case_failed")
"""Answers of attempts given up because the look before the call led to nothing."""
_SAYS_NOTHING = (ASKED_TOO_OFTEN, "never_called")
WAIT_HOURS = (0.25, 1.0, 4.0, 12.0, 24.0)
"""After the n-th vain look in a row the next one waits so long; after the last always as long."""
TOLD_AFTER = 3
PERSON_AFTER = 6
KIND = "stripe_unreadable"


@dataclass(frozen=True, slots=True)
class Streak:
    """How often in a row, up to `PERSON_AFTER`, looks at a case were in vain; and whether others could be read."""

    looks: int
    others_read: bool

    @property
    def wait_hours(self) -> float:
        """How long the next look waits."""
        return WAIT_HOURS[min(max(self.looks, 1), len(WAIT_HOURS)) - 1]

    @property
    def for_a_person(self) -> bool:
        """Whether it is the case's own trouble, and has lasted."""
        return self.looks >= PERSON_AFTER and self.others_read


def streak(connection: Connection, case: dict[str, Any]) -> Streak:
    """The newest looks at the case that were all in vain, the one just stored among them."""
    newest = (
        select(attempt.c.state, attempt.c.answer, attempt.c.prepared_at)
        .where(attempt.c.case_id == case["id"], attempt.c.answer.not_in(_SAYS_NOTHING))
        .order_by(attempt.c.n.desc())
        .limit(PERSON_AFTER)
    )
    looks, since = 0, None
    for state, answer, prepared_at in connection.execute(newest):
        if state != "abandoned" or answer not in VAIN:
            break
        looks, since = looks + 1, prepared_at
    if since is None:
        return Streak(0, others_read=False)
    # What was called had been read; spelled out as the partial index has it.
    others = select(attempt.c.id).where(
        attempt.c.account_id == case["account_id"],
        text("attempt.state <> 'abandoned'"),
        attempt.c.prepared_at >= since,
        attempt.c.called_at.is_not(None),
        attempt.c.case_id != case["id"],
    )
    return Streak(looks, connection.execute(others.limit(1)).first() is not None)


def tell(connection: Connection, case: dict[str, Any], vain: Streak, why: str | None, at: datetime) -> None:
    """Open an anomaly when it has lasted: of the case, or of the account while nothing of it can be read."""
    if vain.looks < TOLD_AFTER:
        return
    where = f"{case['debt_kind']} {case['live_object_id']}"
    if vain.others_read:
        note: dict[str, Any] = {
            "case_id": case["id"],
            "proposal": f"see what Stripe shows of {where}; once it can be read the case goes on by itself",
        }
    else:
        note = {"proposal": "see whether Stripe can be reached from here; once it can all goes on by itself"}
    subject = case["id"] if vain.others_read else case["account_id"]
    detail = f"{where} could not be read before its charge, {vain.looks} times in a row: {why or 'no reason given'}"
    anomalies.note(connection, case["account_id"], KIND, subject, at, detail=detail[:500], **note)
