"""What a mail says, which subject it had, how often its server put it off, and whether it came back."""

import sqlalchemy as sa
from alembic import op

from tinko_pipelines.ledger.schema import message_body
from tinko_pipelines.ledger.triggers import forgotten, statements
from tinko_pipelines.ledger.types import UtcDateTime

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them to an older ledger; a new one is made with them by the first revision."""
    bind = op.get_bind()
    if sa.inspect(bind).has_table(message_body.name):
        return
    op.add_column("message", sa.Column("variant", sa.Text))
    op.add_column("message", sa.Column("deferrals", sa.Integer, nullable=False, server_default="0"))
    op.add_column("message", sa.Column("bounce", sa.Text))
    op.add_column("message", sa.Column("bounced_at", UtcDateTime))
    op.drop_index("message_due")
    op.create_index("message_due", "message", ["state", "due_at", "id"])
    message_body.create(bind)
    for statement in (*forgotten(bind), *statements(bind.dialect.name)):
        bind.exec_driver_sql(statement)
