"""Dagster assets in pipeline order. Each reads, calls one use case, and says what it did."""

from collections.abc import Sequence

from dagster import AssetsDefinition

from assets.checks import CHECKS as DATA_CHECKS
from assets.drift import model_drift
from assets.ingest import days_read_again, stripe_changes, stripe_objects
from assets.model_checks import MODEL_CHECKS
from assets.models import recovery_model, training_set
from assets.recovery import (
    failed_payments,
    ledger_export,
    reconciliation,
    recovery_cases,
    text_model,
    verdicts,
)
from assets.reports import report_assets

ASSETS: Sequence[AssetsDefinition] = [
    stripe_objects,
    stripe_changes,
    days_read_again,
    failed_payments,
    text_model,
    verdicts,
    recovery_cases,
    reconciliation,
    ledger_export,
    training_set,
    recovery_model,
    model_drift,
]
CHECKS = [*DATA_CHECKS, *MODEL_CHECKS]

__all__ = ["ASSETS", "CHECKS", "report_assets"]
