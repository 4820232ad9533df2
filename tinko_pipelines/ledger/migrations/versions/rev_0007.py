"""Mails about a card that ends, which are about no debt; and when a mail was first opened."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection, Table

from tinko_pipelines.ledger.schema import card_notice, message, message_body
from tinko_pipelines.ledger.triggers import forgotten, statements
from tinko_pipelines.ledger.types import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a ledger of the version before lacks; one that was just made has it already."""
    bind = op.get_bind()
    if sa.inspect(bind).has_table(card_notice.name):
        return
    for statement in forgotten(bind):
        bind.exec_driver_sql(statement)
    card_notice.create(bind)
    if bind.dialect.name == "postgresql":
        _loosen(bind)
    else:
        _make_anew(bind)
    for statement in statements(bind.dialect.name):
        bind.exec_driver_sql(statement)


def _loosen(bind: Connection) -> None:
    op.add_column("message", sa.Column("card_notice_id", sa.Text, sa.ForeignKey("card_notice.id")))
    op.add_column("message", sa.Column("opened_at", UtcDateTime))
    op.create_unique_constraint("message_card_notice_id_key", "message", ["card_notice_id"])
    for name in ("message", "message_body"):
        op.alter_column(name, "case_id", nullable=True)
    (kind,) = (one for one in message.constraints if one.name == "message_kind")
    bind.exec_driver_sql("ALTER TABLE message DROP CONSTRAINT message_kind")
    bind.exec_driver_sql(f"ALTER TABLE message ADD CONSTRAINT message_kind CHECK ({kind.sqltext})")  # type: ignore[attr-defined]


def _make_anew(bind: Connection) -> None:
    """SQLite can change neither, so both tables are made anew: the bodies last, since they name messages."""
    for table in (message, message_body):
        _copied(bind, table)
    for table in (message_body, message):
        bind.exec_driver_sql(f"DROP TABLE {table.name}_before")


def _copied(bind: Connection, table: Table) -> None:
    before = f"{table.name}_before"
    names = {str(one["name"]) for one in sa.inspect(bind).get_columns(table.name)}
    for found in sa.inspect(bind).get_indexes(table.name):
        if not str(found["name"]).startswith("sqlite_autoindex"):
            bind.exec_driver_sql(f"DROP INDEX {found['name']}")
    bind.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {before}")
    table.create(bind)
    both = ", ".join(column.name for column in table.columns if column.name in names)
    bind.exec_driver_sql(f"INSERT INTO {table.name} ({both}) SELECT {both} FROM {before}")
