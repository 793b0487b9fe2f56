"""Evaluate models on test images, judge candidates with the gate, and write reports."""
