"""Benchmarks of what decides: `python -m benchmarks.model`."""
