"""Score one chunk: read, decode, infer, settle.

Reading and decoding run ahead in threads while the engine works, a bounded number of scans at a time, so memory does
not grow with the chunk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from braintumor.errors import ObjectChangedError, ObjectMissingError
from braintumor.imaging.deidentify import pseudonym
from braintumor.imaging.frames import Decoded, Limits, decode
from braintumor.imaging.preprocess import prepare
from braintumor.imaging.rejection import Rejection
from braintumor.objectstore import ObjectStore
from braintumor.scoring.claim import (
    ClaimedScan,
    Outcome,
    Rejected,
    ScanFacts,
    Scored,
    Superseded,
    claim,
    renew,
    settle,
)
from braintumor.scoring.run import ScoringRun
from braintumor.serving.answer import answers
from braintumor.serving.engine import LoadedModel

_SCANS_A_STEP = 32
"""Scans decoded and inferred together."""


@dataclass(frozen=True, kw_only=True)
class _Readable:
    """A scan as the model wants it: frames uint8 (F, S, S, 3)."""

    scan_id: int
    facts: ScanFacts
    frames: NDArray[np.uint8]


_Reading = _Readable | Rejected | Superseded


def score_chunk(
    engine: Engine,
    store: ObjectStore,
    model: LoadedModel,
    run: ScoringRun,
    chunk_number: int,
    *,
    pseudonym_key: bytes,
    limits: Limits | None = None,
) -> Counter[str]:
    """Claim, score and settle a chunk; returns how many scans were ``scored``, ``rejected`` and ``superseded``.

    A chunk that is settled already is left alone, and counts nothing.

    Raises:
        StaleClaimError: a newer attempt owns the chunk; nothing was written.
        ObjectStoreUnreachableError: S3 does not answer; nothing was written, the scans stay pending.
    """
    held = claim(engine, run, chunk_number)
    if held is None:
        return Counter()
    reader = _Reader(
        store=store, size=model.manifest.image_size, pseudonym_key=pseudonym_key, limits=limits or Limits()
    )
    seconds = {"read": 0.0, "infer": 0.0}
    outcomes: list[Outcome] = []
    readings = store.concurrently(reader.read, held.scans)
    for step in _steps(readings, seconds):
        started = time.monotonic()
        outcomes += _infer(model, step)
        seconds["infer"] += time.monotonic() - started
        renew(engine, held)
    settle(engine, held, outcomes, stage_seconds=dict(seconds))
    return Counter(type(outcome).__name__.lower() for outcome in outcomes)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """What reading a scan needs to know. Runs in threads."""

    store: ObjectStore
    size: int
    pseudonym_key: bytes
    limits: Limits

    def read(self, scan: ClaimedScan) -> _Readable | Rejected | Superseded:
        """Bytes of the listed version -> frames, or why there are none."""
        try:
            data = self.store.read(scan.location, etag=scan.etag, max_bytes=self.limits.max_bytes)
        except (ObjectChangedError, ObjectMissingError):
            return Superseded(scan_id=scan.scan_id)
        decoded = decode(data, limits=self.limits)
        if isinstance(decoded, Rejection):
            return Rejected(scan_id=scan.scan_id, rejection=decoded)
        frames = np.stack([prepare(frame.pixels, size=self.size) for frame in decoded.frames])
        return _Readable(scan_id=scan.scan_id, facts=self._facts(data, decoded), frames=frames)

    def _facts(self, data: bytes, decoded: Decoded) -> ScanFacts:
        identity = decoded.dicom
        return ScanFacts(
            format=decoded.format,
            content_sha256=sha256(data).hexdigest(),
            pixel_sha256=decoded.pixel_sha256,
            study_pseudonym=self._pseudonym("study", identity.study_instance_uid if identity else None),
            series_pseudonym=self._pseudonym("series", identity.series_instance_uid if identity else None),
            patient_pseudonym=self._pseudonym("patient", identity.patient_id if identity else None),
        )

    def _pseudonym(self, kind: Literal["study", "series", "patient"], value: str | None) -> str | None:
        return None if value is None else pseudonym(value, kind=kind, key=self.pseudonym_key)


def _steps(readings: Iterator[_Reading], seconds: dict[str, float]) -> Iterator[list[_Reading]]:
    """The readings, a bounded number at a time; the seconds that the engine waited for them are added up."""
    while True:
        started = time.monotonic()
        step = list(islice(readings, _SCANS_A_STEP))
        seconds["read"] += time.monotonic() - started
        if not step:
            return
        yield step


def _infer(model: LoadedModel, step: list[_Reading]) -> list[Outcome]:
    """Score the readable scans of a step in one go, and pass the others through."""
    readable = [reading for reading in step if isinstance(reading, _Readable)]
    outcomes: list[Outcome] = [reading for reading in step if not isinstance(reading, _Readable)]
    if readable:
        outputs = model.predict(np.concatenate([scan.frames for scan in readable]))
        stream = answers(outputs, model.manifest)
        outcomes += [
            Scored(scan_id=scan.scan_id, facts=scan.facts, answers=tuple(islice(stream, len(scan.frames))))
            for scan in readable
        ]
    return outcomes
