"""The stores: where ledger and lake are, if not below the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import Field, SecretStr, field_validator

from tinko_pipelines.state_folder import StateFolder

OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss", "az", "memory")
"""Kinds of address a lake may have: where what is written is there as a whole or not at all."""


class StoreSettings(StateFolder):
    """What is kept elsewhere, and how it is reached."""

    ledger_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL; SQLite below the state folder if unset."
    )
    lake_url: str | None = Field(
        None,
        description="fsspec address of the lake on an object store, `s3://bucket/lake` say; below the state folder if unset.",
    )
    lake_options: SecretStr | None = Field(
        None,
        description='fsspec\'s options for that address as JSON, `{"endpoint_url": "…"}` say; keys are better left to the environment.',
    )
    ingest_since_days: int = Field(90, ge=1, le=3650, description="How far back a first ingest reaches.")

    @field_validator("lake_url")
    @classmethod
    def _on_an_object_store(cls, value: str | None) -> str | None:
        kind, found, rest = (value or "").strip().partition("://")
        if not kind:
            return None
        if not found or kind not in OBJECT_STORES or not rest.strip("/"):
            raise ValueError(
                f"an address like s3://bucket/folder is wanted, of one of the kinds {', '.join(OBJECT_STORES)};"
                " for a folder of this machine leave it unset and set TINKO_STATE"
            )
        return f"{kind}://{rest.rstrip('/')}"

    @field_validator("lake_options")
    @classmethod
    def _an_object(cls, value: SecretStr | None) -> SecretStr | None:
        given = value.get_secret_value().strip() if value else ""
        if not given:
            return None
        try:
            found = json.loads(given)
        except ValueError as error:
            found = error
        if not isinstance(found, dict):
            raise ValueError('a JSON object is wanted, like {"endpoint_url": "https://…"}')
        return value

    @cached_property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger, its password in clear."""
        given = self.ledger_url.get_secret_value() if self.ledger_url else ""
        return given or f"sqlite:///{self.state / 'ledger.db'}"

    @cached_property
    def lake_storage_options(self) -> Mapping[str, Any]:
        """What fsspec is to be told beside the lake's address, secrets in clear."""
        given = self.lake_options.get_secret_value() if self.lake_options else "{}"
        return dict(json.loads(given))
