"""What lastgood keeps itself: its tables, content by digest, and sealed secrets."""
