"""Score the scans of a prefix, and print their number and the peak memory of the process in MB.

``python -m tests.soak.scoring_memory RUN_KEY SCANS_URI``
"""

from __future__ import annotations

import resource
import sys

from braintumor.config.settings import Settings
from braintumor.scoring.job import run_scoring_job


def main(run_key: str, scans_uri: str) -> None:
    balance = run_scoring_job(Settings.from_environment(), run_key=run_key, scans_uri=scans_uri)
    print(balance.count_scored, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
