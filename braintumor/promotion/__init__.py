"""Approve and promote candidates."""
