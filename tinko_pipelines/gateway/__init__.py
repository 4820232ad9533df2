"""The way to Stripe, and the only package that may import its SDK."""
