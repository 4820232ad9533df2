"""Asset checks: the data as it should be, and every invariant of ledger and Stripe mirror."""

from collections.abc import Iterator

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    asset_check,
    multi_asset_check,
)

from assets.ingest import days_read_again, stripe_changes
from assets.recovery import failed_payments, ledger_export, reconciliation, verdicts
from resources import TinkoResource
from tinko_pipelines.checks.invariants import INVARIANTS
from tinko_pipelines.lake.deep import UNTOLD
from tinko_pipelines.lake.standing import set_aside

FRESH_MINUTES = 60.0


@asset_check(asset=stripe_changes, description="No object from Stripe is set aside as malformed.")
def nothing_quarantined(tinko: TinkoResource) -> AssetCheckResult:
    """Yellow while anything lies in quarantine; the rest has gone on without it."""
    lake = tinko.app().lake
    found, count = set_aside(lake), lake.quarantined()
    why = MetadataValue.md(
        "\n".join(f"- {one.count} {one.object_name}: {one.reason}" for one in found) or "none"
    )
    return AssetCheckResult(
        passed=count == 0, severity=AssetCheckSeverity.WARN, metadata={"quarantined": count, "why": why}
    )


@asset_check(asset=stripe_changes, description="Each account's changes are known up to an hour ago at least.")
def lake_is_fresh(tinko: TinkoResource) -> AssetCheckResult:
    """Yellow while an account is behind; retries go by what Stripe says at the moment of the call in any case."""
    found = tinko.app().lake_standing().freshness
    behind = {f"{one.account_id} ({one.mode})": round(one.behind_seconds / 60, 1) for one in found}
    return AssetCheckResult(
        passed=bool(found) and all(minutes <= FRESH_MINUTES for minutes in behind.values()),
        severity=AssetCheckSeverity.WARN,
        metadata={"minutes_behind": MetadataValue.json(behind)},
    )


@asset_check(
    asset=days_read_again,
    description="Old days in the lake are as Stripe shows them, but for what no event tells.",
)
def old_days_agree(tinko: TinkoResource) -> AssetCheckResult:
    """Yellow when an event was missed; what differed is repaired."""
    differing = {
        name.removeprefix("deep-"): [
            f"{one['day']} {one['object_name']}"
            for one in told["differences"]
            if one["object_name"] not in UNTOLD
        ]
        for name, told in tinko.app().lake.notes("deep-").items()
    }
    return AssetCheckResult(
        passed=not any(differing.values()),
        severity=AssetCheckSeverity.WARN,
        metadata={"repaired": MetadataValue.json(differing)},
    )


@asset_check(
    asset=failed_payments, description="A debt occurs once, owes a positive amount, and failed once at least."
)
def debts_are_sound(tinko: TinkoResource) -> AssetCheckResult:
    """The grain and the amounts of the failed payments."""
    table = tinko.app().lake.read_derived("failed_payments", "tinko plan")
    debts = list(zip(table["account_id"].to_pylist(), table["debt_id"].to_pylist(), strict=True))
    twice = len(debts) - len(set(debts))
    unsound = sum(amount is None or amount < 0 for amount in table["amount_minor"].to_pylist())
    return AssetCheckResult(
        passed=twice == 0 and unsound == 0, metadata={"debts_twice": twice, "amounts_unsound": unsound}
    )


@asset_check(asset=verdicts, description="At most one failed payment in ten is of unknown category.")
def most_are_understood(tinko: TinkoResource) -> AssetCheckResult:
    """Many unknowns mean that Stripe speaks a language the rules do not know yet."""
    categories = tinko.app().lake.read_derived("verdicts", "tinko plan")["category"].to_pylist()
    unknown = sum(category == "unknown" for category in categories)
    share = unknown / len(categories) if categories else 0.0
    return AssetCheckResult(
        passed=share <= 0.1,
        severity=AssetCheckSeverity.WARN,
        metadata={"unknown": unknown, "of": len(categories), "share": share},
    )


@multi_asset_check(
    specs=[
        AssetCheckSpec(invariant.name, asset=ledger_export, description=invariant.title)
        for invariant in INVARIANTS
    ]
)
def ledger_invariants(
    context: AssetCheckExecutionContext, tinko: TinkoResource
) -> Iterator[AssetCheckResult]:
    """What `tinko check` runs, one check per invariant; a broken one is an error."""
    for result in tinko.app().check():
        yield AssetCheckResult(
            check_name=result.name,
            asset_key=ledger_export.key,
            passed=result.rows == 0,
            severity=AssetCheckSeverity.ERROR,
            metadata={"breaking_rows": result.rows, "sample": MetadataValue.json(result.sample)},
        )


@asset_check(asset=reconciliation, description="Ledger and Stripe agree about money.")
def ledger_agrees_with_stripe(tinko: TinkoResource) -> AssetCheckResult:
    """Red while a disagreement is open; each is an anomaly with a number."""
    still = tinko.app().disputes()
    shown = [f"{row['id']} {row['kind']}: {row['detail']}" for row in still]
    return AssetCheckResult(
        passed=not still,
        severity=AssetCheckSeverity.ERROR,
        metadata={"open": len(still), "sample": MetadataValue.json(shown[:5])},
    )


CHECKS = [
    nothing_quarantined,
    lake_is_fresh,
    old_days_agree,
    debts_are_sound,
    most_are_understood,
    ledger_invariants,
    ledger_agrees_with_stripe,
]
