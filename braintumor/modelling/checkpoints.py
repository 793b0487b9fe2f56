"""Where a fine-tuning stands, epoch by epoch, so that a training that was killed goes on instead of starting again.

::

    epoch-0003.weights.h5    network, head and optimiser after 3 epochs: the newest says where to go on
    best.weights.h5          network and head of the best epoch so far
    history.json             metric name -> one value per epoch

Every file is put in place by renaming, the newest epoch's last, so whenever the process dies the folder is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from braintumor.errors import TrainingError

_HISTORY = "history.json"
_BEST = "best.weights.h5"

History = dict[str, list[float]]


class Checkpoints:
    """The folder of one fine-tuning; made when the first epoch is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def count_epoch(self) -> int:
        """Epochs that are done."""
        return max((_number(path) for path in self._folder.glob("epoch-*.weights.h5")), default=0)

    @property
    def best(self) -> Path:
        """Weights of the best epoch; there once one epoch is done."""
        return self._folder / _BEST

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
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._epoch(count))
        return count

    def keep(self, model: Any, history: History, *, is_best: bool) -> None:
        """Keep an epoch that has just ended: the last of ``history``.

        Raises:
            TrainingError: there is no room, or no right to write.
        """
        count = len(next(iter(history.values())))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if is_best:
                self._put(self.best, model.save_weights)
            self._put(self._folder / _HISTORY, lambda path: path.write_text(json.dumps(history)))
            self._put(self._epoch(count), model.save_weights)
            for path in self._folder.glob("epoch-*.weights.h5"):
                if _number(path) != count:
                    path.unlink()
        except OSError as exc:
            raise TrainingError(
                f"Epoch {count} cannot be kept in {self._folder}: {exc.strerror or exc}. Make room, or set "
                "BRAINTUMOR_CACHE_FOLDER to a folder with some, and start again: the epochs before are kept."
            ) from exc

    def _epoch(self, count: int) -> Path:
        return self._folder / f"epoch-{count:04}.weights.h5"

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        arriving = path.with_name(f"arriving-{path.name}")
        try:
            write(arriving)
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("epoch-").partition(".")[0])
