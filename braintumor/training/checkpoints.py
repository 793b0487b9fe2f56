"""Where a fine-tuning stands, epoch by epoch, so that a training that was killed goes on instead of starting again.

::

    epoch-0003.npz    every variable after 3 epochs, the optimizer's and the random seeds' too: where to go on
    best-0002.npz     the same after the best epoch so far
    history.json      metric name -> one value per epoch

Every file is put in place by renaming, the newest epoch's last, so whenever the process dies the folder is whole. NumPy
writes them, not Keras: its HDF5 library ends the process when the disk is full.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from braintumor.errors import TrainingError

_HISTORY = "history.json"

History = dict[str, list[float]]


class Checkpoints:
    """The folder of one fine-tuning; made when the first epoch is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def count_epoch(self) -> int:
        """Epochs that are done."""
        return max((_number(path) for path in self._folder.glob("epoch-*.npz")), default=0)

    def history(self) -> History:
        """What the finished epochs measured."""
        count = self.count_epoch
        if count == 0:
            return {}
        kept: History = json.loads((self._folder / _HISTORY).read_text())
        return {name: values[:count] for name, values in kept.items()}

    def restore(self, model: Any) -> int:
        """Bring a compiled model to where the newest epoch left it; returns how many epochs are done."""
        count = self.count_epoch
        if count:
            _load(model, self._epoch(count))
        return count

    def restore_best(self, model: Any) -> None:
        """Bring a compiled model to where its best epoch left it; one epoch at least is done."""
        _load(model, self._best(int(np.argmin(self.history()["val_loss"])) + 1))

    def keep(self, model: Any, history: History, *, is_best: bool) -> None:
        """Keep an epoch that has just ended: the last of ``history``, which measures ``val_loss``.

        Raises:
            TrainingError: there is no room, or no right to write.
        """
        count = len(next(iter(history.values())))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if is_best:
                self._put(self._best(count), lambda stream: _save(model, stream))
            self._put(self._folder / _HISTORY, lambda stream: stream.write(json.dumps(history).encode()))
            self._put(self._epoch(count), lambda stream: _save(model, stream))
            best = int(np.argmin(history["val_loss"])) + 1
            for path in self._folder.glob("*.npz"):
                if path not in {self._epoch(count), self._best(best)}:
                    path.unlink()
        except OSError as exc:
            raise TrainingError(
                f"Epoch {count} cannot be kept in {self._folder}: {exc.strerror or exc}. Make room, or set "
                "BRAINTUMOR_CACHE_FOLDER to a folder with some, and start again: the epochs before are kept."
            ) from exc

    def _epoch(self, count: int) -> Path:
        return self._folder / f"epoch-{count:04}.npz"

    def _best(self, count: int) -> Path:
        return self._folder / f"best-{count:04}.npz"

    def _put(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        arriving = path.with_name(f"arriving-{path.name}")
        try:
            with arriving.open("wb") as stream:
                write(stream)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)


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
