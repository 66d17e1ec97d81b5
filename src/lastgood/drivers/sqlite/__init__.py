"""SQLite: one file that programs on the same host open."""
