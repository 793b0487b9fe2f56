"""Save a checkpoint after each epoch of fine-tuning, so that a killed training resumes instead of starting again.

::

    epoch-0003.npz    all variables after 3 epochs, with the optimizer state and the random seeds
    best-0002.npz     the same after 2 epochs, if epoch 2 is the best so far
    history.json      metric name -> one value per epoch, and the seconds of fine-tuning until the end of each epoch

Each write is atomic: a file is written under another name and then renamed. The file of the newest epoch is written
last. So the folder is consistent whenever the process dies. NumPy writes the files, because the HDF5 library of Keras
ends the process when the disk is full.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from braintumor.errors import TrainingError

_HISTORY = "history.json"
_SECONDS = "seconds"

History = dict[str, list[float]]


class Checkpoints:
    """Store the epochs of one fine-tuning in a folder, which ``keep`` creates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = time.monotonic() - self.seconds

    @property
    def count_epoch(self) -> int:
        """Return the number of finished epochs."""
        return max((_number(path) for path in self._folder.glob("epoch-*.npz")), default=0)

    def history(self) -> History:
        """Return the metrics of the finished epochs: metric name -> one value per epoch."""
        return {name: values for name, values in self._stored().items() if name != _SECONDS}

    @property
    def seconds(self) -> float:
        """Return the wall time of the finished epochs, with those of interrupted tries."""
        return self._stored().get(_SECONDS, [0.0])[-1]

    def _stored(self) -> History:
        count = self.count_epoch
        if count == 0:
            return {}
        stored: History = json.loads((self._folder / _HISTORY).read_text())
        return {name: values[:count] for name, values in stored.items()}

    def restore(self, model: Any) -> int:
        """Load the newest epoch into a compiled model, and return the number of finished epochs."""
        count = self.count_epoch
        if count:
            _load(model, self._epoch(count))
        return count

    def restore_best(self, model: Any) -> None:
        """Load the best epoch into a compiled model. At least one epoch must be finished."""
        _load(model, self._best(int(np.argmin(self.history()["val_loss"])) + 1))

    def keep(self, model: Any, history: History, *, is_best: bool) -> None:
        """Save the epoch that has just ended.

        Args:
            model: the compiled model.
            history: metrics of all epochs, with ``val_loss``. The last values are of this epoch.
            is_best: whether this epoch has the lowest validation loss so far.

        Raises:
            TrainingError: the disk is full, or the folder is not writable.
        """
        count = len(next(iter(history.values())))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if is_best:
                self._put(self._best(count), lambda stream: _save(model, stream))
            seconds = [*self._stored().get(_SECONDS, []), time.monotonic() - self._started]
            stored = json.dumps(history | {_SECONDS: seconds}).encode()
            self._put(self._folder / _HISTORY, lambda stream: stream.write(stored))
            self._put(self._epoch(count), lambda stream: _save(model, stream))
            best = int(np.argmin(history["val_loss"])) + 1
            for path in self._folder.glob("*.npz"):
                if path not in {self._epoch(count), self._best(best)}:
                    path.unlink()
        except OSError as exc:
            raise TrainingError(
                f"Epoch {count} cannot be kept in {self._folder}: {exc.strerror or exc}. Free disk space, or set "
                "BRAINTUMOR_CACHE_FOLDER to a folder on another disk, and start again. Earlier epochs are kept."
            ) from exc

    def _epoch(self, count: int) -> Path:
        return self._folder / f"epoch-{count:04}.npz"

    def _best(self, count: int) -> Path:
        return self._folder / f"best-{count:04}.npz"

    def _put(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        temporary = path.with_name(f"temporary-{path.name}")
        try:
            with temporary.open("wb") as stream:
                write(stream)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _variables(model: Any) -> list[Any]:
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _save(model: Any, stream: IO[bytes]) -> None:
    import keras

    arrays = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    np.savez(stream, *arrays)


def _load(model: Any, path: Path) -> None:
    with np.load(path) as kept:
        for number, variable in enumerate(_variables(model)):
            variable.assign(kept[f"arr_{number}"])


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))
