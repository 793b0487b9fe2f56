"""Bytes -> frames, by content: one way in for training and scoring alike. No S3, no database."""
