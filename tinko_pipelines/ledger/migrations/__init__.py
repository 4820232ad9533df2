"""Alembic revisions of the ledger, shipped with the package and run by `Ledger.migrate`."""
