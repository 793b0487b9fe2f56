"""Derive training labels from the reviews of scored frames, by the rules of a rule file."""
