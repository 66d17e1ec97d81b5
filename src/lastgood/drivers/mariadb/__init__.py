"""MariaDB: migrations statement by statement with a journal, snapshots at one cut, rehearsals, signals."""
