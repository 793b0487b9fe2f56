"""Measure the accuracy of every backbone by cross-validation on folds of files, near-duplicate groups and persons."""

import os


def use_onednn() -> None:
    """Make TensorFlow use the convolutions of oneDNN in this process. docs/decisions/0040 gives the reason.

    Call this before TensorFlow is imported.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
