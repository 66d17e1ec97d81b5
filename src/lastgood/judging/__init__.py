"""Pure: criteria and sequential tests; samples in, a verdict with its evidence out."""
