"""Compute metrics of predictions with known labels."""
