"""The switches: may this account (or any) be charged or mailed at all. The triggers obey the same rows."""

from datetime import datetime

from sqlalchemy import Connection, select

from tinko_pipelines.ledger.schema import control, recovery_case
from tinko_pipelines.ledger.store import Ledger

GLOBAL = "global"


def pause(ledger: Ledger, scope: str, reason: str, by: str, at: datetime) -> None:
    """Stop charging and mailing for `scope` ('global' or an account) from the next call on."""
    _switch(ledger, scope, False, reason, by, at)


def resume(ledger: Ledger, scope: str, reason: str, by: str, at: datetime) -> None:
    """Allow charging and mailing for `scope` again."""
    _switch(ledger, scope, True, reason, by, at)


def accounts(ledger: Ledger) -> set[str]:
    """Every account the ledger has a case or a switch of."""
    with ledger.read() as connection:
        named = set(connection.execute(select(recovery_case.c.account_id).distinct()).scalars())
        return named | set(connection.execute(select(control.c.scope)).scalars()) - {GLOBAL}


def charging_allowed(connection: Connection, account_id: str) -> bool:
    """Whether neither the account nor everything is paused."""
    rows = connection.execute(
        select(control.c.charging_enabled).where(control.c.scope.in_((GLOBAL, account_id)))
    ).scalars()
    return all(rows)


def mailing_allowed(connection: Connection, account_id: str) -> bool:
    """Whether mailing is paused neither for the account nor for everything."""
    rows = connection.execute(
        select(control.c.mailing_enabled).where(control.c.scope.in_((GLOBAL, account_id)))
    ).scalars()
    return all(rows)


def _switch(ledger: Ledger, scope: str, enabled: bool, reason: str, by: str, at: datetime) -> None:
    values = {
        "charging_enabled": enabled,
        "mailing_enabled": enabled,
        "reason": reason,
        "changed_at": at,
        "changed_by": by,
    }
    with ledger.write() as connection:
        known = connection.execute(control.update().where(control.c.scope == scope).values(**values))
        if known.rowcount == 0:
            connection.execute(control.insert().values(scope=scope, **values))
