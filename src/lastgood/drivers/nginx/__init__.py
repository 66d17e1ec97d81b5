"""Traffic behind nginx."""
