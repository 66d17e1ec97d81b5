"""Signals by probing a unit over HTTP."""
