"""Dagster resources: configuration fields and one method that builds a domain object. No business branches."""

from resources.tinko import TinkoResource

__all__ = ["TinkoResource"]
