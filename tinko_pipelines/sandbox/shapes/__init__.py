"""Stripe's objects as newly made: one pure function each, with every field the API version promises.

No book, no chance and no clock in here; whatever varies comes in as an argument.
"""
