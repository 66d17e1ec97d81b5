"""What databases have in common: listings of schemas, classes of statements, answers of queries. Pure."""
