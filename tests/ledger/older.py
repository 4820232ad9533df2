"""A ledger made what it was in a version before this one; its rules are of no matter, they are made anew."""

from sqlalchemy import Connection, inspect, text

from tinko_pipelines.ledger.schema import card_notice, checkout_session, message, message_body, recovery_link
from tinko_pipelines.ledger.triggers import forgotten

MESSAGE = """
CREATE TABLE message (id TEXT NOT NULL PRIMARY KEY, case_id TEXT NOT NULL REFERENCES recovery_case (id),
  account_id TEXT NOT NULL, livemode BOOLEAN NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL, template TEXT NOT NULL,
  locale TEXT, state TEXT NOT NULL, due_at {moment} NOT NULL, message_id_header TEXT UNIQUE, subject TEXT,
  claimed_at {moment}, sent_at {moment}, drop_reason TEXT, detail TEXT, address_hmac TEXT, owner TEXT, lease_until {moment},
  fence INTEGER NOT NULL DEFAULT 0, doubts INTEGER NOT NULL DEFAULT 0, variant TEXT,
  deferrals INTEGER NOT NULL DEFAULT 0, bounce TEXT, bounced_at {moment},
  CONSTRAINT one_message_per_step UNIQUE (case_id, step),
  CONSTRAINT message_state CHECK (state IN ('scheduled', 'sending', 'sent', 'dropped', 'failed', 'in_doubt')),
  CONSTRAINT message_kind CHECK (kind IN ('dunning', 'receipt')),
  CONSTRAINT message_sent_again
    CHECK (state NOT IN ('scheduled', 'sending') OR doubts <= CASE kind WHEN 'receipt' THEN 1 ELSE 0 END))
"""
BODY = """
CREATE TABLE message_body (message_id TEXT NOT NULL PRIMARY KEY REFERENCES message (id),
  case_id TEXT NOT NULL REFERENCES recovery_case (id), account_id TEXT NOT NULL, content {bytes}, sha256 TEXT,
  made_at {moment} NOT NULL)
"""
INDEXES = (
    "CREATE INDEX message_due ON message (state, due_at, id)",
    "CREATE INDEX message_address ON message (account_id, address_hmac, claimed_at)",
    "CREATE INDEX ix_message_body_case_id ON message_body (case_id)",
)


def age(connection: Connection, revision: str) -> None:
    """Take away what came after `revision`, from a ledger without messages."""
    postgres = connection.dialect.name == "postgresql"
    words = {"moment": "TIMESTAMPTZ", "bytes": "BYTEA"} if postgres else {"moment": "TEXT", "bytes": "BLOB"}
    for statement in forgotten(connection):
        connection.exec_driver_sql(statement)
    for table in (message_body, message, card_notice):
        table.drop(connection)
    for statement in (MESSAGE, BODY, *INDEXES):
        connection.exec_driver_sql(statement.format(**words))
    if revision == "0005":
        _without_links(connection, postgres)
    connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


def _without_links(connection: Connection, postgres: bool) -> None:
    connection.exec_driver_sql("DROP TABLE message_body")
    for table in (checkout_session, recovery_link):
        table.drop(connection)
    connection.exec_driver_sql("ALTER TABLE recovery_case DROP COLUMN not_before")
    connection.exec_driver_sql("DROP INDEX message_due")
    connection.exec_driver_sql("CREATE INDEX message_due ON message (state, due_at)")
    for name in ("variant", "deferrals", "bounce", "bounced_at"):
        connection.exec_driver_sql(f"ALTER TABLE message DROP COLUMN {name}")
    if postgres:
        connection.exec_driver_sql("ALTER TABLE attempt DROP CONSTRAINT attempt_operation")
        allowed = "operation IN ('invoice.pay', 'payment_intent.confirm')"
        connection.exec_driver_sql(f"ALTER TABLE attempt ADD CONSTRAINT attempt_operation CHECK ({allowed})")


def shape(connection: Connection) -> dict[str, dict[str, bool]]:
    """Every column by table, and whether it may be empty."""
    looked = inspect(connection)
    return {
        name: {str(column["name"]): bool(column["nullable"]) for column in looked.get_columns(name)}
        for name in looked.get_table_names()
    }
