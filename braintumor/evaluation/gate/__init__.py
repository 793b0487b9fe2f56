"""Decide with written rules whether a candidate may be promoted."""
