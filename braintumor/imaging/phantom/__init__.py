"""Synthetic head images with known lesions."""
