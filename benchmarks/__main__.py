"""``make bench``: the benchmarks that take minutes, in turn, as Markdown tables; docs/performance.md has the others."""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.engine import compare
from benchmarks.novelty import compare_novelty
from benchmarks.training import compare_training

_APART = ("night resnet50", "night vgg16", "guard", "rows", "discovery", "workers compare")
"""Modules that print their own tables, each in a process of its own."""

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
    print("\nOut of distribution, on phantoms and random weights:\n")
    for row in compare_novelty():
        print(row, flush=True)
    for words in _APART:
        print(f"\n{words}\n", flush=True)
        module, *arguments = words.split()
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=True)
