"""The only place where protocols meet concrete classes."""
