"""Figures, not tests: each module here has ``run() -> bool`` and prints its table."""
