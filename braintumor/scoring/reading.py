"""Read and decode scans in steps, which are groups of a few scans."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Row

from braintumor.errors import (
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ObjectStoreError,
    ObjectStoreUnreachableError,
)
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import SECONDS_A_STEP, PreparedFile, PreparedScan, take_step
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, default_pool
from braintumor.logs import bound
from braintumor.progress import progress
from braintumor.s3 import ObjectStore, S3Uri

MAX_CONSECUTIVE_READ_ERRORS = 16
"""Number of failed reads in a row after which the cause is S3 and not a single object."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScanObject:
    """Identify a scan by its ID, and the scan's file in S3 by key and etag.

    Logs show only the ID, because a key can name a patient.
    """

    scan_id: int
    location: S3Uri = field(repr=False)
    etag: str

    @classmethod
    def of_row(cls, row: Row[Any]) -> Self:
        """Return the scan in a database row with the columns ``bucket``, ``key`` and the other fields of the class."""
        values = dict(row._mapping)
        return cls(location=S3Uri(bucket=values.pop("bucket"), key=values.pop("key")), **values)


class ReadFailure(StrEnum):
    """Name the reasons why a scored scan cannot be read again. Pages show "3 gone or overwritten since"."""

    GONE = "gone or overwritten since"
    REFUSED = "refused by S3"
    UNDELIVERED = "not delivered by S3"
    UNREADABLE = "not readable any more"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Hold the result of reading one scan: the decoded file, its rejection, or the error of S3."""

    scan_id: int
    result: PreparedFile | Rejection | ObjectStoreError

    @property
    def frames(self) -> PreparedScan | None:
        """Return the decoded frames, or ``None`` if the file was not decoded."""
        return self.result.scan if isinstance(self.result, PreparedFile) else None

    @property
    def failure(self) -> ReadFailure | None:
        """Return why the file was not decoded, or ``None`` if the file was decoded."""
        match self.result:
            case PreparedFile():
                return None
            case Rejection():
                return ReadFailure.UNREADABLE
            case ObjectRefusedError():
                return ReadFailure.REFUSED
            case ObjectStoreUnreachableError():
                return ReadFailure.UNDELIVERED
            case _:
                return ReadFailure.GONE


@dataclass(kw_only=True)
class ScanReader:
    """Read and decode scans in threads, ahead of the caller. Collect the scans that S3 does not deliver.

    Attributes:
        size: width and height of the model's input, in pixels.
        seconds: time after which a step takes no further scan, so that slow files do not delay the other scans.
        max_errors: number of consecutive undelivered scans after which S3 counts as unreachable.
        undelivered: readings of the scans that S3 has not delivered so far.
    """

    store: ObjectStore
    size: int
    limits: Limits = field(default_factory=Limits)
    pool: DecoderPool = field(default_factory=default_pool)
    seconds: float = SECONDS_A_STEP
    max_errors: int = MAX_CONSECUTIVE_READ_ERRORS
    undelivered: list[Reading] = field(default_factory=list, init=False)
    _count_consecutive: int = field(default=0, init=False)

    def read(self, scan: ScanObject) -> Reading:
        """Read and decode one scan. If its etag has changed or S3 fails, the reading holds the error. Thread-safe."""
        try:
            data = self.store.read(scan.location, etag=scan.etag, max_bytes=self.limits.max_bytes)
        except (ObjectChangedError, ObjectMissingError, ObjectRefusedError, ObjectStoreUnreachableError) as error:
            return Reading(scan_id=scan.scan_id, result=error)
        return Reading(scan_id=scan.scan_id, result=self.pool.read(data, size=self.size, limits=self.limits))

    def steps(self, scans: Sequence[ScanObject]) -> Generator[list[Reading], None, None]:
        """Yield lists of readings. Each list has a limited number of scans and frames, so that memory stays bounded.

        Raises:
            ObjectStoreUnreachableError: S3 did not deliver ``max_errors`` scans in a row, so S3 is unreachable.
        """
        readings = closing(self.store.concurrently(self.read, scans))
        with readings as ahead, progress("Scoring", len(scans), unit="scans") as advance:
            while step := take_step(ahead, lambda reading: reading.frames, seconds=self.seconds):
                self._check_delivery(step)
                yield step
                advance(len(step))

    def _check_delivery(self, step: Sequence[Reading]) -> None:
        undelivered = [reading for reading in step if reading.failure is ReadFailure.UNDELIVERED]
        self.undelivered += undelivered
        for reading in undelivered:
            with bound(scan_id=reading.scan_id):
                _log.warning("not delivered by S3: %s", type(reading.result).__name__)
        self._count_consecutive = self._count_consecutive + len(undelivered) if len(undelivered) == len(step) else 0
        if self._count_consecutive >= self.max_errors:
            raise ObjectStoreUnreachableError(
                f"S3 delivered none of {self._count_consecutive} scans in a row. The committed scans are kept. Try "
                f"again when S3 is reachable. The last error: {undelivered[-1].result}"
            )
