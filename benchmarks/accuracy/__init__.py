"""Measure the accuracy of every backbone on folds by files, by near-duplicate groups and by persons."""

import os

# Use oneDNN's convolutions, and hide most of TensorFlow's start-up messages. See decision 0040.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
