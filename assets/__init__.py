"""Dagster assets in pipeline order. Each reads, calls one use case, and says what it did."""

from collections.abc import Sequence

from dagster import AssetsDefinition

from assets.recovery import ledger_export, text_model

ASSETS: Sequence[AssetsDefinition] = [text_model, ledger_export]

__all__ = ["ASSETS"]
