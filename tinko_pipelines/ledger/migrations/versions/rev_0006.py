"""Recovery links and pages at Stripe on which customers pay; what a mail says, and whether it came back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from tinko_pipelines.ledger.schema import (
    OPERATIONS,
    attempt,
    checkout_session,
    message_body,
    one_of,
    recovery_link,
)
from tinko_pipelines.ledger.triggers import forgotten
from tinko_pipelines.ledger.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a ledger of the version before lacks; one that was just made has it already.

    The rules are taken away here, and made anew by the newest revision alone.
    """
    bind = op.get_bind()
    if sa.inspect(bind).has_table(recovery_link.name):
        return
    for statement in forgotten(bind):
        bind.exec_driver_sql(statement)
    op.add_column("recovery_case", sa.Column("not_before", UtcDateTime))
    _allow_operations(bind)
    op.add_column("message", sa.Column("variant", sa.Text))
    op.add_column("message", sa.Column("deferrals", sa.Integer, nullable=False, server_default="0"))
    op.add_column("message", sa.Column("bounce", sa.Text))
    op.add_column("message", sa.Column("bounced_at", UtcDateTime))
    op.drop_index("message_due")
    op.create_index("message_due", "message", ["state", "due_at", "id"])
    for table in (recovery_link, checkout_session, message_body):
        table.create(bind)


def _allow_operations(bind: Connection) -> None:
    """SQLite cannot change a check, so its table is made anew."""
    if bind.dialect.name == "postgresql":
        allowed = one_of("operation", OPERATIONS)
        bind.exec_driver_sql("ALTER TABLE attempt DROP CONSTRAINT attempt_operation")
        bind.exec_driver_sql(f"ALTER TABLE attempt ADD CONSTRAINT attempt_operation CHECK ({allowed})")
        return
    for index in attempt.indexes:
        bind.exec_driver_sql(f"DROP INDEX {index.name}")
    bind.exec_driver_sql("ALTER TABLE attempt RENAME TO attempt_before")
    attempt.create(bind)
    names = ", ".join(column.name for column in attempt.columns)
    bind.exec_driver_sql(f"INSERT INTO attempt ({names}) SELECT {names} FROM attempt_before")
    bind.exec_driver_sql("DROP TABLE attempt_before")
