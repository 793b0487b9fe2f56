"""Compute the metrics of a run for dashboards and alerts. No tag of a metric names a file or a patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.labels import TumorClass
from braintumor.scoring.run_report.status import Level, RunStatus

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "braintumor.night.objects": "Objects of the last run by outcome: seen, scored, known, rejected and so on. "
        "unaccounted is 0 if the run balances.",
        "braintumor.night.level": "Status of the last run: 0 green, 1 amber, 2 red.",
        "braintumor.night.seconds": "From the start of the last run to the commit of its last chunk.",
        "braintumor.night.files_per_second": "Files that the last run scored or rejected, per second.",
        "braintumor.night.stage_seconds": "Seconds that workers spent, by stage, as a sum over chunks.",
        "braintumor.night.rejections": "Files rejected in the last run, by reason, 0 for a reason without files.",
        "braintumor.night.answers": "Frames of the last run by predicted class.",
        "braintumor.night.drift": "Population stability index of the last run, by reference and compared quantity.",
        "braintumor.night.model": "1, with the name of the run's model as its tag.",
        "braintumor.scans.pending": "Pending scans of all runs at the end of the last run.",
    }
)
"""The name and meaning of each gauge."""

_LEVELS = (Level.GREEN, Level.AMBER, Level.RED)
_TIMES = """
    select
        extract(epoch from max(finished_at) - (select started_at from scoring_run where scoring_run_id = :run)),
        (select count(*) from scan where state = 'pending')
    from scoring_chunk where scoring_run_id = :run"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Hold one value of a gauge. The tags distinguish the values of one gauge, such as the class of a count."""

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


def run_metrics(engine: Engine, status: RunStatus) -> Iterator[Metric]:
    """Yield the metrics of a run."""
    with transaction(engine) as connection:
        seconds, pending = connection.execute(text(_TIMES), {"run": status.run.scoring_run_id}).one()
    counts = {name.removeprefix("count_"): count for name, count in asdict(status.balance).items()}
    yield from _by("braintumor.night.objects", "outcome", counts)
    yield Metric(name="braintumor.night.level", value=_LEVELS.index(status.level))
    if seconds:  # a run without work has no chunk
        yield Metric(name="braintumor.night.seconds", value=float(seconds))
        files = counts["scored"] + counts["rejected"]
        yield Metric(name="braintumor.night.files_per_second", value=files / float(seconds))
    yield from _by("braintumor.night.stage_seconds", "stage", status.statistics.stage_seconds)
    # With the zeros, because a collector keeps the last value of a gauge that is not sent.
    rejections = dict.fromkeys(RejectionReason, 0) | status.statistics.rejections
    yield from _by("braintumor.night.rejections", "reason", rejections)
    answers = dict.fromkeys(map(str, TumorClass), 0) | status.statistics.classes
    yield from _by("braintumor.night.answers", "class", answers)
    for drift in status.statistics.drifts:
        for quantity, value in {"class": drift.of_class, "confidence": drift.of_confidence}.items():
            if value is not None:
                tags = {"reference": drift.reference, "what": quantity}
                yield Metric(name="braintumor.night.drift", value=value, tags=tags)
    yield Metric(name="braintumor.night.model", value=1, tags={"model": status.run.model.model_name})
    yield Metric(name="braintumor.scans.pending", value=pending)


def _by(name: str, tag: str, values: Mapping[str, float]) -> Iterator[Metric]:
    for key, value in values.items():
        yield Metric(name=name, value=float(value), tags={tag: key})
