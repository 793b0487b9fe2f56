"""Make immutable snapshots with splits from labeled files, and load the frames of a snapshot for a model."""
