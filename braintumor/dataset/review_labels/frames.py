"""Store each frame that has a label from reviews as a PNG image in S3.

A frame is decoded once, from the version of the object that was scored. Its row in ``reviewed_frame`` is committed
first. Then the image is written to S3 while this row is locked. An erasure locks the same row. So the erasure sees
every image, and no image is written after the erasure.
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
"""Number of images in memory at a time."""

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Location:
    uri: S3Uri
    etag: str


@dataclass(frozen=True, kw_only=True)
class _Render:
    key: Key
    png: bytes = field(repr=False)

    @property
    def image_sha256(self) -> str:
        return sha256(self.png).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ReviewedImages:
    """Reviewed frames for a snapshot: the available ``images``, the ``excluded`` frames, and the labels of both.

    Images and excluded frames are identified by ``ReviewedLabel.name``.
    """

    images: tuple[LabeledImage, ...]
    excluded: tuple[ExcludedImage, ...]
    labels: tuple[ReviewedLabel, ...]
    rules_version: int

    def record(self, connection: Connection, snapshot_id: str, reasons: Mapping[str, str]) -> None:
        """Record for each label whether the snapshot contains the frame.

        ``reasons`` gives the reason of each exclusion, by ``ReviewedLabel.name``.
        """
        record_reviews(connection, snapshot_id, self.labels, reasons=reasons, rules_version=self.rules_version)


def reviewed_images(engine: Engine, store: ObjectStore, models: S3Uri, rules: LabelRules) -> ReviewedImages:
    """Return the frames that have a label under the rules, and store their missing images in S3.

    ``models`` is the S3 prefix of all models. The images are stored below it.
    """
    with transaction(engine) as connection:
        labels = reviewed_labels(connection, rules)
    images, excluded = _read_all(engine, store, models, labels)
    return ReviewedImages(
        images=tuple(images), excluded=tuple(excluded), labels=tuple(labels), rules_version=rules.version
    )


def _read_all(
    engine: Engine, store: ObjectStore, models: S3Uri, labels: Sequence[ReviewedLabel]
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    unavailable = _store_missing(engine, store, models / "reviewed/", labels)
    stored = _stored(engine)
    present = [label for label in labels if (label.scan_id, label.frame_index) in stored]
    read = store.concurrently(lambda label: _read(store, label, stored[label.scan_id, label.frame_index]), present)
    images, excluded = partition_images(read)
    names = {item.image_uri for item in unavailable} | {label.name for label in present}
    erased = [
        ExcludedImage(image_uri=label.name, reason="it was deleted while it was read")
        for label in labels
        if label.name not in names
    ]
    return images, unavailable + excluded + erased


def _store_missing(
    engine: Engine, store: ObjectStore, folder: S3Uri, labels: Sequence[ReviewedLabel]
) -> list[ExcludedImage]:
    stored = _stored(engine)
    missing = [label for label in labels if (label.scan_id, label.frame_index) not in stored]
    locations = _locations(engine, missing)
    unavailable: list[ExcludedImage] = []
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        renders: list[_Render] = []
        for result in store.concurrently(lambda label: _render(store, label, locations.get(label.scan_id)), batch):
            if isinstance(result, ExcludedImage):
                unavailable.append(result)
            else:
                renders.append(result)
        _store(engine, store, folder, renders)
    return unavailable


def _render(store: ObjectStore, label: ReviewedLabel, location: _Location | None) -> _Render | ExcludedImage:
    if location is None:
        return ExcludedImage(image_uri=label.name, reason="the location of the object is unknown")
    try:
        data = store.read(location.uri, etag=location.etag, max_bytes=Limits().max_bytes)
    except tuple(LOST) as exc:
        return ExcludedImage(image_uri=label.name, reason=LOST[type(exc)])
    rendered = default_pool().draw(data, frame=label.frame_index)
    if isinstance(rendered, Rejection):
        return ExcludedImage(image_uri=label.name, reason=f"{rendered.reason}: {rendered.detail}")
    return _Render(key=(label.scan_id, label.frame_index), png=rendered.png)


def _store(engine: Engine, store: ObjectStore, folder: S3Uri, renders: Sequence[_Render]) -> None:
    """Commit the frames' rows, then write their images to S3 while these rows are locked.

    An erasure can delete a row between the two steps. The image of a deleted row is not written.
    """
    if not renders:
        return
    by_key = {render.key: render for render in renders}
    uris = {key: folder / f"{render.image_sha256}.png" for key, render in by_key.items()}
    values = [
        {"scan": key[0], "frame": key[1], "sha256": render.image_sha256, "uri": str(uris[key])}
        for key, render in by_key.items()
    ]
    with transaction(engine) as connection:
        connection.execute(text(_DECODED), values)
    with transaction(engine) as connection:
        scans, frames = ([key[part] for key in by_key] for part in (0, 1))
        rows = connection.execute(text(_STORED), {"scans": scans, "frames": frames}).all()
        locked = [(row.scan_id, row.frame_index) for row in rows]
        list(store.concurrently(lambda key: store.write(uris[key], by_key[key].png, content_type="image/png"), locked))


def _read(store: ObjectStore, label: ReviewedLabel, stored: tuple[str, str]) -> LabeledImage | ExcludedImage:
    uri, digest = stored
    try:
        data = store.read(S3Uri.parse(uri))
    except ObjectMissingError:
        return ExcludedImage(image_uri=label.name, reason="its stored image is missing", image_sha256=digest)
    if sha256(data).hexdigest() != digest:
        return ExcludedImage(image_uri=label.name, reason="its stored image was overwritten", image_sha256=digest)
    image = to_labeled_image(lambda: data, label=label.label, address=uri, around=())
    assert image is not None  # because the address ends in .png
    if isinstance(image, ExcludedImage):
        return replace(image, image_uri=label.name)
    attributes = {**image.attributes, "source": "reviewed"}
    return replace(image, attributes=attributes, patient=label.identity, reviewed=label.name)


def _stored(engine: Engine) -> dict[Key, tuple[str, str]]:
    """Return the address and sha256 of every stored image, by (scan id, frame index)."""
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
