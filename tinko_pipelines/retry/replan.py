"""Which rungs a case's plan is made of now, and moving those of an open case when another model is in use.

Nothing here shortens a wait: a case that is due, that waits for a cap or a person, or whose last attempt the lake does
not know yet, stays as it is until it is looked at again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tinko_pipelines.ledger import cases
from tinko_pipelines.ledger.schema import OPEN_CASE_STATES, attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.gate import gate, settled_as, too_old
from tinko_pipelines.retry.policy import Policy, earliest_retry, rung_at
from tinko_pipelines.retry.timing import SPACING, Row, Rung, Schedule

Chances = Mapping[datetime, float]
NEW_CARD_RUNGS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A stored plan, read."""

    times: tuple[datetime, ...]
    messages: tuple[datetime, ...]
    rungs: tuple[datetime, ...]
    chances: tuple[float | None, ...]
    sequence: str | None = None

    @classmethod
    def of(cls, text: str) -> "Plan":
        """From its JSON; a plan without rungs of its own is the ladder's."""
        found = json.loads(text)
        times, messages, rungs = (
            tuple(datetime.fromisoformat(moment) for moment in found.get(name, found["retries"]))
            for name in ("retries", "messages", "rungs")
        )
        chances = tuple(found.get("chances", [None] * len(times)))
        return cls(times, messages, rungs, chances, found.get("sequence"))

    def text(self) -> str:
        """As it is stored: JSON with ISO moments, and what a model had a part in."""
        body: dict[str, Any] = {
            "retries": [moment.isoformat() for moment in self.times],
            "messages": [moment.isoformat() for moment in self.messages],
            "max_attempts": len(self.times),
        }
        if self.sequence is not None:
            body["sequence"] = self.sequence
        if self.rungs != self.times or any(chance is not None for chance in self.chances):
            body["rungs"] = [moment.isoformat() for moment in self.rungs]
            body["chances"] = [None if chance is None else round(chance, 6) for chance in self.chances]
        return json.dumps(body)

    @classmethod
    def new(
        cls, schedule: Schedule | None, messages: Sequence[datetime], sequence: str | None = None
    ) -> "Plan":
        """From a schedule, and the moments of the mails with the name of their sequence."""
        if schedule is None:
            return cls((), tuple(messages), (), (), sequence)
        rungs = tuple(rung.at for rung in schedule.rungs)
        chances = schedule.chances or (None,) * len(schedule.times)
        return cls(schedule.times, tuple(messages), rungs, chances, sequence)


def fresh_rungs(
    case_id: str, row: Row, now: datetime, policy: Policy, *, new_card: bool = False
) -> list[Rung]:
    """The ladder from the last failure on; with another card the first try is made at once."""
    found = policy.rungs(case_id, str(row["category"]), row["last_failed_at"], now, row.get("wait_hours"))
    return [Rung(now, now, fixed=True), *found[:NEW_CARD_RUNGS]] if new_card else found


def has_new_card(case: Row, row: Row) -> bool:
    """Whether another card is on file than the case was planned for."""
    return bool(row.get("payment_method_id") != case["payment_method_id"])


def other_version(case: Row, policy: Policy) -> bool:
    """Whether the plan was made by another model than the one in use; a model that fails replaces no plan."""
    if policy.foresight is None and policy.trouble:
        return False
    made_by = str(case["policy_version"] or policy.version)
    return made_by != policy.full_version


def movable(case: Row, row: Row, last_called_at: datetime | None, now: datetime, policy: Policy) -> list[int]:
    """Which of the plan's moments may still be moved, by their place in it."""
    due: datetime | None = case["due_at"]
    plan = Plan.of(case["plan"])
    if (
        due is None
        or due <= now
        or due not in plan.times
        or case["executed_attempts"] >= case["max_attempts"]
    ):
        return []
    if last_called_at is not None and row["last_failed_at"] < last_called_at.replace(microsecond=0):
        return []
    if earliest_retry(row["last_failed_at"], now, row.get("wait_hours")) > due:
        return []
    return [place for place, moment in enumerate(plan.times) if moment >= due]


