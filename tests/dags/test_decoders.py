"""Test that each task ends its decoder processes, because Airflow's forked tasks run no finalizer."""

from __future__ import annotations

from tests.airflow_process import AirflowProcess
from tests.dags.decoder_functions import Tasks, decoders_of

_TASKS: Tasks = {
    "nightly_scoring.score": ("braintumor.scoring.job.ScoringJob", (1, 0)),
    "rescore_history.score": ("braintumor.rescoring.job.Rescore", (1, 0)),
    "rescore_history.report": ("braintumor.rescoring.job.Rescore", (1,)),
    "weekly_retrain.snapshot": ("braintumor.dataset.take_snapshot.snapshot_of", ()),
    "weekly_retrain.preview": (
        "braintumor.preview.job.preview_candidate",
        ({"is_passed": True, "gate_verdict_id": 1},),
    ),
}


def test_each_task_that_decodes_closes_its_decoders(in_airflow: AirflowProcess) -> None:
    has_decoders = in_airflow.call(decoders_of, _TASKS)
    assert has_decoders == {task: [True, False] for task in _TASKS}, "decoders run during each task and not after it"
