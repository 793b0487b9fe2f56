"""From labeled files to an immutable snapshot with its splits, and from a snapshot to frames for a model."""
