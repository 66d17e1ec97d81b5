"""Runs stored programs durably. Knows nothing of deployment."""
