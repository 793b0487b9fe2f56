"""What a monitoring system is told of a night: numbers and tags, none of which names a file or a person.

Names and tags are a contract: dashboards and rules of others are made of them. ``NAMES`` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.scoring.run_report.status import Level, RunStatus

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "braintumor.night.objects": "Objects of the last night by outcome: seen, scored, known, rejected and so on; "
        "unaccounted is 0 where it balances.",
        "braintumor.night.level": "How the last night went: 0 green, 1 amber, 2 red.",
        "braintumor.night.seconds": "From the start of the last night to its last settled chunk.",
        "braintumor.night.files_per_second": "Files that the last night scored or rejected, by its seconds.",
        "braintumor.night.stage_seconds": "Seconds that workers spent, by stage, added up over chunks.",
        "braintumor.night.rejections": "Files rejected in the last night, by reason. A reason without any is not sent.",
        "braintumor.night.answers": "Frames of the last night by predicted class.",
        "braintumor.night.drift": "Population stability index of the last night, by reference and by what is compared.",
        "braintumor.night.model": "1, with the name of the model that answered as its tag.",
        "braintumor.scans.pending": "Scans that wait to be scored, of all nights, when the last one was judged.",
    }
)
"""Each gauge, and what it means."""

_LEVELS = (Level.GREEN, Level.AMBER, Level.RED)
_TIMES = """
    select
        extract(epoch from max(finished_at) - (select started_at from scoring_run where scoring_run_id = :run)),
        (select count(*) from scan where state = 'pending')
    from scoring_chunk where scoring_run_id = :run"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value of a gauge; the tags tell the values of one gauge apart."""

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


def run_metrics(engine: Engine, sheet: RunStatus) -> Iterator[Metric]:
    """What there is to tell of a judged night."""
    with transaction(engine) as connection:
        seconds, pending = connection.execute(text(_TIMES), {"run": sheet.run.scoring_run_id}).one()
    counts = {name.removeprefix("count_"): count for name, count in asdict(sheet.balance).items()}
    yield from _by("braintumor.night.objects", "outcome", counts)
    yield Metric(name="braintumor.night.level", value=_LEVELS.index(sheet.level))
    if seconds:  # a night without work has no chunk
        yield Metric(name="braintumor.night.seconds", value=float(seconds))
        files = counts["scored"] + counts["rejected"]
        yield Metric(name="braintumor.night.files_per_second", value=files / float(seconds))
    yield from _by("braintumor.night.stage_seconds", "stage", sheet.figures.stage_seconds)
    yield from _by("braintumor.night.rejections", "reason", sheet.figures.rejections)
    yield from _by("braintumor.night.answers", "class", sheet.figures.classes)
    for drift in sheet.figures.drifts:
        for what, value in {"class": drift.of_class, "confidence": drift.of_confidence}.items():
            if value is not None:
                tags = {"reference": drift.reference, "what": what}
                yield Metric(name="braintumor.night.drift", value=value, tags=tags)
    yield Metric(name="braintumor.night.model", value=1, tags={"model": sheet.run.model.model_name})
    yield Metric(name="braintumor.scans.pending", value=pending)


def _by(name: str, tag: str, values: Mapping[str, float]) -> Iterator[Metric]:
    for key, value in values.items():
        yield Metric(name=name, value=float(value), tags={tag: key})
