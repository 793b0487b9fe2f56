"""Train models from recipes. Only this package imports Keras, and only inside functions."""

import os

# Hide TensorFlow's start-up messages of the levels INFO and WARNING, here and in child processes. Errors stay visible.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
