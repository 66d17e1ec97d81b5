"""Generations of a service as local processes, each kept by a small shim of its own."""
