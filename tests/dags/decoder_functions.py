"""Run tasks that decode, in a process that has imported Airflow."""

from __future__ import annotations

import pkgutil
from unittest import mock

import psutil

Tasks = dict[str, tuple[str, tuple[object, ...]]]
"""Each task of a DAG file that decodes, with what it calls in the library and its own arguments."""


def decoders_of(tasks: Tasks) -> dict[str, list[bool]]:
    """Run each task. Return whether it has decoder processes when it calls the library, and at its end."""
    from braintumor.imaging.sandbox.decoder_pool import default_pool

    has_decoders: dict[str, list[bool]] = {task: [] for task in tasks}

    def decode(*_args: object, **_more: object) -> mock.MagicMock:
        default_pool().read(b"", size=64)
        has_decoders[task].append(_has_children())
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
        has_decoders[task].append(_has_children())
    return has_decoders


def _has_children() -> bool:
    return len(psutil.Process().children()) > 0
