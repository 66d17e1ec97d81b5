"""One folder per technology, found through the entry point `lastgood.drivers`."""
