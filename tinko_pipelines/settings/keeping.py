"""How long things are kept. 0 keeps them for ever."""

from __future__ import annotations

from pydantic import Field, field_validator

from tinko_pipelines.state_folder import StateFolder


class KeepingSettings(StateFolder):
    """What `tinko retention` may roll up or remove, and how many snapshots there are."""

    snapshots_kept: int = Field(
        7, ge=1, le=1000, description="So many published snapshots are kept, the newest included."
    )
    retention_weekly: bool = Field(
        False, description="Whether a job does each week what `tinko retention --yes` does."
    )
    retention_roll_up_months: int = Field(
        0,
        ge=0,
        le=1200,
        description="Files of a day in the lake are put together by month when the month ended so many whole months ago; 0 never.",
    )
    retention_pages_months: int = Field(
        0,
        ge=0,
        le=1200,
        description="Kept pages are removed when so many whole months have passed since theirs; 0 never. What is removed cannot be parsed again.",
    )
    retention_bodies_days: int = Field(
        0, ge=0, le=36500, description="What a sent mail said is forgotten after so many days; 0 never."
    )
    retention_webhooks_days: int = Field(
        0,
        ge=0,
        le=36500,
        description="Webhook events that are dealt with leave the inbox after so many days, at least 7; 0 never.",
    )
    retention_runs_days: int = Field(
        0,
        ge=0,
        le=36500,
        description="Dagster's finished runs and their events go after so many days; 0 never.",
    )
    retention_outbox_days: int = Field(
        0, ge=0, le=36500, description="Mails that became files go after so many days; 0 never."
    )
    retention_reports_days: int = Field(
        0, ge=0, le=36500, description="Reports but the newest go after so many days; 0 never."
    )
    retention_logs_days: int = Field(
        30, ge=0, le=36500, description="dbt's logs go after so many days; 0 never."
    )

    @field_validator("retention_webhooks_days")
    @classmethod
    def _longer_than_stripe_repeats(cls, value: int) -> int:
        if 0 < value < 7:
            raise ValueError("Stripe sends an event again for days, so 0 or at least 7 is wanted")
        return value
