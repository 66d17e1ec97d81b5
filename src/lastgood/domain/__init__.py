"""The nouns, one per file: frozen data and closed enums, no I/O and no vendor import."""
