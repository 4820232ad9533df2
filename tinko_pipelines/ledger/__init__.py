"""The truth about money and mail: cases, attempts, messages, caps, controls. No Stripe, no Dagster here."""
