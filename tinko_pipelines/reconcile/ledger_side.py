"""The ledger's side of the comparison, read in whole cases; and the notes the reconciler leaves there."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from tinko_pipelines.ledger import anomalies, meta
from tinko_pipelines.ledger.control import pause_charging
from tinko_pipelines.ledger.schema import anomaly, attempt, case_event, reconciliation, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reconcile.records import Finding, Held

ACTOR = "reconciler"
MONEY = ("attempt_missing", "amount_differs", "success_unknown", "success_not_at_stripe", "paid_twice")
_AT_ONCE = 400


class LedgerSide:
    """One account and mode of a ledger."""

    def __init__(self, ledger: Ledger, account_id: str, livemode: bool) -> None:
        self.ledger, self.account_id, self.livemode = ledger, account_id, livemode

    def cases_of(self, names: Iterable[str]) -> dict[str, str]:
        """Case ids by the ids of invoices, intents, charges or cases given."""
        found: dict[str, str] = {}
        case = recovery_case.c
        for some in _chunks(set(names)):
            with self.ledger.read() as connection:
                for column in (case.payment_intent_id, case.id, case.debt_id, case.live_object_id):
                    query = select(column, case.id).where(
                        case.account_id == self.account_id, case.livemode == self.livemode, column.in_(some)
                    )
                    found |= {row[0]: row[1] for row in connection.execute(query)}
        return found

    def paid_since(self, since: datetime) -> set[str]:
        """Cases with an attempt called since then that the ledger holds for paid."""
        query = select(attempt.c.case_id).where(
            attempt.c.account_id == self.account_id,
            attempt.c.livemode == self.livemode,
            attempt.c.called_at >= since,
            attempt.c.state == "succeeded",
        )
        with self.ledger.read() as connection:
            return set(connection.execute(query).scalars())

    def doubted(self) -> set[str]:
        """Cases with a disagreement found earlier that is still open."""
        query = select(anomaly.c.case_id).where(
            anomaly.c.account_id == self.account_id,
            anomaly.c.kind.in_(MONEY),
            anomaly.c.case_id.is_not(None),
            anomaly.c.resolved_at.is_(None),
        )
        with self.ledger.read() as connection:
            return set(connection.execute(query).scalars())

    def held(self, case_ids: Iterable[str]) -> dict[str, Held]:
        """Whole cases, each with its attempts, of one moment."""
        found: dict[str, Held] = {}
        for some in _chunks(case_ids):
            with self.ledger.read() as connection:
                attempts: dict[str, list[Any]] = defaultdict(list)
                rows = connection.execute(
                    select(attempt)
                    .where(attempt.c.case_id.in_(some))
                    .order_by(attempt.c.case_id, attempt.c.n)
                )
                for row in rows.mappings():
                    attempts[row["case_id"]].append(dict(row))
                cases = connection.execute(select(recovery_case).where(recovery_case.c.id.in_(some)))
                found |= {row["id"]: Held(dict(row), tuple(attempts[row["id"]])) for row in cases.mappings()}
        return found

    def attempts_known(self, names: Iterable[str]) -> set[str]:
        """Those of the attempts named that the ledger has."""
        found: set[str] = set()
        for some in _chunks(names):
            with self.ledger.read() as connection:
                found |= set(connection.execute(select(attempt.c.id).where(attempt.c.id.in_(some))).scalars())
        return found

    def has_cases(self) -> bool:
        """Whether the account has any case."""
        found = select(recovery_case.c.id).where(recovery_case.c.account_id == self.account_id).limit(1)
        with self.ledger.read() as connection:
            return connection.execute(found).first() is not None

    def last_news_at(self) -> datetime | None:
        """When the ledger last wrote down anything about a case."""
        with self.ledger.read() as connection:
            last = select(func.max(case_event.c.id))
            found = select(case_event.c.at).where(case_event.c.id == last.scalar_subquery())
            return connection.execute(found).scalar()

    def read_until(self) -> datetime | None:
        """How far Stripe was read the last time."""
        with self.ledger.read() as connection:
            found = select(reconciliation.c.read_until).where(reconciliation.c.account_id == self.account_id)
            return connection.execute(found).scalar()

    def note(
        self, findings: list[Finding], looks: set[str], examined: set[str], now: datetime, *, whole: bool
    ) -> int:
        """Write down what is new, stop charging for it, settle what is no more; disagreements on money still open.

        What belongs to no case is known to be no more only after the `whole` window was read.
        """
        with self.ledger.write() as connection:
            fresh = [finding for finding in findings if self._note(connection, finding, now)]
            self._settle_gone(connection, findings, examined, now, whole)
            money = [finding for finding in fresh if finding.money]
            if money:
                more = f", and {len(money) - 1} more" if len(money) > 1 else ""
                reason = f"ledger and Stripe disagree: {money[0].detail}{more}"
                pause_charging(connection, self.account_id, reason[:500], ACTOR, now)
            for some in _chunks(looks):
                connection.execute(
                    recovery_case.update()
                    .where(
                        recovery_case.c.id.in_(some),
                        recovery_case.c.state == "open",
                        recovery_case.c.look_after.is_(None),
                    )
                    .values(look_after=now, version=recovery_case.c.version + 1)
                )
            still = select(func.count()).where(
                anomaly.c.account_id == self.account_id,
                anomaly.c.kind.in_(MONEY),
                anomaly.c.resolved_at.is_(None),
            )
            return int(connection.execute(still).scalar_one())

    def whole_is_due(self, now: datetime) -> bool:
        """Whether the whole window was last compared a day ago."""
        with self.ledger.read() as connection:
            found = meta.get(connection, self._whole_key)
        return found is None or datetime.fromisoformat(found) <= now - timedelta(days=1)

    @property
    def _whole_key(self) -> str:
        return f"reconciled_whole:{self.account_id}"

    def close_run(
        self, since: datetime, now: datetime, objects: int, disagreements: int, *, whole: bool
    ) -> None:
        """Write down how far Stripe was read and whether both sides agree."""
        values: dict[str, Any] = {
            "read_from": since,
            "read_until": now,
            "finished_at": now,
            "objects_read": objects,
            "disagreements": disagreements,
        }
        if disagreements == 0:
            values["agreed_at"] = now
        with self.ledger.write() as connection:
            if whole:
                meta.put(connection, self._whole_key, now.isoformat())
            done = connection.execute(
                reconciliation.update().where(reconciliation.c.account_id == self.account_id).values(**values)
            )
            if done.rowcount == 0:
                connection.execute(reconciliation.insert().values(account_id=self.account_id, **values))

    def _note(self, connection: Connection, finding: Finding, now: datetime) -> bool:
        accepted = select(anomaly.c.id).where(
            anomaly.c.account_id == self.account_id,
            anomaly.c.kind == finding.kind,
            anomaly.c.subject == finding.subject,
            anomaly.c.resolved_by.is_not(None),
            anomaly.c.resolved_by != ACTOR,
        )
        if connection.execute(accepted).first() is not None:
            return False
        return anomalies.note(
            connection,
            self.account_id,
            finding.kind,
            finding.subject,
            now,
            case_id=finding.case_id,
            detail=finding.detail[:500],
            proposal=finding.proposal,
            charge_id=finding.charge_id,
            amount_minor=finding.amount_minor,
            currency=finding.currency,
        )

    def _settle_gone(
        self, connection: Connection, findings: list[Finding], examined: set[str], now: datetime, whole: bool
    ) -> None:
        present = {(finding.kind, finding.subject) for finding in findings}
        query = select(anomaly.c.id, anomaly.c.kind, anomaly.c.subject, anomaly.c.case_id).where(
            anomaly.c.account_id == self.account_id,
            anomaly.c.kind.in_(MONEY),
            anomaly.c.resolved_at.is_(None),
        )
        for row in connection.execute(query).all():
            looked_at = whole if row.case_id is None else row.case_id in examined
            if looked_at and (row.kind, row.subject) not in present:
                anomalies.settle(connection, row.id, now, ACTOR)


def _chunks(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def disputes(ledger: Ledger) -> list[dict[str, Any]]:
    """What ledger and Stripe disagree about in money, open still."""
    return [row for row in anomalies.still_open(ledger) if row["kind"] in MONEY]
