"""Find the GPUs of this machine and set how TensorFlow uses their memory."""

from __future__ import annotations


def gpus() -> list[str]:
    """Return the names of the GPUs that Keras sees. The list is empty on a machine without a GPU."""
    import keras

    return [str(name) for name in keras.distribution.list_devices("gpu")]


def share_gpu_memory() -> None:
    """Make TensorFlow allocate GPU memory as needed instead of all at once.

    Call this before any computation. Other Keras backends need no setting.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
