"""Single facts about the ledger itself, by name."""

from sqlalchemy import Connection, select

from tinko_pipelines.ledger.schema import ledger_meta


def get(connection: Connection, key: str) -> str | None:
    """The fact, or None when it was never written."""
    return connection.execute(select(ledger_meta.c.value).where(ledger_meta.c.key == key)).scalar()


def put(connection: Connection, key: str, value: str) -> None:
    """Write the fact, over an older one."""
    known = connection.execute(ledger_meta.update().where(ledger_meta.c.key == key).values(value=value))
    if known.rowcount == 0:
        connection.execute(ledger_meta.insert().values(key=key, value=value))


def forget(connection: Connection, key: str) -> None:
    """Take the fact away."""
    connection.execute(ledger_meta.delete().where(ledger_meta.c.key == key))
