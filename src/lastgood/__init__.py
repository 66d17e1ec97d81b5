"""lastgood: takes an environment back to its last good state, in one verified move."""

__version__ = "0.1.0"
