"""The written rules that a candidate must pass before promotion."""
