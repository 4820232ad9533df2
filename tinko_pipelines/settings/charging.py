"""Retries: how they are worked through, what stops them, and our own caps."""

from __future__ import annotations

from pydantic import Field

from tinko_pipelines.state_folder import StateFolder


class ChargingSettings(StateFolder):
    """How much is charged, how fast, and when not."""

    drain_workers: int = Field(4, ge=1, le=32, description="Attempts in flight at once.")
    drain_seconds: float = Field(50.0, gt=0, le=600, description="After this long a drain ends itself.")
    drain_lease_seconds: float = Field(
        180.0,
        ge=1,
        le=3600,
        description="A call under way is left alone this long before another process settles it; keep it above 150.",
    )
    breaker_faults: int = Field(
        5, ge=1, description="Charging pauses for a while when so many charges got no usable answer."
    )
    breaker_fault_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="… and they are more than this share of the charges of the last 10 minutes.",
    )
    breaker_pause_minutes: float = Field(
        10.0, ge=1, le=1440, description="How long such a pause lasts; then it ends by itself."
    )
    breaker_declines: int = Field(
        20,
        ge=1,
        description="Charging stops until a person resumes it when so many were declined in an hour.",
    )
    breaker_base: int = Field(
        100, ge=1, description="… with at least so many charges in the four weeks before to compare with."
    )
    breaker_sigmas: float = Field(
        3.0, ge=1, le=10, description="… and a share of declines so many standard deviations above theirs."
    )
    enrol_max_age_days: int = Field(30, ge=1, le=365, description="Older failures are not taken up.")
    card_attempts_30d: int = Field(8, ge=1, le=20, description="Most attempts on one card in 30 days.")
    card_attempts_24h: int = Field(1, ge=1, le=10, description="Most attempts on one card in 24 hours.")
    customer_attempts_24h: int = Field(
        2, ge=1, le=10, description="Most attempts on one customer's cards in 24 hours."
    )
    account_attempts_24h: int = Field(
        0, ge=0, description="Most attempts of ours in 24 hours over the whole account; 0 sets no limit."
    )
    visa_attempts_30d: int = Field(
        15,
        ge=1,
        le=20,
        description="Most attempts with one amount on one Visa card in 30 days; acquirers print 15 or 20.",
    )
    amount_ceilings: str = Field(
        "",
        description="Most we try to collect in 24 hours by currency, in minor units: `usd=5000000,eur=4000000`. None if unset.",
    )
    max_cases_per_plan: int = Field(100_000, ge=1, description="Most failed payments taken up in one run.")
