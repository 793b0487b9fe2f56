"""Render the flip preview: a few lines of Markdown for the approver, and one page with images of patients.

Only the access-checked route of Airflow's plugin serves the page. It names scans by their IDs, never by object keys.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray
from PIL import Image

from braintumor.evaluation.report.cam_overlay import overlay
from braintumor.evaluation.report.formatting import figure
from braintumor.markdown import table
from braintumor.preview.prediction_changes import Flip, FlipPreview, Flips
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
    """Read the scans of the flips again, a few at a time, and yield the flips with their images."""
    by_id = {scan.scan_id: scan for scan in scans}

    def draw(flip: Flip) -> FlipWithImages:
        reading = ScanReader(store=store, size=SHOWN_SIZE).read(by_id[flip.scan_id])
        frame = reading.frames.frame(flip.frame_index) if reading.frames else None
        if frame is None:
            return FlipWithImages(flip=flip, images=reading.failure or ReadFailure.UNREADABLE)
        return FlipWithImages(flip=flip, images=FlipImages.draw(flip, frame))

    return store.concurrently(draw, flips)


def flip_page(preview: FlipPreview, shown: Iterable[FlipWithImages], *, run_key: str, created: str) -> str:
    """Return the page of a flip preview as HTML. ``shown`` has the flips with images, the most severe first."""
    template = flip_templates().get_template("flip_preview.html")
    return template.render(
        preview=preview, shown=list(shown), run_key=run_key, created=created, summary=summary(preview)
    )


def summary(preview: FlipPreview) -> str:
    """Return a summary of the changes in one or two sentences."""
    if preview.why_nothing:
        return f"Nothing to compare: {preview.why_nothing}."
    unread = "".join(f" {count} {reason.value}." for reason, count in preview.failures.items())
    head = f"{counted(preview.count_scan, 'scan')} of production, the newest that {preview.champion} scored.{unread}"
    if not preview.count_compared:
        return f"{head} None could be compared."
    compared = counted(preview.count_compared, "prediction")
    if not preview.count_flip:
        return f"{head} None of {compared} would change."
    return f"{head} {preview.count_flip} of {compared} would change {kinds(preview)}"


def kinds(flips: Flips) -> str:
    """Return the share of flips in percent, and the number of each kind: ``(5.0%): 3 tumor to normal, ...``."""
    share = figure(100 * flips.count_flip / flips.count_compared, 1)
    counts = ", ".join(f"{count} {kind.value}" for kind, count in flips.by_kind.items())
    return f"({share}%): {counts}."


def changes_table(flips: Flips, before: str, after: str) -> str:
    """Return the changes as a Markdown table with the headings ``before`` and ``after``, or an empty text."""
    if not flips.changes:
        return ""
    return table([before, after, "count"], [[t.before, t.after, t.count] for t in flips.changes], right=["count"])


def to_markdown(preview: FlipPreview, *, address: str = "") -> str:
    """Return the Markdown that the approver reads below the gate's table.

    It links to the page at the URL ``address``. An empty ``address`` gives no link.
    """
    lines = [
        "### Flip preview",
        "",
        summary(preview),
        "",
        changes_table(preview, "current prediction", "candidate's prediction"),
    ]
    if address:
        lines += [f"[The images, worst first]({address})", ""]
    return "\n".join(lines)


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
    environment.filters["figure"] = figure
    return environment
