"""Everybody outside Stripe, grown from one seed: issuers, cardholders, customers, the merchant.

Outcomes are pure functions of seed, card and moment; what has to be remembered travels in the payload of
scheduled happenings, so a restarted sandbox goes on with the same world.
"""

from tinko_pipelines.sandbox.world.seeded import SeededWorld
from tinko_pipelines.sandbox.world.test_tokens import decide_test_token

__all__ = ["SeededWorld", "decide_test_token"]
