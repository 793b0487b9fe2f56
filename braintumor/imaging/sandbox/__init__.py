"""Decoder processes that may crash without ending the worker."""
