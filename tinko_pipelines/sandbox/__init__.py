"""A stand-in for Stripe with a seeded world behind it, for demos, tests and dry runs. Loopback only."""
