"""Start TensorFlow and print its log level: ``python -m tests.training.start_tensorflow``."""

from __future__ import annotations

import os
from importlib import import_module


def main() -> None:
    import_module("braintumor.training.fit")  # before TensorFlow, because the package sets the level
    import keras
    import tensorflow

    tensorflow.function(lambda x: x + 1, jit_compile=True)(keras.ops.zeros(1))
    print(os.environ["TF_CPP_MIN_LOG_LEVEL"])


if __name__ == "__main__":
    main()
