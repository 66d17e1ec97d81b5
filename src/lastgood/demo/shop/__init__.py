"""A small web shop, release 1. The demonstration copies this package into its estate as the artifact.

It needs nothing but the standard library and the client of its database, and imports nothing else of
lastgood.
"""
