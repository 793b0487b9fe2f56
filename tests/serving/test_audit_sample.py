"""The audit sample: by chance of the bytes, the same whoever asks, and about as large as it is said to be."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest

from braintumor.imaging.model_input import PreparedScan
from braintumor.labels import TumorClass
from braintumor.serving.audit_sample import AUDIT_SHARE, is_audited
from braintumor.serving.prediction import Prediction, ReviewReason, scan_predictions

DIGESTS = [sha256(str(number).encode()).hexdigest() for number in range(50_000)]


def test_about_two_in_a_hundred_are_drawn_and_neither_by_their_first_digits_nor_anew_each_time() -> None:
    drawn = [digest for digest in DIGESTS if is_audited(digest)]
    assert len(drawn) / len(DIGESTS) == pytest.approx(AUDIT_SHARE, abs=0.002)
    assert drawn == [digest for digest in DIGESTS if is_audited(digest)]
    low = sum(digest < "8" for digest in drawn) / len(drawn)
    assert low == pytest.approx(0.5, abs=0.06)


def test_the_sample_of_today_is_the_sample_of_next_year() -> None:
    assert next(number for number, digest in enumerate(DIGESTS) if is_audited(digest)) == 53


def test_every_frame_of_a_drawn_file_is_looked_at_and_none_outside_the_ledger() -> None:
    drawn = next(digest for digest in DIGESTS if is_audited(digest))
    other = next(digest for digest in DIGESTS if not is_audited(digest))
    expected = (ReviewReason.NOT_VALIDATED_ON_VOLUMES, ReviewReason.AUDIT_SAMPLE)
    assert [answer.review_reasons for answer in scan_predictions(list(said()), volume(drawn))] == [expected, expected]
    for content in (other, None):
        assert {answer.review_reasons for answer in scan_predictions(list(said()), volume(content))} == {expected[:1]}


def volume(content_sha256: str | None) -> PreparedScan:
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    return PreparedScan(pixels=pixels, indexes=(3, 7), is_volume=True, content_sha256=content_sha256)


def said() -> Iterator[Prediction]:
    for _ in range(2):
        yield Prediction(
            predicted_class=TumorClass.NORMAL,
            confidence=1.0,
            margin=1.0,
            probabilities=(0.0, 0.0, 1.0, 0.0),
            activation_map=np.zeros((1, 1), np.float16),
            review_reasons=(),
        )
