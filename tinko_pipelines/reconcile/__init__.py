"""Holding the ledger against what Stripe shows, by a way of its own. Reads Stripe only; charges and settles nothing."""

from tinko_pipelines.reconcile.ledger_side import disputes
from tinko_pipelines.reconcile.run import Reconciled, reconcile

__all__ = ["Reconciled", "disputes", "reconcile"]
