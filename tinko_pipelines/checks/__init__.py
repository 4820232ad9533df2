"""What must always hold between ledger and Stripe mirror, as SQL over Parquet. Reads only; repairs nothing."""

from tinko_pipelines.checks.run import InvariantResult, run_invariants

__all__ = ["InvariantResult", "run_invariants"]
