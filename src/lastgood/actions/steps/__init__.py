"""What each kind of step does: handlers that look at the target, act, and look again."""
