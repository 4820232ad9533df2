"""How fast the drain works under Stripe's limits, and how fast cases are claimed."""
