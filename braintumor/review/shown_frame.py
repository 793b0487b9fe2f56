"""Read the data of one frame for a reviewer. A blind frame is shown without its predictions and earlier reviews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.errors import ReviewError
from braintumor.labels import CLASSES
from braintumor.serving.prediction import ReviewReason


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """Hold the current prediction of a frame, with probabilities in the order of ``CLASSES``.

    ``prediction_set`` is empty if no class is likely, or if the model has no prediction sets. ``reasons`` are the
    reasons for a review. ``second_class`` is the class that the run's second model predicts.
    """

    predicted_class: str
    probabilities: tuple[float, ...]
    prediction_set: tuple[str, ...]
    reasons: tuple[str, ...]
    second_class: str | None

    @property
    def is_out_of_distribution(self) -> bool:
        """Return whether the image differs from the training images, so that the probabilities are not reliable."""
        return ReviewReason.OUT_OF_DISTRIBUTION in self.reasons


@dataclass(frozen=True, kw_only=True)
class ShownFrame:
    """Hold the data of a frame on the review page. A blind frame has only its images and its model.

    ``is_conflict`` says whether reviewers disagree about the frame. ``same_image`` has (scan ID, frame index) of each
    scan of another patient with the same image. ``slices`` has (scan ID, frame index) of each scored frame of the same
    DICOM series. Without a series, it has those of the same file. Predictions and reviews are newest first.
    """

    scan_id: int
    frame_index: int
    model_version_id: int
    model_name: str
    study_pseudonym: str | None
    scored_at: datetime
    opinion: Opinion | None
    is_conflict: bool
    same_image: tuple[tuple[int, int], ...]
    slices: tuple[tuple[int, int], ...]
    predictions: tuple[Any, ...]
    reviews: tuple[Any, ...]

    @property
    def is_blind(self) -> bool:
        """Return whether the prediction is hidden from the person."""
        return self.opinion is None


def read_frame(connection: Connection, *, scan_id: int, frame_index: int, person: str, is_reviewer: bool) -> ShownFrame:
    """Return the data of a frame that the person is allowed to see. ``is_reviewer`` is the permission to review.

    Raises ``ReviewError`` if the frame has no prediction, or if its file was overwritten.
    """
    frame = {"scan": scan_id, "frame": frame_index}
    row = connection.execute(text(_CURRENT), frame).one_or_none()
    if row is None:
        is_replaced = connection.scalar(text("select is_replaced from scan where scan_id = :scan"), frame)
        problem = (
            f"The file of scan {scan_id} was overwritten, and its new version is another scan"
            if is_replaced
            else f"Scan {scan_id} has no prediction for frame {frame_index}"
        )
        raise ReviewError(f"{problem}. Go back to the worklist.")
    is_hidden = is_blind(connection, scan_id=scan_id, frame_index=frame_index, person=person, is_reviewer=is_reviewer)
    shown = [] if is_hidden else [_PREDICTIONS, _REVIEWS, _SAME_IMAGE]
    parts = [tuple(connection.execute(text(sql), frame).all()) for sql in shown] or [(), (), ()]
    return ShownFrame(
        scan_id=scan_id,
        frame_index=frame_index,
        model_version_id=row.current_model_version_id,
        model_name=row.model_name,
        study_pseudonym=row.study_pseudonym,
        scored_at=row.scored_at,
        opinion=None if is_hidden else _opinion(row),
        is_conflict=row.is_conflict and not is_hidden,
        same_image=tuple((each.scan_id, each.frame_index) for each in parts[2]),
        slices=tuple((each.scan_id, each.frame_index) for each in connection.execute(text(_SLICES), frame)),
        predictions=parts[0],
        reviews=parts[1],
    )


def is_blind(connection: Connection, *, scan_id: int, frame_index: int, person: str, is_reviewer: bool) -> bool:
    """Return whether the prediction of a frame is hidden from a person. ``is_reviewer`` is the permission to review.

    For a scan of the audit sample, the prediction is hidden from a reviewer until this reviewer has reviewed the scan.
    Other persons see the prediction after any review of the scan. The prediction of a repeated frame is hidden until
    the person has reviewed the frame in the session, for at most a day. A retracted review counts as a review.
    """
    values = {"scan": scan_id, "frame": frame_index, "person": person, "is_reviewer": is_reviewer}
    return bool(connection.scalar(statement("review/is_blind"), values))


def _opinion(row: Any) -> Opinion:
    return Opinion(
        predicted_class=row.predicted_class,
        probabilities=tuple(getattr(row, f"probability_{name.value}") for name in CLASSES),
        prediction_set=tuple(row.set_classes or ()),
        reasons=tuple(row.review_reasons),
        second_class=row.second_class,
    )


_CURRENT = """
    select
        current_prediction.*, prediction_set::text[] as set_classes,
        model_version.model_version_id as current_model_version_id
    from current_prediction
    join model_version using (model_name)
    where scan_id = :scan and frame_index = :frame"""

_SAME_IMAGE = """
    select distinct on (prediction.scan_id) prediction.scan_id, frame_index
    from cross_patient_duplicate_pair as pair
    join prediction on prediction.scan_id = pair.other_scan_id
    where pair.scan_id = :scan
    order by prediction.scan_id, frame_index <> :frame, frame_index"""
_SLICES = """
    select distinct prediction.scan_id, prediction.frame_index
    from scan as asked
    join scan on scan.scan_id = asked.scan_id or scan.series_pseudonym = asked.series_pseudonym
    join prediction on prediction.scan_id = scan.scan_id
    where asked.scan_id = :scan and not scan.is_replaced
    order by prediction.scan_id, prediction.frame_index"""
_PREDICTIONS = """
    select model_name, predicted_class::text as predicted_class, confidence, scored_at
    from prediction
    join model_version using (model_version_id)
    where scan_id = :scan and frame_index = :frame
    order by scored_at desc"""
_REVIEWS = """
    select reviewer, finding::text as finding, is_blind, reviewed_at, retracted_at
    from review
    left join review_retraction using (review_id)
    where scan_id = :scan and frame_index = :frame
    order by review_id desc"""
