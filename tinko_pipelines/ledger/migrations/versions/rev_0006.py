"""Recovery links, pages at Stripe on which the customer pays, and the day before which he is not charged."""

from alembic import op
from sqlalchemy import Connection, inspect

from tinko_pipelines.ledger.schema import OPERATIONS, attempt, checkout_session, one_of, recovery_link
from tinko_pipelines.ledger.triggers import dropped, statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a ledger of the version before lacks; one that was just made has it already."""
    bind = op.get_bind()
    if inspect(bind).has_table("recovery_link"):
        return
    for statement in dropped(bind.dialect.name):
        bind.exec_driver_sql(statement)
    kind = "TIMESTAMP WITH TIME ZONE" if bind.dialect.name == "postgresql" else "VARCHAR(27)"
    bind.exec_driver_sql(f"ALTER TABLE recovery_case ADD COLUMN not_before {kind}")
    _allow_operations(bind)
    recovery_link.create(bind)
    checkout_session.create(bind)
    for statement in statements(bind.dialect.name):
        bind.exec_driver_sql(statement)


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
