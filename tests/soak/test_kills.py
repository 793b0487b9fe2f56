"""Kill a night again and again: nothing is lost, doubled or half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from braintumor import database
from braintumor.imaging.phantom import write_unlabelled
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.scoring.night import score_night
from braintumor.settings import Settings

pytestmark = pytest.mark.soak

_KILLS = 40
_SCANS = 120


def test_sigkill_at_random_moments_loses_and_doubles_nothing(settings: Settings, tmp_path: Path) -> None:
    store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    for path in write_unlabelled(tmp_path, count=_SCANS, seed=7):
        store.write(scans / path.name, path.read_bytes())
    store.write(scans / "words.jpg", b"words")
    engine = database.connect(settings)
    rng = random.Random(7)
    code = "import sys; from tests.soak.test_kills import work; work(sys.argv[1])"
    for number in range(_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", code, f"kill {number}"],
            env={**os.environ, **settings.to_environment()},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        time.sleep(rng.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with database.transaction(engine) as connection:
            half = connection.scalar(
                text("""
                select count(*) from scan
                where (state = 'scored') <> exists (select from prediction where prediction.scan_id = scan.scan_id)""")
            )
            connection.execute(text("update scoring_chunk set lease_expires_at = now() where finished_at is null"))
        assert half == 0
    balance = score_night(settings, run_key="last")
    assert balance.is_balanced and balance.count_deferred == 0
    with database.transaction(engine) as connection:
        counts = connection.execute(
            text("""
            select (select count(*) from scan) as scans, (select count(*) from prediction) as predictions,
                   (select count(*) from rejection) as rejections,
                   (select count(*) from scan where state = 'pending') as pending""")
        ).one()
        before = connection.scalar(text("select count(*) from scoring_chunk where finished_at is not null"))
    assert tuple(counts) == (_SCANS + 1, _SCANS, 1, 0)
    assert before and before > 3, "the kills came before any work was done: kill later"
    assert score_night(settings, run_key="once more").count_known == _SCANS + 1
    engine.dispose()


def work(run_key: str) -> None:
    """A night in small chunks, in the process that is to be killed."""
    print("at work", flush=True)
    score_night(Settings.from_environment(), run_key=run_key, chunk_size=5)
