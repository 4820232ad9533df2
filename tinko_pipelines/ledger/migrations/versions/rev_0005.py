"""The first schema: every table and every trigger."""

from alembic import op

from tinko_pipelines.ledger.schema import metadata
from tinko_pipelines.ledger.triggers import statements

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, then the rules over them."""
    bind = op.get_bind()
    metadata.create_all(bind, checkfirst=False)
    for statement in statements(bind.dialect.name):
        bind.exec_driver_sql(statement)
    if bind.dialect.name == "postgresql":
        # A claim changes no indexed column, so with room on the page it costs no index entry.
        bind.exec_driver_sql("ALTER TABLE recovery_case SET (fillfactor = 70)")
