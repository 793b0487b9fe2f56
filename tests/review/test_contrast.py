"""Test the contrast of all colors of the review page by WCAG 2.2 AA: text 4.5 to 1, marks 3 to 1."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from braintumor import review

CSS = (Path(review.__file__).parent / "static" / "review.css").read_text()
NAMES = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", CSS))


def colors(named: str) -> list[str]:
    """Return all values of a CSS property as six hexadecimal digits."""
    values = re.findall(rf"(?<![a-z-]){named}: *(var\(--[a-z]+\)|#[0-9a-f]+)", CSS)
    plain = [NAMES[value[6:-1]] if value.startswith("var") else value for value in values]
    return sorted({"#" + "".join(2 * digit for digit in value[1:]) if len(value) == 4 else value for value in plain})


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


BACKGROUNDS = [color for color in colors("background") if luminance(color) < 0.1]
TEXTS = colors("color")
MARKS = [color for color in colors("fill") if color != "#2a343f"]  # the empty part of a bar


def test_contrast_matches_wcag_examples() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert len(BACKGROUNDS) >= 5 and len(TEXTS) >= 5 and len(MARKS) >= 5


@pytest.mark.parametrize(("text", "background"), list(itertools.product(TEXTS, BACKGROUNDS)))
def test_text_contrast_is_at_least_4_5(text: str, background: str) -> None:
    assert contrast(text, background) >= 4.5


@pytest.mark.parametrize("mark", MARKS)
def test_mark_contrast_is_at_least_3(mark: str) -> None:
    assert contrast(mark, NAMES["card"]) >= 3
