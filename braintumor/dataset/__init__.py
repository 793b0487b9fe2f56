"""Make immutable snapshots with splits from labeled files, and load their frames for models."""
