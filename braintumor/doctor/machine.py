"""Check this machine and its settings: names, pseudonym key, clock, disk, GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from shutil import which

from sqlalchemy import text

from braintumor.config.reference import unknown
from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.label_exclusions import read_exclusions
from braintumor.dataset.quality.rules import QualityRules
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.db.database import transaction
from braintumor.doctor.check_result import CheckResult, note, ok, wrong
from braintumor.doctor.installation import Installation
from braintumor.errors import BrainTumorError
from braintumor.evaluation.gate.rules import GateRules
from braintumor.s3 import S3Uri
from braintumor.scoring.job import require_pseudonym_key, require_timezone
from braintumor.scoring.model_loading import chosen_backend
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.serving.backend import BackendName

LARGEST_SKEW = timedelta(seconds=60)
"""Largest clock difference that passes. S3 refuses requests that differ by more than 15 minutes.

A difference of a minute shows that the clock is not synchronized.
"""
NOTED_SKEW = timedelta(seconds=5)
LEAST_FREE = 2 << 30
LITTLE_FREE = 10 << 30
"""Free bytes in the folder of cached models and training checkpoints. Fewer than ``LITTLE_FREE`` give a note.

Fewer than ``LEAST_FREE`` fail the check.
"""
SET_CLOCK = "Synchronize this machine, or the server, by NTP."


def settings(installation: Installation) -> Iterator[CheckResult]:
    """Check that no setting stops a run, and that no variable looks like a setting but is unknown."""
    problems = [*installation.problems, *_problems(installation.settings)]
    for problem in problems:
        yield wrong("settings", problem, do="`braintumor config show` lists what can be set.")
    strange = unknown(installation.environment)
    for name, nearest in strange.items():
        suggestion = f" Did you mean {nearest}?" if nearest else ""
        yield note("settings", f"{name} is set and nothing reads it.{suggestion}")
    if not (strange or problems):
        yield ok("settings", "all variables are known")


def _problems(settings: Settings) -> Iterator[str]:
    """Yield the message of each setting with which a scoring run, a retrain or a page fails."""
    for check in (
        lambda: chosen_backend(settings),
        lambda: require_timezone(settings),
        lambda: RunReportRules.load(settings.run_report_rules),
        lambda: GateRules.load(settings.gate_rules),
        lambda: LabelRules.load(settings.label_rules),
        lambda: QualityRules.load(settings.quality_rules),
        lambda: settings.is_yes("scan_attributes"),
        lambda: settings.is_yes("unidentified_in_test"),
        lambda: settings.probability("reading_threshold"),
        lambda: settings.label_exclusions and read_exclusions(settings.label_exclusions),
    ):
        try:
            check()
        except BrainTumorError as error:
            yield str(error)


def pseudonym_key(installation: Installation) -> Iterator[CheckResult]:
    """Check that the pseudonym key is set if this machine's role needs it.

    Scoring needs it. A snapshot with reviewed frames needs it too, to keep patients of the test split out of training.
    A worker that only trains does not have the key.
    """
    if installation.role not in {None, Role.SCORER, Role.TRAINER}:
        yield note("pseudonym key", f"not needed as {installation.role}")
        return
    if installation.role is Role.TRAINER and installation.settings.pseudonym_key is None:
        yield note("pseudonym key", "not set: training does not need it, snapshots with reviewed frames do")
        return
    require_pseudonym_key(installation.settings)
    yield ok("pseudonym key", "set")


def clock_of_store(installation: Installation) -> Iterator[CheckResult]:
    """Check that this machine's clock agrees with the Date header in a response of S3."""
    bucket = S3Uri.parse(installation.settings.require("models_uri")).bucket
    yield _skew(installation, "clock, S3", lambda: installation.store.date(bucket))


def clock_of_database(installation: Installation) -> Iterator[CheckResult]:
    """Check that this machine's clock agrees with the clock of Postgres."""

    def now() -> datetime:
        with transaction(installation.engine) as connection:
            time: datetime = connection.scalar(text("select clock_timestamp()"))
            return time

    now()  # connects first, because that takes time
    yield _skew(installation, "clock, Postgres", now)


def disk(installation: Installation) -> Iterator[CheckResult]:
    """Check that the folder of the model cache is writable and has enough free space."""
    folder = Path(installation.settings.require("cache_folder")).expanduser()
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = installation.free_bytes(place)
    message = f"{free / (1 << 30):.1f} GiB free for {folder}"
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield wrong(
            "disk", f"{folder} cannot be written.", do="Correct its permissions, or set BRAINTUMOR_CACHE_FOLDER."
        )
    elif free < LEAST_FREE:
        yield wrong("disk", f"{message}.", do="Free some space, or set BRAINTUMOR_CACHE_FOLDER to a folder with more.")
    else:
        yield (ok if free >= LITTLE_FREE else note)("disk", message)


def gpu(installation: Installation) -> Iterator[CheckResult]:
    """List the GPUs as a note. A machine without a GPU scores on the CPU."""
    names = _gpus()
    message = ", ".join(names) if names else "no GPU is visible"
    if installation.settings.backend == BackendName.XLA and not names:
        message += ", and BRAINTUMOR_BACKEND=tensorflow-xla needs one"
    yield note("GPU", message)


def _skew(installation: Installation, check: str, server: Callable[[], datetime]) -> CheckResult:
    began = installation.clock()
    theirs = server()
    ours = began + (installation.clock() - began) / 2
    skew = abs(ours - theirs)
    message = f"{skew.total_seconds():.0f} s apart"
    if skew > LARGEST_SKEW:
        return wrong(check, f"{message}: this machine and the server.", do=SET_CLOCK)
    return note(check, f"{message}. {SET_CLOCK}") if skew > NOTED_SKEW else ok(check, message)


def _gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs from ``nvidia-smi``, without loading TensorFlow."""
    program = which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrainTumorError(f"nvidia-smi fails ({type(error).__name__}). Repair the NVIDIA driver.") from error
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
