"""The book behind HTTP, as Stripe serves it, and the sandbox's own control API beside it. Loopback only."""
