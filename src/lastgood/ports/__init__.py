"""What the inside needs from outside, as small protocols. Drivers and stores implement them."""
