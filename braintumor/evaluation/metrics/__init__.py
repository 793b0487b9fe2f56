"""Figures about predictions with known labels."""
