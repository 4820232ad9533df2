"""Tinko Pipelines: failed-payment recovery for Stripe. This package imports nothing."""
