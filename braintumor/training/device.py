"""Find what this machine offers a training: its GPUs, the memory of the GPUs, and 16-bit arithmetic."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def gpus() -> list[str]:
    """Return the names of the GPUs that Keras sees. The list is empty on a machine without a GPU."""
    import keras

    return [str(name) for name in keras.distribution.list_devices("gpu")]


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the kernel's names of the processor's instructions. The set is empty without the file ``cpuinfo``."""
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    return set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether this machine computes faster in bfloat16: with a GPU, or a CPU with instructions for it."""
    return not _BFLOAT16_INSTRUCTIONS.isdisjoint(cpu_flags(cpuinfo)) or bool(gpus())


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
