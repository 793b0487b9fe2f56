"""The flip preview for people: a few lines of Markdown for whoever is asked, and one page with the pictures.

The page shows images of production: it is handed out by the access-checked route of Airflow's page alone. Scans are
named by their ids, never by their keys.
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
from braintumor.preview.flips import Flip, FlipPreview, Flips
from braintumor.reports.jinja import page_environment
from braintumor.s3 import ObjectStore
from braintumor.scoring.scored_scans import ScoredScan, Unread, read_frames

SHOWN_FLIPS = 100
"""Flips with pictures on a page: 3 MB."""
SHOWN_SIZE = 224
"""Width of a picture in pixels."""
_QUALITY = 88
"""Of JPEG: 10 kB a picture, and no visible artifact on anatomy."""


@dataclass(frozen=True, kw_only=True)
class FlipImages:
    """A frame and what each model marks in it, as JPEG bytes."""

    frame: bytes = field(repr=False)
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)

    @classmethod
    def draw(cls, flip: Flip, frame: NDArray[np.uint8]) -> FlipImages:
        """Draw the three; ``frame`` is uint8 (S, S, 3)."""
        before, after = overlay(frame, flip.before_map), overlay(frame, flip.after_map)
        return cls(frame=_jpeg(frame), before=_jpeg(before), after=_jpeg(after))


@dataclass(frozen=True, kw_only=True)
class FlipWithImages:
    """A flip as the page shows it: its pictures, or why there are none."""

    flip: Flip
    pictures: FlipImages | Unread

    @property
    def why_no_pictures(self) -> str:
        """Empty where there are pictures."""
        return self.pictures.value if isinstance(self.pictures, Unread) else ""


def with_images(store: ObjectStore, flips: Sequence[Flip], scans: Iterable[ScoredScan]) -> Iterator[FlipWithImages]:
    """The flips of these scans with their pictures, read again a few at a time."""
    by_id = {scan.scan_id: scan for scan in scans}

    def draw(flip: Flip) -> FlipWithImages:
        frames = read_frames(store, by_id[flip.scan_id], size=SHOWN_SIZE)
        if isinstance(frames, Unread):
            return FlipWithImages(flip=flip, pictures=frames)
        frame = frames.frame(flip.frame_index)
        return FlipWithImages(flip=flip, pictures=Unread.UNREADABLE if frame is None else FlipImages.draw(flip, frame))

    return store.concurrently(draw, flips)


def flip_page(preview: FlipPreview, shown: Iterable[FlipWithImages], *, run_key: str, created: str) -> str:
    """The whole page; ``created`` says when, in words."""
    template = flip_templates().get_template("flip_preview.html")
    return template.render(
        preview=preview, shown=list(shown), run_key=run_key, created=created, summary=summary(preview)
    )


def summary(preview: FlipPreview) -> str:
    """What would change, in a sentence or two."""
    if preview.why_nothing:
        return f"Nothing to compare: {preview.why_nothing}."
    unread = "".join(f" {count} {reason.value}." for reason, count in preview.unread.items())
    head = f"{counted(preview.count_scan, 'scan')} of production, the newest that {preview.champion} answered.{unread}"
    if not preview.count_compared:
        return f"{head} None could be compared."
    compared = counted(preview.count_compared, "answer")
    if not preview.count_flip:
        return f"{head} None of {compared} would change."
    return f"{head} {preview.count_flip} of {compared} would change {kinds(preview)}"


def kinds(found: Flips) -> str:
    """The share of answers that change, and how many change in which way: ``(5.0%): 3 tumor to normal, ...``."""
    share = figure(100 * found.count_flip / found.count_compared, 1)
    counts = ", ".join(f"{count} {kind.value}" for kind, count in found.by_kind.items())
    return f"({share}%): {counts}."


def changes_table(found: Flips, before: str, after: str) -> str:
    """The changes as a Markdown table with these headings; nothing where nothing changes."""
    if not found.changes:
        return ""
    return table([before, after, "count"], [[t.before, t.after, t.count] for t in found.changes], right=["count"])


def to_markdown(preview: FlipPreview, *, address: str = "") -> str:
    """What the person who is asked to approve reads below the gate's table, with a link to the page."""
    lines = ["### Flip preview", "", summary(preview), "", changes_table(preview, "answer now", "answer then")]
    if address:
        lines += [f"[The pictures, worst first]({address})", ""]
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """``1 scan``, ``2,000 scans``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


@cache
def flip_templates() -> Environment:
    """The templates of pages that show flips."""
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters["figure"] = figure
    return environment
