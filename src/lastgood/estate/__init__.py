"""Files in, domain objects out: an estate read from one commit, layered, rendered, linted."""
