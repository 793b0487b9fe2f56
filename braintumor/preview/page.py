"""Render the flip preview: a few lines of Markdown for the approver, and one page with images of patients.

A flip is a frame whose predicted class changes. Airflow's plugin serves the page only to readers with a permission. The
page names scans by their IDs, never by object keys.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray
from PIL import Image

from braintumor.evaluation.report.cam_overlay import overlay
from braintumor.evaluation.report.formatting import figure
from braintumor.preview.prediction_changes import Flip, FlipKind, FlipPreview, Flips
from braintumor.reports.jinja import page_environment
from braintumor.s3 import ObjectStore
from braintumor.scoring.reading import ReadFailure, ScanObject, ScanReader

SHOWN_FLIPS = 100
"""Largest number of flips with images on a page: about 3 MB."""
SHOWN_SIZE = 224
"""Width and height of an image in pixels."""
_QUALITY = 88
"""JPEG quality: 10 kB per image, without visible artifacts on anatomy."""


@dataclass(frozen=True, kw_only=True)
class FlipImages:
    """Hold three JPEG images of a flip: the frame, and the frame under the activation map of each model."""

    frame: bytes = field(repr=False)
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)

    @classmethod
    def draw(cls, flip: Flip, frame: NDArray[np.uint8]) -> FlipImages:
        """Return the three images of a flip, drawn from its ``frame``, uint8 (S, S, 3)."""
        before, after = overlay(frame, flip.before_map), overlay(frame, flip.after_map)
        return cls(frame=_jpeg(frame), before=_jpeg(before), after=_jpeg(after))


@dataclass(frozen=True, kw_only=True)
class FlipWithImages:
    """Hold a flip with its images, or with the reason why the images are missing."""

    flip: Flip
    images: FlipImages | ReadFailure

    @property
    def why_no_images(self) -> str:
        """Return why the images are missing, or an empty text if there are images."""
        return self.images.value if isinstance(self.images, ReadFailure) else ""


def with_images(store: ObjectStore, flips: Sequence[Flip], scans: Iterable[ScanObject]) -> Iterator[FlipWithImages]:
    """Read the files of the flips again from S3, a few at a time, and yield each flip with its images.

    ``scans`` must contain the scan of each flip.
    """
    by_id = {scan.scan_id: scan for scan in scans}

    def draw(flip: Flip) -> FlipWithImages:
        reading = ScanReader(store=store, size=SHOWN_SIZE).read(by_id[flip.scan_id])
        frame = reading.frames.frame(flip.frame_index) if reading.frames else None
        if frame is None:
            return FlipWithImages(flip=flip, images=reading.failure or ReadFailure.UNREADABLE)
        return FlipWithImages(flip=flip, images=FlipImages.draw(flip, frame))

    return store.concurrently(draw, flips)


def flip_page(preview: FlipPreview, shown: Iterable[FlipWithImages], *, run_key: str) -> str:
    """Return the page of a flip preview as HTML. ``shown`` has the flips with images, the most severe first.

    ``run_key`` identifies the retrain run.
    """
    template = flip_templates().get_template("flip_preview.html")
    return template.render(preview=preview, shown=list(shown), run_key=run_key, summary=summary(preview))


def summary(preview: FlipPreview) -> str:
    """Return a summary of the changes in one sentence, then a sentence on the compared scans."""
    return " ".join(part for part in (headline(preview), _compared_scans(preview)) if part)


def headline(preview: FlipPreview, *, address: str = "") -> str:
    """Return one sentence with the number of changed predictions of each kind.

    If ``address`` is the URL of the page, each kind is a Markdown link to its section of the page.
    """
    if preview.why_nothing:
        return f"Nothing to compare: {preview.why_nothing}."
    if not preview.count_compared:
        return "No prediction could be compared."
    compared = counted(preview.count_compared, "prediction")
    if not preview.count_flip:
        return f"None of {compared} would change: the candidate predicts the same classes as the champion."
    return f"{preview.count_flip:,} of {compared} would change: {kinds(preview, address=address)}."


def _compared_scans(preview: FlipPreview) -> str:
    if preview.why_nothing:
        return ""
    unread = "".join(f" {count} {reason.value}." for reason, count in preview.failures.items())
    scans = counted(preview.count_scan, "scan")
    return f"Compared on {scans} of production, the newest that {preview.champion} scored.{unread}"


def kinds(flips: Flips, *, address: str = "") -> str:
    """Return the number of flips of each kind that occurs, the most severe first: ``3 tumor to normal, ...``.

    If ``address`` is the URL of the page, each number is a Markdown link to its section of the page.
    """
    counts = {kind: f"{count:,} {kind.value}" for kind, count in flips.by_kind.items() if count}
    return ", ".join(f"[{words}]({address}#{section_id(kind)})" if address else words for kind, words in counts.items())


def section_id(kind: FlipKind) -> str:
    """Return the HTML ID of the section of a page that shows the flips of one kind."""
    return kind.value.replace(" ", "-")


def to_markdown(preview: FlipPreview, *, address: str = "", links: Mapping[str, str] | None = None) -> str:
    """Return the Markdown text on the changes, which precedes the question to the approver.

    Args:
        preview: the comparison of the candidate with the champion.
        address: URL of the page with the flips. If it is empty, the text has no link to the page.
        links: URL of each further page, by the text of its link.
    """
    pages = {"All changes with images, the most severe first": address, **(links or {})}
    linked = " · ".join(f"[{words}]({url})" for words, url in pages.items() if url)
    parts = (f"**{headline(preview, address=address)}**", _compared_scans(preview), linked)
    return "\n\n".join(part for part in parts if part)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 scan``, ``2,000 scans``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


@cache
def flip_templates() -> Environment:
    """Return the Jinja environment with the templates of pages that show flips."""
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": figure, "section_id": section_id}
    return environment
