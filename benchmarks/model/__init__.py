"""How well and how fast the models work."""
