"""Alembic's entry: runs inside the connection and transaction that `Ledger.migrate` hands over."""

from alembic import context

from tinko_pipelines.ledger.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
