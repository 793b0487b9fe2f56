"""Check a labeled dataset before training."""
