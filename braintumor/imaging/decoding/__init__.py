"""Decoders from file bytes to gray or color frames."""
