"""Who is retried, when, and how a retry is carried out. Storage lives in `ledger`, Stripe in `gateway`."""
