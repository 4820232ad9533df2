"""Everything learned from data: the only package that imports scikit-learn and skops, and only when called."""