def standing_rungs(case: Row, row: Row, places: Sequence[int], now: datetime) -> list[Rung]:
    """The ladder's rungs behind those moments of the plan."""
    earliest = earliest_retry(row["last_failed_at"], now, row.get("wait_hours"))
    plan = Plan.of(case["plan"])
    return [rung_at(plan.rungs[place], str(row["category"]), earliest) for place in places]


def moved(
    case: Row, places: Sequence[int], rungs: Sequence[Rung], chances: Chances | None, policy: Policy
) -> Plan:
    """The case's plan with these moments placed anew; one that no longer fits its rung stays where it is."""
    plan = Plan.of(case["plan"])
    schedule = policy.placed(rungs, chances)
    times, seen = list(plan.times), list(plan.chances)
    last: datetime | None = None
    for place, rung, at, chance in zip(
        places, rungs, schedule.times, schedule.chances or [None] * len(rungs), strict=True
    ):
        if at >= rung.not_before and (last is None or at >= last + SPACING):
            times[place], seen[place] = at, chance
        last = times[place]
    return replace(plan, times=tuple(times), chances=tuple(seen))


def place_anew(
    connection: Connection,
    case: dict[str, Any],
    row: Row,
    now: datetime,
    policy: Policy,
    chances: Chances | None,
    actor: str,
) -> bool:
    """Move the retries still ahead to where the model now in use, or the ladder alone, has them."""
    if not other_version(case, policy):
        return False
    called_at = last_called(connection, [case["id"]]).get(case["id"])
    places = movable(case, row, called_at, now, policy)
    rungs = standing_rungs(case, row, places, now)
    if not places or (policy.foresight is not None and not policy.knows(rungs, chances)):
        return False
    plan = moved(case, places, rungs, chances, policy)
    ends_at = max(plan.times[-1] + timedelta(days=policy.tail_days), case["plan_ends_at"])
    due_at, version = plan.times[places[0]], policy.full_version
    cases.change(
        connection, case, now, plan=plan.text(), plan_ends_at=ends_at, due_at=due_at, policy_version=version
    )
    reason = f"planned by {version}, before by {case['policy_version']}"
    cases.record(connection, case, now, actor, "replanned", detail=reason)
    return True


def last_called(connection: Connection, case_ids: Sequence[str]) -> dict[str, datetime]:
    """When each case's last attempt was made that reached a card."""
    query = (
        select(attempt.c.case_id, func.max(attempt.c.called_at))
        .where(attempt.c.case_id.in_(case_ids), attempt.c.executed)
        .group_by(attempt.c.case_id)
    )
    return {str(case_id): at for case_id, at in connection.execute(query).tuples() if at is not None}


def foreseen(
    ledger: Ledger, ids: Sequence[str], rows: Sequence[Row], now: datetime, policy: Policy
) -> dict[str, Chances]:
    """What the model in use says of every plan that may be made of these rows; asked before anything is locked."""
    if policy.foresight is None:
        return {}
    with ledger.read() as connection:
        query = select(recovery_case).where(recovery_case.c.id.in_(ids))
        known = {row["id"]: dict(row) for row in connection.execute(query).mappings()}
        called = last_called(connection, ids)
    asked: dict[str, tuple[Row, list[Rung]]] = {}
    for identity, row in zip(ids, rows, strict=True):
        rungs = _wanted(identity, known.get(identity), row, called.get(identity), now, policy)
        if rungs:
            asked[identity] = row, rungs
    found = policy.foresee(list(asked.values()))
    return {identity: chances for identity, chances in zip(asked, found, strict=True) if chances is not None}


def _wanted(
    identity: str, case: Row | None, row: Row, last_called_at: datetime | None, now: datetime, policy: Policy
) -> list[Rung]:
    """The rungs of the plan that the row leads to; none where nothing is planned."""
    plain = dict(row)
    if settled_as(plain) or not gate(plain, policy).retry:
        return []
    if case is None:
        return [] if too_old(plain, now, policy) else fresh_rungs(identity, row, now, policy)
    if case["state"] not in OPEN_CASE_STATES:
        return []
    if has_new_card(case, row) or case["move"] == "wait_stripe":
        return fresh_rungs(identity, row, now, policy, new_card=has_new_card(case, row))
    if not other_version(case, policy):
        return []
    return standing_rungs(case, row, movable(case, row, last_called_at, now, policy), now)
