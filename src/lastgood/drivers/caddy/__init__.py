"""Traffic through Caddy: the generation behind a unit is a pointer file, so a flip needs no reload."""
