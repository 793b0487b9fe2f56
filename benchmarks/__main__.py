"""Run the benchmarks that need no data, each in its own process: ``make bench``.

The benchmarks print Markdown tables, which docs/performance.md explains. The benchmarks that need images are not run
here. docs/training-results.md has their commands.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

_MODULES = (
    "engine",
    "scoring_run resnet50",
    "overhead compare --count 100",
    "task_start",
    "workers compare",
    "decoder_pool",
    "rows --count 20000",
    "discovery",
    "database --count 1000000",
    "page",
    "training",
    "out_of_distribution",
)

if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}", flush=True)
    failed = []
    for words in _MODULES:
        print(f"\n## {words}\n", flush=True)
        module, *arguments = words.split()
        started = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=False).returncode:
            failed.append(words)
        print(f"\n{(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    sys.exit(f"Failed: {', '.join(failed)}." if failed else 0)
