"""Test that each task ends its decoder processes, because Airflow's forked tasks run no finalizer."""

from __future__ import annotations

import pytest

from tests.dags.conftest import DagRunner, in_airflow

_CODE = """
    import psutil
    from unittest import mock

    from braintumor.imaging.sandbox.decoder_pool import default_pool
    import {module}

    def decode(*_args, **_more):
        default_pool().read(b"", size=64)
        print("decoders at work:", len(psutil.Process().children()) > 0)
        return mock.MagicMock()

    job = mock.MagicMock(side_effect=decode)
    job.open.return_value.score = job.open.return_value.report = decode
    with (
        mock.patch({target!r}, job),
        mock.patch("common.settings_for"),
        mock.patch("common.get_current_context"),
        mock.patch("lineage.emit_lineage"),
        mock.patch("{module}.get_current_context"),
    ):
        {task}.function(*{arguments!r})
    print("decoders left:", psutil.Process().children())
"""


@pytest.mark.parametrize(
    ("task", "target", "arguments"),
    [
        ("nightly_scoring.score", "braintumor.scoring.job.ScoringJob", (1, 0)),
        ("rescore_history.score", "braintumor.rescoring.job.Rescore", (1, 0)),
        ("rescore_history.report", "braintumor.rescoring.job.Rescore", (1,)),
        ("weekly_retrain.snapshot", "braintumor.dataset.take_snapshot.snapshot_of", ()),
        (
            "weekly_retrain.preview", "braintumor.preview.job.preview_candidate",
            ({"is_passed": True, "gate_verdict_id": 1},),
        ),
    ],
)  # fmt: skip
def test_task_that_decodes_closes_its_decoders(
    dag_runner: DagRunner, task: str, target: str, arguments: tuple[object, ...]
) -> None:
    code = _CODE.format(module=task.partition(".")[0], task=task, target=target, arguments=arguments)
    done = in_airflow(dag_runner, code)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("decoders")]
    assert lines == ["decoders at work: True", "decoders left: []"]
