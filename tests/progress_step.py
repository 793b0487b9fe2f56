"""Run a step of 0.4 s that shows its progress: ``python -m tests.progress_step``."""

from __future__ import annotations

import logging
import sys
import time

from braintumor import progress

SECONDS = 0.05
"""Seconds between two bars or two lines, instead of the longer intervals of the library."""


def main() -> None:
    progress.BAR_INTERVAL_S = progress.LINE_INTERVAL_S = SECONDS
    progress.show_lines(sys.stderr, "braintumor.progress", "braintumor.example")
    logging.basicConfig()  # as some libraries do: each line must still come once
    with progress.progress("Reading", 40) as advance:
        for number in range(40):
            time.sleep(SECONDS / 5)
            if number % 10 == 9:
                logging.getLogger("braintumor.example").info("line %d", number)
            advance(1)


if __name__ == "__main__":
    main()
