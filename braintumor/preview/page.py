"""The flip preview for people: a few lines of Markdown for whoever is asked, and one page with the pictures.

The page shows images of production: it is handed out by the access-checked route of Airflow's page alone. Scans are
named by their ids, never by their keys.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray
from PIL import Image

from braintumor.evaluation.overlay import overlay
from braintumor.evaluation.words import figure
from braintumor.pages.environment import page_environment
from braintumor.preview.flips import Flip, FlipPreview
from braintumor.preview.scans import Unread

SHOWN_SIZE = 224
"""Width of a picture in pixels."""
_QUALITY = 88
"""Of JPEG: 10 kB a picture, and no visible artefact on anatomy."""


@dataclass(frozen=True, kw_only=True)
class FlipPictures:
    """A frame and what each model marks in it, as JPEG bytes."""

    frame: bytes = field(repr=False)
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)

    @classmethod
    def draw(cls, flip: Flip, frame: NDArray[np.uint8]) -> FlipPictures:
        """Draw the three; ``frame`` is uint8 (S, S, 3)."""
        before, after = overlay(frame, flip.before_map), overlay(frame, flip.after_map)
        return cls(frame=_jpeg(frame), before=_jpeg(before), after=_jpeg(after))


@dataclass(frozen=True, kw_only=True)
class ShownFlip:
    """A flip as the page shows it: its pictures, or why there are none."""

    flip: Flip
    pictures: FlipPictures | Unread

    @property
    def why_no_pictures(self) -> str:
        """Empty where there are pictures."""
        return self.pictures.value if isinstance(self.pictures, Unread) else ""


def flip_page(preview: FlipPreview, shown: Iterable[ShownFlip], *, run_key: str, created: str) -> str:
    """The whole page; ``created`` says when, in words."""
    template = _environment().get_template("flip_preview.html")
    return template.render(
        preview=preview, shown=list(shown), run_key=run_key, created=created, summary=summary(preview)
    )


def summary(preview: FlipPreview) -> str:
    """What would change, in a sentence or two."""
    if preview.why_nothing:
        return f"Nothing to compare: {preview.why_nothing}."
    unread = "".join(f" {count} {reason.value}." for reason, count in preview.unread.items())
    head = f"{_count(preview.count_scan, 'scan')} of production, the newest that {preview.champion} answered.{unread}"
    if not preview.count_compared:
        return f"{head} None could be compared."
    compared = _count(preview.count_compared, "answer")
    if not preview.count_flip:
        return f"{head} None of {compared} would change."
    share = figure(100 * preview.count_flip / preview.count_compared, 1)
    kinds = ", ".join(f"{count} {kind.value}" for kind, count in preview.by_kind.items())
    return f"{head} {preview.count_flip} of {compared} would change ({share}%): {kinds}."


def to_markdown(preview: FlipPreview, *, address: str = "") -> str:
    """What the person who is asked to approve reads below the gate's table, with a link to the page."""
    lines = ["### Flip preview", "", summary(preview), ""]
    if preview.changes:
        rows = [f"| {t.before} | {t.after} | {t.count} |" for t in preview.changes]
        lines += ["| answer now | answer then | count |", "| --- | --- | --- |", *rows, ""]
    if address:
        lines += [f"[The pictures, worst first]({address})", ""]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters["figure"] = figure
    return environment
