"""What a training runs on, and how it is told to behave there."""

from __future__ import annotations


def gpus() -> list[str]:
    """The accelerators that Keras sees, by name; empty on a machine without any."""
    import keras

    return [str(name) for name in keras.distribution.list_devices("gpu")]


def share_gpu_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it instead of all at once; other backends need no telling.

    Must be called before anything is computed.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
