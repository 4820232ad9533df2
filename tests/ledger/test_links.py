"""What the database itself holds of links and pages; and a ledger of the version before that becomes one of this."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select, text, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from tests.fake_stripe import NOW
from tests.ledger.older import age
from tests.ledger.rows import add, add_case, add_rule, attempt_values, undone
from tinko_pipelines.ledger import links
from tinko_pipelines.ledger.schema import (
    amount_ceiling,
    attempt,
    checkout_session,
    recovery_case,
    recovery_link,
)
from tinko_pipelines.ledger.store import HEAD_REVISION, Ledger

HOUR = timedelta(hours=1)
CARDLESS = {"card_fingerprint": None, "card_brand": None, "customer_id": None}


def case_with_link(connection: Connection, name: str = "c", days: int = 14) -> str:
    add_case(connection, name)
    case = dict(connection.execute(select(recovery_case).filter_by(id=name)).mappings().one())
    token = links.make(connection, case, NOW, days)
    assert token is not None
    found = links.find(connection, token)
    assert found is not None
    return str(found[0]["id"])


def page(connection: Connection, name: str, link: str, at: Any = NOW, **changes: Any) -> None:
    row = {"operation": "checkout.session", "amount_minor": 1000, **CARDLESS, **changes}
    add(connection, attempt, **attempt_values(name, at, **row))
    add(connection, checkout_session, attempt_id=row.get("id", f"{name}:1"), case_id=name, account_id="default",
        link_id=link, expires_at=at + 24 * HOUR)  # fmt: skip


def refused(ledger: Ledger, act: Any, said: str) -> None:
    with undone(ledger) as connection, pytest.raises(DatabaseError, match=said):
        act(connection)


def test_a_page_and_a_retry_have_one_slot(untouched: Ledger) -> None:
    other = {"id": "c:2", "n": 2, "idempotency_key": "another"}
    with undone(untouched) as connection:
        link = case_with_link(connection)
        page(connection, "c", link)
        with pytest.raises(IntegrityError, match=r"one_blocking|attempt\.case_id"):
            add(connection, attempt, **attempt_values("c", NOW, **other))
    with undone(untouched) as connection:
        link = case_with_link(connection)
        add(connection, attempt, **attempt_values("c", NOW))
        with pytest.raises(IntegrityError, match=r"one_blocking|attempt\.case_id"):
            page(connection, "c", link, **other)


def test_a_page_asks_for_what_the_case_owes(untouched: Ledger) -> None:
    def act(connection: Connection) -> None:
        page(connection, "c", case_with_link(connection), amount_minor=999)

    refused(untouched, act, "FOREIGN KEY|attempt_of_case")


@pytest.mark.parametrize(
    "values",
    [{"used_at": NOW}, {"revoked_at": NOW}, {}],
    ids=["used", "revoked", "expired"],
)
def test_no_page_is_made_by_a_link_that_is_over(untouched: Ledger, values: dict[str, Any]) -> None:
    def act(connection: Connection) -> None:
        link = case_with_link(connection)
        if values:
            connection.execute(update(recovery_link).values(**values))
        page(connection, "c", link, NOW + (HOUR if values else timedelta(days=15)))

    refused(untouched, act, "a page needs a link that is good")


def test_no_page_is_made_by_the_link_of_another_case(untouched: Ledger) -> None:
    def act(connection: Connection) -> None:
        link = case_with_link(connection, "other")
        case_with_link(connection)
        page(connection, "c", link)

    refused(untouched, act, "a page needs a link|FOREIGN KEY|session_of_link")


@pytest.mark.parametrize(
    "statement",
    [
        update(recovery_link).values(amount_minor=1),
        update(recovery_link).values(token_sha256="0" * 64),
        update(recovery_link).values(expires_at=NOW + timedelta(days=99)),
        update(recovery_link).values(used_at=None),
        update(recovery_link).values(clicks=0),
        recovery_link.delete(),
        update(checkout_session).values(session_id="cs_other"),
        update(checkout_session).values(session_id=None),
        checkout_session.delete(),
    ],
    ids=lambda statement: str(statement).replace("\n", " ")[:60],
)
def test_links_and_pages_are_frozen(untouched: Ledger, statement: Any) -> None:
    def act(connection: Connection) -> None:
        link = case_with_link(connection)
        links.clicked(connection, link, NOW)
        page(connection, "c", link)
        connection.execute(update(checkout_session).values(session_id="cs_1"))
        links.used(connection, link, NOW)
        connection.execute(statement)

    refused(untouched, act, "frozen|never deleted|FOREIGN KEY|link_of_case")


def test_a_token_is_kept_as_a_hash_alone(untouched: Ledger) -> None:
    def act(connection: Connection) -> None:
        case_with_link(connection)
        connection.execute(update(recovery_link).values(token_sha256="x" * 43))

    refused(untouched, act, "link_hashed|frozen")
    with undone(untouched) as connection:
        case_with_link(connection)
        assert links.find(connection, "x" * 43) is None
        assert links.find(connection, "") is None


def test_no_limit_on_us_stops_or_counts_a_page(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        add_rule(connection, "account", 1, 24)
        add(connection, amount_ceiling, account_id="default", currency="usd", max_minor_per_day=1000)
        link = case_with_link(connection)
        page(connection, "c", link)
        connection.execute(attempt.update().values(state="calling", called_at=NOW))
        add_case(connection, "d")
        add(connection, attempt, **attempt_values("d", NOW))
        mine = attempt.c.case_id == "d"
        assert (
            connection.execute(attempt.update().where(mine).values(state="calling", called_at=NOW)).rowcount
            == 1
        )
        other = case_with_link(connection, "e")
        page(connection, "e", other)


def test_nobody_is_charged_before_his_day(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        link = case_with_link(connection)
        connection.execute(update(recovery_case).values(not_before=NOW + HOUR))
        page(connection, "c", link)
        connection.execute(update(attempt).values(state="abandoned"))
        later = {"id": "c:2", "n": 2, "idempotency_key": "another"}
        add(connection, attempt, **attempt_values("c", NOW + HOUR, **later))
        connection.execute(update(attempt).where(attempt.c.n == 2).values(state="abandoned"))
        soon = {"id": "c:3", "n": 3, "idempotency_key": "a third"}
        with pytest.raises(IntegrityError, match="charged later"):
            add(connection, attempt, **attempt_values("c", NOW + HOUR / 2, **soon))


def test_a_ledger_of_the_version_before_is_brought_up(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_case(connection, "c")
        add(connection, attempt, **attempt_values("c", NOW))
    with ledger.write() as connection:
        age(connection, "0005")
    ledger.migrate()
    with ledger.write() as connection:
        assert connection.execute(select(attempt.c.id)).scalars().all() == ["c:1"]
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD_REVISION
        assert {"recovery_link", "checkout_session"} <= set(inspect(connection).get_table_names())
        assert {index["name"] for index in inspect(connection).get_indexes("attempt")} >= {
            "one_blocking",
            "attempt_spent",
        }
        page(connection, "d", case_with_link(connection, "d"))
    with pytest.raises(IntegrityError, match=r"one_blocking|attempt\.case_id"), ledger.write() as connection:
        again = {"id": "d:2", "n": 2, "idempotency_key": "another"}
        add(connection, attempt, **attempt_values("d", NOW, **again))
    with pytest.raises(DatabaseError, match="illegal attempt"), ledger.write() as connection:
        connection.execute(update(attempt).values(state="succeeded", called_at=NOW))
