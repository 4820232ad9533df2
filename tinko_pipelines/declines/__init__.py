"""What a failed payment means and whose move it is. No network, no Dagster, no ledger."""
