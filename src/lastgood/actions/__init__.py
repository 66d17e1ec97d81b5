"""The one way in: one verb, one file. Each checks the right, validates, writes audit, and does."""
