"""Train models from recipes. Only this package imports Keras, and only inside functions."""

import os

from braintumor.training.quiet_tensorflow import hide_start_up_messages

# Hide TensorFlow's start-up messages of the levels INFO and WARNING, here and in child processes. Errors stay visible.
if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") != "0":
    hide_start_up_messages()
