"""Approval and promotion of a candidate."""
