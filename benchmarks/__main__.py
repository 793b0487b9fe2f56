"""``make bench``: every benchmark in turn, as a Markdown table."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.engine import compare
from benchmarks.training import compare_training

if __name__ == "__main__":
    print("| what | against | ours /s | theirs /s | ratio (median, least to most of pairs) |")
    print("|---|---|---:|---:|---|")
    for backbone in ("resnet50", "vgg16"):
        for comparison in compare(backbone):
            print(comparison.row(), flush=True)
    print("\n| what | against | ours | theirs | ratio |")
    print("|---|---|---|---|---:|")
    for row in compare_training():
        print(row, flush=True)
