"""Checks of this machine and its settings: names, pseudonym key, clock, disk, GPU."""

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
from braintumor.db.database import transaction
from braintumor.doctor.check_result import CheckResult, note, ok, wrong
from braintumor.doctor.installation import Installation
from braintumor.errors import BrainTumorError
from braintumor.s3 import S3Uri
from braintumor.scoring.job import require_pseudonym_key
from braintumor.scoring.model_loading import chosen_engine
from braintumor.serving.backend import BackendName

LARGEST_SKEW = timedelta(seconds=60)
"""S3 refuses requests from 15 minutes on; a minute is a clock that nobody keeps."""
NOTED_SKEW = timedelta(seconds=5)
LEAST_FREE = 2 << 30
LITTLE_FREE = 10 << 30
"""Bytes free where copies of models and checkpoints of trainings go."""
SET_CLOCK = "Have this machine's time, or the server's, set by NTP."


def settings(installation: Installation) -> Iterator[CheckResult]:
    """What could not be read, and variables that nothing reads."""
    for problem in installation.problems:
        yield wrong("settings", problem, do="`braintumor config show` lists what can be set.")
    chosen_engine(installation.settings)
    strange = unknown(installation.environment)
    for name, nearest in strange.items():
        meant = f" Did you mean {nearest}?" if nearest else ""
        yield note("settings", f"{name} is set and nothing reads it.{meant}")
    if not (strange or installation.problems):
        yield ok("settings", "every variable that is set is known")


def pseudonym_key(installation: Installation) -> Iterator[CheckResult]:
    """Scoring needs it, and snapshots do where people reviewed frames: or a patient of test could be trained on.

    A worker that only trains is not given it.
    """
    if installation.role not in {None, Role.SCORER, Role.TRAINER}:
        yield note("pseudonym key", f"not needed as {installation.role}")
        return
    if installation.role is Role.TRAINER and installation.settings.pseudonym_key is None:
        yield note("pseudonym key", "not set: training does not need it, snapshots with labels of people do")
        return
    require_pseudonym_key(installation.settings)
    yield ok("pseudonym key", "set")


def clock_of_store(installation: Installation) -> Iterator[CheckResult]:
    """This machine against the Date of S3's answers."""
    bucket = S3Uri.parse(installation.settings.require("models_uri")).bucket
    yield _skew(installation, "clock, S3", lambda: installation.store.date(bucket))


def clock_of_database(installation: Installation) -> Iterator[CheckResult]:
    """This machine against Postgres."""

    def now() -> datetime:
        with transaction(installation.engine) as connection:
            found: datetime = connection.scalar(text("select clock_timestamp()"))
            return found

    now()  # the first question also connects, which takes its time
    yield _skew(installation, "clock, Postgres", now)


def disk(installation: Installation) -> Iterator[CheckResult]:
    """Free space where model files are cached."""
    folder = Path(installation.settings.require("cache_folder")).expanduser()
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = installation.free_bytes(place)
    said = f"{free / (1 << 30):.1f} GiB free for {folder}"
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield wrong("disk", f"{folder} cannot be written.", do="Mend its rights, or set BRAINTUMOR_CACHE_FOLDER.")
    elif free < LEAST_FREE:
        yield wrong("disk", f"{said}.", do="Make room, or set BRAINTUMOR_CACHE_FOLDER to a folder with some.")
    else:
        yield (ok if free >= LITTLE_FREE else note)("disk", said)


def gpu(installation: Installation) -> Iterator[CheckResult]:
    """Only a note: a machine without one scores on the CPU."""
    found = _gpus()
    wanted = installation.settings.backend == BackendName.XLA and not found
    said = ", ".join(found) if found else "none is visible here"
    yield note("GPU", said + (", and BRAINTUMOR_BACKEND=tensorflow-xla is meant for one" if wanted else ""))


def _skew(installation: Installation, check: str, server: Callable[[], datetime]) -> CheckResult:
    began = installation.clock()
    theirs = server()
    ours = began + (installation.clock() - began) / 2
    skew = abs(ours - theirs)
    said = f"{skew.total_seconds():.0f} s apart"
    if skew > LARGEST_SKEW:
        return wrong(check, f"{said} from this machine.", do=SET_CLOCK)
    return note(check, f"{said}. {SET_CLOCK}") if skew > NOTED_SKEW else ok(check, said)


def _gpus() -> list[str]:
    """Names of NVIDIA's devices, as their driver gives them; TensorFlow is not loaded for it."""
    program = which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrainTumorError(f"nvidia-smi does not answer ({type(error).__name__}). Mend the driver.") from error
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
