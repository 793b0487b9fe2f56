"""Checks of a labeled dataset before training."""
