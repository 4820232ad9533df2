"""An older ledger is brought up to the newest schema with everything in it, and its rules with it."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from tests.fake_stripe import NOW
from tests.ledger.older import age, shape
from tests.ledger.rows import add, add_case
from tinko_pipelines.ledger.schema import card_notice, message, message_body
from tinko_pipelines.ledger.store import OLDER_REVISIONS, Ledger


def rules_held(ledger: Ledger) -> list[str]:
    held = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
        if ledger.dialect == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )
    with ledger.engine.connect() as connection:
        return list(connection.execute(text(held)).scalars())


@pytest.mark.parametrize("revision", OLDER_REVISIONS)
def test_an_older_ledger_is_brought_up(ledger: Ledger, revision: str) -> None:
    rules = rules_held(ledger)
    with ledger.write() as connection:
        newest = shape(connection)
        age(connection, revision)
        assert shape(connection) != newest
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
    with ledger.read() as connection:
        assert shape(connection) == newest
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
    with ledger.write() as connection:
        add(
            connection,
            card_notice,
            id="n1",
            account_id="default",
            livemode=False,
            expires_at=NOW,
            created_at=NOW,
        )
        of_card = {"id": "m2", "card_notice_id": "n1", "step": 1, "kind": "card", "template": "card_expiring"}
        add(
            connection,
            message,
            account_id="default",
            livemode=False,
            state="scheduled",
            due_at=NOW,
            **of_card,
        )
    with pytest.raises(IntegrityError, match=r"message_kind|CHECK"), ledger.write() as connection:
        add(connection, message, **{**row, "id": "m3", "case_id": None})
    with pytest.raises(DatabaseError, match="frozen"), ledger.write() as connection:
        connection.execute(message_body.update().values(content=b"y"))
    with pytest.raises(DatabaseError, match="illegal message transition"), ledger.write() as connection:
        connection.execute(message.update().where(message.c.id == "m1").values(state="sent"))
