"""The switches: may this account (or any) be charged or mailed at all. The triggers obey the same rows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, or_, select, text

from tinko_pipelines.ledger.schema import control, control_event, recovery_case
from tinko_pipelines.ledger.store import Ledger

GLOBAL = "global"


def pause(ledger: Ledger, scope: str, reason: str, by: str, at: datetime) -> None:
    """Stop charging and mailing for `scope` ('global' or an account) from the next call on."""
    with ledger.write() as connection:
        _switch(connection, scope, reason, by, at, charging_enabled=False, mailing_enabled=False)


def pause_charging(
    connection: Connection,
    scope: str,
    reason: str,
    by: str,
    at: datetime,
    *,
    resumes_at: datetime | None = None,
) -> bool:
    """Stop charging only, until a person resumes it or `resumes_at`; False when it is stopped already for longer."""
    _one_at_a_time(connection)
    found = connection.execute(select(control).where(control.c.scope == scope)).mappings().first()
    if found is not None and not found["charging_enabled"]:
        until = found["resumes_at"]
        if until is None or (resumes_at is not None and until >= resumes_at):
            return False
    _switch(connection, scope, reason, by, at, charging_enabled=False, resumes_at=resumes_at)
    return True


def resume(ledger: Ledger, scope: str, reason: str, by: str, at: datetime) -> None:
    """Allow charging and mailing for `scope` again."""
    with ledger.write() as connection:
        _switch(connection, scope, reason, by, at, charging_enabled=True, mailing_enabled=True)


def accounts(ledger: Ledger) -> set[str]:
    """Every account the ledger has a case or a switch of."""
    with ledger.read() as connection:
        named = set(connection.execute(select(recovery_case.c.account_id).distinct()).scalars())
        return named | set(connection.execute(select(control.c.scope)).scalars()) - {GLOBAL}


@dataclass(frozen=True, slots=True)
class Pause:
    """What is stopped in a scope, by whom and why; `until` is None where a person has to resume it."""

    scope: str
    stopped: str
    by: str
    reason: str
    since: datetime
    until: datetime | None

    def __str__(self) -> str:
        """One sentence for people."""
        ends = f"until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else "until a person resumes it"
        return f"{self.scope}: {self.stopped} stopped by {self.by} {ends}: {self.reason}"


def pauses(ledger: Ledger, at: datetime) -> list[Pause]:
    """Every scope in which charging or mailing is stopped at `at`."""
    with ledger.read() as connection:
        rows = connection.execute(select(control).order_by(control.c.scope)).all()
    found = []
    for row in rows:
        charging = not row.charging_enabled and (row.resumes_at is None or row.resumes_at > at)
        what = [name for name, off in (("charging", charging), ("mailing", not row.mailing_enabled)) if off]
        if what:
            by, why = row.changed_by or "somebody", row.reason or "no reason given"
            # A moment at which it goes on by itself is kept for charging alone.
            until = row.resumes_at if row.mailing_enabled else None
            found.append(Pause(row.scope, " and ".join(what), by, why, row.changed_at, until))
    return found


def charging_allowed(connection: Connection, account_id: str, at: datetime) -> bool:
    """Whether neither the account nor everything is paused at `at`."""
    paused = select(control.c.scope).where(
        control.c.scope.in_((GLOBAL, account_id)),
        control.c.charging_enabled.is_(False),
        or_(control.c.resumes_at.is_(None), control.c.resumes_at > at),
    )
    return connection.execute(paused).first() is None


def mailing_allowed(connection: Connection, account_id: str) -> bool:
    """Whether mailing is paused neither for the account nor for everything."""
    rows = connection.execute(
        select(control.c.mailing_enabled).where(control.c.scope.in_((GLOBAL, account_id)))
    ).scalars()
    return all(rows)


def _switch(
    connection: Connection,
    scope: str,
    reason: str,
    by: str,
    at: datetime,
    *,
    resumes_at: datetime | None = None,
    **switches: bool,
) -> None:
    _one_at_a_time(connection)
    values = {"reason": reason, "changed_at": at, "changed_by": by, "resumes_at": resumes_at, **switches}
    known = connection.execute(control.update().where(control.c.scope == scope).values(**values))
    if known.rowcount == 0:
        connection.execute(
            control.insert().values(
                scope=scope, **({"charging_enabled": True, "mailing_enabled": True} | values)
            )
        )
    present = connection.execute(select(control).where(control.c.scope == scope)).mappings().one()
    connection.execute(
        control_event.insert().values(
            scope=scope,
            at=at,
            actor=by,
            reason=reason,
            charging_enabled=present["charging_enabled"],
            mailing_enabled=present["mailing_enabled"],
            resumes_at=resumes_at,
        )
    )


def _one_at_a_time(connection: Connection) -> None:
    """Let two processes that pause at the same moment wait for each other; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tinko:control'))"))
