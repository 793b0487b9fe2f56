"""Run the task `promote` of a retrain, for a test that kills it: ``python -m tests.soak.promoting_task VERDICT``."""

from __future__ import annotations

import sys

from braintumor.config.settings import Settings
from braintumor.promotion.promote import promote_candidate

if __name__ == "__main__":
    promote_candidate(Settings.from_environment(), int(sys.argv[1]))
