"""Pure: difference, order, reversibility, estimates. No I/O, so every plan can be shown and tested."""
