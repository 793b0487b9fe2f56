"""Store the counts of finished folds in a JSON file, and write the table of accuracies in Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accuracy.cells import FINE_TUNED, Cell, identity
from benchmarks.accuracy.data import SplitBy
from benchmarks.accuracy.figures import Counts

_STAGES = ("frozen, pixels/255", "frozen", "fine-tuned")
_HEADER = (
    "| backbone | trained | split by | folds | test accuracy (95% interval) | of known persons | macro recall "
    "| lowest recall | tumors as normal | calibration error (noise) | map in box / touching | core minutes |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)
_MARKS = re.compile(r"(<!-- table of benchmarks.accuracy -->\n).*?(<!-- end of table -->)", re.DOTALL)


class Results:
    """Store the counts of each finished fold. Stored counts of another recipe or other images are not used."""

    def __init__(self, path: Path, *, images: str) -> None:
        """Read the file ``path`` if it exists. ``images`` is the ``Dataset.identity`` of the images."""
        self._path, self._images = path, images
        self._stored: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}

    def find(self, cell: Cell, fold: int) -> Counts | None:
        """Return the counts of a finished fold, or ``None`` if the fold is not finished."""
        entry = self._stored.get(f"{cell}, {fold}")
        if entry is None or (entry["recipe"], entry["images"]) != (identity(cell.recipe), self._images):
            return None
        return Counts.read(entry["counts"])  # type: ignore[arg-type]

    def keep(self, cell: Cell, fold: int, counts: Counts) -> None:
        """Store the counts of a finished fold as one line of the file."""
        entry: dict[str, object] = {"recipe": identity(cell.recipe), "images": self._images, "counts": counts.values()}
        self._stored[f"{cell}, {fold}"] = entry
        lines = (f"{json.dumps(name)}: {json.dumps(self._stored[name])}" for name in sorted(self._stored))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".temporary")
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        temporary.replace(self._path)

    def table(self, folds: int) -> str:
        """Return the table in Markdown for the first ``folds`` folds. A cell without a finished fold has no numbers."""
        return "\n".join([*_HEADER, *self._rows(folds)]) + "\n"

    def write_table(self, document: Path, folds: int) -> None:
        """Replace the table between the two marks of a Markdown file."""
        document.write_text(_MARKS.sub(lambda marks: marks[1] + self.table(folds) + marks[2], document.read_text()))

    def _rows(self, folds: int) -> Iterator[str]:
        for backbone in FINE_TUNED:
            for stage in _STAGES:
                for by in SplitBy:
                    cell = Cell(backbone=backbone, stage=stage, by=by)
                    found = [counts for fold in range(folds) if (counts := self.find(cell, fold))]
                    if found:
                        yield _row(cell, Counts.sum(found))
                    elif "255" not in stage:
                        yield f"| {backbone} | {stage} | {by} | 0 | not measured yet | | | | | | | |"


def _row(cell: Cell, counts: Counts) -> str:
    low, high = counts.interval
    worst = min(counts.recalls, key=lambda label: counts.recalls[label])
    points = counts.pointing
    where = f"{points.inside / points.count:.2f} / {points.touching / points.count:.2f}" if points.count else ""
    figures = (
        f"{counts.accuracy:.3f} ({low:.3f} to {high:.3f})",
        f"{counts.known[0] / counts.known[1]:.3f}" if counts.known and counts.known[1] else "",
        f"{sum(counts.recalls.values()) / len(counts.recalls):.3f}",
        f"{counts.recalls[worst]:.3f} {worst}",
        f"{counts.tumors_as_normal:.1%}",
        f"{counts.calibration_error:.3f} ({counts.calibration_noise:.3f})",
        where,
        f"{counts.core_minutes:.0f}",
    )
    return f"| {cell.backbone} | {cell.stage} | {cell.by} | {counts.folds} | {' | '.join(figures)} |"
