"""Ships with the product: fakes, and the conformance suites that drivers and fakes both pass."""
