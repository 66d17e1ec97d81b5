"""Container images from a registry (OCI distribution API)."""
