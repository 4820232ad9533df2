"""An older ledger is brought up to the newest schema with everything in it, and its rules with it."""

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DatabaseError

from tests.fake_stripe import NOW
from tests.ledger.rows import add, add_case
from tinko_pipelines.ledger.schema import checkout_session, message, message_body, recovery_link
from tinko_pipelines.ledger.store import OLDER_REVISIONS, Ledger
from tinko_pipelines.ledger.triggers import forgotten

NEW_COLUMNS = ("variant", "deferrals", "bounce", "bounced_at")


def shape(ledger: Ledger) -> dict[str, set[str]]:
    with ledger.engine.connect() as connection:
        looked = inspect(connection)
        return {
            name: {str(column["name"]) for column in looked.get_columns(name)}
            for name in looked.get_table_names()
        }


def rules_held(ledger: Ledger) -> list[str]:
    held = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
        if ledger.dialect == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )
    with ledger.engine.connect() as connection:
        return list(connection.execute(text(held)).scalars())


def age(ledger: Ledger, revision: str) -> None:
    """Make it what it was before the newest tables and columns; its rules are of no matter, they are made anew."""
    with ledger.write() as connection:
        for statement in forgotten(connection):
            connection.exec_driver_sql(statement)
        for table in (checkout_session, recovery_link, message_body):
            table.drop(connection)
        connection.execute(text("DROP INDEX message_due"))
        connection.execute(text("CREATE INDEX message_due ON message (state, due_at)"))
        for name in NEW_COLUMNS:
            connection.execute(text(f"ALTER TABLE message DROP COLUMN {name}"))
        connection.execute(text("ALTER TABLE recovery_case DROP COLUMN not_before"))
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


@pytest.mark.parametrize("revision", OLDER_REVISIONS)
def test_an_older_ledger_is_brought_up(ledger: Ledger, revision: str) -> None:
    newest, rules = shape(ledger), rules_held(ledger)
    age(ledger, revision)
    assert shape(ledger) != newest
    with ledger.write() as connection:
        add_case(connection, "c1")
        connection.execute(
            text(
                "INSERT INTO message (id, case_id, account_id, livemode, step, kind, template, state, due_at)"
                " VALUES ('m1', 'c1', 'default', :no, 1, 'dunning', 'update_card', 'scheduled', :at)"
            ),
            {"no": False, "at": NOW if ledger.dialect == "postgresql" else "2026-09-10T12:00:00.000000Z"},
        )
    ledger.migrate()
    ledger.migrate()
    assert shape(ledger) == newest
    assert rules_held(ledger) == rules
    with ledger.read() as connection:
        row = connection.execute(select(message)).mappings().one()
    assert (row["id"], row["due_at"], row["deferrals"], row["variant"]) == ("m1", NOW, 0, None)
    with ledger.write() as connection:
        add(
            connection,
            message_body,
            message_id="m1",
            case_id="c1",
            account_id="default",
            content=b"x",
            made_at=NOW,
        )
    with pytest.raises(DatabaseError, match="frozen"), ledger.write() as connection:
        connection.execute(message_body.update().values(content=b"y"))
    with pytest.raises(DatabaseError, match="illegal message transition"), ledger.write() as connection:
        connection.execute(message.update().values(state="sent"))
