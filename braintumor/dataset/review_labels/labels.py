"""Derive labels from the reviews of scored frames, and request a retrain when enough labels are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from braintumor.config.settings import Settings
from braintumor.dataset.images.patient_ids import PATIENT, STUDY
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.db import database
from braintumor.db.database import advisory_lock, transaction
from braintumor.labels import TumorClass


@dataclass(frozen=True, kw_only=True)
class ReviewedLabel:
    """A frame with a label from its reviews.

    Attributes:
        source: what the label is based on: ``readers``, ``senior_reader`` or ``adjudicated``.
        count_reader: number of reviewers whose current review gives this label and counts under the rules.
        identity: name of the scan, such as ``scan 7``, and the pseudonyms of its patient, study and series. Frames
            that share one of them are in one group.
    """

    scan_id: int
    frame_index: int
    label: TumorClass
    source: str
    count_reader: int
    identity: frozenset[str] = field(repr=False)

    @property
    def name(self) -> str:
        """Return the display name of the frame, without patient data."""
        return f"scan {self.scan_id}, frame {self.frame_index}"


@dataclass(frozen=True, kw_only=True)
class ReviewedLabelSummary:
    """Counts of the labels that result from the stored reviews.

    Attributes:
        labels: number of frames with a label, by (class, source).
        unlabeled: number of reviewed frames without a label, by reason.
        count_new: number of labels that no snapshot considered and no retrain request counted.
        retrain_after: number of new labels from which a retrain is requested.
        snapshot_id: id of the last snapshot that considered reviewed frames, or ``None``.
        excluded: (name, reason) of each frame that this snapshot excludes.
    """

    rules_version: int
    labels: Mapping[tuple[str, str], int]
    unlabeled: Mapping[str, int]
    count_new: int
    retrain_after: int
    snapshot_id: str | None
    excluded: Sequence[tuple[str, str]]


def reviewed_labels(connection: Connection, rules: LabelRules) -> list[ReviewedLabel]:
    """Return every frame with a label under the rules, sorted by scan id and frame index."""
    rows = connection.execute(text(_LABELS), _values(rules))
    return [
        ReviewedLabel(
            scan_id=row.scan_id,
            frame_index=row.frame_index,
            label=TumorClass(row.label),
            source=row.label_source,
            count_reader=row.count_reader,
            identity=_identity(row),
        )
        for row in rows
    ]


def summarize_reviewed_labels(settings: Settings) -> ReviewedLabelSummary:
    """Return counts of the labels that result from the stored reviews, and the exclusions of the last snapshot.

    Raises ``LabelRulesError`` if the rule file is invalid.
    """
    rules = LabelRules.load(settings.label_rules)
    engine = database.connect(settings)
    with transaction(engine) as connection:
        rows = connection.execute(text(_VERDICTS), _values(rules)).all()
        count_new: int = connection.execute(text(_COUNT_NEW), _values(rules)).scalar_one()
        snapshot_id = connection.scalar(text(_LAST_SNAPSHOT))
        excluded = connection.execute(text(_LEFT_OUT), {"snapshot": snapshot_id}).all()
    return ReviewedLabelSummary(
        rules_version=rules.version,
        labels=Counter((row.label, row.label_source) for row in rows if row.label),
        unlabeled=Counter(row.reason for row in rows if row.reason),
        count_new=count_new,
        retrain_after=rules.retrain_after,
        snapshot_id=snapshot_id,
        excluded=[(row.name, row.reason) for row in excluded],
    )


def request_retrain(settings: Settings, *, request_key: str) -> int:
    """Record a request for a retrain if there are enough new labels.

    Return the number of new labels, or 0 if no retrain is requested. Labels that one request counts are not new for
    later requests. A retry with the same ``request_key`` returns the same number. Raises ``LabelRulesError`` if the
    rule file is invalid.
    """
    rules = LabelRules.load(settings.label_rules)
    with transaction(database.connect(settings)) as connection:
        advisory_lock(connection, "retrain request")
        requested: int = connection.execute(text(_REQUESTED), {"key": request_key}).scalar_one()
        if requested:
            return requested
        count: int = connection.execute(text(_COUNT_NEW), _values(rules)).scalar_one()
        if count < rules.retrain_after:
            return 0
        connection.execute(text(_REQUEST), _values(rules) | {"key": request_key})
    return count


def record_reviews(
    connection: Connection,
    snapshot_id: str,
    labels: Sequence[ReviewedLabel],
    *,
    reasons: Mapping[str, str],
    rules_version: int,
) -> None:
    """Record in the table ``snapshot_review``, for each considered label, whether a snapshot contains the frame.

    ``reasons`` gives the reason of each exclusion, by ``ReviewedLabel.name``.
    """
    if not labels:
        return
    connection.execute(
        text(_RECORD),
        [
            {
                "snapshot": snapshot_id,
                "scan": label.scan_id,
                "frame": label.frame_index,
                "label": label.label.value,
                "source": label.source,
                "count": label.count_reader,
                "version": rules_version,
                "reason": reasons.get(label.name),
            }
            for label in labels
        ],
    )


def _values(rules: LabelRules) -> dict[str, object]:
    return {"minimum": rules.minimum_readers, "seniors": list(rules.senior_readers), "blind": rules.blind_only}


def _identity(row: Any) -> frozenset[str]:
    pseudonyms = {PATIENT: row.patient_pseudonym, STUDY: row.study_pseudonym, "series": row.series_pseudonym}
    return frozenset({f"scan {row.scan_id}", *(f"{kind} {value}" for kind, value in pseudonyms.items() if value)})


_VERDICTS = """
    select scan_id, frame_index, label::text as label, label_source::text as label_source, count_reader, reason
    from reviewed_label(:minimum, cast(:seniors as text[]), :blind)"""
_LABELS = f"""
    select verdict.*, scan.patient_pseudonym, scan.study_pseudonym, scan.series_pseudonym
    from ({_VERDICTS}) as verdict
    join scan using (scan_id)
    where verdict.label is not null
    order by scan_id, frame_index"""
_NEW = """
    select scan_id, frame_index, label
    from reviewed_label(:minimum, cast(:seniors as text[]), :blind)
    where label is not null and scan_id not in (select scan_id from scan where is_replaced)
    except
    select scan_id, frame_index, label from snapshot_review
    except
    select scan_id, frame_index, label from requested_label"""
_COUNT_NEW = f"select count(*) from ({_NEW}) as new_label"
_REQUESTED = "select count(*) from requested_label where request_key = :key"
_REQUEST = f"""
    insert into requested_label (scan_id, frame_index, label, request_key)
    select scan_id, frame_index, label, :key from ({_NEW}) as new_label"""
_LAST_SNAPSHOT = """
    select snapshot_id
    from snapshot
    where exists (select from snapshot_review where snapshot_review.snapshot_id = snapshot.snapshot_id)
    order by created_at desc
    limit 1"""
_LEFT_OUT = """
    select 'scan ' || scan_id || ', frame ' || frame_index as name, reason
    from snapshot_review
    where snapshot_id = :snapshot and reason is not null
    order by scan_id, frame_index"""
_RECORD = """
    insert into snapshot_review (
        snapshot_id, scan_id, frame_index, label, label_source, count_reader, rules_version, reason)
    values (
        :snapshot, :scan, :frame, cast(:label as tumor_class), cast(:source as label_source), :count, :version, :reason)
    on conflict (snapshot_id, scan_id, frame_index) do update
    set label = excluded.label, label_source = excluded.label_source, count_reader = excluded.count_reader,
        rules_version = excluded.rules_version, reason = excluded.reason"""
