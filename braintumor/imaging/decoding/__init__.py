"""Decode file bytes to gray or color frames."""
