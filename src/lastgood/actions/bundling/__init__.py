"""Writes restore bundles: the files, and the script that a person runs by hand."""
