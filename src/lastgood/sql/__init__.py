"""What the drivers of databases share: listings, classes of statements, answers, rehearsals, snapshots."""
