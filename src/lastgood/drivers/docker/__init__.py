"""Runs generations of a service as containers on a Docker engine, each of them from an image by digest."""
