"""What a person may do to a case or a mail: each act is told before it is done, and recorded with who and why.

Nobody overrules Stripe: it is asked first, by GET alone, and what contradicts it is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from tinko_pipelines.clock import FixedClock
from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import attempts, cases
from tinko_pipelines.ledger.leases import holds
from tinko_pipelines.ledger.schema import SESSION, UNRESOLVED, attempt, message, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.files import Row, find_case, rows
from tinko_pipelines.retry.janitor import POLLED, look_now, what_became
from tinko_pipelines.retry.looks import REPOST_HOURS
from tinko_pipelines.retry.preflight import View, look, preflight
from tinko_pipelines.retry.settle import load_case, settle_within

ENDS = ("recovered", "paid_elsewhere", "cancelled", "exhausted")
OUTCOMES = ("succeeded", "declined", "abandoned")
RETRY_DAYS = 7
MOST_ATTEMPTS = 20
LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Act:
    """What is changed of `subject`, one sentence each; `done` says whether it was, or only would be."""

    subject: str
    changes: tuple[str, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """The acts of one person, at one moment. With `apply` false nothing is written. `gateway` is asked for by account."""

    ledger: Ledger
    gateway: Callable[[str], Gateway]
    now: datetime
    by: str
    apply: bool = False

    @property
    def actor(self) -> str:
        """As whom the acts are recorded."""
        return f"person:{self.by}"

    def resolve(self, reference: str, state: str, reason: str, outcome: str | None = None) -> Act:
        """End a case as `state`, once its attempts are settled; `outcome` is for one that Stripe cannot tell of."""
        if state not in ENDS:
            raise InputError(f"a case ends as one of {', '.join(ENDS)}, not as {state}")
        case = self._page_looked_after(self._living(reference))
        found = self._unsettled(case, outcome)
        view = found.view if found and found.view else look(self.gateway(case["account_id"]), case)
        ours = self._has_succeeded(case) or (found is not None and found.outcome.state == "succeeded")
        refused = _contradiction(case, state, view, ours)
        if refused:
            raise InputError(f"case {case['id']} cannot be resolved as {state}: {refused}")
        changes = [*(found.sentences() if found else ()), f"case {case['state']} → {state}: {reason}"]
        if self.apply:
            with self.ledger.write() as connection:
                current = self._settled(connection, case, found)
                if current["state"] != state:
                    cases.close(connection, current, state, reason, self.now, self.actor)
                else:
                    cases.record(connection, current, self.now, self.actor, "confirmed", detail=reason)
        return Act(case["id"], tuple(changes), self.apply)

    def retry(self, reference: str, reason: str) -> Act:
        """Hand a case back to the drain, due now; every cap and every look before the call still holds."""
        case = self._page_looked_after(self._living(reference))
        found = self._unsettled(case, None)
        if found and (found.outcome.state == "succeeded" or found.close_as):
            raise InputError(f"case {case['id']} is not retried: its attempt is {found.outcome.state}")
        refused = self._not_ours_to_retry(case, found)
        clearance = preflight(self.gateway(case["account_id"]), case)
        if not clearance.go and not clearance.for_now:
            refused = refused or clearance.reason
        if refused:
            raise InputError(f"case {case['id']} is not retried: {refused}")
        executed = case["executed_attempts"] + int(found.outcome.executed if found else 0)
        values: Row = {
            "max_attempts": min(MOST_ATTEMPTS, max(case["max_attempts"], executed + 1)),
            "plan_ends_at": max(case["plan_ends_at"], self.now + timedelta(days=RETRY_DAYS)),
            "not_before": None,
        }
        named = [f"{name} {case[name]} → {value}" for name, value in values.items() if case[name] != value]
        changes = [
            *(found.sentences() if found else ()),
            f"case {case['state']} → open, due now: {reason}",
            *named,
        ]
        if self.apply:
            with self.ledger.write() as connection:
                current = self._settled(connection, case, found)
                if current["state"] == "needs_human":
                    cases.reopen(connection, current, self.now, self.now, self.actor, reason=reason, **values)
                else:
                    cases.change(connection, current, self.now, due_at=self.now, **values)
                    cases.record(connection, current, self.now, self.actor, "retry_asked", detail=reason)
        return Act(case["id"], tuple(changes), self.apply)

    def stop(self, reference: str, reason: str) -> Act:
        """End the effort: at once, or as soon as an outcome that is still open is known."""
        case = self._living(reference)
        with self.ledger.read() as connection:
            row = _blocker(connection, case)
        if row is None:
            return self.resolve(case["id"], "cancelled", reason)
        changes = (
            f"attempt {row['n']} is {row['state']}: it is not called again, and looked at until it is known",
            f"case {case['state']} → needs_human, its plan ends now: {reason}",
        )
        if self.apply:
            with self.ledger.write() as connection:
                current = self._unchanged(connection, case)
                values: Row = {"plan_ends_at": self.now, "max_attempts": case["executed_attempts"]}
                cases.close(connection, current, "needs_human", reason, self.now, self.actor, **values)
        return Act(case["id"], changes, self.apply)

    def resolve_mail(self, message_id: str, went_out: bool, reason: str) -> Act:
        """Say whether a mail in doubt went out. It is never sent again; the next step of the plan goes on."""
        with self.ledger.read() as connection:
            known = rows(connection, select(message).where(message.c.id == message_id))
        if not known or known[0]["state"] != "in_doubt":
            what = f"is {known[0]['state']}" if known else "does not exist"
            raise InputError(
                f"message {message_id} {what}: only one in doubt is resolved, see `tinko mail list`"
            )
        state = "sent" if went_out else "failed"
        values = {"state": state, "detail": reason[:500]} | (
            {"sent_at": known[0]["claimed_at"]} if went_out else {}
        )
        if self.apply:
            with self.ledger.write() as connection:
                doubted = (message.c.id == message_id, message.c.state == "in_doubt")
                if connection.execute(message.update().where(*doubted).values(**values)).rowcount != 1:
                    raise InputError(f"message {message_id} has changed meanwhile: look again")
                case = rows(connection, select(recovery_case).filter_by(id=known[0]["case_id"]))[0]
                detail = f"step {known[0]['step']}: {reason}"
                cases.record(connection, case, self.now, self.actor, f"message_{state}", detail=detail)
        return Act(message_id, (f"message in_doubt → {state}: {reason}",), self.apply)

    def _living(self, reference: str) -> Row:
        with self.ledger.read() as connection:
            case = find_case(connection, reference)
        if case["state"] in cases.CLOSED:
            raise InputError(
                f"case {case['id']} is {case['state']}: that is its end, nothing changes it any more"
            )
        return case

    def _page_looked_after(self, case: Row) -> Row:
        """The case after a page that holds it up was looked at by the janitor, who alone puts the debt of one in order."""
        with self.ledger.read() as connection:
            row = _blocker(connection, case)
        if not self.apply or row is None or row["operation"] != SESSION:
            return case
        gateway, clock = self.gateway(case["account_id"]), FixedClock(self.now)
        look_now(self.ledger, gateway, row, clock, self.actor, LEASE_SECONDS)
        return self._living(case["id"])

    def _has_succeeded(self, case: Row) -> bool:
        query = select(attempt.c.id).where(attempt.c.case_id == case["id"], attempt.c.state == "succeeded")
        with self.ledger.read() as connection:
            return connection.execute(query).first() is not None

    def _unsettled(self, case: Row, said: str | None) -> "_Found | None":
        """The attempt whose outcome is open, with what Stripe makes of it; refused while it may still run."""
        with self.ledger.read() as connection:
            row = _blocker(connection, case)
            leased = row and holds(row["lease_until"], self.ledger.database_now(connection))
        if row is None:
            return None
        if leased:
            raise InputError(f"attempt {row['id']} is being worked on: try again in some minutes")
        if row["state"] == "prepared":
            return _Found(row, Outcome("abandoned", "never_called"), None, None)
        view, outcome, close_as = what_became(
            self.ledger, self.gateway(case["account_id"]), row, case, self.now
        )
        if row["operation"] == SESSION and not self.apply and view.status in ("none", "expired"):
            outcome = Outcome("abandoned", "no_page", detail=view.reason)
        edge = row["called_at"] + timedelta(hours=REPOST_HOURS)
        if outcome.answer == "no_trace" and self.now < edge:
            raise InputError(
                f"attempt {row['id']} has left no trace at Stripe yet and may still run until {edge:%c}"
            )
        if outcome.state in POLLED:
            unread = view.standing == "unread" and self.now >= edge
            if said is None or not unread:
                raise InputError(
                    f"attempt {row['id']} is {outcome.state} ({view.reason}): its outcome must come first"
                )
            outcome = Outcome(said, "said_by_person", executed=said != "abandoned", detail=view.reason)
        if said is not None and said != outcome.state:
            raise InputError(
                f"attempt {row['id']} is {outcome.state} at Stripe ({outcome.answer}), not {said}"
            )
        return _Found(row, outcome, close_as, view)

    def _settled(self, connection: Connection, case: Row, found: "_Found | None") -> Row:
        """The case, locked, after its attempt was settled as found; whatever is done to it is one transaction."""
        current = self._unchanged(connection, case)
        if found is None:
            return current
        row = attempts.claim(self.ledger, connection, found.row["id"], self.actor, LEASE_SECONDS)
        if row is None or row["state"] != found.row["state"]:
            raise InputError(f"attempt {found.row['id']} has been settled meanwhile: look again")
        twice = found.view.paid_twice if found.view else ()
        settle_within(
            self.ledger,
            connection,
            row,
            found.outcome,
            self.now,
            self.actor,
            close_as=found.close_as,
            paid_twice=twice,
        )
        return load_case(self.ledger, connection, case["id"])

    def _unchanged(self, connection: Connection, case: Row) -> Row:
        current = load_case(self.ledger, connection, case["id"])
        if current["version"] != case["version"]:
            raise InputError(f"case {case['id']} has changed meanwhile: look again")
        return current

    def _not_ours_to_retry(self, case: Row, found: "_Found | None") -> str | None:
        if case["move"] not in ("retry", "both", "wait_stripe"):
            return (
                f"no retry was planned for it, since {case['state_reason'] or 'only the customer can help'}"
            )
        query = select(attempt).where(attempt.c.case_id == case["id"], attempt.c.state == "declined")
        with self.ledger.read() as connection:
            declined = [_refusal(row) for row in rows(connection, query)]
        if found is not None:
            declined.append(found.outcome)
        if any(each.never_again(case["card_brand"], self.now.date()) for each in declined if each.executed):
            return "the bank forbids this card; a new card of the customer reopens it by the next plan"
        return None


@dataclass(frozen=True, slots=True)
class _Found:
    """An unsettled attempt, what became of it, and what that makes of its case."""

    row: Row
    outcome: Outcome
    close_as: str | None
    view: View | None

    def sentences(self) -> tuple[str]:
        """What settling it changes."""
        return (
            f"attempt {self.row['n']} {self.row['state']} → {self.outcome.state} ({self.outcome.answer})",
        )


def _contradiction(case: Row, state: str, view: View, ours: bool) -> str | None:
    """Why Stripe's records do not allow to end the case so; None when they do."""
    if view.standing in ("unread", "key_refused"):
        return f"Stripe cannot be asked ({view.reason})"
    paid = view.standing == "paid"
    if state == "recovered" and not (paid and ours):
        return "no attempt of ours has succeeded" if paid else f"{view.reason} at Stripe"
    if state == "paid_elsewhere":
        if ours:
            return "an attempt of ours has succeeded"
        # Another intent may have paid the order of this one; an invoice that is paid says so itself.
        if not paid and not (view.standing == "open" and case["debt_kind"] == "payment_intent"):
            return f"{view.reason} at Stripe"
    if state in ("cancelled", "exhausted") and (paid or ours):
        return f"{view.reason} at Stripe"
    return None


def _refusal(row: Row) -> Outcome:
    names = ("decline_code", "advice_code", "network_decline_code", "network_advice_code", "executed")
    return replace(Outcome("declined", "declined"), **{name: row[name] for name in names})


def _blocker(connection: Connection, case: Row) -> Row | None:
    query = select(attempt).where(attempt.c.case_id == case["id"], attempt.c.state.in_(UNRESOLVED))
    return next(iter(rows(connection, query)), None)
