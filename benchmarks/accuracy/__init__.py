"""Measure the accuracy of every backbone on folds by files, by near-duplicate groups and by persons."""

import os


def use_onednn() -> None:
    """Use oneDNN's convolutions in this process, before TensorFlow is imported. See decision 0040."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
