"""Train models from recipes. Only this package imports Keras, and only inside functions."""

import os

# Hide TensorFlow's start-up messages of the levels INFO and WARNING, here and in child processes. Errors stay visible.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Use oneDNN's convolutions. TensorFlow does so by default only on CPUs with AVX-512 VNNI or better. See decision 0040.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
