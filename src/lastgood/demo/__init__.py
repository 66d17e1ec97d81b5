"""The demonstration: a web shop, its estate, its customers, and the proof that no order was lost."""
