"""PostgreSQL: migrations in transactions, snapshots at one cut, rehearsals, signals, evidence."""
