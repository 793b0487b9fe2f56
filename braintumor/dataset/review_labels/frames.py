"""The frames behind reviewed labels, as pictures of our own: decoded once, at the version that was scored.

A frame's row in ``reviewed_frame`` is committed before its picture is written, and the picture is written while that
row is held: so an erasure finds every picture, and none is written behind its back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from sqlalchemy import Connection, Engine, text

from braintumor.dataset.images.labeled_image import (
    LOST,
    ExcludedImage,
    LabeledImage,
    partition_images,
    to_labeled_image,
)
from braintumor.dataset.review_labels.labels import ReviewedLabel, record_reviews, reviewed_labels
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.db.database import transaction
from braintumor.errors import ObjectMissingError
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.s3 import ObjectStore, S3Uri

_BATCH = 32
"""Pictures in memory at a time."""

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Location:
    uri: S3Uri
    etag: str


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    key: Key
    png: bytes = field(repr=False)

    @property
    def image_sha256(self) -> str:
        return sha256(self.png).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ReviewedImages:
    """Reviewed frames for a snapshot.

    Attributes:
        images: as labeled images; ``reviewed`` of each is its ``ReviewedLabel.name``.
        excluded: those that cannot be had, by that name.
        labels: behind all of them.
        rules_version: of the rules that made the labels.
    """

    images: tuple[LabeledImage, ...]
    excluded: tuple[ExcludedImage, ...]
    labels: tuple[ReviewedLabel, ...]
    rules_version: int

    def record(self, connection: Connection, snapshot_id: str, reasons: Mapping[str, str]) -> None:
        """Say of each label whether it is in a snapshot; ``reasons`` by name for those that are not."""
        record_reviews(connection, snapshot_id, self.labels, reasons=reasons, rules_version=self.rules_version)


def reviewed_images(engine: Engine, store: ObjectStore, models: S3Uri, rules: LabelRules) -> ReviewedImages:
    """The frames that have a label under the rules, with pictures below ``models``."""
    with transaction(engine) as connection:
        labels = reviewed_labels(connection, rules)
    images, excluded = _read_all(engine, store, models, labels)
    return ReviewedImages(
        images=tuple(images), excluded=tuple(excluded), labels=tuple(labels), rules_version=rules.version
    )


def _read_all(
    engine: Engine, store: ObjectStore, models: S3Uri, labels: Sequence[ReviewedLabel]
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    lost = _store_missing(engine, store, models / "reviewed/", labels)
    kept = _stored(engine)
    present = [label for label in labels if (label.scan_id, label.frame_index) in kept]
    read = store.concurrently(lambda label: _read(store, label, kept[label.scan_id, label.frame_index]), present)
    images, excluded = partition_images(read)
    named = {item.image_uri for item in lost} | {label.name for label in present}
    gone = [
        ExcludedImage(image_uri=label.name, reason="it went while it was read")
        for label in labels
        if label.name not in named
    ]
    return images, lost + excluded + gone


def _store_missing(
    engine: Engine, store: ObjectStore, folder: S3Uri, labels: Sequence[ReviewedLabel]
) -> list[ExcludedImage]:
    stored = _stored(engine)
    missing = [label for label in labels if (label.scan_id, label.frame_index) not in stored]
    locations = _locations(engine, missing)
    lost: list[ExcludedImage] = []
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        drawn: list[_Drawn] = []
        for found in store.concurrently(lambda label: _draw(store, label, locations.get(label.scan_id)), batch):
            if isinstance(found, ExcludedImage):
                lost.append(found)
            else:
                drawn.append(found)
        _keep(engine, store, folder, drawn)
    return lost


def _draw(store: ObjectStore, label: ReviewedLabel, location: _Location | None) -> _Drawn | ExcludedImage:
    if location is None:
        return ExcludedImage(image_uri=label.name, reason="nobody knows where the object lies")
    try:
        data = store.read(location.uri, etag=location.etag, max_bytes=Limits().max_bytes)
    except tuple(LOST) as exc:
        return ExcludedImage(image_uri=label.name, reason=LOST[type(exc)])
    found = default_pool().draw(data, frame=label.frame_index)
    if isinstance(found, Rejection):
        return ExcludedImage(image_uri=label.name, reason=f"{found.reason}: {found.detail}")
    return _Drawn(key=(label.scan_id, label.frame_index), png=found.png)


def _keep(engine: Engine, store: ObjectStore, folder: S3Uri, drawn: Sequence[_Drawn]) -> None:
    """First the rows, then, holding those that are still there, their pictures."""
    if not drawn:
        return
    uris = {each.key: folder / f"{each.image_sha256}.png" for each in drawn}
    values = [
        {"scan": each.key[0], "frame": each.key[1], "sha256": each.image_sha256, "uri": str(uris[each.key])}
        for each in drawn
    ]
    with transaction(engine) as connection:
        connection.execute(text(_DECODED), values)
    pictures = {each.key: each.png for each in drawn}
    with transaction(engine) as connection:
        scans, frames = ([key[part] for key in pictures] for part in (0, 1))
        rows = connection.execute(text(_STORED), {"scans": scans, "frames": frames}).all()
        held = [(row.scan_id, row.frame_index) for row in rows]
        for _ in store.concurrently(lambda key: _write(store, uris[key], pictures[key]), held):
            pass


def _write(store: ObjectStore, uri: S3Uri, png: bytes) -> None:
    store.write(uri, png, content_type="image/png")


def _read(store: ObjectStore, label: ReviewedLabel, stored: tuple[str, str]) -> LabeledImage | ExcludedImage:
    uri, digest = stored
    try:
        data = store.read(S3Uri.parse(uri))
    except ObjectMissingError:
        return ExcludedImage(image_uri=label.name, reason="its stored picture is gone", image_sha256=digest)
    if sha256(data).hexdigest() != digest:
        return ExcludedImage(image_uri=label.name, reason="its stored picture was overwritten", image_sha256=digest)
    found = to_labeled_image(lambda: data, label=label.label, address=uri, around=())
    assert found is not None  # because the address ends in .png
    if isinstance(found, ExcludedImage):
        return replace(found, image_uri=label.name)
    attributes = {**found.attributes, "source": "reviewed"}
    return replace(found, attributes=attributes, patient=label.identity, reviewed=label.name)


def _stored(engine: Engine) -> dict[Key, tuple[str, str]]:
    """Address and sha256 of every picture that was written, by scan and frame."""
    with transaction(engine) as connection:
        rows = connection.execute(text(_KNOWN)).all()
    return {(row.scan_id, row.frame_index): (row.image_uri, row.image_sha256) for row in rows}


def _locations(engine: Engine, labels: Sequence[ReviewedLabel]) -> dict[int, _Location]:
    with transaction(engine) as connection:
        rows = connection.execute(
            text("select * from reviewed_location(cast(:scans as bigint[]))"),
            {"scans": sorted({label.scan_id for label in labels})},
        ).all()
    return {row.scan_id: _Location(uri=S3Uri(bucket=row.bucket, key=row.key), etag=row.etag) for row in rows}


_KNOWN = "select scan_id, frame_index, image_uri, image_sha256 from reviewed_frame where stored_at is not null"
_DECODED = """
    insert into reviewed_frame (scan_id, frame_index, image_sha256, image_uri)
    values (:scan, :frame, :sha256, :uri)
    on conflict (scan_id, frame_index) do update
    set image_sha256 = excluded.image_sha256, image_uri = excluded.image_uri
    where reviewed_frame.stored_at is null"""
_STORED = """
    update reviewed_frame
    set stored_at = clock_timestamp()
    where (scan_id, frame_index) in (select * from unnest(cast(:scans as bigint[]), cast(:frames as integer[])))
      and stored_at is null
    returning scan_id, frame_index"""
