"""The command line: a thin face on the service, one file per noun. Light to import."""
