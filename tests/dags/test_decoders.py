"""Test that each task ends its decoder processes, because Airflow's forked tasks run no finalizer."""

from __future__ import annotations

import json

from tests.dags.conftest import in_airflow

_TASKS = {
    "nightly_scoring.score": ("braintumor.scoring.job.ScoringJob", (1, 0)),
    "rescore_history.score": ("braintumor.rescoring.job.Rescore", (1, 0)),
    "rescore_history.report": ("braintumor.rescoring.job.Rescore", (1,)),
    "weekly_retrain.snapshot": ("braintumor.dataset.take_snapshot.snapshot_of", ()),
    "weekly_retrain.preview": (
        "braintumor.preview.job.preview_candidate",
        ({"is_passed": True, "gate_verdict_id": 1},),
    ),
}
"""Each task that decodes, with what it calls in the library and its own arguments."""

_CODE = """
import json
import pkgutil
from unittest import mock

import psutil
from braintumor.imaging.sandbox.decoder_pool import default_pool

has_decoders = {task: [] for task in tasks}

def look():
    has_decoders[task].append(len(psutil.Process().children()) > 0)

def decode(*_args, **_more):
    default_pool().read(b"", size=64)
    look()
    return mock.MagicMock()

for task, (target, arguments) in tasks.items():
    job = mock.MagicMock(side_effect=decode)
    job.open.return_value.score = job.open.return_value.report = decode
    with (
        mock.patch(target, job),
        mock.patch("common.settings_for"),
        mock.patch("common.get_current_context"),
        mock.patch("lineage.emit_lineage"),
        mock.patch(task.partition(".")[0] + ".get_current_context"),
    ):
        pkgutil.resolve_name(task).function(*arguments)
    look()
print(json.dumps(has_decoders))
"""


def test_each_task_that_decodes_closes_its_decoders(airflow_env: dict[str, str]) -> None:
    done = in_airflow(airflow_env, f"tasks = {_TASKS!r}\n{_CODE}")
    assert done.returncode == 0, done.stderr
    has_decoders = json.loads(done.stdout.splitlines()[-1])
    assert has_decoders == {task: [True, False] for task in _TASKS}, "decoders run during each task and not after it"
